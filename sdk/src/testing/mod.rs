//! A control node in memory, with faults on order: what applications test themselves against.
//!
//! [`Registry`] speaks the part of the interface that this crate uses: agent, health, catalog, keys with locks, sessions,
//! config entries, events, with the waiting and index rules of the real one. It listens on pipes within the process, so
//! that paused time works, and on a loopback port for other programs. What a request does is decided in `state` and
//! `store`, which are pure; `serve` waits and meets the faults of `fault`. How to use it: [`guide`].

mod fault;
mod routes;
mod serve;
mod state;
mod store;
mod store_routes;

#[doc = include_str!("../../docs/testing.md")]
pub mod guide {}

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::CheckStatus;
pub(crate) use callboard_proto::api::decode::Unknown;
use http::Method;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use fault::Fault;
pub use state::{NODE, Row, State};

use crate::client::Client;
use crate::config::ClientBuilder;
use crate::error::Error;
use crate::http::{Dialer, Memory, MemoryListener, memory};
use fault::{Faults, Met};

/// The most lines of the log that are kept.
const LOG_MAX: usize = 100_000;
/// How long [`Registry::until`] waits.
const UNTIL_MAX: Duration = Duration::from_secs(120);

struct Inner {
    state: State,
    faults: Faults,
    log: VecDeque<String>,
    traffic: Traffic,
    http2: Option<u32>,
    // Closes every connection that there is.
    closed: CancellationToken,
}

/// Counts what arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were opened.
    pub connections: usize,
    /// Requests that came over HTTP/2.
    pub over_http2: usize,
}

/// What connections and handles share.
struct Shared {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
    // A request or a connection arrived.
    heard: watch::Sender<()>,
}

/// A control node in memory. Clones are the same one; it ends with the last.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    memory: Memory,
    end: CancellationToken,
    _end: Arc<DropGuard>,
}

impl Shared {
    fn with<T>(&self, changes: bool, act: impl FnOnce(&mut State) -> T) -> T {
        let now = tokio::time::Instant::now();
        let mut inner = self.inner.lock();
        let expired = inner.state.expire_sessions(now) | inner.state.expire_beats(now);
        let done = act(&mut inner.state);
        let ended = inner.state.end_dependants();
        drop(inner);
        if changes || expired || ended {
            self.changed.send_replace(());
        }
        done
    }

    fn meet(&self, server: &str, method: &Method, path: &str, arrives: bool) -> Met {
        self.inner.lock().faults.meet(server, method, path, arrives)
    }

    fn note(&self, line: String, over_http2: bool) {
        let mut inner = self.inner.lock();
        if inner.log.len() == LOG_MAX {
            inner.log.pop_front();
        }
        inner.log.push_back(line);
        inner.traffic.over_http2 += usize::from(over_http2);
        drop(inner);
        self.heard.send_replace(());
    }

    /// Counts a connection; returns what it may speak, and what closes it.
    fn connected(&self) -> (Option<u32>, CancellationToken) {
        let mut inner = self.inner.lock();
        inner.traffic.connections += 1;
        let told = (inner.http2, inner.closed.clone());
        drop(inner);
        self.heard.send_replace(());
        told
    }

    /// Lets run out what runs out, on time.
    async fn expire(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let next = self.inner.lock().state.next_expiry();
            match next {
                None => drop(changed.changed().await),
                Some(at) => match tokio::time::timeout_at(at, changed.changed()).await {
                    Ok(_) => {}
                    Err(_) => self.with(false, |_| ()),
                },
            }
        }
    }
}

impl Registry {
    /// Starts an empty one. Must be called within a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let (memory, listener) = memory();
        let inner = Inner {
            state: State::default(),
            faults: Faults::default(),
            log: VecDeque::new(),
            traffic: Traffic::default(),
            http2: None,
            closed: CancellationToken::new(),
        };
        let (changed, heard) = (watch::Sender::new(()), watch::Sender::new(()));
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed, heard });
        let end = CancellationToken::new();
        let registry = Self { shared, memory, end: end.clone(), _end: Arc::new(end.drop_guard()) };
        registry.spawn(Self::accept(registry.shared.clone(), listener, registry.end.clone()));
        let shared = registry.shared.clone();
        registry.spawn(async move { shared.expire().await });
        registry
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        tokio::spawn(async move { end.run_until_cancelled(work).await });
    }

    async fn accept(shared: Arc<Shared>, mut listener: MemoryListener, end: CancellationToken) {
        while let Some((server, stream)) = listener.accept().await {
            let (shared, end) = (shared.clone(), end.clone());
            tokio::spawn(async move { end.run_until_cancelled(serve::connection(shared, server, stream)).await });
        }
    }

    /// Also listens on a free port of 127.0.0.1, and returns it: for programs that are tested as a whole. The server's
    /// name in [`Self::fault`] is then that address. Real sockets need real time.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn listen(&self) -> std::io::Result<SocketAddr> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (shared, end) = (self.shared.clone(), self.end.clone());
        self.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // No descriptor is left; one may be in a moment.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let (shared, end, server) = (shared.clone(), end.clone(), address.to_string());
                tokio::spawn(async move { end.run_until_cancelled(serve::connection(shared, server, stream)).await });
            }
        });
        Ok(address)
    }

    /// Begins the settings of a client of this registry, whose one server is called `one:1`. Further servers, by any
    /// name, lead to the same registry; faults tell them apart.
    #[must_use]
    pub fn builder(&self) -> ClientBuilder {
        Client::builder().server("one:1").dialer(self.dialer())
    }

    /// Returns the way to it, whatever the servers of a client are called: for clients that only some faults shall meet.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        Dialer::Memory(self.memory.clone())
    }

    /// Builds a client with default settings.
    ///
    /// # Errors
    /// As [`ClientBuilder::build`].
    pub fn client(&self) -> Result<Client, Error> {
        self.builder().build()
    }

    /// From now on, requests to `server` (any if empty) whose path begins so meet the fault; `path` may begin with a
    /// method, as in `PUT /v1/kv`. Whoever waits meets it too.
    pub fn fault(&self, server: &str, path: &str, fault: Fault) {
        self.order(server, path, fault, None);
    }

    /// The next `count` requests to `server` (any if empty) whose path begins so meet the fault.
    pub fn fault_times(&self, server: &str, path: &str, fault: Fault, count: u32) {
        self.order(server, path, fault, Some(count));
    }

    fn order(&self, server: &str, path: &str, fault: Fault, times: Option<u32>) {
        let inner = &mut *self.shared.inner.lock();
        inner.faults.order(server, path, fault, times, &inner.state);
        self.shared.changed.send_replace(());
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.heal_server("");
    }

    /// Ends the faults that were ordered for this server by name.
    pub fn heal_server(&self, server: &str) {
        self.shared.inner.lock().faults.heal(server);
        self.shared.changed.send_replace(());
    }

    /// Looks at what is registered.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.shared.with(false, |state| look(state))
    }

    /// Changes what is registered, and wakes whoever waits for it.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.shared.with(true, change)
    }

    /// Adds a passing instance on 127.0.0.1.
    ///
    /// # Panics
    /// When the name or the id is not one.
    pub fn add(&self, service: &str, id: &str, port: u16) {
        self.change(|state| state.add(service, id, port));
    }

    /// Removes an instance; false when there was none.
    pub fn remove(&self, id: &str) -> bool {
        self.change(|state| state.remove(id))
    }

    /// Sets the status of an instance's first check; false when there is none.
    pub fn set_status(&self, id: &str, status: CheckStatus, output: &str) -> bool {
        self.change(|state| state.set_status(id, status, output))
    }

    /// Says whether an instance is registered.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.look(|state| state.instance(id).is_some())
    }

    /// Loses everything, the index included, as a registry without its disk does.
    pub fn lose_data(&self) {
        self.change(State::lose_data);
    }

    /// Keeps what is registered and begins the index anew, as a registry restored from a copy does.
    pub fn reset_index(&self) {
        self.change(State::reset_index);
    }

    /// From now on, new connections may speak HTTP/2 with so many requests at once, or (none, as at the start) may not.
    pub fn speak_http2(&self, streams: Option<u32>) {
        self.shared.inner.lock().http2 = streams;
    }

    /// Returns the counts of what arrived.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.shared.inner.lock().traffic
    }

    /// Waits until what arrived is so.
    ///
    /// # Panics
    /// When it is not after two minutes.
    pub async fn until_heard(&self, mut wanted: impl FnMut(&Self) -> bool) {
        let mut heard = self.shared.heard.subscribe();
        let reached = async {
            while !wanted(self) {
                // The sender lives in `shared`.
                let _ = heard.changed().await;
            }
        };
        assert!(tokio::time::timeout(UNTIL_MAX, reached).await.is_ok(), "it was not heard in {UNTIL_MAX:?}");
    }

    /// Sets everything back to an earlier copy, had from `look(State::clone)`, and closes every connection: as a control
    /// node that is restarted with older data. Each TTL begins anew.
    pub fn set_back(&self, copy: State) {
        self.change(|state| state.set_back(copy, tokio::time::Instant::now()));
        self.hang_up();
    }

    /// Closes every connection that there is; new ones are taken.
    pub fn hang_up(&self) {
        std::mem::take(&mut self.shared.inner.lock().closed).cancel();
    }

    /// Returns the requests that arrived, in order: `server METHOD path?query`.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.shared.inner.lock().log.iter().cloned().collect()
    }

    /// Returns how many lines of the log hold this text.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        self.shared.inner.lock().log.iter().filter(|line| line.contains(part)).count()
    }

    /// Waits until what is registered is so.
    ///
    /// # Panics
    /// When it is not after two minutes: a test cannot go on without the state it waits for.
    pub async fn until(&self, mut wanted: impl FnMut(&State) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            while !self.look(&mut wanted) {
                // The sender lives in `shared`.
                let _ = changed.changed().await;
            }
        };
        assert!(tokio::time::timeout(UNTIL_MAX, reached).await.is_ok(), "the state was not reached in {UNTIL_MAX:?}");
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("index", &self.look(State::index)).finish_non_exhaustive()
    }
}
