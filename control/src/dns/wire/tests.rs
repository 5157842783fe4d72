//! The bytes, compared with what a second implementation reads and writes, and with damage of every kind.

use callboard_proto::dns::{
    Found, InstanceRow, NodeRow, Order, Query as Ask, Record, RecordData, RecordType, Settings, Transport, Zone, answer,
};
use callboard_proto::text::{Meta, Text};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType as WireType};
use proptest::prelude::*;

use super::*;

fn question(name: &str, kind: WireType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 7;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

#[track_caller]
fn rejected(message: &[u8]) -> Code {
    match read(message) {
        Read::Rejected(rejected) => rejected.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_read() {
    let mut message = question("Web.Service.Consul.", WireType::SRV);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new([10, 1, 2, 0].into(), 24, 0)));
    message.set_edns(edns);
    let message = bytes(&message);
    let Read::Request(request) = read(&message) else { panic!("not a request") };
    assert_eq!((request.id, &*request.name, request.record_type), (7, "Web.Service.Consul", RecordType::Srv));
    assert_eq!(request.flags & flag::RECURSION_DESIRED, flag::RECURSION_DESIRED);
    let edns = request.edns.unwrap();
    assert!(edns.dnssec_ok && edns.size == 4096);
    assert_eq!(edns.subnet, Some(&[0, 1, 24, 0, 10, 1, 2][..]));
}

#[test]
fn what_is_not_a_question_is_told_so() {
    let good = bytes(&question("web.service.consul.", WireType::A));
    for length in 0..HEADER_BYTES {
        assert!(matches!(read(&good[..length]), Read::Ignored), "{length} bytes");
    }
    for length in HEADER_BYTES..good.len() {
        assert_eq!(rejected(&good[..length]), Code::FORM_ERR, "{length} bytes");
    }
    let with = |place: usize, byte: u8| {
        let mut message = good.clone();
        message[place] = byte;
        message
    };
    assert!(matches!(read(&with(2, 0x81)), Read::Ignored), "a reply");
    assert_eq!(rejected(&with(2, 0x29)), Code::NOT_IMP, "an update");
    assert_eq!(rejected(&with(5, 0)), Code::FORM_ERR, "no question");
    assert_eq!(rejected(&with(5, 2)), Code::FORM_ERR, "two questions");
    assert_eq!(rejected(&with(11, 1)), Code::FORM_ERR, "a record that is missing");
    assert_eq!(rejected(&with(12, 0xc0)), Code::FORM_ERR, "a name that points");
    assert_eq!(rejected(&with(12, 0x40)), Code::FORM_ERR, "a label of a kind that does not exist");
    assert_eq!(rejected(&with(good.len() - 1, 3)), Code::REFUSED, "class CHAOS");
    for kind in [WireType::AXFR, WireType::IXFR] {
        assert_eq!(rejected(&bytes(&question("consul.", kind))), Code::NOT_IMP);
    }
    let mut unknown = question("consul.", WireType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    unknown.set_edns(edns);
    assert_eq!(rejected(&bytes(&unknown)), Code::BAD_VERSION);
}

#[test]
fn labels_that_are_not_text_equal_no_name() {
    let mut message = bytes(&question("abc.node.consul.", WireType::A));
    message[14] = b'.';
    let Read::Request(request) = read(&message) else { panic!("not a request") };
    assert_eq!(request.name, "\u{fffd}.node.consul");
}

#[test]
fn only_the_reply_to_the_question_counts() {
    let asked = question("example.com.", WireType::A);
    let sent = bytes(&asked);
    let Read::Request(request) = read(&sent) else { panic!("not a request") };
    let mut reply = Message::response(7, OpCode::Query);
    reply.add_query(asked.queries[0].clone());
    assert!(is_answer_to(&bytes(&reply), 7, request.question));
    assert!(!is_answer_to(&bytes(&reply), 8, request.question), "another id");
    assert!(!is_answer_to(&sent, 7, request.question), "the question itself");
    let mut other = Message::response(7, OpCode::Query);
    other.add_query(Query::query(Name::from_ascii("example.org.").unwrap(), WireType::A));
    assert!(!is_answer_to(&bytes(&other), 7, request.question), "another question");
    reply.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(response_code(&bytes(&reply)), Code::NX_DOMAIN);
}

fn show(record: &Record) -> String {
    format!("{} {} {:?}", record.name, record.ttl, record.data)
}

/// Reads a record of the other implementation as one of ours.
fn ours(record: &hickory_proto::rr::Record) -> Record {
    assert_eq!(record.dns_class, DNSClass::IN);
    let data = match &record.data {
        RData::A(address) => RecordData::A(address.0),
        RData::AAAA(address) => RecordData::Aaaa(address.0),
        RData::SRV(srv) => RecordData::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_utf8().into(),
        },
        RData::TXT(text) => {
            let text = text.txt_data.iter().flat_map(|string| string.iter().copied()).collect();
            RecordData::Txt(String::from_utf8(text).unwrap())
        }
        RData::CNAME(name) => RecordData::Cname(name.0.to_utf8().into()),
        RData::NS(name) => RecordData::Ns(name.0.to_utf8().into()),
        RData::PTR(name) => RecordData::Ptr(name.0.to_utf8().into()),
        RData::SOA(soa) => RecordData::Soa {
            mname: soa.mname.to_utf8(),
            rname: soa.rname.to_utf8(),
            serial: soa.serial,
            refresh: soa.refresh as u32,
            retry: soa.retry as u32,
            expire: soa.expire as u32,
            minimum: soa.minimum,
        },
        other => panic!("{other:?}"),
    };
    Record { name: record.name.to_utf8().into(), ttl: record.ttl, data }
}

/// Writes the reply to a question and has it read by the other implementation.
fn round_trip(name: &str, record_type: RecordType, found: Found<'_>, compress: bool) -> (usize, Message) {
    let zone = Zone::new("consul", None, "dc1");
    let asked = zone.lookup(name);
    let ask = Ask { name, record_type, transport: Transport::Tcp, random: 3, serial: 9 };
    let reply = answer(&zone, &Settings::default(), &ask, &asked, found);
    let message = bytes(&question(name, WireType::from(record_type.code())));
    let Read::Request(request) = read(&message) else { panic!("not a request") };
    let head = Head {
        id: request.id,
        flags: flag::AUTHORITATIVE,
        code: reply.code.into(),
        question: request.question,
        name: &request.name,
        edns: None,
    };
    let mut writer = Writer::new(compress);
    // A second message must not remember the first.
    for _ in 0..2 {
        assert_eq!(writer.reply(&head, reply.view()), writer.bytes().len());
    }
    let read = Message::from_vec(writer.bytes()).unwrap();
    let show_all = |records: &[hickory_proto::rr::Record]| -> Vec<String> {
        records.iter().map(|record| show(&ours(record))).collect()
    };
    assert_eq!(show_all(&read.answers), reply.view().answers().iter().map(show).collect::<Vec<_>>());
    assert_eq!(show_all(&read.authorities), reply.view().authority().iter().map(show).collect::<Vec<_>>());
    assert_eq!(show_all(&read.additionals), reply.view().additional().map(show).collect::<Vec<_>>());
    assert!(read.metadata.authoritative && read.queries[0].name.to_utf8() == format!("{name}."));
    (writer.bytes().len(), read)
}

#[test]
fn compression_saves_what_it_should() {
    let meta = Meta::default();
    let node = NodeRow { name: "n1", address: "10.0.0.1", meta: &meta };
    let addresses: Vec<String> = (1..=10).map(|last| format!("10.0.0.{last}")).collect();
    let rows: Vec<_> = addresses.iter().map(|address| InstanceRow { node, address, port: 80, weight: 1 }).collect();
    let found = || Found::Instances { rows: rows.clone(), order: Order::Given, ttl: 0 };
    let (short, _) = round_trip("web.service.consul", RecordType::Srv, found(), true);
    let (long, _) = round_trip("web.service.consul", RecordType::Srv, found(), false);
    // Header 12, question 24; an answer of 2 + 10 + 6 and a target of 26 bytes; its address of 2 + 10 + 4.
    assert_eq!(short, 36 + 10 * (44 + 16));
    // Without: the owner of an answer takes 20 bytes instead of 2, that of an address 26.
    assert_eq!(long, short + 10 * (18 + 24));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(mut message in prop::collection::vec(any::<u8>(), 0..80), plausible: bool) {
        if plausible && message.len() >= 6 {
            message[2..6].copy_from_slice(&[1, 0, 0, 1]);
        }
        let _ = read(&message);
        let _ = is_answer_to(&message, 1, &[]);
    }

    #[test]
    fn a_damaged_question_is_read_without_panic(place in 0_usize..60, byte: u8) {
        let mut message = question("web.service.consul.", WireType::A);
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new([10, 1, 2, 0].into(), 24, 0)));
        message.set_edns(edns);
        let mut message = bytes(&message);
        let place = place % message.len();
        message[place] = byte;
        let _ = read(&message);
    }

    #[test]
    fn the_other_implementation_reads_what_is_written(
        name in "[a-zA-Z0-9]{1,8}(\\.[a-c]{1,2}){0,4}",
        nodes in prop::collection::vec("[a-c]{1,3}(\\.(node|dc1|consul|[ab])){0,3}", 1..12),
        meta in prop::collection::vec(("[a-z=]{1,5}", "[a-z]{0,300}"), 0..3),
        hosts in prop::collection::vec("(|10\\.0\\.0\\.[1-9]|2001:db8::[1-9]|[a-c]{1,3}\\.(node\\.dc1\\.consul|b\\.c))", 12),
        record_type in prop::sample::select(vec![RecordType::A, RecordType::Aaaa, RecordType::Srv, RecordType::Mx]),
        compress: bool,
    ) {
        let meta: Meta = meta.into_iter().map(|(key, value)| (key, Text::from(value))).collect();
        let rows = nodes
            .iter()
            .zip(&hosts)
            .map(|(name, address)| InstanceRow {
                node: NodeRow { name, address: "10.0.0.9", meta: &meta },
                address,
                port: 1,
                weight: 1,
            })
            .collect();
        let name = format!("{name}.service.consul");
        round_trip(&name, record_type, Found::Instances { rows, order: Order::Shuffled, ttl: 5 }, compress);
    }
}
