//! The way to the control nodes: several servers, one small pool, bounded answers.
//!
//! Decides which server is asked: the one that answered last, and on failure the next one, if asking
//! again can do no harm (no byte was sent, or the request only reads, or the caller says that it may be
//! repeated). Knows nothing of indexes or rows. Called by [`crate::Client`], `watch` and `registration`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, Limited};

use super::address::Address;
use super::payload::Payload;
use super::pool::{Bounds, Pool, PoolSettings};
use super::stream::Dialer;
use crate::error::Error;
use callboard_proto::api::meta;

/// The largest answer that is taken, in bytes: a hundred thousand instances with their checks.
pub(super) const ANSWER_MAX: usize = 256 << 20;

/// Holds the settings of a transport.
#[derive(Debug, Clone)]
pub struct TransportSettings {
    /// The servers, the preferred one first.
    pub servers: Vec<Address>,
    /// The ACL token.
    pub token: Option<HeaderValue>,
    /// The time for one connection.
    pub connect_timeout: Duration,
    /// How connections are opened.
    pub dialer: Dialer,
}

/// Sends control requests.
#[derive(Debug)]
pub struct Transport {
    servers: Vec<Address>,
    token: Option<HeaderValue>,
    preferred: AtomicUsize,
    pool: Pool<usize, Full<Bytes>>,
}

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

impl Transport {
    /// Builds a transport; connects to nobody yet.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no server.
    pub fn new(settings: TransportSettings) -> Result<Self, Error> {
        if settings.servers.is_empty() {
            return Err(Error::Config { setting: "servers", reason: "at least one is needed".into() });
        }
        let pool = PoolSettings {
            connect_timeout: settings.connect_timeout,
            idle_max: 8,
            dialer: settings.dialer,
            ..PoolSettings::default()
        };
        Ok(Self {
            servers: settings.servers,
            token: settings.token,
            preferred: AtomicUsize::new(0),
            pool: Pool::new(pool),
        })
    }

    /// Returns the servers.
    #[must_use]
    pub fn servers(&self) -> &[Address] {
        &self.servers
    }

    /// Closes unused connections.
    pub fn close(&self) {
        self.pool.clear();
    }

    /// Sends a request to the preferred server, and to the others while it fails; `target` is a path with its
    /// query. Returns the first whole answer that is not a 5xx, else the last one.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Timeout`] for the last server tried, [`Error::Answer`] when the
    /// answer is too large or the target cannot be sent.
    pub(crate) async fn send(
        &self,
        method: &Method,
        target: &str,
        body: &Bytes,
        repeat: Repeat,
        timeout: Duration,
    ) -> Result<Answer, Error> {
        let repeat = if method.is_safe() { Repeat::Safe } else { repeat };
        let first = self.preferred.load(Relaxed);
        let mut tries = 0;
        loop {
            let place = (first + tries) % self.servers.len();
            tries += 1;
            let last = tries == self.servers.len();
            match self.ask(place, method, target, body, repeat, timeout).await {
                Ok(answer) if answer.status.is_server_error() && repeat == Repeat::Safe && !last => {}
                Ok(answer) => {
                    if place != first && !answer.status.is_server_error() {
                        self.preferred.store(place, Relaxed);
                    }
                    return Ok(answer);
                }
                Err(failure) => {
                    if last || !(failure.unsent || repeat == Repeat::Safe) {
                        // The next request begins with another server, or this one would be asked for ever.
                        self.preferred.store((place + 1) % self.servers.len(), Relaxed);
                        return Err(failure.error);
                    }
                }
            }
        }
    }

    async fn ask(
        &self,
        place: usize,
        method: &Method,
        target: &str,
        body: &Bytes,
        repeat: Repeat,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let server = &self.servers[place];
        let doing = || format!("{method} {}", target.split('?').next().unwrap_or(target));
        match tokio::time::timeout(timeout, self.ask_untimed(place, method, target, body, repeat)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure {
                // Unknown; the bytes may have left.
                unsent: false,
                error: Error::Timeout { doing: doing(), server: server.authority().to_owned(), after: timeout },
            }),
        }
    }

    async fn ask_untimed(
        &self,
        place: usize,
        method: &Method,
        target: &str,
        body: &Bytes,
        repeat: Repeat,
    ) -> Result<Answer, Failure> {
        let server = &self.servers[place];
        let doing = || format!("{method} {}", target.split('?').next().unwrap_or(target));
        let unreachable = |unsent, source| Failure {
            unsent,
            error: Error::Unreachable { doing: doing(), server: server.authority().to_owned(), source },
        };
        let bad = |source| Failure { unsent: false, error: Error::Answer { doing: doing(), source } };
        let mut fresh = false;
        loop {
            let request = self.request(server, method, target, body).map_err(|error| bad(error.into()))?;
            let lease = match fresh {
                false => self.pool.lease(place, server.authority(), server.socket(), Bounds::NONE).await,
                true => self.pool.lease_fresh(place, server.authority(), server.socket(), Bounds::NONE).await,
            };
            let mut lease = lease.map_err(|error| unreachable(true, error.into()))?;
            let response = match lease.send(request).await {
                Ok(response) => response,
                Err(unsent) => {
                    // The server closed a connection that had lain here: not a sign that it is ill.
                    if lease.is_reused() && !fresh && (unsent.request.is_some() || repeat == Repeat::Safe) {
                        fresh = true;
                        continue;
                    }
                    return Err(unreachable(unsent.request.is_some(), unsent.cause.into()));
                }
            };
            let (head, incoming) = response.into_parts();
            if incoming.size_hint().lower() > ANSWER_MAX as u64 {
                return Err(bad(format!("it is longer than {ANSWER_MAX} bytes").into()));
            }
            let body = match Limited::new(incoming, ANSWER_MAX).collect().await {
                Ok(collected) => collected.to_bytes(),
                Err(error) => return Err(unreachable(false, error)),
            };
            lease.give_back();
            return Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
                server: server.authority().to_owned(),
            });
        }
    }

    fn request(
        &self,
        server: &Address,
        method: &Method,
        target: &str,
        body: &Bytes,
    ) -> Result<Request<Payload<Full<Bytes>>>, http::Error> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(target)
            .header(HOST, server.authority())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            request = request.header(meta::TOKEN, token.clone());
        }
        let payload = if body.is_empty() { Payload::empty() } else { Payload::new(Full::new(body.clone())) };
        request.body(payload)
    }
}

struct Failure {
    unsent: bool,
    error: Error,
}
