//! The way to the control nodes: several servers, one small pool, bounded answers.
//!
//! Sends a request to the server that `rank` puts first, and on failure to the next one, if asking again can do no harm
//! (no byte was sent, or the request only reads, or the caller says that it may be repeated). Reads that wait share one
//! HTTP/2 connection where the server speaks it. Knows nothing of indexes or rows. Called by [`crate::Client`], `watch` and `registration`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body_util::Full;
use tokio::time::Instant;

use super::address::Address;
use super::connect;
use super::exchange::Caller;
use super::pool::{Pool, PoolSettings, Protocol};
use super::question::{Answer, Failure, Kind, Question, Repeat, waits};
use super::servers::{Server, Servers};
use super::speech::{self, Speech};
use super::stream::Dialer;
use super::streamed::Streamed;
use crate::error::Error;
use crate::resolve::Resolver;

/// Holds the settings of a transport.
#[derive(Debug, Clone)]
pub struct TransportSettings {
    /// The servers, in the order in which they are asked while nothing is known of them.
    pub servers: Vec<Address>,
    /// The ACL token.
    pub token: Option<HeaderValue>,
    /// What `Authorization` says, for a proxy before the servers.
    pub authorization: Option<HeaderValue>,
    /// The time for one connection.
    pub connect_timeout: Duration,
    /// How connections are opened.
    pub dialer: Dialer,
    /// Whether reads that wait share a connection where the server speaks HTTP/2.
    pub multiplex: bool,
    /// The DNS server that is asked for the servers' names; those of the system when unset.
    #[cfg(feature = "dns")]
    pub name_server: Option<std::net::SocketAddr>,
}

/// Sends control requests.
#[derive(Debug)]
pub struct Transport {
    servers: Servers,
    caller: Caller,
    connect_timeout: Duration,
    dialer: Dialer,
    multiplex: bool,
    pool: Pool<u32, Full<Bytes>>,
    // By server and number of the connection: requests that wait, where the server speaks HTTP/2.
    shared: Pool<(u32, u32), Full<Bytes>>,
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
        #[cfg(feature = "dns")]
        let resolver = || settings.name_server.map_or_else(Resolver::system, Resolver::at);
        #[cfg(not(feature = "dns"))]
        let resolver = Resolver::system;
        let named = settings.servers.iter().any(|server| server.socket().is_none() && !server.is_unix());
        let resolver = (named && settings.dialer.is_network()).then(resolver);
        let pool = PoolSettings {
            connect_timeout: settings.connect_timeout,
            idle_max: 8,
            dialer: settings.dialer.clone(),
            ..PoolSettings::default()
        };
        Ok(Self {
            servers: Servers::new(settings.servers, resolver),
            caller: Caller { token: settings.token, authorization: settings.authorization },
            connect_timeout: settings.connect_timeout,
            dialer: settings.dialer,
            multiplex: settings.multiplex,
            shared: Pool::new(PoolSettings { protocol: Protocol::Http2, ..pool.clone() }),
            pool: Pool::new(pool),
        })
    }

    /// Returns the servers as they were named.
    #[must_use]
    pub fn servers(&self) -> &[Address] {
        self.servers.addresses()
    }

    /// Closes unused connections.
    pub fn close(&self) {
        self.pool.clear();
        self.shared.clear();
    }

    /// Sends a request to the fastest server, and to the others while it fails; `target` is a path with its
    /// query. A read that does not wait may be sent to two servers when the first is slow. Returns the first whole
    /// answer that is not a 5xx, else the last one.
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
        let kind = if method.is_safe() && !waits(target) { Kind::Quick } else { Kind::Other };
        self.send_to_any(Question { method, target, body, repeat, timeout, kind }).await
    }

    /// Sends a read that waits on the server. All of a client share one connection to a server that speaks HTTP/2
    /// (more only when the server bounds the requests on one).
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn wait(&self, target: &str, timeout: Duration) -> Result<Answer, Error> {
        let body = &Bytes::new();
        let (method, repeat, kind) = (&Method::GET, Repeat::Safe, Kind::Wait);
        self.send_to_any(Question { method, target, body, repeat, timeout, kind }).await
    }

    async fn send_to_any(&self, question: Question<'_>) -> Result<Answer, Error> {
        if self.servers.refresh(question.kind == Kind::Wait).await {
            self.pool.retain(|id| self.servers.knows(*id));
            self.shared.retain(|(id, _)| self.servers.knows(*id));
        }
        let order = self.servers.order(question.kind == Kind::Quick);
        let mut rest = &order[..];
        let mut last = None;
        while let Some((first, others)) = rest.split_first() {
            let (asked, result) = match (question.kind, others.first()) {
                // In boxes: there are many of these, most of them waiting.
                (Kind::Quick, Some(second)) => Box::pin(self.ask_hedged(first, second, question)).await,
                _ => (1, Box::pin(self.ask(first, question)).await),
            };
            rest = &rest[asked.min(rest.len())..];
            match result {
                Ok(answer) if answer.status.is_server_error() && question.repeat == Repeat::Safe => {
                    last = Some(Ok(answer));
                }
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.unsent || question.repeat == Repeat::Safe => last = Some(Err(failure.error)),
                Err(failure) => return Err(failure.error),
            }
        }
        // There is at least one server, and each was asked.
        last.unwrap_or(Err(Error::Closed))
    }

    /// Asks one server, and a second one as well when the first is slow and the budget allows it; returns how many were
    /// asked, and the better answer.
    async fn ask_hedged(
        &self,
        first: &Server,
        second: &Server,
        question: Question<'_>,
    ) -> (usize, Result<Answer, Failure>) {
        let begun = Instant::now();
        let asked = self.ask(first, question);
        tokio::pin!(asked);
        if let Ok(result) = tokio::time::timeout(self.servers.hedge_after(), &mut asked).await {
            return (1, result);
        }
        if !self.servers.may_hedge() {
            return (1, asked.await);
        }
        let hedge = self.ask(second, question);
        tokio::pin!(hedge);
        let good = |result: &Result<Answer, Failure>| matches!(result, Ok(answer) if !answer.status.is_server_error());
        tokio::select! {
            result = &mut asked => {
                // What failed tells less than what may still come.
                let result = if good(&result) { result } else { hedge.await };
                (2, result)
            }
            result = &mut hedge => {
                if good(&result) {
                    self.servers.told(first, |rank, place, now| rank.slower_than(place, begun.elapsed(), now));
                    return (2, result);
                }
                (2, asked.await)
            }
        }
    }

    /// Asks one server, and tells the rank how it went.
    async fn ask(&self, server: &Server, question: Question<'_>) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let result = match tokio::time::timeout(question.timeout, self.ask_untimed(server, question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure {
                // Unknown; the bytes may have left.
                unsent: false,
                error: Error::Timeout { doing: question.doing(), server: server.to_string(), after: question.timeout },
            }),
        };
        match &result {
            Ok(answer) if answer.status.is_server_error() => self.servers.failed(server),
            Ok(_) if question.kind == Kind::Quick => {
                self.servers.told(server, |rank, place, now| rank.answered(place, begun.elapsed(), now));
            }
            Ok(_) => self.servers.told(server, |rank, place, now| rank.well(place, now)),
            Err(_) => self.servers.failed(server),
        }
        if result.is_err() && question.kind == Kind::Wait {
            // Another program may listen there by now: it is asked again what it speaks.
            *server.speech.lock().await = None;
        }
        result
    }

    async fn ask_untimed(&self, server: &Server, question: Question<'_>) -> Result<Answer, Failure> {
        if question.kind == Kind::Wait
            && let Speech::Http2 { streams } = self.speech(server).await
        {
            let lane = Lane { server, number: server.lanes.lock().take(streams) };
            return self.caller.exchange(&self.shared, (server.id, lane.number), server, question).await;
        }
        self.caller.exchange(&self.pool, server.id, server, question).await
    }

    /// Returns what a server speaks; it is asked once, by whoever comes first.
    async fn speech(&self, server: &Server) -> Speech {
        if !self.multiplex {
            return Speech::Http1;
        }
        let mut speech = server.speech.lock().await;
        if let Some(known) = *speech {
            return known;
        }
        match connect::open(&self.dialer, server.address.authority(), server.socket, self.connect_timeout).await {
            Ok(stream) => *speech.insert(speech::ask(stream).await),
            // The request itself will say what is wrong; nothing is learned from it.
            Err(_) => Speech::Http1,
        }
    }

    /// Asks the first server that can be reached; the body of the answer is read in pieces. Nothing is sent twice.
    ///
    /// # Errors
    /// [`Error::Unreachable`] for the last server tried, [`Error::Timeout`] when the head of the answer does not come in
    /// time, [`Error::Answer`] when the target cannot be sent.
    pub(crate) async fn open(
        &self,
        method: &Method,
        target: &str,
        body: &Bytes,
        timeout: Duration,
    ) -> Result<Streamed, Error> {
        let kind = Kind::Other;
        let question = Question { method, target, body, repeat: Repeat::Unsafe, timeout, kind };
        self.servers.refresh(false).await;
        let mut last = Error::Closed;
        for server in self.servers.order(false) {
            match tokio::time::timeout(timeout, self.caller.open(&self.pool, &server, question)).await {
                Ok(Ok(streamed)) => return Ok(streamed),
                Ok(Err(Failure { unsent: true, error })) => last = error,
                Ok(Err(failure)) => return Err(failure.error),
                Err(_) => {
                    let server = server.to_string();
                    return Err(Error::Timeout { doing: question.doing(), server, after: timeout });
                }
            }
        }
        Err(last)
    }
}

/// Holds a place on a shared connection.
struct Lane<'a> {
    server: &'a Server,
    number: u32,
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.server.lanes.lock().give_back(self.number);
    }
}
