//! Asks other DNS servers: about names that are not ours, and for the addresses of host names in our answers.
//!
//! A question about a name that is not ours is passed on as it is, over the transport it came by, and so is the
//! reply. Servers are asked one after the other until one knows the name or knows that there is none. Called by
//! `udp` and `tcp` for what `respond` cannot answer alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use callboard_proto::dns::{Lookup, Record, RecordData, RecordType, Reply, ResponseCode};
use callboard_proto::text::Text;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType as WireType};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

use super::counters::add;
use super::respond::{Carrier, Responder, Step, transport};
use super::tcp::{frame, read_frame};
use super::wire::{Code, Read, Request, is_answer_to, read, response_code};
use super::{RecursorStrategy, Shared};

/// The longest reply that is taken.
const REPLY_BYTES_MAX: usize = 65_535;
/// How many names a host name may lead through within our zone.
const DEPTH_MAX: usize = 3;
/// How many records one host name adds to a reply without EDNS.
const PLAIN_RECORDS_MAX: usize = 5;
/// How many records one host name adds to any other reply.
const RECORDS_MAX: usize = 64;
/// How many host names of one reply are resolved; the others go without addresses.
const HOSTS_MAX: usize = 16;

/// Finishes what could not be answered at once, and returns the bytes of the reply; none if there is to be none.
pub(super) async fn finish(
    shared: &Shared,
    responder: &mut Responder,
    message: &[u8],
    carrier: Carrier,
    step: Step,
) -> Option<Vec<u8>> {
    let Read::Request(request) = read(message) else { return None };
    match step {
        Step::Ignore => return None,
        Step::Send => {}
        Step::Forward => {
            add(&shared.counters.forwarded);
            match ask(shared, message, &request, carrier).await {
                Some(reply) if reply.len() <= transport(&request, carrier).size_max() => {
                    shared.counters.count(Some(request.record_type), response_code(&reply));
                    return Some(reply);
                }
                Some(reply) => responder.truncate(&request, response_code(&reply)),
                None => responder.fail(&request),
            }
        }
        Step::Resolve(mut reply) => {
            let hosts: Vec<Text> = reply.hosts().iter().take(HOSTS_MAX).cloned().collect();
            let records_max = if request.edns.is_none() { PLAIN_RECORDS_MAX } else { RECORDS_MAX };
            for host in hosts {
                let mut records = resolve(shared, responder, &host, request.record_type).await;
                records.truncate(records_max);
                reply.resolve(&host, records);
            }
            responder.send(&request, carrier, *reply);
        }
    }
    Some(responder.bytes().to_vec())
}

/// Finds the records of a host name: those of our own zone, and where that ends, those of the recursors.
async fn resolve(shared: &Shared, responder: &mut Responder, host: &str, asked: RecordType) -> Vec<Record> {
    // The targets of SRV records are asked for like any other host.
    let asked = if asked == RecordType::Aaaa { RecordType::Aaaa } else { RecordType::A };
    let mut found = Vec::new();
    let mut host = Text::from(host);
    for _ in 0..DEPTH_MAX {
        if shared.options.zone.lookup(&host).lookup == Lookup::OutsideDomain {
            found.extend(look_up(shared, &host, asked).await);
            break;
        }
        let reply: Reply = responder.own_records(&host, asked);
        if reply.code != ResponseCode::NoError {
            break;
        }
        found.extend_from_slice(reply.view().answers());
        match reply.hosts().first() {
            Some(next) => host = next.clone(),
            None => break,
        }
    }
    found
}

/// Asks the recursors for the addresses of a host.
async fn look_up(shared: &Shared, host: &str, asked: RecordType) -> Vec<Record> {
    let Ok(name) = Name::from_ascii(host) else { return Vec::new() };
    let wanted = WireType::from(asked.code());
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, wanted));
    let Ok(message) = message.to_vec() else { return Vec::new() };
    let Read::Request(request) = read(&message) else { return Vec::new() };
    add(&shared.counters.forwarded);
    let Some(reply) = ask(shared, &message, &request, Carrier::Udp).await else { return Vec::new() };
    let Ok(reply) = Message::from_vec(&reply) else { return Vec::new() };
    let usable = |record: hickory_proto::rr::Record| {
        let data = match record.data {
            RData::A(address) if asked == RecordType::A => RecordData::A(Ipv4Addr::from(address)),
            RData::AAAA(address) if asked == RecordType::Aaaa => RecordData::Aaaa(Ipv6Addr::from(address)),
            RData::CNAME(target) => RecordData::Cname(plain(&target.0)?),
            _ => return None,
        };
        Some(Record { name: plain(&record.name)?, ttl: record.ttl, data })
    };
    reply.answers.into_iter().filter_map(usable).collect()
}

/// A name as text, unless it needs escapes.
fn plain(name: &Name) -> Option<Text> {
    let text = name.to_ascii();
    (!text.contains('\\') && text.len() > 1).then(|| format!("{}.", text.strip_suffix('.').unwrap_or(&text)).into())
}

/// Passes a question on and returns the first reply that settles it, with the id of the question.
async fn ask(shared: &Shared, message: &[u8], request: &Request<'_>, carrier: Carrier) -> Option<Vec<u8>> {
    let mut recursors = shared.options.recursors.clone();
    if shared.options.recursor_strategy == RecursorStrategy::Random {
        fastrand::shuffle(&mut recursors);
    }
    for recursor in recursors {
        // An id that nobody can guess makes forged replies harder (RFC 5452 section 9.2); so does a new socket with
        // a port chosen by the system for each question.
        let id = unguessable();
        let mut passed = message.to_vec();
        passed.get_mut(..2)?.copy_from_slice(&id.to_be_bytes());
        let exchange = exchange(recursor, &passed, id, request.question, carrier);
        let failure = match timeout(shared.options.recursor_timeout, exchange).await {
            Ok(Ok(mut reply)) => {
                if matches!(response_code(&reply), Code::NO_ERROR | Code::NX_DOMAIN) {
                    reply.get_mut(..2)?.copy_from_slice(&request.id.to_be_bytes());
                    return Some(reply);
                }
                io::Error::other("the answer was a failure")
            }
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        debug!(%recursor, error = &failure as &dyn std::error::Error, "recursor did not answer");
    }
    None
}

async fn exchange(
    recursor: SocketAddr,
    message: &[u8],
    id: u16,
    question: &[u8],
    carrier: Carrier,
) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    match carrier {
        Carrier::Udp => {
            let any: IpAddr = match recursor {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(recursor).await?;
            socket.send(message).await?;
            reply.resize(REPLY_BYTES_MAX, 0);
            loop {
                let length = socket.recv(&mut reply).await?;
                // Others may send here too; only the right reply ends the wait.
                if is_answer_to(&reply[..length], id, question) {
                    reply.truncate(length);
                    return Ok(reply);
                }
            }
        }
        Carrier::Tcp => {
            let mut stream = TcpStream::connect(recursor).await?;
            let mut framed = Vec::new();
            frame(message, &mut framed);
            stream.write_all(&framed).await?;
            if read_frame(&mut stream, &mut reply).await? && is_answer_to(&reply, id, question) {
                return Ok(reply);
            }
            Err(io::Error::new(io::ErrorKind::InvalidData, "the reply is to another question"))
        }
    }
}

/// Draws an id from the system's generator, by way of the one dependency that asks it.
fn unguessable() -> u16 {
    let [high, low, ..] = uuid::Uuid::new_v4().into_bytes();
    u16::from_be_bytes([high, low])
}
