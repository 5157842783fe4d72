//! Sizes, EDNS, connections, and messages that are no questions.

use callboard_proto::dns::ServiceTtl;
use hickory_proto::op::{MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use tokio::io::AsyncReadExt as _;

use super::*;

/// One service with this many instances.
fn wide(count: u16) -> Registry {
    let mut registry = Registry::default();
    for place in 0..count {
        let [high, low] = place.to_be_bytes();
        let instance = instance(&format!("web{place}"), "web", &format!("10.0.{high}.{low}"), 80, &[]);
        register(&mut registry, node("n1", "127.0.0.1"), Some(instance), Vec::new());
    }
    registry
}

#[tokio::test]
async fn datagrams_are_cut_to_what_the_client_takes() {
    let running = start(wide(500), options()).await;
    let asked = question("web.service.consul.", RecordType::SRV);
    assert_eq!(running.ask(&asked).await.answers.len(), 3);
    for size in [0, 100, 512, 1232, 4096, u16::MAX] {
        let message = with_edns(asked.clone(), size);
        let bytes = running.exchange(&message.to_vec().unwrap()).await;
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= usize::from(size.max(512)), "{} bytes for {size}", bytes.len());
        assert!(!reply.metadata.truncation);
        let addresses = reply.additionals.iter().filter(|record| record.record_type() == RecordType::A).count();
        assert_eq!(reply.answers.len(), addresses, "each answer has its address");
        // An answer takes 44 bytes and its address 16; all that is around them less than 140.
        let room = (usize::from(size.max(512)) - 140) / 60;
        assert!(reply.answers.len() >= room.min(500), "{} answers for {size}", reply.answers.len());
        assert_eq!(reply.edns.unwrap().max_payload(), size.max(512));
    }
    assert!(running.counters.truncated() >= 4);
}

#[tokio::test]
async fn truncation_is_told_if_wished() {
    let mut options = options();
    options.settings.enable_truncate = true;
    options.settings.service_ttl = ServiceTtl::from_iter([("w*", 7)]);
    let running = start(wide(5), options).await;
    let asked = question("web.service.consul.", RecordType::A);
    let reply = running.ask(&asked).await;
    assert!(reply.metadata.truncation && reply.answers.len() == 3 && reply.answers[0].ttl == 7);
    let reply = running.ask_tcp(&asked).await;
    assert!(!reply.metadata.truncation && reply.answers.len() == 5);
}

#[tokio::test]
async fn streams_hold_up_to_64_kilobytes() {
    let running = start(wide(1200), options()).await;
    let reply = running.ask_tcp(&question("web.service.consul.", RecordType::A)).await;
    assert_eq!(reply.answers.len(), 1200);
    let reply = running.ask_tcp(&question("web.service.consul.", RecordType::SRV)).await;
    // Fewer than the bound of 1024: their names alone take more than half of the room.
    assert_eq!((reply.answers.len(), reply.additionals.len()), (997, 997 + 1));
}

#[tokio::test]
async fn a_connection_carries_many_questions_at_once() {
    let running = start(wide(2), options()).await;
    let mut stream = TcpStream::connect(running.tcp).await.unwrap();
    let mut framed = Vec::new();
    for id in 0..50 {
        let mut message = question("web.service.consul.", RecordType::A);
        message.metadata.id = id;
        tcp::frame(&message.to_vec().unwrap(), &mut framed);
    }
    stream.write_all(&framed).await.unwrap();
    let mut bytes = Vec::new();
    for id in 0..50 {
        assert!(tcp::read_frame(&mut stream, &mut bytes).await.unwrap());
        let reply = Message::from_vec(&bytes).unwrap();
        assert_eq!((reply.metadata.id, reply.answers.len()), (id, 2));
    }
    stream.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
    // Closed, be it with or without a reset for what was not read.
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)), "too short to be a message");
}

#[tokio::test]
async fn too_many_connections_are_closed_and_counted() {
    let running = start(wide(1), DnsOptions { connections_max: 1, ..options() }).await;
    let mut first = TcpStream::connect(running.tcp).await.unwrap();
    let mut framed = Vec::new();
    tcp::frame(&question("web.service.consul.", RecordType::A).to_vec().unwrap(), &mut framed);
    first.write_all(&framed).await.unwrap();
    let mut bytes = Vec::new();
    assert!(tcp::read_frame(&mut first, &mut bytes).await.unwrap());
    let mut second = TcpStream::connect(running.tcp).await.unwrap();
    assert!(matches!(second.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert_eq!(running.counters.connections_refused(), 1);
}

#[tokio::test]
async fn edns_is_answered_with_edns() {
    let running = start(wide(1), options()).await;
    let mut asked = with_edns(question("web.service.consul.", RecordType::A), 1232);
    let subnet = EdnsOption::Subnet(ClientSubnet::new([192, 0, 2, 0].into(), 24, 0));
    asked.edns.as_mut().unwrap().options_mut().insert(subnet.clone());
    let reply = running.ask(&asked).await;
    assert_eq!(reply.edns.unwrap().option(EdnsCode::Subnet), Some(&subnet));
    asked.edns.as_mut().unwrap().set_version(1);
    let reply = running.ask(&asked).await;
    // BADVERS; the number has two names.
    assert_eq!(u16::from(reply.metadata.response_code), 16);
    assert!(running.ask(&question("web.service.consul.", RecordType::A)).await.edns.is_none());
}

#[tokio::test]
async fn messages_that_are_no_questions() {
    let running = start(wide(1), options()).await;
    let good = question("web.service.consul.", RecordType::A);
    let code = |reply: &[u8]| Message::from_vec(reply).unwrap().metadata.response_code;
    let broken = good.to_vec().unwrap();
    assert_eq!(code(&running.exchange(&broken[..20]).await), ResponseCode::FormErr);
    let mut update = good.clone();
    update.metadata.op_code = OpCode::Notify;
    let reply = running.ask(&update).await;
    assert_eq!((reply.metadata.response_code, reply.metadata.op_code), (ResponseCode::NotImp, OpCode::Notify));
    let transfer = question("consul.", RecordType::AXFR);
    assert_eq!(running.ask_tcp(&transfer).await.metadata.response_code, ResponseCode::NotImp);

    // A reply is not answered: the next question is, and first.
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(running.udp).await.unwrap();
    let mut reply = good.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.id = good.metadata.id.wrapping_add(1);
    socket.send(&reply.to_vec().unwrap()).await.unwrap();
    socket.send(&[1, 2, 3]).await.unwrap();
    socket.send(&broken).await.unwrap();
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes).await.unwrap();
    assert_eq!(Message::from_vec(&bytes[..length]).unwrap().metadata.id, good.metadata.id);
}
