//! Answers probes over UDP: a task of the SDK's own, never the application.
//!
//! A reply is as long as its question, so a forged sender gains nothing; what is no question gets no answer. Nothing
//! is kept per sender. The port is to be advertised by [`crate::Service::probed_on`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{ToSocketAddrs, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::packet::{PACKET_LEN, Packet};
use super::reporter::LoadReporter;

/// A rest after an error of the socket, so that one that persists does not spin.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers probes until it is dropped.
#[derive(Debug)]
#[must_use = "probes are answered only while this is held"]
pub struct Responder {
    address: SocketAddr,
    _end: DropGuard,
}

impl Responder {
    /// Binds a UDP socket (port 0: any free one) and answers probes with what `reporter` says. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound; nothing was started then.
    pub async fn bind(reporter: LoadReporter, address: impl ToSocketAddrs) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let address = socket.local_addr()?;
        let end = CancellationToken::new();
        let ended = end.clone();
        tokio::spawn(async move { ended.run_until_cancelled(answer(socket, reporter)).await });
        Ok(Self { address, _end: end.drop_guard() })
    }

    /// Returns the address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the port that is bound.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

async fn answer(socket: UdpSocket, reporter: LoadReporter) {
    // One byte more than a packet has, so that what is longer is not taken for one.
    let mut bytes = [0; PACKET_LEN + 1];
    loop {
        let (len, sender) = match socket.recv_from(&mut bytes).await {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "receiving probes failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(Packet::Ask { nonce }) = Packet::read(&bytes[..len]) else { continue };
        let reply = Packet::Reply { nonce, load: reporter.load() };
        if let Err(error) = socket.send_to(&reply.bytes(), sender).await {
            debug!(%error, "a probe could not be answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_with_its_nonce_and_nothing_else_is() {
        let reporter = LoadReporter::new();
        let responder = Responder::bind(reporter.clone(), "127.0.0.1:0").await.unwrap();
        let _serving = (reporter.begin(), reporter.begin());
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(responder.address()).await.unwrap();
        let mut long = Packet::Ask { nonce: 1 }.bytes().to_vec();
        long.push(0);
        let load = reporter.load();
        let strange = [b"".to_vec(), b"CBLD".to_vec(), long, Packet::Reply { nonce: 2, load }.bytes().to_vec()];
        for bytes in strange {
            socket.send(&bytes).await.unwrap();
        }
        socket.send(&Packet::Ask { nonce: 3 }.bytes()).await.unwrap();
        let mut bytes = [0; 100];
        let len = socket.recv(&mut bytes).await.unwrap();
        // Datagrams on loopback come in order: the first reply is to the only question.
        assert_eq!(Packet::read(&bytes[..len]), Some(Packet::Reply { nonce: 3, load }));
        assert_eq!((load.in_flight, len), (2, PACKET_LEN));
    }
}
