//! Questions for others: passed on, failed over, and asked for the host names in our own answers.

use std::str::FromStr as _;

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};

use super::*;

/// What a fake recursor does with every question.
#[derive(Clone, Copy)]
enum Manner {
    /// Knows `db.example.com` by way of another name, and nothing else.
    Knows,
    /// Always fails.
    Fails,
}

fn reply_to(message: &[u8], manner: Manner) -> Vec<u8> {
    let asked = Message::from_vec(message).unwrap();
    let name = asked.queries[0].name.clone();
    let mut reply = Message::response(asked.metadata.id, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.add_query(asked.queries[0].clone());
    match manner {
        Manner::Fails => reply.metadata.response_code = ResponseCode::ServFail,
        Manner::Knows if name == Name::from_str("db.example.com.").unwrap() => {
            let other = Name::from_str("real.example.com.").unwrap();
            reply.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(other.clone()))));
            reply.add_answer(Record::from_rdata(other, 60, RData::A(A::new(192, 0, 2, 7))));
        }
        Manner::Knows => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    reply.to_vec().unwrap()
}

/// A recursor that answers over both transports on one port.
async fn recursor(manner: Manner) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
            let reply = reply_to(&buffer[..length], manner);
            // A forged reply with another id comes first and must not count.
            let mut forged = reply.clone();
            forged[0] = !forged[0];
            udp.send_to(&forged, peer).await.unwrap();
            udp.send_to(&reply, peer).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let (mut message, mut framed) = (Vec::new(), Vec::new());
            assert!(tcp::read_frame(&mut stream, &mut message).await.unwrap());
            tcp::frame(&reply_to(&message, manner), &mut framed);
            stream.write_all(&framed).await.unwrap();
        }
    });
    address
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn running(recursors: Vec<SocketAddr>) -> Running {
    let mut registry = Registry::default();
    let add = |registry: &mut Registry, id: &str, address: &str| {
        register(registry, node("n1", "10.0.0.1"), Some(instance(id, id, address, 5432, &[])), Vec::new());
    };
    add(&mut registry, "db", "db.example.com");
    add(&mut registry, "inner", "n1.node.consul");
    add(&mut registry, "chain", "db.service.consul");
    register(&mut registry, node("self", "self.node.consul"), None, Vec::new());
    start(registry, DnsOptions { recursors, ..options() }).await
}

#[tokio::test]
async fn other_names_go_to_the_first_recursor_that_answers() {
    let recursors = vec![nobody().await, recursor(Manner::Fails).await, recursor(Manner::Knows).await];
    let running = running(recursors).await;
    let asked = question("db.example.com.", RecordType::A);
    let expect = ["NoError", "db.example.com. 60 CNAME real.example.com.", "real.example.com. 60 A 192.0.2.7"];
    let reply = running.ask(&asked).await;
    assert!(reply.metadata.recursion_available);
    assert_eq!(dig(&reply), expect);
    assert_eq!(dig(&running.ask_tcp(&asked).await), expect);
    let unknown = question("7.2.0.192.in-addr.arpa.", RecordType::PTR);
    assert_eq!(running.ask(&unknown).await.metadata.response_code, ResponseCode::NXDomain);
    let known = question("1.0.0.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(running.ask(&known).await.answers.len(), 1);
    assert_eq!(running.counters.forwarded(), 3);
}

#[tokio::test]
async fn when_all_fail_the_client_is_told() {
    let mut options = options();
    options.recursors = vec![nobody().await, recursor(Manner::Fails).await];
    options.recursor_strategy = RecursorStrategy::Random;
    let running = start(Registry::default(), options).await;
    let reply = running.ask(&question("db.example.com.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.metadata.recursion_available && !reply.metadata.authoritative);
    assert_eq!(running.counted("A", "SERVFAIL"), 1);
}

#[tokio::test]
async fn host_names_in_answers_get_their_addresses() {
    let running = running(vec![recursor(Manner::Knows).await]).await;
    let outer = ["db.example.com. 60 CNAME real.example.com.", "real.example.com. 60 A 192.0.2.7"];
    let first = "db.service.consul. 0 CNAME db.example.com.";
    let reply = running.ask(&question("db.service.consul.", RecordType::A)).await;
    assert_eq!(dig(&reply), ["NoError aa", outer[0], first, outer[1]]);
    let reply = running.ask(&question("db.service.consul.", RecordType::CNAME)).await;
    assert_eq!(dig(&reply), ["NoError aa", first]);
    let reply = running.ask(&question("chain.service.consul.", RecordType::A)).await;
    let whole = ["NoError aa", "chain.service.consul. 0 CNAME db.service.consul.", outer[0], first, outer[1]];
    assert_eq!(dig(&reply), whole);
    let reply = running.ask(&question("db.service.consul.", RecordType::SRV)).await;
    assert_eq!(dig(&reply)[1], "db.service.consul. 0 SRV 1 10 5432 db.example.com.");
    assert!(dig(&reply).contains(&format!("+ {}", outer[1])));
    // One that points at itself does not go round for ever.
    let reply = running.ask(&question("self.node.consul.", RecordType::A)).await;
    assert!(reply.answers.len() <= 6);
}

#[tokio::test]
async fn our_own_names_need_no_recursor() {
    let running = running(Vec::new()).await;
    let reply = running.ask(&question("inner.service.consul.", RecordType::A)).await;
    let expect = ["NoError aa", "inner.service.consul. 0 CNAME n1.node.consul.", "n1.node.consul. 0 A 10.0.0.1"];
    assert_eq!(dig(&reply), expect);
    let reply = running.ask(&question("db.service.consul.", RecordType::A)).await;
    assert_eq!(dig(&reply), ["NoError aa", "db.service.consul. 0 CNAME db.example.com."]);
}
