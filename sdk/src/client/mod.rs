//! The client: one handle to the registry, from which everything else is had.
//!
//! It keeps what is shared (the way to the servers, one watch per service, the tasks) and ends it. What
//! requests look like is in `api` and the files beside it.

mod agent;
mod api;
mod catalog;
mod event;
mod kv;
mod session;
mod typed;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use callboard_proto::ServiceName;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

pub(crate) use api::Api;
pub use api::Read;
pub use event::EventFilter;
pub(crate) use kv::kv_path;
pub use kv::{KvPut, KvRemove};
pub use typed::Versioned;

use crate::backoff::Backoff;
use crate::balance::{Balancer, BalancerSettings};
use crate::call::{CallStats, CallsOf, FollowSettings, Follower, HttpService, HttpSettings, RetryBudget};
use crate::catalog::{Snapshot, Store};
use crate::config::ClientBuilder;
use crate::endpoint::Clock;
use crate::error::Error;
use crate::http::{Address, Dialer, Transport, TransportSettings};
use crate::load::ProbeBudget;
use crate::peers::Company;
use crate::registration::{BeatThread, Host, Registered, Service};
#[cfg(feature = "dns")]
use crate::resolve::Resolver;
#[cfg(feature = "dns")]
use crate::watch::DnsSource;
use crate::watch::{CursorSettings, Doubt, Poll, Probing, Shared, StandIn, Watch, WatchHandle, WatchView};

/// How long a connection for a beat may take: where packets vanish, the next try is to come soon.
const BEAT_CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(1);
/// How long a question rests that was refused.
const REFUSED_PAUSE: std::time::Duration = std::time::Duration::from_secs(30);
/// Probes that a client sends per second at most, over all services.
const PROBES_MAX: u32 = 2_000;

/// Talks to the registry. Clones are the same client. Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    api: Arc<Api>,
    transport: TransportSettings,
    // From the first registration on: where beats are sent from, over connections of its own.
    beats: OnceLock<Option<(BeatThread, Arc<Api>)>>,
    config: ClientBuilder,
    watches: Mutex<Watches>,
    // A permit for each key, prefix, entry or session that is followed.
    followed: Arc<Semaphore>,
    // The guard ends the task with the client.
    rules: OnceLock<(Arc<Follower>, DropGuard)>,
    tracker: TaskTracker,
    probe_budget: Arc<ProbeBudget>,
    end: CancellationToken,
    #[cfg(feature = "dns")]
    dns: Option<DnsSource>,
    budget: Arc<RetryBudget>,
}

#[derive(Default)]
struct Watches {
    // By folded name.
    live: HashMap<String, Weak<WatchHandle>>,
    // Those with balancers, which cannot say when they are dropped.
    kept: HashMap<String, Arc<WatchHandle>>,
    // The counters of calls, by service and policy. Kept beyond their callers, so that nothing goes untold.
    calls: HashMap<(Arc<str>, &'static str), Arc<CallStats>>,
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
        let dialer = config.dialer_to(&servers)?;
        let token = config.token.as_deref().map(|text| secret("token", text)).transpose()?;
        let authorization = config.authorization.as_deref().map(|text| secret("authorization", text)).transpose()?;
        let encrypted = servers.iter().any(Address::is_https);
        let transport = TransportSettings {
            servers,
            token,
            authorization,
            connect_timeout: config.connect_timeout,
            // Inside TLS each connection speaks HTTP/1.1.
            multiplex: config.multiplex_waits && !encrypted,
            dialer,
            #[cfg(feature = "dns")]
            name_server: config.name_server,
        };
        let api = Arc::new(Api::new(Transport::new(transport.clone())?, &config));
        #[cfg(feature = "dns")]
        let dns = config
            .dns
            .clone()
            .map(|(domain, server)| DnsSource { resolver: server.map_or_else(Resolver::system, Resolver::at), domain });
        Ok(Self {
            inner: Arc::new(Inner {
                #[cfg(feature = "dns")]
                dns,
                api,
                transport,
                beats: OnceLock::new(),
                followed: Arc::new(Semaphore::new(config.watches_max)),
                config,
                watches: Mutex::default(),
                rules: OnceLock::new(),
                tracker: TaskTracker::new(),
                probe_budget: Arc::new(ProbeBudget::new(PROBES_MAX, Clock::process())),
                end: CancellationToken::new(),
                budget: Arc::default(),
            }),
        })
    }

    pub(crate) fn api(&self) -> &Arc<Api> {
        &self.inner.api
    }

    /// Returns what a task needs that follows something: its place among the bounded many, and its end.
    pub(crate) fn follower(&self) -> Result<(OwnedSemaphorePermit, CancellationToken), Error> {
        let inner = &*self.inner;
        if inner.end.is_cancelled() {
            return Err(Error::Closed);
        }
        let permit = Arc::clone(&inner.followed).try_acquire_owned();
        let bound = Error::Bound { what: "keys, entries and sessions followed at once", max: inner.config.watches_max };
        Ok((permit.map_err(|_| bound)?, inner.end.child_token()))
    }

    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }

    pub(crate) fn backoff(&self) -> Backoff {
        self.inner.config.backoff
    }

    pub(crate) fn cursor_settings(&self) -> CursorSettings {
        CursorSettings {
            wait: self.inner.config.wait,
            stale: self.inner.config.stale_reads,
            backoff: self.inner.config.backoff,
            refused_pause: REFUSED_PAUSE,
        }
    }

    /// The retries of what is dialled without settings of its own.
    pub(crate) fn budget(&self) -> &Arc<RetryBudget> {
        &self.inner.budget
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
        let config = &self.inner.config;
        let beats = self.inner.beats.get_or_init(|| self.start_beats()).as_ref();
        let (inner, key) = (Arc::downgrade(&self.inner), service.name().to_ascii_lowercase());
        let host = Host {
            api: beats.map_or(&self.inner.api, |(_, api)| api).clone(),
            backoff: config.backoff,
            audit_every: config.audit_every,
            tracker: &self.inner.tracker,
            end: &self.inner.end,
            thread: beats.map(|(thread, _)| thread),
            find_watch: Box::new(move || {
                let handle = inner.upgrade()?.watches.lock().live.get(&key)?.upgrade()?;
                Some(handle.shared.clone())
            }),
            node: config.node.as_ref().map(|(name, _)| name.clone()),
            silence_max: config.wait + config.wait / 16 + config.request_timeout,
        };
        crate::registration::register(host, service).await
    }

    /// Starts the thread for beats, unless they are sent from the application's runtime.
    fn start_beats(&self) -> Option<(BeatThread, Arc<Api>)> {
        let config = &self.inner.config;
        if !config.beat_thread.unwrap_or(config.dialer.is_network()) {
            return None;
        }
        let mut settings = self.inner.transport.clone();
        settings.connect_timeout = settings.connect_timeout.min(BEAT_CONNECT_MAX);
        let transport = Transport::new(settings).ok()?;
        match BeatThread::start() {
            Ok(thread) => Some((thread, Arc::new(Api::new(transport, config)))),
            Err(error) => {
                warn!(error = %error, "no thread for beats; they are sent from the application's runtime");
                None
            }
        }
    }

    /// Follows a service. All watches and balancers of one service share one task.
    ///
    /// # Errors
    /// When the name is not one, too many services are watched, or the client was shut down.
    pub fn watch(&self, service: &str) -> Result<Watch, Error> {
        self.handle(service).map(|(_, handle)| Watch::new(handle))
    }

    /// Returns the balancer of a service with a policy or whole settings; the same one for equal settings. It is fed
    /// until the client is shut down or told to [`Self::forget`] the service.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn balancer(&self, service: &str, settings: impl Into<BalancerSettings>) -> Result<Balancer, Error> {
        let settings = settings.into();
        settings.check()?;
        let (key, handle) = self.handle(service)?;
        if settings.subset.is_some() {
            self.join_company(&key, &handle);
        }
        let balancer = handle.balancer(settings);
        self.inner.watches.lock().kept.insert(key, handle);
        Ok(balancer)
    }

    /// Returns a caller of a service over HTTP, with default settings and connections of its own. Its calls go where the registry's
    /// rules lead them, unless [`ClientBuilder::follow_rules`] says otherwise.
    /// Callers of one service with one policy are counted together.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn http<B>(&self, service: &str, settings: impl Into<BalancerSettings>) -> Result<HttpService<B>, Error>
    where
        B: http_body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<crate::error::Cause>,
    {
        self.http_with(service, settings, HttpSettings::default(), Arc::default())
    }

    /// Returns a caller as [`Self::http`], with settings and a budget that may be shared with others.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub fn http_with<B>(
        &self,
        service: &str,
        settings: impl Into<BalancerSettings>,
        http: HttpSettings,
        budget: Arc<RetryBudget>,
    ) -> Result<HttpService<B>, Error>
    where
        B: http_body::Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<crate::error::Cause>,
    {
        let settings = settings.into();
        let balancer = self.balancer(service, settings.clone())?;
        let stats = self.call_stats(&balancer);
        let rules = self.inner.config.follow_rules.then(|| self.rules().follow(service, settings));
        let watch = self.watch(service)?;
        Ok(HttpService::following(Some(watch), rules, balancer, http, budget, stats))
    }

    /// Returns the follower of rules, whose task begins with the first caller.
    fn rules(&self) -> &Arc<Follower> {
        let (follower, _) = self.inner.rules.get_or_init(|| {
            let config = &self.inner.config;
            // Weak: the follower belongs to the client, not the client to it.
            let client = Arc::downgrade(&self.inner);
            let watches = move |service: &str| {
                let inner = client.upgrade().ok_or(Error::Closed)?;
                Client { inner }.watch(service)
            };
            let settings = FollowSettings {
                datacenter: config.datacenter.clone().unwrap_or_default(),
                wait: config.wait,
                stale: config.stale_reads,
                backoff: config.backoff,
            };
            let follower = Follower::new(Arc::clone(&self.inner.api), Box::new(watches), settings);
            let end = self.inner.end.child_token();
            self.inner.tracker.spawn(Arc::clone(&follower).run(end.clone()));
            (follower, end.drop_guard())
        });
        follower
    }

    /// Returns the counters of calls over a balancer: the same ones for one service and policy. Whatever is counted
    /// there is told by `Client::report_metrics`.
    pub(crate) fn call_stats(&self, balancer: &Balancer) -> Arc<CallStats> {
        let key = (Arc::clone(balancer.snapshot().service()), balancer.policy().name());
        let calls = &mut self.inner.watches.lock().calls;
        if calls.len() >= self.inner.config.watches_max && !calls.contains_key(&key) {
            calls.retain(|_, stats| Arc::strong_count(stats) > 1);
        }
        Arc::clone(calls.entry(key).or_default())
    }

    /// Returns the counters of calls, to be shown.
    #[must_use]
    pub fn calls(&self) -> Vec<CallsOf> {
        let watches = self.inner.watches.lock();
        let of = |((service, policy), stats): (&(Arc<str>, &'static str), &Arc<CallStats>)| CallsOf {
            service: Arc::clone(service),
            policy,
            stats: Arc::clone(stats),
        };
        watches.calls.iter().map(of).collect()
    }

    /// Tells how every watch of the client stands, sorted by service.
    #[must_use]
    pub fn watches(&self) -> Vec<WatchView> {
        let live: Vec<_> = self.inner.watches.lock().live.values().filter_map(Weak::upgrade).collect();
        let mut views: Vec<WatchView> = live.iter().map(|handle| handle.shared.view()).collect();
        views.sort_by(|a, b| a.service.cmp(&b.service));
        views
    }

    /// Returns every balancer that is being fed, to read its statistics.
    #[must_use]
    pub fn balancers(&self) -> Vec<Balancer> {
        let watches = self.inner.watches.lock();
        watches.live.values().filter_map(Weak::upgrade).flat_map(|handle| handle.shared.balancers()).collect()
    }

    /// Waits for something unless the client is shut down first.
    #[cfg(feature = "metrics")]
    pub(crate) async fn until_ended<T>(&self, wanted: impl Future<Output = T>) -> Option<T> {
        self.inner.end.run_until_cancelled(wanted).await
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
        let shared = Arc::new(Shared::new(snapshot, inner.config.zone.clone()));
        let end = inner.end.child_token();
        let datacenter = inner.config.datacenter.as_deref().unwrap_or_default();
        let store = inner.config.cache_dir.as_deref().map(|folder| Store::new(folder, datacenter, &key));
        let listed = inner.config.statics.get(&key).cloned().unwrap_or_default();
        let stand_in = StandIn::new(service.clone(), store.clone(), listed);
        #[cfg(feature = "dns")]
        let stand_in = stand_in.with_dns(inner.dns.clone());
        let poll = Poll {
            store,
            stand_in: Some(stand_in),
            service,
            api: inner.api.clone(),
            shared: shared.clone(),
            settings: self.cursor_settings(),
            doubt: Doubt::new(inner.config.doubt),
            dialer: match (&inner.config.doubt_dialer, &inner.config.dialer) {
                (Some(dialer), _) => Some(dialer.clone()),
                (None, Dialer::Memory(_)) => None,
                // Endpoints are dialled in the clear, whatever the control nodes speak.
                (None, _) => Some(Dialer::Tcp),
            },
            connect_timeout: inner.config.doubt.connect_timeout,
            samples: inner.config.doubt.samples,
            tracker: inner.tracker.clone(),
        };
        inner.tracker.spawn(crate::watch::run(poll, end.clone()));
        inner.tracker.spawn(crate::watch::tick(shared.clone(), end.clone()));
        let probing = Probing { tracker: inner.tracker.clone(), budget: Arc::clone(&inner.probe_budget) };
        let handle =
            Arc::new(WatchHandle { shared, ended: end.clone(), _end: Some(end.drop_guard()), probing: Some(probing) });
        if inner.config.shared_ejection.is_some() {
            self.join_company(&key, &handle);
        }
        watches.live.insert(key.clone(), Arc::downgrade(&handle));
        Ok((key, handle))
    }

    /// Takes part among the clients of a service for as long as it is watched.
    fn join_company(&self, key: &str, handle: &WatchHandle) {
        if !handle.shared.begins_company() {
            return;
        }
        let inner = &*self.inner;
        // A client of its own, which keeps no watch: else the task would keep alive what ends it.
        let client = Self {
            inner: Arc::new(Inner {
                #[cfg(feature = "dns")]
                dns: inner.dns.clone(),
                api: inner.api.clone(),
                transport: inner.transport.clone(),
                beats: OnceLock::new(),
                config: inner.config.clone(),
                watches: Mutex::default(),
                followed: inner.followed.clone(),
                rules: OnceLock::new(),
                budget: inner.budget.clone(),
                tracker: inner.tracker.clone(),
                probe_budget: Arc::clone(&inner.probe_budget),
                end: inner.end.child_token(),
            }),
        };
        let (shared, ejection) = (handle.shared.clone(), inner.config.shared_ejection.clone());
        let company = Company { client, service: key.to_owned(), shared, ejection };
        inner.tracker.spawn(company.run(handle.ended.clone()));
    }

    /// Ends everything the client started: registrations are taken back, watches end, connections are closed.
    /// Returns when no task of it is left. Balancers keep their last snapshot.
    pub async fn shutdown(&self) {
        self.inner.end.cancel();
        self.inner.watches.lock().kept.clear();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
        self.inner.api.transport.close();
        if let Some(Some((_, api))) = self.inner.beats.get() {
            api.transport.close();
        }
    }
}

/// A header's value that is not shown.
fn secret(setting: &'static str, text: &str) -> Result<HeaderValue, Error> {
    let reason = "it holds characters that no header can carry";
    let value = HeaderValue::from_str(text).map_err(|_| Error::Config { setting, reason: reason.into() });
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
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
