//! What is asked of control nodes, and how it went: a request, its answer, and a failure that says whether anything was
//! sent.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::error::Error;

/// Holds a whole answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who answered, as `host:port`.
    pub server: String,
    /// Whether the connection was opened for this request: whoever answered need not be who answered before.
    pub fresh: bool,
}

impl Answer {
    /// Returns the answer if its status is 2xx.
    ///
    /// # Errors
    /// [`Error::Status`] otherwise, with the answer's text.
    pub fn success(self, doing: &str) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let cut = &self.body[..self.body.len().min(1024)];
        Err(Error::Status {
            doing: doing.to_owned(),
            server: self.server,
            status: self.status,
            text: String::from_utf8_lossy(cut).trim().to_owned(),
        })
    }

    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Says whether a request may be sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice is doing it once.
    Safe,
    /// Only if no byte was sent.
    Unsafe,
}

/// Says what kind of request it is, and with that how servers are chosen and connections used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read that is answered at once: timed, and hedged.
    Quick,
    /// A read that waits on the server: multiplexed where that is possible.
    Wait,
    /// Anything else.
    Other,
}

/// What is to be sent.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) method: &'a Method,
    pub(super) target: &'a str,
    pub(super) body: &'a Bytes,
    pub(super) repeat: Repeat,
    pub(super) timeout: Duration,
    pub(super) kind: Kind,
}

impl Question<'_> {
    /// Says what is done, for an error.
    pub(super) fn doing(&self) -> String {
        format!("{} {}", self.method, path(self.target))
    }
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// Says whether a read may wait on the server, going by its query.
pub(super) fn waits(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| ["index", "wait", "hash"].contains(&pair.split('=').next().unwrap_or(pair)))
}

/// Says why there is no answer.
pub(super) struct Failure {
    /// Whether no byte of the request left.
    pub(super) unsent: bool,
    pub(super) error: Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_wait_are_known_by_their_query() {
        for (target, waiting) in
            [("/v1/kv/index", false), ("/v1/kv/a?raw", false), ("/v1/kv/a?raw&index=7", true), ("/a?wait=5s", true)]
        {
            assert_eq!(waits(target), waiting, "{target}");
        }
    }
}
