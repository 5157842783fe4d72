//! How probes reach what they look at: names, connections, TLS on them.
//!
//! Decides in which order the addresses of a name are tried and how the time is shared among them.
//! Knows nothing of any check's protocol. Called by every probe that goes over the network.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use callboard_proto::definition::Tls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::tls::{Alpn, TlsClients};

/// How many addresses of one name are tried at most.
const ADDRESSES_MAX: usize = 16;

/// Why a probe got no answer: the text that the output shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fault {
    pub(crate) fn new(text: impl Into<String>) -> Fault {
        Fault(text.into())
    }
}

/// An open connection, with TLS on it or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Says an error as one lower-case phrase, without the number that the system has for it.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

/// Says a chain of errors, outermost first. Libraries often keep the cause out of their own words.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.downcast_ref::<io::Error>().map_or_else(|| error.to_string(), words);
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// The addresses of `host:port`, in the system's order.
pub(crate) async fn resolve(address: &str, deadline: Instant) -> Result<Vec<SocketAddr>, Fault> {
    let found = match timeout_at(deadline, lookup_host(address)).await {
        Ok(Ok(found)) => found.take(ADDRESSES_MAX).collect::<Vec<SocketAddr>>(),
        Ok(Err(error)) => return Err(Fault(format!("resolving {address}: {}", words(&error)))),
        Err(_) => return Err(Fault(format!("resolving {address}: timed out"))),
    };
    if found.is_empty() {
        return Err(Fault(format!("resolving {address}: no address")));
    }
    Ok(found)
}

/// Connects to the first address of `host:port` that lets us. Each gets its share of the time left, so
/// that one that swallows packets does not hide another that would answer.
pub(crate) async fn connect(address: &str, deadline: Instant) -> Result<TcpStream, Fault> {
    let addresses = resolve(address, deadline).await?;
    let mut faults = Vec::new();
    for (tried, &to) in addresses.iter().enumerate() {
        let now = Instant::now();
        let waiting = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let until = now + deadline.saturating_duration_since(now) / waiting;
        let why = match timeout_at(until, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => words(&error),
            Err(_) => "timed out".into(),
        };
        faults.push(format!("connecting to {to}: {why}"));
    }
    Err(Fault(faults.join("; ")))
}

/// Connects, and wraps the connection in TLS when asked to.
pub(crate) async fn open(
    clients: &TlsClients,
    address: &str,
    tls: Option<&Tls>,
    alpn: Alpn,
    deadline: Instant,
) -> Result<Box<dyn Io>, Fault> {
    let stream = connect(address, deadline).await?;
    // Probes are one small request each; waiting to fill a segment only adds to the latency measured.
    let _ = stream.set_nodelay(true);
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(clients.handshake(stream, host_of(address), tls, alpn).await?)),
    }
}

/// The host of `host:port`, an IPv6 one without its brackets.
pub(crate) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_host_is_told_from_its_port() {
        assert_eq!(host_of("web:80"), "web");
        assert_eq!(host_of("[::1]:80"), "::1");
        assert_eq!(host_of("10.0.0.1:80"), "10.0.0.1");
    }

    #[test]
    fn errors_are_said_in_plain_words() {
        assert_eq!(words(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(words(&io::Error::other("Odd")), "odd");
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        // Listens on IPv4 only; localhost may well be ::1 first.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let deadline = Instant::now() + Duration::from_secs(10);
        connect(&format!("localhost:{port}"), deadline).await.unwrap();
        drop(listener);
        let Err(Fault(text)) = connect(&format!("127.0.0.1:{port}"), deadline).await else { panic!("nobody listens") };
        assert_eq!(text, format!("connecting to 127.0.0.1:{port}: connection refused"));
        let Err(Fault(text)) = connect("no-port-here", deadline).await else { panic!("there is no port") };
        assert!(text.starts_with("resolving no-port-here: "));
    }
}
