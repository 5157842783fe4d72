//! Connections kept for the next request: the only pool of the project.
//!
//! One list per key (an endpoint, a control server), last in first out, so that the warm ones stay warm and
//! the others grow old and are closed. A connection goes back when its response has ended, without a
//! task per request. HTTP/2 shares one connection per key. Decides nothing about retries: it says
//! whether a connection was used before and hands an unsent request back.
//! Called by [`super::Transport`] and by `call`; a program with several runtimes builds one per runtime.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body::Body;
use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect::{self, ConnectError};
use super::lease::{Carrier, Lease};
use super::payload::Payload;
use super::stream::Dialer;
use crate::error::Cause;

/// Names the protocol spoken on new connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1: one request at a time per connection.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge, in clear text: many requests on one connection.
    Http2,
}

/// Holds the settings of a pool.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// What is spoken.
    pub protocol: Protocol,
    /// The time for one connection.
    pub connect_timeout: Duration,
    /// How long a connection may lie unused. Shorter than the keep-alive of most servers, or they
    /// close first and requests meet closed connections.
    pub idle_timeout: Duration,
    /// How many unused connections are kept per key.
    pub idle_max: usize,
    /// How many connections there may be in all.
    pub connections_max: usize,
    /// How they are opened.
    pub dialer: Dialer,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http1,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(20),
            idle_max: 256,
            connections_max: 8192,
            dialer: Dialer::Tcp,
        }
    }
}

/// Keeps connections by key; clones share them.
pub struct Pool<K, B> {
    shared: Arc<Shared<K, B>>,
}

impl<K, B> Clone for Pool<K, B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, B> fmt::Debug for Pool<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

pub(super) struct Shared<K, B> {
    settings: PoolSettings,
    slots: Mutex<HashMap<K, Slot<B>>>,
    // Its count, less one, is the number of connections that live.
    living: Arc<()>,
    sweeping: AtomicBool,
    dropped: CancellationToken,
    _drop_guard: DropGuard,
}

struct Slot<B> {
    // Their counts, less one, are the key's connections that live, and those that are being opened.
    living: Arc<()>,
    opening: Arc<()>,
    // The oldest first.
    idle: Vec<Idle<B>>,
    // Behind an async lock, so that a burst of requests opens one connection and not many.
    shared: Option<Arc<SharedCell<B>>>,
}

type SharedCell<B> = tokio::sync::Mutex<Option<http2::SendRequest<Payload<B>>>>;

impl<B> Default for Slot<B> {
    fn default() -> Self {
        Self { living: Arc::default(), opening: Arc::default(), idle: Vec::new(), shared: None }
    }
}

impl<B> Slot<B> {
    /// Says whether a connection of the key lives or is being opened.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.living) > 1 || Arc::strong_count(&self.opening) > 1
    }
}

/// Bounds what may be open to one key at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that live or are being opened.
    pub connections: u32,
    /// Of these, the ones that are being opened, each of which a request waits for.
    pub opening: u32,
    /// The time to open one; the pool's own when unset.
    pub connect_timeout: Option<Duration>,
}

impl Bounds {
    /// No bound but those of the pool.
    pub const NONE: Self = Self { connections: u32::MAX, opening: u32::MAX, connect_timeout: None };
}

struct Idle<B> {
    sender: http1::SendRequest<Payload<B>>,
    since: Instant,
}

impl<K, B> Pool<K, B>
where
    K: Copy + Eq + Hash + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Builds an empty pool. Nothing runs until there is a connection.
    #[must_use]
    pub fn new(settings: PoolSettings) -> Self {
        let dropped = CancellationToken::new();
        Self {
            shared: Arc::new(Shared {
                settings,
                slots: Mutex::new(HashMap::new()),
                living: Arc::new(()),
                sweeping: AtomicBool::new(false),
                _drop_guard: dropped.clone().drop_guard(),
                dropped,
            }),
        }
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &PoolSettings {
        &self.shared.settings
    }

    /// Returns a connection to `authority`, a kept one if there is a usable one.
    ///
    /// # Errors
    /// When none can be had; no byte of a request was sent.
    pub async fn lease(
        &self,
        key: K,
        authority: &str,
        socket: Option<SocketAddr>,
        bounds: Bounds,
    ) -> Result<Lease<K, B>, ConnectError> {
        match self.shared.settings.protocol {
            Protocol::Http1 => {
                let mut found = self.shared.take(key);
                if matches!(found, Found::Busy) {
                    // A connection whose response just ended is ready as soon as its task has run once.
                    tokio::task::yield_now().await;
                    found = self.shared.take(key);
                }
                match found {
                    Found::Ready(sender) => Ok(self.http1(key, sender, true)),
                    Found::Busy | Found::None => self.lease_fresh(key, authority, socket, bounds).await,
                }
            }
            Protocol::Http2 => self.lease_shared(key, authority, socket, bounds).await,
        }
    }

    /// Returns a connection that no request has used, whatever is kept (for HTTP/2 the shared one).
    ///
    /// # Errors
    /// When none can be had; no byte of a request was sent.
    pub async fn lease_fresh(
        &self,
        key: K,
        authority: &str,
        socket: Option<SocketAddr>,
        bounds: Bounds,
    ) -> Result<Lease<K, B>, ConnectError> {
        if self.shared.settings.protocol == Protocol::Http2 {
            return self.lease_shared(key, authority, socket, bounds).await;
        }
        let settings = &self.shared.settings;
        let (held, opening) = self.hold(key, authority, bounds)?;
        let timeout = bounds.connect_timeout.unwrap_or(settings.connect_timeout);
        let stream = connect::open(&settings.dialer, authority, socket, timeout).await?;
        let sender = connect::http1(stream, authority, held).await?;
        drop(opening);
        Ok(self.http1(key, sender, false))
    }

    fn http1(&self, key: K, sender: http1::SendRequest<Payload<B>>, reused: bool) -> Lease<K, B> {
        Lease { carrier: Carrier::Http1 { sender, key, pool: Arc::clone(&self.shared) }, reused }
    }

    async fn lease_shared(
        &self,
        key: K,
        authority: &str,
        socket: Option<SocketAddr>,
        bounds: Bounds,
    ) -> Result<Lease<K, B>, ConnectError> {
        let cell = {
            let mut slots = self.shared.slots.lock();
            Arc::clone(slots.entry(key).or_default().shared.get_or_insert_default())
        };
        let mut sender = cell.lock().await;
        if let Some(open) = sender.as_ref().filter(|open| !open.is_closed()) {
            return Ok(Lease { carrier: Carrier::Http2(open.clone()), reused: true });
        }
        *sender = None;
        let settings = &self.shared.settings;
        let (held, opening) = self.hold(key, authority, bounds)?;
        let timeout = bounds.connect_timeout.unwrap_or(settings.connect_timeout);
        let stream = connect::open(&settings.dialer, authority, socket, timeout).await?;
        let open = connect::http2(stream, authority, held).await?;
        drop(opening);
        *sender = Some(open.clone());
        Ok(Lease { carrier: Carrier::Http2(open), reused: false })
    }

    /// Counts a connection that is about to be opened: until it ends, and until it is open.
    fn hold(&self, key: K, authority: &str, bounds: Bounds) -> Result<(Held, Arc<()>), ConnectError> {
        let bound = |what, max| Err(ConnectError::Bound { authority: authority.to_owned(), what, max });
        let max = self.shared.settings.connections_max;
        if self.connections() >= max {
            return bound("connections in all", max);
        }
        let mut slots = self.shared.slots.lock();
        let slot = slots.entry(key).or_default();
        // Under the lock, so that a burst does not step over the bound together.
        if Arc::strong_count(&slot.living) > bounds.connections as usize {
            return bound("connections to the endpoint", bounds.connections as usize);
        }
        if Arc::strong_count(&slot.opening) > bounds.opening as usize {
            return bound("requests waiting for a connection to the endpoint", bounds.opening as usize);
        }
        Ok(((Arc::clone(&self.shared.living), Arc::clone(&slot.living)), Arc::clone(&slot.opening)))
    }

    /// Returns how many connections live: in use, unused or being opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        Arc::strong_count(&self.shared.living) - 1
    }

    /// Closes what is kept for keys that `keep` refuses, say because the endpoint is gone.
    pub fn retain(&self, mut keep: impl FnMut(&K) -> bool) {
        self.shared.slots.lock().retain(|key, _| keep(key));
    }

    /// Closes every unused connection; those in use go on and are kept afterwards.
    pub fn clear(&self) {
        self.shared.slots.lock().retain(|_, slot| {
            slot.idle.clear();
            slot.shared = None;
            slot.is_used()
        });
    }
}

/// What a connection holds as long as it lives: a place in all, and one of its key.
pub(super) type Held = (Arc<()>, Arc<()>);

enum Found<B> {
    Ready(http1::SendRequest<Payload<B>>),
    Busy,
    None,
}

impl<K: Copy + Eq + Hash, B> Shared<K, B> {
    /// Takes the connection that was used last; drops closed ones on the way.
    fn take(&self, key: K) -> Found<B> {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(&key) else { return Found::None };
        for place in (0..slot.idle.len()).rev() {
            let sender = &slot.idle[place].sender;
            if sender.is_ready() {
                return Found::Ready(slot.idle.remove(place).sender);
            }
            if sender.is_closed() {
                slot.idle.remove(place);
            }
        }
        if slot.idle.is_empty() { Found::None } else { Found::Busy }
    }
}

impl<K: Copy + Eq + Hash + Send + 'static, B: Send + 'static> Shared<K, B> {
    pub(super) fn put(self: &Arc<Self>, key: K, sender: http1::SendRequest<Payload<B>>) {
        if sender.is_closed() || self.settings.idle_timeout.is_zero() {
            return;
        }
        {
            let mut slots = self.slots.lock();
            let idle = &mut slots.entry(key).or_default().idle;
            if idle.len() >= self.settings.idle_max {
                return;
            }
            idle.push(Idle { sender, since: Instant::now() });
        }
        if !self.sweeping.load(Relaxed) && !self.sweeping.swap(true, Relaxed) {
            self.start_sweeping();
        }
    }

    /// Closes connections that lay too long, and ends when none is left or the pool is gone.
    fn start_sweeping(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The last bytes were read outside a runtime; the next request's return starts it.
            self.sweeping.store(false, Relaxed);
            return;
        };
        let (pool, dropped) = (Arc::downgrade(self), self.dropped.clone());
        let every = (self.settings.idle_timeout / 4).max(Duration::from_millis(10));
        let idle_timeout = self.settings.idle_timeout;
        runtime.spawn(async move {
            while dropped.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
                let Some(pool) = pool.upgrade() else { return };
                if pool.sweep(Instant::now(), idle_timeout) {
                    return;
                }
            }
        });
    }

    /// Drops what is too old; true when nothing is left to watch over.
    fn sweep(&self, now: Instant, idle_timeout: Duration) -> bool {
        let mut slots = self.slots.lock();
        slots.retain(|_, slot| {
            slot.idle.retain(|idle| !idle.sender.is_closed() && now.duration_since(idle.since) < idle_timeout);
            !slot.idle.is_empty() || slot.shared.is_some() || slot.is_used()
        });
        let empty = slots.values().all(|slot| slot.idle.is_empty());
        if empty {
            // Under the lock, so that a connection put back after it starts a new sweep.
            self.sweeping.store(false, Relaxed);
        }
        empty
    }
}
