//! Reads the statistics of balancers and tells the recorder what changed since it last did.
//!
//! Endpoints that left are held until their last call is over, and counters of calls until nobody else has them, so
//! that no call is missing. Retries, and refusals of the budget, are told when they happen, and so not from here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter, gauge};

use super::{
    ABANDONED, CALLS, CALLS_FAILED, EJECTIONS, ENDPOINTS, HEDGES, HEDGES_WON, IN_FLIGHT, OUTCOMES_FAILED, PICKS,
    SNAPSHOT_AGE,
};
use crate::Client;
use crate::balance::Balancer;
use crate::call::{CallCounts, CallsOf, Reason};
use crate::catalog::Snapshot;
use crate::endpoint::{EndpointKey, EndpointStats};

/// Reports on balancers, by [`Client::report_metrics`] or whenever the program says so.
///
/// ```
/// use callboard::balance::Policy;
/// use callboard::catalog::Catalog;
/// use callboard::endpoint::Endpoint;
/// use callboard::metrics::Reporter;
///
/// let catalog = Catalog::fixed([("users", [Endpoint::new("users-1", "127.0.0.1", 8080)])]);
/// let balancers = [catalog.balancer("users", Policy::default())];
/// let mut reporter = Reporter::new();
/// // Before each scrape, or every few seconds:
/// reporter.report(&balancers);
/// ```
#[derive(Debug, Default)]
pub struct Reporter {
    services: HashMap<Arc<str>, Service>,
    // One for each set of counters.
    calls: Vec<(CallsOf, CallCounts)>,
}

/// What was told of a service so far.
#[derive(Debug, Default)]
struct Service {
    endpoints: HashMap<EndpointKey, Told>,
    ejections: u64,
}

/// What was told of an endpoint so far.
#[derive(Debug)]
struct Told {
    stats: Arc<EndpointStats>,
    picks: u64,
    abandoned: u64,
    failures: u64,
}

impl Reporter {
    /// Builds a reporter that has told nothing yet, and describes the figures to the recorder.
    #[must_use]
    pub fn new() -> Self {
        super::describe();
        Self::default()
    }

    /// Tells the recorder of this thread how things stand. Balancers of one service are told of once where their
    /// endpoints are concerned. Give the same balancers every time: a service that is left out is forgotten, and begins
    /// anew when it comes back.
    pub fn report(&mut self, balancers: &[Balancer]) {
        let mut services: HashMap<Arc<str>, Arc<Snapshot>> = HashMap::new();
        for balancer in balancers {
            let snapshot = balancer.snapshot();
            let (service, policy) = (Arc::clone(snapshot.service()), balancer.policy().name());
            gauge!(SNAPSHOT_AGE, "service" => Arc::clone(&service), "policy" => policy)
                .set(balancer.age().as_secs_f64());
            services.insert(service, snapshot);
        }
        self.services.retain(|service, _| services.contains_key(service));
        for (service, snapshot) in services {
            self.report_service(service, &snapshot);
        }
    }

    fn report_service(&mut self, service: Arc<str>, snapshot: &Snapshot) {
        let healthy = snapshot.eligible_len() as usize;
        let states =
            [("healthy", healthy), ("unhealthy", snapshot.members().len() - healthy), ("aside", snapshot.aside_len())];
        for (state, count) in states {
            gauge!(ENDPOINTS, "service" => Arc::clone(&service), "state" => state).set(count as f64);
        }
        let there: HashSet<EndpointKey> = snapshot.members().iter().map(|member| member.stats().key()).collect();
        let of_service = self.services.entry(Arc::clone(&service)).or_default();
        let ejections = counter!(EJECTIONS, "service" => Arc::clone(&service));
        tell(&ejections, &mut of_service.ejections, snapshot.aside().ejections());
        let told = &mut of_service.endpoints;
        for member in snapshot.members() {
            told.entry(member.stats().key()).or_insert_with(|| Told::nothing(member.stats()));
        }
        let picks = counter!(PICKS, "service" => Arc::clone(&service));
        let abandoned = counter!(ABANDONED, "service" => Arc::clone(&service));
        let failures = counter!(OUTCOMES_FAILED, "service" => Arc::clone(&service));
        let mut in_flight = 0;
        told.retain(|key, told| {
            // Read first: a call that ends in between is told of the next time.
            let now_in_flight = told.stats.in_flight();
            tell(&picks, &mut told.picks, told.stats.calls());
            tell(&abandoned, &mut told.abandoned, told.stats.abandoned());
            tell(&failures, &mut told.failures, told.stats.failures());
            in_flight += now_in_flight;
            now_in_flight > 0 || there.contains(key)
        });
        gauge!(IN_FLIGHT, "service" => service).set(in_flight as f64);
    }
}

impl Reporter {
    /// Tells the recorder of this thread what became of calls since it was last told. What is given once is
    /// remembered, and told of every time, for as long as anybody else has it.
    pub fn report_calls(&mut self, calls: impl IntoIterator<Item = CallsOf>) {
        for given in calls {
            if !self.calls.iter().any(|(known, _)| Arc::ptr_eq(&known.stats, &given.stats)) {
                self.calls.push((given, CallCounts::default()));
            }
        }
        self.calls.retain_mut(|(of, told)| {
            // Asked first: what is counted in between is told the next time.
            let used = Arc::strong_count(&of.stats) > 1;
            let now = of.stats.counts();
            for (name, more) in [
                (CALLS, now.calls - told.calls),
                (HEDGES, now.hedges - told.hedges),
                (HEDGES_WON, now.hedges_won - told.hedges_won),
            ] {
                counter!(name, "service" => Arc::clone(&of.service), "policy" => of.policy).increment(more);
            }
            for reason in Reason::ALL {
                let more = now.failed(reason) - told.failed(reason);
                let service = Arc::clone(&of.service);
                counter!(CALLS_FAILED, "service" => service, "policy" => of.policy, "reason" => reason.as_str())
                    .increment(more);
            }
            *told = now;
            used
        });
    }
}

impl Told {
    fn nothing(stats: &Arc<EndpointStats>) -> Self {
        Self { stats: Arc::clone(stats), picks: 0, abandoned: 0, failures: 0 }
    }
}

fn tell(counter: &Counter, before: &mut u64, now: u64) {
    counter.increment(now.saturating_sub(*before));
    *before = now;
}

impl Client {
    /// Reports on all balancers of this client and on the calls over them at once and then at intervals, until the
    /// client is shut down. To be spawned once per program: two reporters count everything twice.
    pub async fn report_metrics(&self, every: Duration) {
        let mut reporter = Reporter::new();
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut balancers = Vec::new();
        while self.until_ended(ticks.tick()).await.is_some() {
            balancers = self.balancers();
            reporter.report(&balancers);
            reporter.report_calls(self.calls());
        }
        // Once more for what happened since; the client has let go of its balancers by now.
        reporter.report(&balancers);
        reporter.report_calls(self.calls());
    }
}
