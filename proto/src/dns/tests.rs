//! Answers by example, compared with what a Consul agent was recorded to say, and by property.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::text::{Meta, Text};

/// What the control node would keep: one node with the recorded services, and a few of our own.
struct World {
    meta: Meta,
    settings: Settings,
    zone: Zone,
}

fn world() -> World {
    World {
        meta: meta(&[("consul-network-segment", "")]),
        settings: Settings::default(),
        zone: Zone::new("consul", Some("corp.example"), "dc1"),
    }
}

fn meta(pairs: &[(&str, &str)]) -> Meta {
    pairs.iter().map(|(key, value)| (*key, Text::from(*value))).collect()
}

const EDNS: Transport = Transport::Udp { edns: Some(1232) };
const PLAIN: Transport = Transport::Udp { edns: None };

impl World {
    fn node(&self) -> NodeRow<'_> {
        NodeRow { name: "n1", address: "127.0.0.1", meta: &self.meta }
    }

    fn row<'a>(&'a self, address: &'a str, port: u16, weight: u16) -> InstanceRow<'a> {
        InstanceRow { node: self.node(), address, port, weight }
    }

    fn found(&self, lookup: &Lookup) -> Found<'_> {
        let rows = |rows| Found::Instances { rows, order: Order::Shuffled, ttl: 0 };
        match lookup {
            Lookup::Apex | Lookup::NameServers => Found::Servers(vec![self.node()]),
            Lookup::Node { name } if name == "n1" => Found::Node(self.node()),
            Lookup::Service { service, tag } if service == "web" && matches!(tag.as_deref(), None | Some("v1")) => {
                rows(vec![self.row("10.0.0.1", 8080, 10), self.row("", 8083, 5)])
            }
            Lookup::Service { service, tag: None } if service == "six" => rows(vec![self.row("2001:db8::1", 1, 1)]),
            Lookup::Service { service, tag: None } if service == "host" => {
                rows(vec![self.row("db.example.com", 5432, 1)])
            }
            Lookup::Service { service, tag: None } if service == "mixed" => {
                rows(vec![self.row("db.example.com", 1, 1), self.row("10.0.0.9", 2, 1)])
            }
            Lookup::Service { service, tag: None } if service == "down" => rows(Vec::new()),
            Lookup::Query { query } if query == "tpl-web" => {
                let rows = vec![self.row("", 8083, 5), self.row("10.0.0.1", 8080, 10)];
                Found::Instances { rows, order: Order::Given, ttl: 7 }
            }
            Lookup::Virtual { service } if service == "web" => Found::Address(IpAddr::from([240, 0, 0, 1])),
            Lookup::Reverse(address) if *address == IpAddr::from([127, 0, 0, 1]) => {
                Found::Names { nodes: vec!["n1"], services: vec!["web"] }
            }
            Lookup::Reverse(address) if *address == IpAddr::from([10, 0, 0, 1]) => {
                Found::Names { nodes: vec![], services: vec!["web", "web"] }
            }
            _ => Found::Nothing,
        }
    }

    fn ask(&self, name: &str, record_type: RecordType, transport: Transport) -> Reply {
        let asked = self.zone.lookup(name);
        let query = Query { name, record_type, transport, random: 1, serial: 17 };
        answer(&self.zone, &self.settings, &query, &asked, self.found(&asked.lookup))
    }
}

fn show(record: &Record) -> String {
    let data = match &record.data {
        RecordData::A(address) => format!("A {address}"),
        RecordData::Aaaa(address) => format!("AAAA {address}"),
        RecordData::Cname(name) => format!("CNAME {name}"),
        RecordData::Srv { priority, weight, port, target } => format!("SRV {priority} {weight} {port} {target}"),
        RecordData::Txt(text) => format!("TXT {text:?}"),
        RecordData::Ns(name) => format!("NS {name}"),
        RecordData::Ptr(name) => format!("PTR {name}"),
        RecordData::Soa { mname, rname, serial, refresh, retry, expire, minimum } => {
            format!("SOA {mname} {rname} {serial} {refresh} {retry} {expire} {minimum}")
        }
    };
    format!("{} {} {data}", record.name, record.ttl)
}

/// Writes a reply like `dig`: the code, then the records of each section. Answers are sorted, for their order is
/// random.
fn dig(reply: &Reply) -> Vec<String> {
    let view = reply.view();
    let mut lines = vec![format!("{:?}{}", reply.code, if reply.authoritative { " aa" } else { "" })];
    let mut answers: Vec<String> = view.answers().iter().map(show).collect();
    answers.sort();
    lines.extend(answers);
    lines.extend(view.authority().iter().map(|record| format!("; {}", show(record))));
    let mut additional: Vec<String> = view.additional().map(|record| format!("+ {}", show(record))).collect();
    additional.sort();
    lines.extend(additional);
    lines
}

#[track_caller]
fn check(name: &str, record_type: RecordType, expect: &[&str]) {
    assert_eq!(dig(&world().ask(name, record_type, EDNS)), expect, "{name} {record_type:?}");
}

const SOA: &str = "; consul. 0 SOA ns.consul. hostmaster.consul. 17 3600 600 86400 0";
const NX: &[&str] = &["NxDomain aa", SOA];
const EMPTY: &[&str] = &["NoError aa", SOA];

#[test]
fn services_as_recorded() {
    use RecordType::{A, Aaaa, Any, Mx, Srv, Txt};
    check(
        "web.service.consul.",
        A,
        &["NoError aa", "web.service.consul. 0 A 10.0.0.1", "web.service.consul. 0 A 127.0.0.1"],
    );
    check(
        "WEB.Service.CONSUL.",
        Any,
        &["NoError aa", "WEB.Service.CONSUL. 0 A 10.0.0.1", "WEB.Service.CONSUL. 0 A 127.0.0.1"],
    );
    for name in
        ["web.service.consul.", "v1.web.service.consul.", "_web._tcp.service.consul.", "_web._v1.service.consul."]
    {
        check(
            name,
            Srv,
            &[
                "NoError aa",
                &format!("{name} 0 SRV 1 10 8080 0a000001.addr.dc1.consul."),
                &format!("{name} 0 SRV 1 5 8083 n1.node.dc1.consul."),
                "+ 0a000001.addr.dc1.consul. 0 A 10.0.0.1",
                "+ n1.node.dc1.consul. 0 A 127.0.0.1",
                "+ n1.node.dc1.consul. 0 TXT \"consul-network-segment=\"",
            ],
        );
    }
    check("web.service.consul.", Aaaa, EMPTY);
    check("web.service.consul.", Mx, EMPTY);
    check("web.service.consul.", Txt, EMPTY);
    check("web.service.dc2.consul.", A, NX);
    check("none.service.consul.", A, NX);
    check("none.service.consul.", Srv, NX);
    check("v2.web.service.consul.", A, NX);
    check("down.service.consul.", A, NX);
    check("service.consul.", A, NX);
    check("web.bogus.consul.", A, NX);
    check("web.connect.consul.", A, NX);
    check("none.query.consul.", A, NX);
    check("example.com.", A, &["Refused"]);
}

#[test]
fn nodes_as_recorded() {
    use RecordType::{A, Aaaa, Any, Mx, Txt};
    let txt = |name: &str| format!("{name} 0 TXT \"consul-network-segment=\"");
    for name in ["n1.node.consul.", "n1.node.dc1.consul."] {
        let address = format!("{name} 0 A 127.0.0.1");
        check(name, A, &["NoError aa", &address, &format!("+ {}", txt(name))]);
        check(name, Any, &["NoError aa", &address, &txt(name)]);
        check(name, Txt, &["NoError aa", &txt(name)]);
        check(name, Aaaa, &["NoError aa", SOA, &format!("+ {}", txt(name))]);
        check(name, Mx, EMPTY);
    }
    check("none.node.consul.", A, NX);
}

#[test]
fn the_zone_as_recorded() {
    use RecordType::{A, Ns, Ptr, Soa};
    check(
        "consul.",
        Soa,
        &[
            "NoError aa",
            "consul. 0 SOA ns.consul. hostmaster.consul. 17 3600 600 86400 0",
            "; consul. 0 NS n1.node.dc1.consul.",
            "+ n1.node.dc1.consul. 0 A 127.0.0.1",
        ],
    );
    check("consul.", Ns, &["NoError aa", "consul. 0 NS n1.node.dc1.consul.", "+ n1.node.dc1.consul. 0 A 127.0.0.1"]);
    check("consul.", A, NX);
    check("ns.consul.", A, &["NoError aa", "ns.consul. 0 A 127.0.0.1"]);
    check("1.0.0.127.in-addr.arpa.", Ptr, &["NoError aa", "1.0.0.127.in-addr.arpa. 0 PTR n1.node.dc1.consul."]);
    check("1.0.0.10.in-addr.arpa.", Ptr, &["NoError aa", "1.0.0.10.in-addr.arpa. 0 PTR web.service.consul."]);
    check("9.9.9.9.in-addr.arpa.", Ptr, &["NxDomain aa"]);
}

#[test]
fn addresses_in_names() {
    use RecordType::{A, Aaaa};
    let v4 = "7f000001.addr.consul.";
    check(v4, A, &["NoError aa", "7f000001.addr.consul. 0 A 127.0.0.1"]);
    check(v4, Aaaa, &["NoError aa", SOA, "+ 7f000001.addr.consul. 0 A 127.0.0.1"]);
    check("zz.addr.consul.", A, NX);
    check("web.virtual.consul.", A, &["NoError aa", "web.virtual.consul. 0 A 240.0.0.1"]);
    check("none.virtual.consul.", A, NX);
}

#[test]
fn the_family_of_addresses_is_the_asked_one() {
    use RecordType::{A, Aaaa, Srv};
    check("six.service.consul.", A, EMPTY);
    check("six.service.consul.", Aaaa, &["NoError aa", "six.service.consul. 0 AAAA 2001:db8::1"]);
    check(
        "six.service.corp.example.",
        Srv,
        &[
            "NoError aa",
            "six.service.corp.example. 0 SRV 1 1 1 20010db8000000000000000000000001.addr.dc1.corp.example.",
            "+ 20010db8000000000000000000000001.addr.dc1.corp.example. 0 AAAA 2001:db8::1",
            "+ n1.node.dc1.corp.example. 0 TXT \"consul-network-segment=\"",
        ],
    );
}

#[test]
fn host_names_are_aliases_until_someone_resolves_them() {
    use RecordType::{A, Srv};
    let world = world();
    let found = Record { name: "db.example.com.".into(), ttl: 9, data: RecordData::A([192, 0, 2, 1].into()) };

    let mut reply = world.ask("host.service.consul.", A, EDNS);
    assert_eq!(dig(&reply), ["NoError aa", "host.service.consul. 0 CNAME db.example.com."]);
    assert_eq!(reply.hosts(), ["db.example.com.".into()]);
    reply.resolve("db.example.com.", vec![found.clone()]);
    assert_eq!(dig(&reply)[1..], ["db.example.com. 9 A 192.0.2.1", "host.service.consul. 0 CNAME db.example.com."]);
    assert!(reply.hosts().is_empty());

    let mut reply = world.ask("host.service.consul.", Srv, EDNS);
    assert_eq!(reply.hosts(), ["db.example.com.".into()]);
    reply.resolve("db.example.com.", vec![found]);
    assert_eq!(
        dig(&reply)[1..],
        [
            "host.service.consul. 0 SRV 1 1 5432 db.example.com.",
            "+ db.example.com. 9 A 192.0.2.1",
            "+ n1.node.dc1.consul. 0 TXT \"consul-network-segment=\"",
        ]
    );
    check("mixed.service.consul.", A, &["NoError aa", "mixed.service.consul. 0 A 10.0.0.9"]);
}

#[test]
fn queries_keep_their_order_and_time() {
    let reply = world().ask("tpl-web.query.consul.", RecordType::A, EDNS);
    let answers: Vec<String> = reply.view().answers().iter().map(show).collect();
    assert_eq!(answers, ["tpl-web.query.consul. 7 A 127.0.0.1", "tpl-web.query.consul. 7 A 10.0.0.1"]);
}

#[test]
fn metadata_is_quoted() {
    let mut world = world();
    world.meta = meta(&[("a=b", "c=d"), ("tick`", "x"), (" edge ", "y"), ("rfc1035-spf", "v=spf1 -all")]);
    let reply = world.ask("n1.node.consul.", RecordType::Txt, EDNS);
    assert_eq!(
        dig(&reply)[1..],
        [
            "n1.node.consul. 0 TXT \"` edge` =y\"",
            "n1.node.consul. 0 TXT \"a`=b=c=d\"",
            "n1.node.consul. 0 TXT \"tick``=x\"",
            "n1.node.consul. 0 TXT \"v=spf1 -all\"",
        ]
    );
    let long = "x".repeat(300);
    let lengths: Vec<usize> = RecordData::txt_strings(&long).map(<[u8]>::len).collect();
    assert_eq!(lengths, [255, 45]);
    assert_eq!(RecordData::txt_strings("").count(), 1);
}

/// A service with many instances, and how many answers each kind of client gets.
fn many(count: usize, settings: Settings, record_type: RecordType, transport: Transport) -> Reply {
    let mut world = world();
    world.settings = settings;
    let addresses: Vec<String> = (0..count).map(|n| format!("10.1.{}.{}", n / 256, n % 256)).collect();
    let rows = addresses.iter().map(|address| world.row(address, 80, 1)).collect();
    let asked = world.zone.lookup("web.service.consul");
    let query = Query { name: "web.service.consul", record_type, transport, random: 3, serial: 1 };
    let found = Found::Instances { rows, order: Order::Shuffled, ttl: 0 };
    answer(&world.zone, &world.settings, &query, &asked, found)
}

#[test]
fn limits_on_answers() {
    use RecordType::{A, Srv};
    let count = |settings: Settings, record_type, transport| {
        many(5000, settings, record_type, transport).view().answers().len()
    };
    let with = |udp_answer_limit, a_record_limit| Settings { udp_answer_limit, a_record_limit, ..Settings::default() };
    assert_eq!(count(with(3, 0), A, PLAIN), 3);
    assert_eq!(count(with(100, 0), A, PLAIN), 8);
    assert_eq!(count(with(0, 0), Srv, PLAIN), 8);
    assert_eq!(count(with(3, 0), A, EDNS), 4096);
    assert_eq!(count(with(3, 20), A, EDNS), 20);
    assert_eq!(count(with(3, 20), A, Transport::Tcp), 20);
    assert_eq!(count(with(3, 20), Srv, Transport::Tcp), 1024);
    assert_eq!(count(with(3, 2), A, PLAIN), 2);
    assert!(!many(9, with(3, 0), A, PLAIN).truncated);
    assert!(many(9, Settings { enable_truncate: true, ..with(3, 0) }, A, PLAIN).truncated);
    assert!(!many(9, Settings { enable_truncate: true, ..with(3, 0) }, A, EDNS).truncated);
}

/// The size of a message without name compression, near enough for a test.
fn size(view: View<'_>) -> usize {
    let record = |record: &Record| show(record).len() + 10;
    let answers: usize = view.answers().iter().map(record).sum();
    let authority: usize = view.authority().iter().map(record).sum();
    12 + answers + authority + view.additional().map(record).sum::<usize>()
}

#[test]
fn a_reply_is_trimmed_in_few_steps() {
    let settings = Settings { enable_truncate: true, ..Settings::default() };
    let mut reply = many(1000, settings.clone(), RecordType::Srv, EDNS);
    let mut steps = 0;
    reply.trim(1232, |view| {
        steps += 1;
        size(view)
    });
    assert!(reply.truncated);
    assert!((1..12).contains(&reply.view().answers().len()), "{}", reply.view().answers().len());
    assert!(steps <= 12, "{steps}");
    // Every answer that stayed has its address beside it.
    let addresses = reply.view().additional().filter(|record| matches!(record.data, RecordData::A(_))).count();
    assert_eq!(addresses, reply.view().answers().len());

    // One answer without its additional records is better than none, and is not a loss to be told.
    let mut reply = many(1, settings.clone(), RecordType::Srv, EDNS);
    let bare = 12 + show(&reply.view().answers()[0]).len() + 10;
    reply.trim(bare, size);
    assert_eq!((reply.view().answers().len(), reply.view().additional().count()), (1, 0));
    assert!(!reply.truncated);

    let mut reply = many(1, settings, RecordType::Srv, EDNS);
    reply.trim(bare - 1, size);
    assert_eq!((reply.view().answers().len(), reply.truncated), (0, true));
}

#[test]
fn sizes_by_transport() {
    assert_eq!(PLAIN.size_max(), 512);
    assert_eq!(Transport::Udp { edns: Some(0) }.size_max(), 512);
    assert_eq!(Transport::Udp { edns: Some(4096) }.size_max(), 4096);
    assert_eq!(Transport::Tcp.size_max(), 65_535);
}

#[test]
fn names_that_do_not_fit_are_left_out() {
    let world = world();
    let name = "x".repeat(64);
    let rows = vec![
        InstanceRow { node: NodeRow { name: &name, ..world.node() }, ..world.row("", 1, 1) },
        world.row("", 2, 1),
        world.row("no..host", 3, 1),
    ];
    let asked = world.zone.lookup("web.service.consul");
    let query =
        Query { name: "web.service.consul", record_type: RecordType::Srv, transport: EDNS, random: 0, serial: 0 };
    let found = Found::Instances { rows, order: Order::Given, ttl: 0 };
    let reply = answer(&world.zone, &world.settings, &query, &asked, found);
    let answers: Vec<String> = reply.view().answers().iter().map(show).collect();
    assert_eq!(answers, ["web.service.consul. 0 SRV 1 1 2 n1.node.dc1.consul."]);
}

fn record_types() -> impl Strategy<Value = RecordType> {
    any::<u16>().prop_map(|code| RecordType::from_code(code % 40)).boxed().prop_union(Just(RecordType::Any).boxed())
}

proptest! {
    #[test]
    fn record_types_keep_their_numbers(code in any::<u16>()) {
        prop_assert_eq!(RecordType::from_code(code).code(), code);
    }

    /// An answer never holds an address, a port or a name that was not handed in, nor anything twice; and what was
    /// handed in is all there, as long as no limit forbids it.
    #[test]
    fn answers_only_with_given_rows(
        rows in prop::collection::vec((0_u8..4, 0_u8..20, 1_u16..4, 0_u16..9), 0..40),
        record_type in record_types(),
        random in any::<u64>(),
    ) {
        let world = world();
        let places: Vec<(String, u16, u16)> = rows
            .iter()
            .map(|(kind, n, port, weight)| {
                let place = match kind {
                    0 => String::new(),
                    1 => format!("10.0.0.{n}"),
                    2 => format!("2001:db8::{n}"),
                    _ => format!("h{n}.example.com"),
                };
                (place, *port, *weight)
            })
            .collect();
        let given: Vec<InstanceRow<'_>> =
            places.iter().map(|(place, port, weight)| world.row(place, *port, *weight)).collect();
        let asked = world.zone.lookup("web.service.consul");
        let query = Query { name: "web.service.consul", record_type, transport: EDNS, random, serial: 1 };
        let found = Found::Instances { rows: given.clone(), order: Order::Shuffled, ttl: 0 };
        let reply = answer(&world.zone, &world.settings, &query, &asked, found);

        prop_assert_eq!(reply.code == ResponseCode::NxDomain, given.is_empty());
        prop_assert_eq!(reply.view().answers().is_empty(), !reply.view().authority().is_empty());
        let known = |address: IpAddr| {
            given.iter().any(|row| {
                let place = if row.address.is_empty() { row.node.address } else { row.address };
                place.parse() == Ok(address)
            })
        };
        let mut seen = std::collections::HashSet::new();
        for record in reply.view().answers() {
            prop_assert!(seen.insert(record.clone()), "twice: {}", show(record));
            match &record.data {
                RecordData::A(address) => prop_assert!(known((*address).into())),
                RecordData::Aaaa(address) => prop_assert!(known((*address).into())),
                RecordData::Cname(host) => {
                    prop_assert!(given.iter().any(|row| host.strip_suffix('.') == Some(row.address)));
                }
                RecordData::Srv { weight, port, .. } => {
                    prop_assert!(given.iter().any(|row| row.port == *port && row.weight == *weight));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        for record in reply.view().additional() {
            match &record.data {
                RecordData::A(address) => prop_assert!(known((*address).into())),
                RecordData::Aaaa(address) => prop_assert!(known((*address).into())),
                RecordData::Txt(_) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        if record_type == RecordType::Srv {
            let wanted: std::collections::HashSet<_> = given.iter().map(|row| (row.address, row.port)).collect();
            prop_assert_eq!(reply.view().answers().len(), wanted.len());
        }
    }

    #[test]
    fn what_is_trimmed_fits(count in 0_usize..60, size_max in 0_usize..4000, srv in any::<bool>()) {
        let record_type = if srv { RecordType::Srv } else { RecordType::A };
        let mut reply = many(count, Settings::default(), record_type, EDNS);
        let before = reply.clone();
        reply.trim(size_max, size);
        let kept = reply.view().answers().len();
        prop_assert!(size(reply.view()) <= size_max || kept == 0);
        prop_assert_eq!(&before.view().answers()[..kept], reply.view().answers());
        if size(before.view()) <= size_max {
            prop_assert_eq!(before, reply);
        }
    }
}
