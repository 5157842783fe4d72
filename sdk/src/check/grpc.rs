//! Probe: the standard gRPC health service (`grpc.health.v1.Health/Check`).
//!
//! Passing when it answers SERVING. Its two messages have one field each, so they are written and read
//! here by hand (protobuf encoding: <https://protobuf.dev/programming-guides/encoding/>; framing and
//! trailers: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use std::future::Future;
use std::pin::pin;

use bytes::{BufMut, Bytes, BytesMut};
use callboard_proto::CheckStatus;
use callboard_proto::definition::Tls;
use h2::client::{Builder, Connection, SendRequest};
use http::{HeaderMap, Request, Uri};
use tokio::time::Instant;

use super::dial::{Fault, Io, chain, open};
use super::probe::{Answer, USER_AGENT};
use super::tls::{Alpn, TlsClients};

/// The answer is a few bytes; whoever sends more does not speak this protocol.
const ANSWER_MAX: usize = 4096;
/// The largest head of an answer that is taken, in bytes.
const HEAD_MAX: u32 = 64 * 1024;

pub(crate) async fn run(
    clients: &TlsClients,
    address: &str,
    service: &str,
    tls: Option<&Tls>,
    deadline: Instant,
) -> Result<Answer, Fault> {
    let target = target(address, service);
    let named = |fault: Fault| Fault(format!("gRPC check {target}: {fault}"));
    let stream = open(clients, address, tls, Alpn::H2, deadline).await.map_err(named)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let status = ask(stream, scheme, address, service).await.map_err(named)?;
    Ok(match status {
        Health::Serving => Answer::new(CheckStatus::Passing, format!("gRPC check {target}: success")),
        other => Answer::new(CheckStatus::Critical, format!("gRPC check {target}: status {}", other.word())),
    })
}

/// The target as the check was given it.
pub(crate) fn target(address: &str, service: &str) -> String {
    if service.is_empty() { address.to_owned() } else { format!("{address}/{service}") }
}

/// Waits for `exchange` while `connection` does its work. A connection that ends has settled every
/// exchange on it, so there is something to wait for even then.
pub(crate) async fn drive<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        done = &mut exchange => return done,
        _ = connection => {}
    }
    exchange.await
}

/// Begins HTTP/2 on a connection: what the sender is for is up to the caller, who must [`drive`] the other.
pub(crate) async fn handshake(stream: Box<dyn Io>) -> Result<(SendRequest<Bytes>, Connection<Box<dyn Io>>), h2::Error> {
    Builder::new().enable_push(false).max_header_list_size(HEAD_MAX).handshake(stream).await
}

async fn ask(stream: Box<dyn Io>, scheme: &str, authority: &str, service: &str) -> Result<Health, Fault> {
    let broken = |error: h2::Error| Fault(chain(&error));
    let (sender, connection) = handshake(stream).await.map_err(broken)?;
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query("/grpc.health.v1.Health/Check");
    let request = Request::post(uri.build().map_err(|error| Fault(error.to_string()))?)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", USER_AGENT)
        .body(())
        .map_err(|error| Fault(error.to_string()))?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(broken)?;
        let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
        body.send_data(encode(service), true).map_err(broken)?;
        let response = response.await.map_err(broken)?;
        if !response.status().is_success() {
            return Err(Fault(format!("HTTP status {}", response.status())));
        }
        let (head, mut body) = response.into_parts();
        let mut message = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part.map_err(broken)?;
            if message.len() + part.len() > ANSWER_MAX {
                return Err(Fault(format!("the answer is longer than {ANSWER_MAX} bytes")));
            }
            // h2 opens the window no further by itself; what fits in it is more than we would take.
            message.extend_from_slice(&part);
        }
        let trailers = body.trailers().await.map_err(broken)?;
        // An answer without a message has its outcome among the headers.
        outcome(trailers.as_ref().unwrap_or(&head.headers))?;
        decode(&message).ok_or_else(|| Fault::new("the answer is not a HealthCheckResponse"))
    };
    drive(connection, exchange).await
}

/// Whether the call went well, by `grpc-status` and `grpc-message`.
fn outcome(headers: &HeaderMap) -> Result<(), Fault> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        None => Err(Fault::new("the answer has no grpc-status")),
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(Fault(format!("grpc-status {code}{}{message}", if message.is_empty() { "" } else { ": " })))
        }
    }
}

/// `HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
}

impl Health {
    fn word(self) -> &'static str {
        match self {
            Health::Unknown => "UNKNOWN",
            Health::Serving => "SERVING",
            Health::NotServing => "NOT_SERVING",
            Health::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// A framed `HealthCheckRequest { service = 1 }`.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0A);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    // A service name is a part of one line of a definition: far below four gigabytes.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message);
    frame.freeze()
}

/// A framed `HealthCheckResponse { status = 1 }`; unknown fields are passed over.
fn decode(frame: &[u8]) -> Option<Health> {
    let (head, mut message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    if head[0] != 0 || length as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let skip = match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skip..)?;
    }
    Some(match status {
        1 => Health::Serving,
        2 => Health::NotServing,
        3 => Health::ServiceUnknown,
        _ => Health::Unknown,
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_is_framed() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("web")[..], b"\0\0\0\0\x05\x0A\x03web");
        let long = encode(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0A, 0xAC, 0x02]);
    }

    #[test]
    fn an_answer_is_read() {
        assert_eq!(decode(&[0, 0, 0, 0, 2, 0x08, 1]), Some(Health::Serving));
        assert_eq!(decode(&[0, 0, 0, 0, 2, 0x08, 2]), Some(Health::NotServing));
        assert_eq!(decode(&[0, 0, 0, 0, 0]), Some(Health::Unknown), "zero is not written");
        let extra = [0, 0, 0, 0, 7, 0x12, 1, b'x', 0x08, 1, 0x18, 9];
        assert_eq!(decode(&extra), Some(Health::Serving));
        assert_eq!(decode(&[1, 0, 0, 0, 2, 0x08, 1]), None, "nobody asked for compression");
        assert_eq!(decode(&[0, 0, 0, 0, 3, 0x08, 1]), None);
    }

    proptest! {
        #[test]
        fn odd_answers_are_refused_without_panic(mut message in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&message);
            let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
            frame.append(&mut message);
            let _ = decode(&frame);
        }
    }
}
