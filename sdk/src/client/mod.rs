//! The client: one handle to the registry, from which everything else is had.
//!
//! It keeps what is shared (the way to the servers, one watch per service, the tasks) and ends it. What
//! requests look like is in `api` and the files beside it.

mod agent;
mod api;
mod base;
mod catalog;
mod event;
mod kv;
mod session;
mod typed;
mod watched;

use std::sync::{Arc, OnceLock};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

pub(crate) use api::Api;
pub use api::Read;
pub use event::EventFilter;
pub(crate) use kv::kv_path;
pub use kv::{KvPut, KvRemove};
pub use typed::Versioned;

use self::base::Base;
use self::watched::{Watched, join_company};
use crate::backoff::Backoff;
use crate::balance::{Balancer, BalancerSettings};
use crate::call::{CallStats, CallsOf, FollowSettings, Follower, HttpService, HttpSettings, RetryBudget};
use crate::config::ClientBuilder;
use crate::error::Error;
use crate::http::Transport;
use crate::registration::{BeatThread, Host, Registered, Service};
use crate::watch::{CursorSettings, Watch, WatchHandle, WatchView};

/// How long a connection for a beat may take: where packets vanish, the next try is to come soon.
const BEAT_CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Talks to the registry. Clones are the same client. Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Client {
    base: Arc<Base>,
    own: Arc<Own>,
}

/// What was begun for callers of a client, and ends with its last clone.
#[derive(Default)]
struct Own {
    // From the first registration on: where beats are sent from, over connections of its own.
    beats: OnceLock<Option<(BeatThread, Arc<Api>)>>,
    watched: Watched,
    // The guard ends the task with the client.
    rules: OnceLock<(Arc<Follower>, DropGuard)>,
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

    /// Builds a client that has begun nothing yet.
    fn over(base: Arc<Base>) -> Self {
        Self { base, own: Arc::default() }
    }

    pub(crate) fn api(&self) -> &Arc<Api> {
        &self.base.api
    }

    /// Returns what a task needs that follows something: its place among the bounded many, and its end.
    pub(crate) fn follower(&self) -> Result<(OwnedSemaphorePermit, CancellationToken), Error> {
        self.base.follower()
    }

    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.base.tracker
    }

    pub(crate) fn backoff(&self) -> Backoff {
        self.base.config.backoff
    }

    pub(crate) fn cursor_settings(&self) -> CursorSettings {
        self.base.cursor_settings()
    }

    /// The retries of what is dialled without settings of its own.
    pub(crate) fn budget(&self) -> &Arc<RetryBudget> {
        &self.base.budget
    }

    /// Registers an instance and keeps the registration true until the guard is drained or dropped.
    ///
    /// # Errors
    /// [`Error::Status`] when the registry refuses it (4xx), [`Error::NotRegistered`] when it was not
    /// confirmed within [`Service::patience`]. Nobody goes on trying then.
    pub async fn register(&self, service: Service) -> Result<Registered, Error> {
        self.base.open()?;
        let config = &self.base.config;
        let beats = self.own.beats.get_or_init(|| self.start_beats()).as_ref();
        let (own, key) = (Arc::downgrade(&self.own), service.name().to_ascii_lowercase());
        let host = Host {
            api: beats.map_or(&self.base.api, |(_, api)| api).clone(),
            backoff: config.backoff,
            audit_every: config.audit_every,
            tracker: &self.base.tracker,
            end: &self.base.end,
            thread: beats.map(|(thread, _)| thread),
            find_watch: Box::new(move || {
                let handle = own.upgrade()?.watched.live(&key)?;
                Some(handle.shared.clone())
            }),
            node: config.node.as_ref().map(|(name, _)| name.clone()),
            silence_max: config.wait + config.wait / 16 + config.request_timeout,
        };
        crate::registration::register(host, service).await
    }

    /// Starts the thread for beats, unless they are sent from the application's runtime.
    fn start_beats(&self) -> Option<(BeatThread, Arc<Api>)> {
        let config = &self.base.config;
        if !config.beat_thread.unwrap_or(config.dialer.is_network()) {
            return None;
        }
        let mut settings = self.base.transport.clone();
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
            join_company(&self.base, &key, &handle);
        }
        let balancer = handle.balancer(settings);
        self.own.watched.keep(key, handle);
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
        let rules = self.base.config.follow_rules.then(|| self.rules().follow(service, settings));
        let watch = self.watch(service)?;
        Ok(HttpService::following(Some(watch), rules, balancer, http, budget, stats))
    }

    /// Returns the follower of rules, whose task begins with the first caller.
    fn rules(&self) -> &Arc<Follower> {
        let (follower, _) = self.own.rules.get_or_init(|| {
            let config = &self.base.config;
            // Weak: the follower belongs to the client, not the client to it.
            let (base, own) = (Arc::clone(&self.base), Arc::downgrade(&self.own));
            let watches = move |service: &str| {
                let own = own.upgrade().ok_or(Error::Closed)?;
                Client { base: Arc::clone(&base), own }.watch(service)
            };
            let settings = FollowSettings {
                datacenter: config.datacenter.clone().unwrap_or_default(),
                wait: config.wait,
                stale: config.stale_reads,
                backoff: config.backoff,
            };
            let follower = Follower::new(Arc::clone(&self.base.api), Box::new(watches), settings);
            let end = self.base.end.child_token();
            self.base.tracker.spawn(Arc::clone(&follower).run(end.clone()));
            (follower, end.drop_guard())
        });
        follower
    }

    /// Returns the counters of calls over a balancer: the same ones for one service and policy. Whatever is counted
    /// there is told by `Client::report_metrics`.
    pub(crate) fn call_stats(&self, balancer: &Balancer) -> Arc<CallStats> {
        self.own.watched.calls_over(balancer, self.base.config.watches_max)
    }

    /// Returns the counters of calls, to be shown.
    #[must_use]
    pub fn calls(&self) -> Vec<CallsOf> {
        self.own.watched.calls()
    }

    /// Tells how every watch of the client stands, sorted by service.
    #[must_use]
    pub fn watches(&self) -> Vec<WatchView> {
        let mut views: Vec<WatchView> = self.own.watched.all().iter().map(|handle| handle.shared.view()).collect();
        views.sort_by(|a, b| a.service.cmp(&b.service));
        views
    }

    /// Returns every balancer that is being fed, to read its statistics.
    #[must_use]
    pub fn balancers(&self) -> Vec<Balancer> {
        self.own.watched.all().iter().flat_map(|handle| handle.shared.balancers()).collect()
    }

    /// Waits for something unless the client is shut down first.
    #[cfg(feature = "metrics")]
    pub(crate) async fn until_ended<T>(&self, wanted: impl Future<Output = T>) -> Option<T> {
        self.base.end.run_until_cancelled(wanted).await
    }

    /// Stops to feed the balancers of a service. Its watches go on while somebody holds them.
    pub fn forget(&self, service: &str) {
        self.own.watched.forget(&service.to_ascii_lowercase());
    }

    fn handle(&self, service: &str) -> Result<(String, Arc<WatchHandle>), Error> {
        self.own.watched.handle(&self.base, service)
    }

    /// Ends everything the client started: registrations are taken back, watches end, connections are closed.
    /// Returns when no task of it is left. Balancers keep their last snapshot.
    pub async fn shutdown(&self) {
        self.base.end.cancel();
        self.own.watched.forget_all();
        self.base.tracker.close();
        self.base.tracker.wait().await;
        self.base.api.transport.close();
        if let Some(Some((_, api))) = self.own.beats.get() {
            api.transport.close();
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("config", &self.base.config).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Builds the client. Connects to nobody yet.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        Base::new(self).map(|base| Client::over(Arc::new(base)))
    }
}
