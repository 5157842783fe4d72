//! DNS beside the registry: it stands in while no server answers, and it names the control nodes.
#![cfg(feature = "dns")]
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callboard::endpoint::Endpoint;
use callboard::testing::{Fault, Registry};
use callboard::watch::Origin;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

const LONG: Duration = Duration::from_secs(60);

/// What a DNS server says.
#[derive(Default)]
struct Said {
    /// The ports of `web.service.consul`; unknown while there is none.
    ports: Vec<u16>,
    /// The addresses of `control.test`.
    control: Vec<Ipv4Addr>,
}

struct Dns {
    address: SocketAddr,
    said: Arc<Mutex<Said>>,
}

impl Dns {
    async fn start(said: Said) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let said = Arc::new(Mutex::new(said));
        let answers = said.clone();
        tokio::spawn(async move {
            let mut bytes = [0; 1500];
            loop {
                let (len, from) = socket.recv_from(&mut bytes).await.unwrap();
                let answer = answer(&Message::from_vec(&bytes[..len]).unwrap(), &answers.lock());
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        Dns { address, said }
    }
}

fn answer(question: &Message, said: &Said) -> Message {
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.authoritative = true;
    answer.add_queries(question.queries.clone());
    let query = &question.queries[0];
    if query.name().to_string() == "control.test." {
        for address in said.control.iter().filter(|_| query.query_type() == RecordType::A) {
            answer.add_answer(Record::from_rdata(query.name().clone(), 0, RData::A(A(*address))));
        }
        return answer;
    }
    let known = query.name().to_string() == "web.service.consul." && query.query_type() == RecordType::SRV;
    if !known || said.ports.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return answer;
    }
    let target = Name::from_ascii("n1.node.dc1.consul.").unwrap();
    for port in &said.ports {
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
    let dns = Dns::start(Said { ports: vec![1000, 2000], ..Said::default() }).await;
    let registry = Registry::start();
    registry.fault("", "/", Fault::Close);
    registry.add("web", "web-1", 1);
    let listed = [Endpoint::new("static", "127.0.0.1", 1)];
    let client = registry
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
    assert_eq!(snapshot.members().first().unwrap().endpoint().weight_effective(), 3);
    assert!(watch.age().is_some() && watch.error().is_some());
    registry.heal();
    while watch.origin() != Origin::Registry {
        watch.changed().await.unwrap();
    }
    assert_eq!(watch.snapshot().members().first().unwrap().endpoint().id(), "web-1");
    client.shutdown().await;
}

#[tokio::test]
async fn without_dns_and_file_the_list_of_the_program_is_used() {
    let dns = Dns::start(Said::default()).await;
    let registry = Registry::start();
    registry.fault("", "/", Fault::Close);
    let listed = [Endpoint::new("static", "127.0.0.1", 1)];
    let client = registry
        .builder()
        .dns_fallback("service.consul", Some(dns.address))
        .static_endpoints("Web", listed)
        .backoff(callboard::backoff::Backoff { base: Duration::from_millis(10), max: Duration::from_millis(50) })
        .build()
        .unwrap();
    let mut watch = client.watch("web").unwrap();
    assert_eq!(watch.ready(1, LONG).await.unwrap().members().first().unwrap().endpoint().id(), "static");
    assert_eq!((watch.origin(), watch.age()), (Origin::Static, None));
    // DNS is better than the list, as soon as it knows somebody.
    dns.said.lock().ports.push(7);
    while watch.origin() != Origin::Dns {
        watch.changed().await.unwrap();
    }
    client.shutdown().await;
}

#[test]
fn a_client_is_built_outside_of_a_runtime() {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let builder = callboard::Client::builder().server("control.test:1").name_server(nobody);
    builder.dns_fallback("service.consul", Some(nobody)).build().unwrap();
}

/// A server that answers everything with its own address.
async fn control(ip: Ipv4Addr, port: u16) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind((ip, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |_| async move {
                let body = http_body_util::Full::new(bytes::Bytes::from(format!("[\"{ip}\"]")));
                Ok::<_, std::io::Error>(http::Response::builder().header("connection", "close").body(body).unwrap())
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            drop(hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await);
        }
    });
    (port, serving)
}

#[tokio::test]
async fn a_name_is_all_its_addresses_and_is_asked_again_after_a_failure() {
    let [first, second, third] = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let (port, serving) = control(first, 0).await;
    let (_, other) = control(third, port).await;
    let dns = Dns::start(Said { control: vec![second, first], ..Said::default() }).await;
    let builder = callboard::Client::builder().server(format!("control.test:{port}")).name_server(dns.address);
    let client = builder.build().unwrap();
    // Nobody listens at the second address: the first is another server of the same name.
    assert_eq!(client.catalog_datacenters().await.unwrap(), ["127.0.0.1"]);
    assert_eq!(client.catalog_datacenters().await.unwrap(), ["127.0.0.1"]);
    // The servers move.
    dns.said.lock().control = vec![third];
    serving.abort();
    let limit = std::time::Instant::now() + LONG;
    loop {
        match client.catalog_datacenters().await {
            Ok(names) if names == ["127.0.0.3"] => break,
            Ok(names) => panic!("{names:?} does not listen any more"),
            Err(error) => assert!(error.to_string().contains("control.test"), "{error}"),
        }
        assert!(std::time::Instant::now() < limit, "the new address is never found");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    other.abort();
    client.shutdown().await;
}
