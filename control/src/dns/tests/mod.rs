//! The server over real sockets, with registries made of commands and read by a second implementation.

mod health;
mod near;
mod recorded;
mod recursors;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use callboard_proto::api::check::NewCheck;
use callboard_proto::check::CheckOwner;
use callboard_proto::instance::Weights;
use callboard_proto::text::{Meta, Tags, Text};
use callboard_proto::{Check, CheckId, CheckStatus, Index, Instance, InstanceId, Node, NodeName, ServiceName};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::registry::{Command, NodeUpdate, Outcome, Registration, Touched};

/// A running server; it stops when this is dropped.
struct Running {
    udp: SocketAddr,
    tcp: SocketAddr,
    counters: Arc<DnsCounters>,
    registry: Arc<ArcSwap<Registry>>,
    _stop: DropGuard,
}

fn options() -> DnsOptions {
    DnsOptions::new(Zone::new("consul", Some("corp.example"), "dc1"))
}

async fn start(registry: Registry, options: DnsOptions) -> Running {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, counters) = (CancellationToken::new(), Arc::<DnsCounters>::default());
    let registry = Arc::new(ArcSwap::from_pointee(registry));
    let running = Running {
        udp: udp.local_addr().unwrap(),
        tcp: tcp.local_addr().unwrap(),
        counters: counters.clone(),
        registry: registry.clone(),
        _stop: stop.clone().drop_guard(),
    };
    let source: Source =
        Arc::new(move || Seen { registry: registry.load_full(), access: Access::unrestricted(), acl: None });
    tokio::spawn(serve_from(source, options, counters, vec![udp], vec![tcp], stop));
    running
}

fn question(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

/// Asks for at most so many bytes.
fn with_edns(mut message: Message, size: u16) -> Message {
    let mut edns = hickory_proto::op::Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message
}

impl Running {
    /// Sends bytes in a datagram and returns the bytes that come back.
    async fn exchange(&self, message: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(message, self.udp).await.unwrap();
        let mut reply = vec![0; 65_535];
        let length = socket.recv(&mut reply).await.unwrap();
        reply.truncate(length);
        reply
    }

    async fn ask(&self, message: &Message) -> Message {
        let reply = Message::from_vec(&self.exchange(&message.to_vec().unwrap()).await).unwrap();
        assert_eq!(reply.metadata.id, message.metadata.id);
        reply
    }

    async fn ask_tcp(&self, message: &Message) -> Message {
        let mut stream = TcpStream::connect(self.tcp).await.unwrap();
        let mut framed = Vec::new();
        tcp::frame(&message.to_vec().unwrap(), &mut framed);
        stream.write_all(&framed).await.unwrap();
        let mut reply = Vec::new();
        assert!(tcp::read_frame(&mut stream, &mut reply).await.unwrap());
        Message::from_vec(&reply).unwrap()
    }

    fn counted(&self, record_type: &str, code: &str) -> u64 {
        self.counters.queries().find(|(one, two, _)| *one == record_type && *two == code).unwrap().2
    }
}

/// Writes a reply like `dig`, with the records of each section sorted, for their order is random.
fn dig(reply: &Message) -> Vec<String> {
    let aa = if reply.metadata.authoritative { " aa" } else { "" };
    let mut lines = vec![format!("{:?}{aa}", reply.metadata.response_code)];
    for (mark, records) in [("", &reply.answers), ("; ", &reply.authorities), ("+ ", &reply.additionals)] {
        let mut section: Vec<String> = records.iter().map(|record| format!("{mark}{}", show(record))).collect();
        section.sort();
        lines.extend(section);
    }
    lines
}

fn show(record: &Record) -> String {
    let data = match &record.data {
        RData::SOA(soa) => format!("{} {} {}", soa.mname, soa.rname, soa.minimum),
        data => data.to_string(),
    };
    format!("{} {} {} {data}", record.name, record.ttl, record.record_type())
}

fn node(name: &str, address: &str) -> Node {
    Node {
        name: NodeName::parse(name).unwrap(),
        address: address.into(),
        meta: [("rack", Text::from("r1"))].into_iter().collect::<Meta>(),
        ..Node::default()
    }
}

fn instance(id: &str, service: &str, address: &str, port: u16, tags: &[&str]) -> Instance {
    Instance {
        id: InstanceId::parse(id).unwrap(),
        service: ServiceName::parse(service).unwrap(),
        address: address.into(),
        port,
        tags: tags.iter().copied().map(Text::from).collect::<Tags>(),
        weights: Weights { passing: 10, warning: 3 },
        ..Instance::default()
    }
}

/// A check of an instance, or of the node if that is empty.
fn check(node: &str, id: &str, instance: &str, status: CheckStatus) -> NewCheck {
    let check = Check {
        node: NodeName::parse(node).unwrap(),
        id: CheckId::parse(id).unwrap(),
        name: id.into(),
        status,
        notes: Text::default(),
        output: Text::default(),
        instance: InstanceId::parse(instance).unwrap_or_else(|_| InstanceId::none()),
        service: ServiceName::none(),
        service_tags: Tags::default(),
        kind: Text::default(),
        definition: None,
        shown_definition: Text::default(),
        owner: CheckOwner::Catalog,
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    NewCheck { check, status_given: true }
}

fn register(registry: &mut Registry, node: Node, instance: Option<Instance>, checks: Vec<NewCheck>) {
    let registration = Registration { node, node_update: NodeUpdate::Put, instance, checks, checks_replace: false };
    let outcome = registry.apply(Command::Register(Box::new(registration)), &mut Touched::default());
    assert_eq!(outcome, Outcome::Done);
}
