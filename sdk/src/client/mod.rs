//! The client: one handle to the registry, from which everything else is had.
//!
//! It keeps what is shared (the way to the servers, one watch per service, the tasks) and ends it. What
//! requests look like is in `api` and the files beside it.

mod agent;
mod api;
mod catalog;
mod kv;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use callboard_proto::ServiceName;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use api::Api;
pub use api::Read;
pub use kv::{KvPut, KvRemove};

use crate::balance::{Balancer, BalancerSettings};
use crate::catalog::{Snapshot, Store};
use crate::config::ClientBuilder;
use crate::endpoint::Clock;
use crate::error::Error;
use crate::http::{Transport, TransportSettings};
use crate::load::ProbeBudget;
use crate::registration::{Host, Registered, Service};
use crate::tower::HttpService;
use crate::watch::{CursorSettings, Poll, Probing, Shared, Watch, WatchHandle};

/// Probes that a client sends per second at most, over all services.
const PROBES_MAX: u32 = 2_000;

/// Talks to the registry. Clones are the same client. Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    api: Arc<Api>,
    config: ClientBuilder,
    watches: Mutex<Watches>,
    tracker: TaskTracker,
    probe_budget: Arc<ProbeBudget>,
    end: CancellationToken,
}

#[derive(Default)]
struct Watches {
    // By folded name.
    live: HashMap<String, Weak<WatchHandle>>,
    // Those with balancers, which cannot say when they are dropped.
    kept: HashMap<String, Arc<WatchHandle>>,
}

impl Client {
    /// Begins a client's settings.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Builds a client from the environment.
    ///
    /// # Errors
    /// [`Error::Config`] when a variable cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env().build()
    }

    fn new(config: ClientBuilder) -> Result<Self, Error> {
        let servers = config.check()?;
        let token = match &config.token {
            None => None,
            Some(text) => {
                let mut value = HeaderValue::from_str(text).map_err(|_| Error::Config {
                    setting: "token",
                    reason: "it holds characters that no header can carry".into(),
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let transport = Transport::new(TransportSettings {
            servers,
            token,
            connect_timeout: config.connect_timeout,
            dialer: config.dialer.clone(),
        })?;
        let api = Arc::new(Api::new(transport, &config));
        Ok(Self {
            inner: Arc::new(Inner {
                api,
                config,
                watches: Mutex::default(),
                tracker: TaskTracker::new(),
                probe_budget: Arc::new(ProbeBudget::new(PROBES_MAX, Clock::process())),
                end: CancellationToken::new(),
            }),
        })
    }

    pub(crate) fn api(&self) -> &Arc<Api> {
        &self.inner.api
    }

    /// Registers an instance and keeps the registration true until the guard is drained or dropped.
    ///
    /// # Errors
    /// [`Error::Status`] when the registry refuses it (4xx), [`Error::NotRegistered`] when it was not
    /// confirmed within [`Service::patience`]. Nobody goes on trying then.
    pub async fn register(&self, service: Service) -> Result<Registered, Error> {
        if self.inner.end.is_cancelled() {
            return Err(Error::Closed);
        }
        let host = Host {
            api: self.inner.api.clone(),
            backoff: self.inner.config.backoff,
            audit_every: self.inner.config.audit_every,
            tracker: &self.inner.tracker,
            end: &self.inner.end,
        };
        crate::registration::register(host, service).await
    }

    /// Follows a service. All watches and balancers of one service share one task.
    ///
    /// # Errors
    /// When the name is not one, too many services are watched, or the client was shut down.
    pub fn watch(&self, service: &str) -> Result<Watch, Error> {
        self.handle(service).map(|(_, handle)| Watch::new(handle))
    }

    /// Returns the balancer of a service with a policy or whole settings; the same one for equal settings. It is fed until the
    /// client is shut down or told to [`Self::forget`] the service.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn balancer(&self, service: &str, settings: impl Into<BalancerSettings>) -> Result<Balancer, Error> {
        let (key, handle) = self.handle(service)?;
        let balancer = handle.balancer(settings.into());
        self.inner.watches.lock().kept.insert(key, handle);
        Ok(balancer)
    }

    /// Returns a caller of a service over HTTP, with default settings and connections of its own.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn http<B>(&self, service: &str, settings: impl Into<BalancerSettings>) -> Result<HttpService<B>, Error>
    where
        B: http_body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<crate::error::Cause>,
    {
        self.balancer(service, settings).map(HttpService::new)
    }

    /// Stops to feed the balancers of a service. Its watches go on while somebody holds them.
    pub fn forget(&self, service: &str) {
        self.inner.watches.lock().kept.remove(&service.to_ascii_lowercase());
    }

    fn handle(&self, service: &str) -> Result<(String, Arc<WatchHandle>), Error> {
        let service = ServiceName::parse(service).map_err(|source| Error::Name { doing: "watching", source })?;
        let key = service.folded().to_string();
        let inner = &*self.inner;
        let mut watches = inner.watches.lock();
        // Asked under the lock: whoever ends the client takes it afterwards.
        if inner.end.is_cancelled() {
            return Err(Error::Closed);
        }
        if let Some(handle) = watches.live.get(&key).and_then(Weak::upgrade) {
            return Ok((key, handle));
        }
        watches.live.retain(|_, handle| handle.strong_count() > 0);
        if watches.live.len() >= inner.config.watches_max {
            return Err(Error::Bound { what: "services watched at once", max: inner.config.watches_max });
        }
        let snapshot = Snapshot::empty_with(service.as_str(), inner.config.ejection.clone(), Clock::process());
        let shared = Arc::new(Shared::new(snapshot));
        let end = inner.end.child_token();
        let datacenter = inner.config.datacenter.as_deref().unwrap_or_default();
        let poll = Poll {
            store: inner.config.cache_dir.as_deref().map(|folder| Store::new(folder, datacenter, &key)),
            service,
            api: inner.api.clone(),
            shared: shared.clone(),
            settings: CursorSettings {
                wait: inner.config.wait,
                stale: inner.config.stale_reads,
                backoff: inner.config.backoff,
                refused_pause: std::time::Duration::from_secs(30),
            },
            tracker: inner.tracker.clone(),
        };
        inner.tracker.spawn(crate::watch::run(poll, end.clone()));
        let probing = Probing { tracker: inner.tracker.clone(), budget: Arc::clone(&inner.probe_budget) };
        let handle =
            Arc::new(WatchHandle { shared, ended: end.clone(), _end: Some(end.drop_guard()), probing: Some(probing) });
        watches.live.insert(key.clone(), Arc::downgrade(&handle));
        Ok((key, handle))
    }

    /// Ends everything the client started: registrations are taken back, watches end, connections are closed.
    /// Returns when no task of it is left. Balancers keep their last snapshot.
    pub async fn shutdown(&self) {
        self.inner.end.cancel();
        self.inner.watches.lock().kept.clear();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
        self.inner.api.transport.close();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Builds the client. Connects to nobody yet.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        Client::new(self)
    }
}
