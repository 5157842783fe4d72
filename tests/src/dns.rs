//! DNS questions over UDP and TCP, and their decoded answers; also bytes that are no question.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

pub use hickory_proto::op::{Message, ResponseCode};
pub use hickory_proto::rr::{RData, RecordType};

use hickory_proto::op::{Edns, Query};
use hickory_proto::rr::Name;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The address of a DNS server.
#[derive(Debug, Clone, Copy)]
pub struct Dns {
    /// Where it listens, UDP and TCP alike.
    pub address: SocketAddr,
}

impl Dns {
    /// A client of `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Asks over UDP with room for 4096 bytes.
    ///
    /// # Panics
    /// When no answer comes or it cannot be decoded.
    #[must_use]
    pub fn ask(&self, name: &str, kind: RecordType) -> Message {
        let question = question(name, kind, Some(4096));
        let answer = self.udp(&question).unwrap_or_else(|error| panic!("asking {kind} {name}: {error}"));
        Message::from_vec(&answer).unwrap_or_else(|error| panic!("{error} in the answer to {kind} {name}"))
    }

    /// Asks over TCP.
    ///
    /// # Panics
    /// When no answer comes or it cannot be decoded.
    #[must_use]
    pub fn ask_tcp(&self, name: &str, kind: RecordType) -> Message {
        let question = question(name, kind, None);
        let answer = self.tcp(&question).unwrap_or_else(|error| panic!("asking {kind} {name}: {error}"));
        Message::from_vec(&answer).unwrap_or_else(|error| panic!("{error} in the answer to {kind} {name}"))
    }

    /// The addresses of a name, sorted.
    ///
    /// # Panics
    /// When no answer comes.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let answer = self.ask(name, RecordType::A);
        let mut found: Vec<IpAddr> = answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        found.sort_unstable();
        found
    }

    /// Port and weight of each SRV record of a name, sorted.
    ///
    /// # Panics
    /// When no answer comes.
    #[must_use]
    pub fn services(&self, name: &str) -> Vec<(u16, u16)> {
        let answer = self.ask(name, RecordType::SRV);
        let mut found: Vec<(u16, u16)> = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(service) => Some((service.port, service.weight)),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// Sends one datagram and returns the next.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn udp(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.udp_within(bytes, PATIENCE)
    }

    /// The same with a limit of its own.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn udp_within(&self, bytes: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(patience))?;
        socket.send_to(bytes, self.address)?;
        let mut answer = vec![0; 65_535];
        let count = socket.recv(&mut answer)?;
        answer.truncate(count);
        Ok(answer)
    }

    /// Sends one length-framed message and returns the next.
    ///
    /// # Errors
    /// When the connection breaks or no answer comes in time.
    pub fn tcp(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(bytes)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// The bytes of a question. `room` is the answer size that EDNS announces; without it there is no EDNS.
///
/// # Panics
/// When `name` is no domain name.
#[must_use]
pub fn question(name: &str, kind: RecordType, room: Option<u16>) -> Vec<u8> {
    // As it is written: other ways of reading a name fold its case.
    let mut name = Name::from_ascii(name).unwrap_or_else(|error| panic!("{error}: {name}"));
    name.set_fqdn(true);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    if let Some(room) = room {
        let mut edns = Edns::new();
        edns.set_max_payload(room);
        message.set_edns(edns);
    }
    message.to_vec().expect("a question of one name can be written")
}
