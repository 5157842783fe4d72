//! DNS beside the registry: it stands in while no server answers, and it names the control nodes.
#![cfg(feature = "dns")]
#![allow(clippy::unwrap_used, reason = "a test may end here")]

mod fake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callboard::endpoint::Endpoint;
use callboard::watch::Origin;
use fake::{Fake, Fault};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

const LONG: Duration = Duration::from_secs(60);

/// A DNS server that lists these ports of `web.service.consul`; nobody while there is none.
struct Dns {
    address: SocketAddr,
    ports: Arc<Mutex<Vec<u16>>>,
}

impl Dns {
    async fn start(ports: &[u16]) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let ports = Arc::new(Mutex::new(ports.to_vec()));
        let listed = ports.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            loop {
                let (len, from) = socket.recv_from(&mut bytes).await.unwrap();
                let answer = answer(&Message::from_vec(&bytes[..len]).unwrap(), &listed.lock());
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        Dns { address, ports }
    }
}

fn answer(question: &Message, ports: &[u16]) -> Message {
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.authoritative = true;
    answer.add_queries(question.queries.clone());
    let query = &question.queries[0];
    let known = query.name().to_string() == "web.service.consul." && query.query_type() == RecordType::SRV;
    if !known || ports.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return answer;
    }
    let target = Name::from_ascii("n1.node.dc1.consul.").unwrap();
    for port in ports {
        let srv = SRV::new(1, 3, *port, target.clone());
        answer.add_answer(Record::from_rdata(query.name().clone(), 0, RData::SRV(srv)));
    }
    // Of a worse priority: not used while there is a better one.
    let worse = SRV::new(9, 1, 9, target.clone());
    answer.add_answer(Record::from_rdata(query.name().clone(), 0, RData::SRV(worse)));
    answer.add_additionals([Record::from_rdata(target, 0, RData::A(A::new(127, 0, 0, 1)))]);
    answer
}

#[tokio::test]
async fn dns_stands_in_until_the_registry_answers() {
    let dns = Dns::start(&[1000, 2000]).await;
    let fake = Fake::start();
    fake.fault("", "/", Fault::Cut);
    fake.add("web-1", 1);
    let listed = [Endpoint::new("static", "127.0.0.1", 1)];
    let client = fake
        .builder()
        .dns_fallback("service.consul", Some(dns.address))
        .static_endpoints("web", listed)
        .backoff(callboard::backoff::Backoff { base: Duration::from_millis(10), max: Duration::from_millis(50) })
        .build()
        .unwrap();
    let mut watch = client.watch("web").unwrap();
    let snapshot = watch.ready(2, LONG).await.unwrap();
    let authorities: Vec<&str> = snapshot.members().iter().map(|member| member.endpoint().authority()).collect();
    assert_eq!((authorities, watch.origin()), (vec!["127.0.0.1:1000", "127.0.0.1:2000"], Origin::Dns));
    assert_eq!(snapshot.members()[0].endpoint().weight_effective(), 3);
    assert!(watch.age().is_some() && watch.error().is_some());
    fake.heal();
    while watch.origin() != Origin::Registry {
        watch.changed().await.unwrap();
    }
    assert_eq!(watch.snapshot().members()[0].endpoint().id(), "web-1");
    client.shutdown().await;
}

#[tokio::test]
async fn without_dns_and_file_the_list_of_the_program_is_used() {
    let dns = Dns::start(&[]).await;
    let fake = Fake::start();
    fake.fault("", "/", Fault::Cut);
    let listed = [Endpoint::new("static", "127.0.0.1", 1)];
    let client = fake
        .builder()
        .dns_fallback("service.consul", Some(dns.address))
        .static_endpoints("Web", listed)
        .backoff(callboard::backoff::Backoff { base: Duration::from_millis(10), max: Duration::from_millis(50) })
        .build()
        .unwrap();
    let mut watch = client.watch("web").unwrap();
    assert_eq!(watch.ready(1, LONG).await.unwrap().members()[0].endpoint().id(), "static");
    assert_eq!((watch.origin(), watch.age()), (Origin::Static, None));
    // DNS is better than the list, as soon as it knows somebody.
    dns.ports.lock().push(7);
    while watch.origin() != Origin::Dns {
        watch.changed().await.unwrap();
    }
    client.shutdown().await;
}
