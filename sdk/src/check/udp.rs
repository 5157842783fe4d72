//! Probe: a datagram. Passing when anything comes back, and also when nothing does until the timeout:
//! most UDP services do not answer nonsense. Only a refusal (no such port, no such host) is critical.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use callboard_proto::CheckStatus;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::dial::{Fault, resolve, words};
use super::probe::Answer;

/// What is sent; some servers take an empty datagram for the end of their input.
const MESSAGE: &[u8] = b"\n";

pub(crate) async fn run(address: &str, deadline: Instant) -> Result<Answer, Fault> {
    let named = |fault: Fault| Fault(format!("UDP connect {address}: {fault}"));
    let mut faults = Vec::new();
    for to in resolve(address, deadline).await.map_err(named)? {
        match ask(to, deadline).await {
            Ok(heard) => {
                let answer = Answer::new(CheckStatus::Passing, format!("UDP connect {address}: Success"));
                return Ok(if heard { answer } else { answer.silent() });
            }
            Err(error) => faults.push(format!("asking {to}: {}", words(&error))),
        }
    }
    Err(named(Fault(faults.join("; "))))
}

/// Whether something came back in time.
async fn ask(to: SocketAddr, deadline: Instant) -> std::io::Result<bool> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    socket.send(MESSAGE).await?;
    // Of a longer answer the rest is cut off, which is fine: its content does not matter.
    match timeout_at(deadline, socket.recv(&mut [0; 16])).await {
        Ok(received) => received.map(|_| true),
        Err(_) => Ok(false),
    }
}
