//! Where a server listens, parsed once: a host and a port, or a socket of the file system.

use std::net::{IpAddr, SocketAddr};

use crate::error::Error;

/// What an authority begins with that is a path in the file system.
pub(super) const UNIX: &str = "unix:";

/// Holds the host and port of something that can be dialled, or the path of its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    authority: Box<str>,
    socket: Option<SocketAddr>,
    https: bool,
}

impl Address {
    /// Reads `http://host:port`, `host:port` or `host`; the port is 8500 when it is missing. `https://host:port` is spoken
    /// to by TLS, at port 8501 when it is missing. `unix:///path` is a socket of the file system.
    ///
    /// # Errors
    /// [`Error::Config`] for other schemes and malformed text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::Config { setting: "server", reason };
        let (rest, https) = match text.split_once("://") {
            None => (text, false),
            Some(("http", rest)) => (rest, false),
            Some(("https", rest)) => (rest, true),
            Some(("unix", path)) if path.starts_with('/') => {
                return Ok(Self { authority: format!("{UNIX}{path}").into(), socket: None, https: false });
            }
            Some(("unix", _)) => return Err(bad(format!("{text:?} is not unix:///path"))),
            Some((scheme, _)) => {
                return Err(bad(format!("scheme {scheme:?} of {text:?} is not supported; use http://host:port")));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let parsed: http::uri::Authority =
            rest.parse().map_err(|_| bad(format!("{text:?} is not http://host:port")))?;
        if parsed.as_str().contains('@') || parsed.host().is_empty() {
            return Err(bad(format!("{text:?} is not http://host:port")));
        }
        let port = match parsed.port_u16() {
            Some(port) => port,
            None if parsed.as_str() == parsed.host() => 8500 + u16::from(https),
            None => return Err(bad(format!("the port of {text:?} is not a number up to 65535"))),
        };
        Ok(Self { https, ..Self::new(parsed.host(), port) })
    }

    /// Builds an address from a host, an IP literal or a name, and a port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let socket = bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let authority = match socket {
            Some(socket) => socket.to_string(),
            None => format!("{bare}:{port}"),
        };
        Self { authority: authority.into(), socket, https: false }
    }

    /// Returns `host:port`, or `unix:/path`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Says whether it is a socket of the file system.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.authority.starts_with(UNIX)
    }

    /// Says whether TLS is spoken there.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Returns the socket address when the host is an IP literal.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        self.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, authority) in [
            ("http://127.0.0.1:8500", "127.0.0.1:8500"),
            ("http://localhost:80/", "localhost:80"),
            ("localhost", "localhost:8500"),
            ("[::1]:1", "[::1]:1"),
            ("http://[::1]", "[::1]:8500"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("https://a", "a:8501"),
            ("https://[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(Address::parse(text).unwrap().authority(), authority, "{text}");
        }
        for text in
            ["", "http://", "ftp://a", "https://", "a:b", "a:99999", "u@a:1", "http://a/b", "unix://", "unix://a"]
        {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
