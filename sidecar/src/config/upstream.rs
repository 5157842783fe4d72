//! One upstream: which service, on which local port, spoken to how. Reads the short text form
//! `payments=127.0.0.1:9101,protocol=http2,policy=ring-hash:header=x-user`.
//!
//! Decides nothing about balancing: a [`Policy`] here is the name of one of the SDK's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderName;

/// A service with a local port of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// The service's name in the catalog.
    pub service: String,
    /// Where the application reaches it.
    pub listen: SocketAddr,
    /// What is spoken with the instances.
    pub protocol: Protocol,
    /// How an instance is chosen.
    pub policy: Policy,
    /// Whether the sidecar is ready before the service has an instance.
    pub start_empty: bool,
}

impl UpstreamConfig {
    /// An upstream with every default: protocol by the instances' meta, least request.
    #[must_use]
    pub fn new(service: &str, listen: SocketAddr) -> UpstreamConfig {
        UpstreamConfig {
            service: service.to_owned(),
            listen,
            protocol: Protocol::Auto,
            policy: Policy::default(),
            start_empty: false,
        }
    }
}

/// What is spoken with the instances of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 when every instance's meta says `protocol=h2` (or `http2`, `grpc`), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 cleartext with prior knowledge.
    Http2,
    /// Bytes.
    Tcp,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        match text {
            "auto" | "http" => Ok(Protocol::Auto),
            "http1" => Ok(Protocol::Http1),
            "http2" | "h2" | "grpc" => Ok(Protocol::Http2),
            "tcp" => Ok(Protocol::Tcp),
            other => Err(format!("unknown protocol {other:?}; expected http, http1, http2, grpc or tcp")),
        }
    }
}

/// How an instance is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// One after the other, by weight.
    Weighted,
    /// Any.
    Random,
    /// The one with fewer requests in flight of two taken at random.
    LeastRequest,
    /// Of two taken at random, the one that is expected to answer first.
    PeakEwma,
    /// One that said lately that it is not busy; peak EWMA among instances that answer no probes.
    #[default]
    Prequal,
    /// The same key goes to the same instance.
    Hash(Hash, HashBy),
}

/// How keys are spread over instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Over the slots that the registry gives.
    Slots,
    /// On nginx's ring.
    Ring,
    /// By Envoy's table.
    Maglev,
}

/// What the key of a consistent hash is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// A request header; requests without it go anywhere.
    Header(HeaderName),
    /// The path of the request, without its query.
    Path,
    /// The address of the client.
    Source,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        let (name, detail) = match text.split_once(':') {
            Some((name, detail)) => (name, Some(detail)),
            None => (text, None),
        };
        match (name, detail) {
            ("round-robin", None) => Ok(Policy::RoundRobin),
            ("weighted", None) => Ok(Policy::Weighted),
            ("random", None) => Ok(Policy::Random),
            ("least-request", None) => Ok(Policy::LeastRequest),
            ("peak-ewma", None) => Ok(Policy::PeakEwma),
            ("prequal", None) => Ok(Policy::Prequal),
            ("hash", key) => HashBy::parse(key).map(|by| Policy::Hash(Hash::Slots, by)),
            ("ring-hash", key) => HashBy::parse(key).map(|by| Policy::Hash(Hash::Ring, by)),
            ("maglev", key) => HashBy::parse(key).map(|by| Policy::Hash(Hash::Maglev, by)),
            _ => Err(format!(
                "unknown policy {text:?}; expected round-robin, weighted, random, least-request, peak-ewma, prequal, or \
                 hash, ring-hash or maglev, each with [:header=NAME|:path|:source]"
            )),
        }
    }
}

impl HashBy {
    /// Reads what follows the name of a hash policy; nothing means the client's address.
    fn parse(text: Option<&str>) -> Result<HashBy, String> {
        match text {
            Some("path") => Ok(HashBy::Path),
            Some("source") | None => Ok(HashBy::Source),
            Some(text) => match text.split_once('=') {
                Some(("header", header)) => HeaderName::from_str(header)
                    .map(HashBy::Header)
                    .map_err(|_| format!("{header:?} is not a header name")),
                _ => Err(format!("unknown hash key {text:?}; expected header=NAME, path or source")),
            },
        }
    }
}

impl FromStr for UpstreamConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<UpstreamConfig, String> {
        let (service, rest) = text
            .split_once('=')
            .filter(|(service, _)| !service.is_empty())
            .ok_or_else(|| format!("{text:?}: expected NAME=ADDRESS:PORT[,protocol=..][,policy=..][,start-empty]"))?;
        let mut parts = rest.split(',');
        let listen = listen_address(parts.next().unwrap_or_default())?;
        let mut upstream = UpstreamConfig::new(service, listen);
        for part in parts {
            match part.split_once('=') {
                Some(("protocol", value)) => upstream.protocol = value.parse()?,
                Some(("policy", value)) => upstream.policy = value.parse()?,
                None if part == "start-empty" => upstream.start_empty = true,
                _ => {
                    return Err(format!("unknown upstream setting {part:?}; expected protocol, policy or start-empty"));
                }
            }
        }
        Ok(upstream)
    }
}

/// Reads `ADDRESS:PORT`, or a port alone on the loopback address.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("{text:?} is not an address to listen on, such as 127.0.0.1:9101"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_says_everything() {
        let read: UpstreamConfig = "payments=127.0.0.1:9101".parse().unwrap();
        assert_eq!(read, UpstreamConfig::new("payments", "127.0.0.1:9101".parse().unwrap()));

        let read: UpstreamConfig =
            "ads=[::1]:0,protocol=grpc,policy=ring-hash:header=X-User,start-empty".parse().unwrap();
        assert_eq!(read.listen, "[::1]:0".parse().unwrap());
        assert_eq!(read.protocol, Protocol::Http2);
        assert_eq!(read.policy, Policy::Hash(Hash::Ring, HashBy::Header(HeaderName::from_static("x-user"))));
        assert!(read.start_empty);

        let read: UpstreamConfig = "db=5432,protocol=tcp".parse().unwrap();
        assert_eq!(read.listen, "127.0.0.1:5432".parse().unwrap());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("payments", "NAME=ADDRESS:PORT"),
            ("=127.0.0.1:1", "NAME=ADDRESS:PORT"),
            ("payments=here", "\"here\""),
            ("payments=1,protocol=smtp", "\"smtp\""),
            ("payments=1,policy=best", "\"best\""),
            ("payments=1,policy=ring-hash:colour", "\"colour\""),
            ("payments=1,colour=red", "\"colour=red\""),
        ] {
            let error = text.parse::<UpstreamConfig>().unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
