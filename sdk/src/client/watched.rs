//! The services a client watches: one handle each, however many ask, and the balancers and counters over them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use callboard_proto::ServiceName;
use parking_lot::Mutex;

use super::base::Base;
use super::{CallsOf, Client};
use crate::balance::Balancer;
use crate::call::CallStats;
use crate::catalog::{Snapshot, Store};
use crate::endpoint::Clock;
use crate::error::Error;
use crate::http::Dialer;
use crate::peers::Company;
use crate::watch::{Doubt, Poll, Probing, Shared, StandIn, WatchHandle};

/// Holds what is watched.
#[derive(Default)]
pub(super) struct Watched(Mutex<Services>);

#[derive(Default)]
struct Services {
    // By folded name.
    live: HashMap<String, Weak<WatchHandle>>,
    // Those with balancers, which cannot say when they are dropped.
    kept: HashMap<String, Arc<WatchHandle>>,
    // The counters of calls, by service and policy. Kept beyond their callers, so that nothing goes untold.
    calls: HashMap<(Arc<str>, &'static str), Arc<CallStats>>,
}

impl Watched {
    /// Returns the folded name of a service and its handle, whose tasks begin with the first one.
    ///
    /// # Errors
    /// When the name is not one, too many services are watched, or the client was shut down.
    pub(super) fn handle(&self, base: &Arc<Base>, service: &str) -> Result<(String, Arc<WatchHandle>), Error> {
        let service = ServiceName::parse(service).map_err(|source| Error::Name { doing: "watching", source })?;
        let key = service.folded().to_string();
        let mut services = self.0.lock();
        // Asked under the lock: whoever ends the client takes it afterwards.
        base.open()?;
        if let Some(handle) = services.live.get(&key).and_then(Weak::upgrade) {
            return Ok((key, handle));
        }
        services.live.retain(|_, handle| handle.strong_count() > 0);
        if services.live.len() >= base.config.watches_max {
            return Err(Error::Bound { what: "services watched at once", max: base.config.watches_max });
        }
        let handle = Arc::new(begin(base, service, &key));
        if base.config.shared_ejection.is_some() {
            join_company(base, &key, &handle);
        }
        services.live.insert(key.clone(), Arc::downgrade(&handle));
        Ok((key, handle))
    }

    /// Returns the handle of a service, by its folded name, while somebody holds it.
    pub(super) fn live(&self, key: &str) -> Option<Arc<WatchHandle>> {
        self.0.lock().live.get(key)?.upgrade()
    }

    /// Returns every handle that somebody holds.
    pub(super) fn all(&self) -> Vec<Arc<WatchHandle>> {
        self.0.lock().live.values().filter_map(Weak::upgrade).collect()
    }

    /// Keeps a service watched until it is told to forget it.
    pub(super) fn keep(&self, key: String, handle: Arc<WatchHandle>) {
        self.0.lock().kept.insert(key, handle);
    }

    pub(super) fn forget(&self, key: &str) {
        self.0.lock().kept.remove(key);
    }

    pub(super) fn forget_all(&self) {
        self.0.lock().kept.clear();
    }

    /// Returns the counters of calls over a balancer: the same ones for one service and policy. Of those that nobody counts
    /// with any more, none is kept beyond `max`.
    pub(super) fn calls_over(&self, balancer: &Balancer, max: usize) -> Arc<CallStats> {
        let key = (Arc::clone(balancer.snapshot().service()), balancer.policy().name());
        let calls = &mut self.0.lock().calls;
        if calls.len() >= max && !calls.contains_key(&key) {
            calls.retain(|_, stats| Arc::strong_count(stats) > 1);
        }
        Arc::clone(calls.entry(key).or_default())
    }

    /// Returns the counters of all calls.
    pub(super) fn calls(&self) -> Vec<CallsOf> {
        let of = |((service, policy), stats): (&(Arc<str>, &'static str), &Arc<CallStats>)| CallsOf {
            service: Arc::clone(service),
            policy,
            stats: Arc::clone(stats),
        };
        self.0.lock().calls.iter().map(of).collect()
    }
}

/// Starts the tasks that follow a service; they end with the handle.
fn begin(base: &Base, service: ServiceName, key: &str) -> WatchHandle {
    let snapshot = Snapshot::empty_with(service.as_str(), base.config.ejection.clone(), Clock::process());
    let shared = Arc::new(Shared::new(snapshot, base.config.zone.clone()));
    let end = base.end.child_token();
    let datacenter = base.config.datacenter.as_deref().unwrap_or_default();
    let store = base.config.cache_dir.as_deref().map(|folder| Store::new(folder, datacenter, key));
    let listed = base.config.statics.get(key).cloned().unwrap_or_default();
    let stand_in = StandIn::new(service.clone(), store.clone(), listed);
    #[cfg(feature = "dns")]
    let stand_in = stand_in.with_dns(base.dns.clone());
    let poll = Poll {
        store,
        stand_in: Some(stand_in),
        service,
        api: base.api.clone(),
        shared: shared.clone(),
        settings: base.cursor_settings(),
        doubt: Doubt::new(base.config.doubt),
        dialer: match (&base.config.doubt_dialer, &base.config.dialer) {
            (Some(dialer), _) => Some(dialer.clone()),
            (None, Dialer::Memory(_)) => None,
            // Endpoints are dialled in the clear, whatever the control nodes speak.
            (None, _) => Some(Dialer::Tcp),
        },
        connect_timeout: base.config.doubt.connect_timeout,
        samples: base.config.doubt.samples,
        tracker: base.tracker.clone(),
    };
    base.tracker.spawn(crate::watch::run(poll, end.clone()));
    base.tracker.spawn(crate::watch::tick(shared.clone(), end.clone()));
    let probing = Probing { tracker: base.tracker.clone(), budget: Arc::clone(&base.probe_budget) };
    WatchHandle { shared, ended: end.clone(), _end: Some(end.drop_guard()), probing: Some(probing) }
}

/// Takes part among the clients of a service for as long as it is watched.
pub(super) fn join_company(base: &Arc<Base>, key: &str, handle: &WatchHandle) {
    if !handle.shared.begins_company() {
        return;
    }
    // A client that keeps no watch: else the task would keep alive what ends it.
    let client = Client::over(Arc::clone(base));
    let (shared, ejection) = (handle.shared.clone(), base.config.shared_ejection.clone());
    let company = Company { client, service: key.to_owned(), shared, ejection };
    base.tracker.spawn(company.run(handle.ended.clone()));
}
