//! The handle on calls of one service: what calls share, and the door by which they enter.
//!
//! Decides which way a call goes (the service's own, or one that rules lead to) and counts what comes of it. What happens on
//! the way is in `sequence`.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::body::ResponseBody;
use super::budget::RetryBudget;
use super::error::CallError;
use super::follow::{Followed, RulesState};
use super::lane::{Lane, Way};
use super::limiter::Limiter;
use super::plan::Plan;
use super::sequence::{Account, Asked, Sequence};
use super::settings::HttpSettings;
use super::stats::CallStats;
use crate::balance::Balancer;
use crate::endpoint::EndpointKey;
use crate::error::Cause;
use crate::http::Pool;
use crate::route::CallView;
use crate::watch::Watch;

/// How long the first calls wait for the registry's first word of the service.
const FIRST_WORD_MAX: Duration = Duration::from_secs(2);

/// Carries the hash of a call in the extensions of its request, for the hash policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub u64);

/// Calls one service over HTTP; clones share the pool, the balancer and the budget. Build one per runtime: a
/// connection lives on the runtime that opened it.
pub struct HttpService<B> {
    shared: Arc<Shared<B>>,
}

struct Shared<B> {
    /// The registry's rules, where they are followed.
    rules: Option<Arc<Followed>>,
    balancer: Balancer,
    /// Until the registry's first word of the service: how it will be heard.
    first: FirstWord,
    lane: Lane<B>,
    /// Of other services that rules lead to.
    lanes: RwLock<HashMap<Arc<str>, Arc<Lane<B>>>>,
    budget: Arc<RetryBudget>,
    stats: Arc<CallStats>,
    settings: HttpSettings,
}

/// The registry's first word of a service, for which calls that come early wait.
struct FirstWord {
    heard: AtomicBool,
    watch: Mutex<Option<Watch>>,
}

impl FirstWord {
    /// Waits for it, but not longer than this. In vain means that nothing is known: the call will say so, and what else
    /// is the matter.
    #[cold]
    async fn wait(&self, patience: Duration) {
        let watch = self.watch.lock().clone();
        let heard = match watch {
            None => true,
            Some(mut watch) => watch.ready(0, patience).await.is_ok(),
        };
        if heard {
            self.heard.store(true, Relaxed);
            // The watch is fed by whoever wants it fed.
            *self.watch.lock() = None;
        }
    }
}

impl<B> Clone for HttpService<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B> fmt::Debug for HttpService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").field("balancer", &self.shared.balancer).finish_non_exhaustive()
    }
}

impl<B> HttpService<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Builds a service over a balancer, with default settings and a budget of its own.
    #[must_use]
    pub fn new(balancer: Balancer) -> Self {
        Self::with(balancer, HttpSettings::default(), Arc::default())
    }

    /// Builds a service over a balancer with settings and a budget that may be shared with others.
    #[must_use]
    pub fn with(balancer: Balancer, settings: HttpSettings, budget: Arc<RetryBudget>) -> Self {
        Self::following(None, None, balancer, settings, budget, Arc::default())
    }

    /// Builds a service whose calls go where rules lead them and wait for the first word of a watch, with counters that
    /// others may have too.
    pub(crate) fn following(
        watch: Option<Watch>,
        rules: Option<Arc<Followed>>,
        balancer: Balancer,
        settings: HttpSettings,
        budget: Arc<RetryBudget>,
        stats: Arc<CallStats>,
    ) -> Self {
        let (lane, lanes) = (Lane::new(&settings), RwLock::default());
        let first = FirstWord { heard: AtomicBool::new(watch.is_none()), watch: Mutex::new(watch) };
        Self { shared: Arc::new(Shared { rules, balancer, first, lane, lanes, budget, stats, settings }) }
    }

    /// Says what the registry's rules for the service are; none when this handle follows none.
    #[must_use]
    pub fn rules(&self) -> Option<RulesState> {
        self.shared.rules.as_ref().map(|rules| rules.state().borrow().clone())
    }

    /// Waits until the registry was asked for the rules, so that no call goes past them; true when it was in time. At once
    /// when this handle follows none.
    pub async fn rules_known(&self, timeout: Duration) -> bool {
        let Some(rules) = &self.shared.rules else { return true };
        let mut state = rules.state();
        let known = state.wait_for(|state| !matches!(state, RulesState::Unknown));
        matches!(tokio::time::timeout(timeout, known).await, Ok(Ok(_)))
    }

    /// Returns the balancer.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.shared.balancer
    }

    /// Returns the connections, to count or to close them.
    #[must_use]
    pub fn pool(&self) -> &Pool<EndpointKey, B> {
        &self.shared.lane.pool
    }

    /// Returns the counters of calls; they may be kept longer than the service.
    #[must_use]
    pub fn stats(&self) -> &Arc<CallStats> {
        &self.shared.stats
    }

    /// Returns the limit on calls under way, where the settings ask for one.
    #[must_use]
    pub fn limiter(&self) -> Option<&Limiter> {
        self.shared.lane.limiter.as_ref()
    }

    /// Calls an endpoint of the service; a hash policy takes its key from a [`HashKey`] among the request's
    /// extensions. A call that comes before the registry's first word of the service waits for it, two seconds at most.
    ///
    /// # Errors
    /// [`CallError`] when no response's head came; see [`super::Reason`] for what is true then.
    pub async fn send(&self, request: Request<B>) -> Result<Response<ResponseBody<B>>, Box<CallError>> {
        let hash = request.extensions().get::<HashKey>().map(|key| key.0);
        self.send_hashed(request, hash).await
    }

    /// Calls an endpoint of the service, by a key's hash if the policy wants one.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_hashed(
        &self,
        request: Request<B>,
        hash: Option<u64>,
    ) -> Result<Response<ResponseBody<B>>, Box<CallError>> {
        let shared = &*self.shared;
        shared.budget.deposit();
        shared.stats.begin();
        if !shared.first.heard.load(Relaxed) {
            let patience = shared.settings.response_timeout.map_or(FIRST_WORD_MAX, |after| after.min(FIRST_WORD_MAX));
            Box::pin(shared.first.wait(patience)).await;
        }
        let account = Account { budget: &shared.budget, stats: &shared.stats };
        let asked = Asked { request, hash, begun: Instant::now() };
        let result = match shared.rules.as_ref().and_then(|rules| rules.plan()) {
            None => Sequence::run(&shared.own_way(), account, asked).await,
            Some(plan) => Box::pin(shared.by_rules(&plan, account, asked)).await,
        };
        match &result {
            Ok(_) => shared.stats.answered(),
            Err(error) => shared.stats.failed(error.reason),
        }
        result
    }
}

impl<B> Shared<B> {
    /// The way of a call that no rule leads elsewhere.
    fn own_way(&self) -> Way<'_, B> {
        let settings = &self.settings;
        Way {
            lane: &self.lane,
            balancer: &self.balancer,
            retry: &settings.retry,
            breaker: settings.breaker,
            connect_timeout: None,
            response_timeout: settings.response_timeout,
            call_timeout: settings.call_timeout,
            judge: settings.judge,
        }
    }
}

impl<B> Shared<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Makes a call as the rules want it.
    async fn by_rules(
        &self,
        plan: &Plan,
        account: Account<'_>,
        mut asked: Asked<B>,
    ) -> Result<Response<ResponseBody<B>>, Box<CallError>> {
        let chosen = plan.rules.choose(&CallView::of(&asked.request), asked.hash, plan.turn());
        asked.hash = chosen.hash;
        chosen.change_request(asked.request.headers_mut());
        if let Some(rewrite) = &chosen.action.rewrite {
            rewrite.apply(asked.request.uri_mut());
        }
        let (target, planned) = plan.place(&chosen);
        let elsewhere = match target.service.eq_ignore_ascii_case(plan.rules.service()) {
            true => None,
            false => Some(self.lane(&target.service)),
        };
        let mut way = self.own_way();
        (way.lane, way.balancer) = (elsewhere.as_deref().unwrap_or(&self.lane), &planned.balancer);
        way.retry = chosen.action.retry.as_ref().unwrap_or(way.retry);
        way.connect_timeout = target.connect_timeout;
        let said = chosen.action.timeout.or(target.request_timeout);
        way.call_timeout = [way.call_timeout, said].into_iter().flatten().min();
        let connections = target.connections_max.unwrap_or(u32::MAX);
        way.breaker.connections_max = way.breaker.connections_max.min(connections);
        let mut response = Sequence::run(&way, account, asked).await?;
        chosen.change_response(response.headers_mut());
        Ok(response)
    }

    /// Returns what the calls of another service share, built on the first of them.
    fn lane(&self, service: &Arc<str>) -> Arc<Lane<B>> {
        if let Some(lane) = self.lanes.read().get(service) {
            return Arc::clone(lane);
        }
        let mut lanes = self.lanes.write();
        Arc::clone(lanes.entry(Arc::clone(service)).or_insert_with(|| Arc::new(Lane::new(&self.settings))))
    }
}

impl<B> tower_service::Service<Request<B>> for HttpService<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = crate::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.send(request).await?) })
    }
}
