//! The numbers that this node keeps about itself, and their Prometheus text.
//!
//! Every series exists from the start; labels are names that we know, never what a client sent. What the
//! request path touches are handles found once, at set-up.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::Response;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry as Series;

mod consul;
mod window;

pub use consul::Naming;

use crate::cluster::Cluster;
use crate::dns::DnsCounters;
use window::{SLICE_SECONDS, Window};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The numbers.
pub struct Telemetry {
    series: Series,
    routes: Vec<Route>,
    connections: Gauge,
    state: StateGauges,
    dns: Arc<DnsCounters>,
    naming: Naming,
    started: Instant,
}

struct Route {
    name: &'static str,
    answers: [Counter; CLASSES.len()],
    seconds: Histogram,
    /// Milliseconds to the answer, lately.
    window: Mutex<Window>,
}

#[derive(Default)]
struct StateGauges {
    index: Gauge<u64, AtomicU64>,
    nodes: Gauge,
    services: Gauge,
    waiters: Gauge,
    wakeups: Counter,
    term: Gauge<u64, AtomicU64>,
    committed: Gauge<u64, AtomicU64>,
    applied: Gauge<u64, AtomicU64>,
    checkpoint: Gauge<u64, AtomicU64>,
    is_leader: Gauge,
    resident: Gauge,
    dns: Family<Labels, Counter>,
    dns_truncated: Counter,
    dns_forwarded: Counter,
}

type Labels = [(&'static str, &'static str); 2];

impl Telemetry {
    /// Numbers for the given routes, and for paths that are none.
    #[must_use]
    pub fn new(routes: impl Iterator<Item = &'static str>, naming: Naming) -> Arc<Telemetry> {
        let mut series = Series::with_prefix("callboard");
        let answers = Family::<Labels, Counter>::default();
        let seconds = Family::<[(&'static str, &'static str); 1], Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.000_1, 4.0, 10))
        });
        let routes = routes
            .chain(["other"])
            .map(|name| Route {
                name,
                answers: CLASSES.map(|code| answers.get_or_create(&[("route", name), ("code", code)]).clone()),
                seconds: seconds.get_or_create(&[("route", name)]).clone(),
                window: Mutex::default(),
            })
            .collect();
        series.register("http_requests", "Answers by route and class of status", answers);
        series.register("http_request_duration_seconds", "Time to the answer; waiting reads included", seconds);
        let connections = Gauge::default();
        series.register("http_connections", "Open HTTP connections", connections.clone());
        let state = StateGauges::default();
        state.register(&mut series);
        let started = Instant::now();
        Arc::new(Telemetry { series, routes, connections, state, dns: Arc::default(), naming, started })
    }

    /// Counts an answer on its way out.
    pub(crate) fn answered<B>(&self, route: Option<usize>, begun: Instant, response: Response<B>) -> Response<B> {
        let other = self.routes.len() - 1;
        let route = &self.routes[route.unwrap_or(other).min(other)];
        let class = usize::from(response.status().as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        route.answers[class].inc();
        let seconds = begun.elapsed().as_secs_f64();
        route.seconds.observe(seconds);
        route.window.lock().observe(self.slice(), seconds * 1000.0);
        response
    }

    /// Which slice of time it is.
    fn slice(&self) -> u64 {
        self.started.elapsed().as_secs() / SLICE_SECONDS
    }

    /// Counts a connection for as long as the answer is held.
    #[must_use]
    pub(crate) fn connection(&self) -> Counted {
        Counted::in_gauge(&self.connections)
    }

    /// Counts a read that waits for a change for as long as the answer is held.
    #[must_use]
    pub(crate) fn waiter(&self) -> Counted {
        Counted::in_gauge(&self.state.waiters)
    }

    /// What the DNS server counts in.
    #[must_use]
    pub fn dns(&self) -> &Arc<DnsCounters> {
        &self.dns
    }

    /// The text that Prometheus scrapes.
    #[must_use]
    pub fn render(&self, cluster: &Cluster) -> String {
        self.state.read(cluster, &self.dns);
        let mut text = String::with_capacity(16 * 1024);
        if encode(&mut text, &self.series).is_err() {
            // Writing to a String cannot fail; say so where an operator looks rather than panic.
            let _ = writeln!(text, "# encoding failed");
        }
        text
    }

    /// The routes that are counted.
    pub fn routes(&self) -> impl Iterator<Item = &'static str> {
        self.routes.iter().map(|route| route.name)
    }
}

impl StateGauges {
    fn register(&self, series: &mut Series) {
        series.register("catalog_index", "The registry's index", self.index.clone());
        series.register("catalog_nodes", "Nodes in the registry", self.nodes.clone());
        series.register("catalog_services", "Services in the registry", self.services.clone());
        series.register("watch_waiters", "Reads that wait for a change", self.waiters.clone());
        series.register("watch_wakeups", "Readers that were woken by a change", self.wakeups.clone());
        series.register("raft_term", "The election period", self.term.clone());
        series.register("raft_commit_index", "The last committed log entry", self.committed.clone());
        series.register("raft_applied_index", "The last applied log entry", self.applied.clone());
        series.register(
            "raft_checkpoint_index",
            "The log entry that the newest checkpoint reaches",
            self.checkpoint.clone(),
        );
        series.register("raft_is_leader", "1 while this node leads", self.is_leader.clone());
        series.register("process_resident_memory_bytes", "Resident memory", self.resident.clone());
        series.register("dns_queries", "DNS answers by type and code", self.dns.clone());
        series.register("dns_truncated", "DNS answers that were cut to fit", self.dns_truncated.clone());
        series.register("dns_forwarded", "DNS questions passed on to recursors", self.dns_forwarded.clone());
    }

    fn read(&self, cluster: &Cluster, dns: &DnsCounters) {
        let registry = cluster.registry();
        let status = cluster.status();
        let set = |counter: &Counter, count| counter.inner().store(count, Ordering::Relaxed);
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.index.set(registry.index().0);
        self.nodes.set(count(registry.nodes().count()));
        self.services.set(count(registry.services().count()));
        set(&self.wakeups, cluster.hub().wakeups());
        for (record_type, code, count) in dns.queries() {
            set(&self.dns.get_or_create(&[("type", record_type), ("rcode", code)]), count);
        }
        set(&self.dns_truncated, dns.truncated());
        set(&self.dns_forwarded, dns.forwarded());
        self.term.set(status.term);
        self.committed.set(status.committed);
        self.applied.set(status.applied);
        self.checkpoint.set(status.checkpoint);
        self.is_leader.set(i64::from(status.ready));
        let own = callboard::check::process::read(std::process::id());
        self.resident.set(own.map_or(0, |own| own.memory as i64));
    }
}

/// Something that goes on, counted in a gauge while it does.
pub(crate) struct Counted(Gauge);

impl Counted {
    fn in_gauge(gauge: &Gauge) -> Counted {
        gauge.inc();
        Counted(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
