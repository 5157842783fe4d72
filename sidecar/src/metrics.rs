//! What is counted, and how it reads in Prometheus' text format.
//!
//! Counters are plain atomics, one set per upstream and worker, resolved when an upstream is opened:
//! a request adds to memory only its own thread writes, without a lookup, a lock or a label map.
//! They are added up when `/metrics` is read. A metrics facade would put a global recorder and a
//! registry of label maps where 100 lines of text writing do, and several sidecars can live in one
//! process (the tests do that) without sharing one.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use callboard::call::CallCounts;

use crate::forward::answer::Failure;

/// Upper bounds of the duration buckets, in microseconds.
const BOUNDS_US: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Classes of answers: the first digit of the status, the last is "no answer of an instance".
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "error"];

/// What one worker counts for one upstream; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    classes: [AtomicU64; CLASSES.len()],
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    duration_us: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    /// Tunnels and raw connections opened.
    pub(crate) tunnels: AtomicU64,
    /// Bytes pumped from clients to instances.
    pub(crate) bytes_out: AtomicU64,
    /// Bytes pumped from instances to clients.
    pub(crate) bytes_in: AtomicU64,
}

impl Counters {
    /// Counts an answer of an instance, and the time to its head.
    #[inline]
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        let class = usize::from((status / 100).clamp(1, 5)) - 1;
        self.classes[class].fetch_add(1, Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.duration_us.fetch_add(us, Relaxed);
    }

    /// Counts a request that no instance answered.
    pub(crate) fn failed(&self, failure: Failure) {
        self.classes[CLASSES.len() - 1].fetch_add(1, Relaxed);
        self.failures[failure as usize].fetch_add(1, Relaxed);
    }
}

/// What one worker counts over all its connections.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerCounters {
    /// Client connections accepted.
    pub(crate) accepted: AtomicU64,
    /// Client connections open.
    pub(crate) open: AtomicU64,
    /// Failed tries to accept.
    pub(crate) accept_errors: AtomicU64,
    /// Requests that were answered before an upstream was known.
    failures: [AtomicU64; Failure::ALL.len()],
}

impl WorkerCounters {
    /// Counts a request that named no upstream.
    pub(crate) fn failed(&self, failure: Failure) {
        self.failures[failure as usize].fetch_add(1, Relaxed);
    }
}

/// What an upstream shows besides its counters.
pub(crate) struct UpstreamView<'a> {
    /// The service, with its tag and datacenter when the name said them.
    pub(crate) service: &'a str,
    /// One set per worker.
    pub(crate) counters: &'a [Counters],
    /// Endpoints that could be called.
    pub(crate) healthy: u64,
    /// Endpoints the registry lists but that may not be called.
    pub(crate) unhealthy: u64,
    /// Endpoints set aside by this process.
    pub(crate) aside: u64,
    /// Times that an endpoint was set aside.
    pub(crate) ejections: u64,
    /// What the SDK counts, to be added up.
    pub(crate) calls: Vec<CallCounts>,
    /// Time since the catalog was last confirmed.
    pub(crate) age: Duration,
}

/// Writes everything in Prometheus' text format 0.0.4.
pub(crate) fn write(upstreams: &[UpstreamView<'_>], workers: &[&WorkerCounters], ready: bool) -> String {
    let mut page = Page(String::with_capacity(4_096 + upstreams.len() * 4_096));
    page.head("callboard_build_info", "gauge", "Which build this is.");
    page.line("callboard_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.head("callboard_sidecar_ready", "gauge", "Whether /ready says yes.");
    page.line("callboard_sidecar_ready", &[], f64::from(u8::from(ready)));

    let total = |of: fn(&WorkerCounters) -> &AtomicU64| workers.iter().map(|worker| get(of(worker))).sum::<f64>();
    page.head("callboard_sidecar_connections", "gauge", "Client connections open.");
    page.line("callboard_sidecar_connections", &[], total(|worker| &worker.open));
    page.head("callboard_sidecar_connections_total", "counter", "Client connections accepted.");
    page.line("callboard_sidecar_connections_total", &[], total(|worker| &worker.accepted));
    page.head("callboard_sidecar_accept_errors_total", "counter", "Failed tries to accept a connection.");
    page.line("callboard_sidecar_accept_errors_total", &[], total(|worker| &worker.accept_errors));
    page.head("callboard_sidecar_unrouted_total", "counter", "Requests refused before a service was known.");
    for failure in [Failure::BadRequest, Failure::NoRoute, Failure::TooManyServices] {
        let count = workers.iter().map(|worker| get(&worker.failures[failure as usize])).sum();
        page.line("callboard_sidecar_unrouted_total", &[("reason", failure.word())], count);
    }
    write_upstreams(&mut page, upstreams);
    page.0
}

/// Which of the SDK's counters.
type Of = fn(&CallCounts) -> u64;

fn write_upstreams(page: &mut Page, upstreams: &[UpstreamView<'_>]) {
    page.head("callboard_client_requests_total", "counter", "Requests by class of answer; error: none came.");
    for upstream in upstreams {
        for (class, word) in CLASSES.iter().enumerate() {
            let labels = [("service", upstream.service), ("class", *word)];
            let count = upstream.total(|counters| &counters.classes[class]);
            page.line("callboard_client_requests_total", &labels, count);
        }
    }
    page.head("callboard_client_request_duration_seconds", "histogram", "Time from a request to its answer's head.");
    for upstream in upstreams {
        let mut below = 0.0;
        for (bucket, bound) in BOUNDS_US.iter().enumerate() {
            below += upstream.total(|counters| &counters.buckets[bucket]);
            let bound = seconds(*bound).to_string();
            let labels = [("service", upstream.service), ("le", &bound)];
            page.line("callboard_client_request_duration_seconds_bucket", &labels, below);
        }
        below += upstream.total(|counters| &counters.buckets[BOUNDS_US.len()]);
        let service = ("service", upstream.service);
        page.line("callboard_client_request_duration_seconds_bucket", &[service, ("le", "+Inf")], below);
        let sum = upstream.counters.iter().map(|counters| counters.duration_us.load(Relaxed)).sum();
        page.line("callboard_client_request_duration_seconds_sum", &[service], seconds(sum));
        page.line("callboard_client_request_duration_seconds_count", &[service], below);
    }
    page.head("callboard_client_failures_total", "counter", "Requests no instance answered, by reason.");
    for upstream in upstreams {
        for failure in Failure::ALL {
            let labels = [("service", upstream.service), ("reason", failure.word())];
            let count = upstream.total(|counters| &counters.failures[failure as usize]);
            page.line("callboard_client_failures_total", &labels, count);
        }
    }
    let counted: [(&str, &str, Of); 4] = [
        ("callboard_client_retries_total", "Tries after the first.", |calls| calls.retries),
        ("callboard_client_hedges_total", "Second servers asked because the first took long.", |calls| calls.hedges),
        ("callboard_client_hedges_won_total", "Second servers that answered first.", |calls| calls.hedges_won),
        ("callboard_client_retries_refused_total", "Tries refused by the budget.", |calls| calls.refused_by_budget),
    ];
    for (name, help, of) in counted {
        page.head(name, "counter", help);
        for upstream in upstreams {
            page.line(name, &[("service", upstream.service)], float(upstream.calls.iter().map(of).sum()));
        }
    }
    page.head("callboard_client_ejections_total", "counter", "Times that an endpoint was set aside.");
    for upstream in upstreams {
        let count = float(upstream.ejections);
        page.line("callboard_client_ejections_total", &[("service", upstream.service)], count);
    }
    page.head("callboard_client_endpoints", "gauge", "Endpoints of a service by state.");
    for upstream in upstreams {
        for (state, count) in
            [("healthy", upstream.healthy), ("unhealthy", upstream.unhealthy), ("aside", upstream.aside)]
        {
            page.line("callboard_client_endpoints", &[("service", upstream.service), ("state", state)], float(count));
        }
    }
    page.head("callboard_client_snapshot_age_seconds", "gauge", "Time since the catalog was last confirmed.");
    for upstream in upstreams {
        let age = upstream.age.as_secs_f64();
        page.line("callboard_client_snapshot_age_seconds", &[("service", upstream.service)], age);
    }
    page.head("callboard_sidecar_tunnels_total", "counter", "Raw connections and tunnels opened.");
    for upstream in upstreams {
        let count = upstream.total(|counters| &counters.tunnels);
        page.line("callboard_sidecar_tunnels_total", &[("service", upstream.service)], count);
    }
    page.head("callboard_sidecar_tunnel_bytes_total", "counter", "Bytes pumped; out is towards instances.");
    for upstream in upstreams {
        let service = ("service", upstream.service);
        let (out, back) =
            (upstream.total(|counters| &counters.bytes_out), upstream.total(|counters| &counters.bytes_in));
        page.line("callboard_sidecar_tunnel_bytes_total", &[service, ("direction", "out")], out);
        page.line("callboard_sidecar_tunnel_bytes_total", &[service, ("direction", "in")], back);
    }
}

impl UpstreamView<'_> {
    fn total(&self, of: impl Fn(&Counters) -> &AtomicU64) -> f64 {
        self.counters.iter().map(|counters| get(of(counters))).sum()
    }
}

fn get(counter: &AtomicU64) -> f64 {
    float(counter.load(Relaxed))
}

/// Prometheus counts in floats; beyond 2^53 a count loses its last digits, there as here.
#[expect(clippy::cast_precision_loss, reason = "the format knows only floats")]
fn float(count: u64) -> f64 {
    count as f64
}

fn seconds(us: u64) -> f64 {
    float(us) / 1e6
}

/// The page being written. Writing to a `String` cannot fail.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            self.0.push(if position == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for letter in text.chars() {
                match letter {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_adds_up_what_workers_counted() {
        let counters = [Counters::default(), Counters::default()];
        counters[0].answered(200, Duration::from_micros(700));
        counters[1].answered(204, Duration::from_secs(60));
        counters[1].answered(503, Duration::from_micros(500));
        counters[0].failed(Failure::Connect);
        let view = UpstreamView {
            service: "a\"b",
            counters: &counters,
            healthy: 2,
            unhealthy: 1,
            aside: 0,
            ejections: 3,
            calls: vec![CallCounts::default(), CallCounts::default()],
            age: Duration::from_millis(1500),
        };
        let worker = WorkerCounters::default();
        worker.failed(Failure::NoRoute);
        let page = write(&[view], &[&worker], true);
        for line in [
            r#"callboard_client_requests_total{service="a\"b",class="2xx"} 2"#,
            r#"callboard_client_requests_total{service="a\"b",class="error"} 1"#,
            r#"callboard_client_failures_total{service="a\"b",reason="connect"} 1"#,
            r#"callboard_client_request_duration_seconds_bucket{service="a\"b",le="0.0005"} 1"#,
            r#"callboard_client_request_duration_seconds_bucket{service="a\"b",le="0.001"} 2"#,
            r#"callboard_client_request_duration_seconds_bucket{service="a\"b",le="+Inf"} 3"#,
            r#"callboard_client_request_duration_seconds_sum{service="a\"b"} 60.0012"#,
            r#"callboard_client_snapshot_age_seconds{service="a\"b"} 1.5"#,
            r#"callboard_client_endpoints{service="a\"b",state="healthy"} 2"#,
            r#"callboard_client_retries_total{service="a\"b"} 0"#,
            r#"callboard_client_hedges_won_total{service="a\"b"} 0"#,
            r#"callboard_client_ejections_total{service="a\"b"} 3"#,
            r#"callboard_sidecar_unrouted_total{reason="no-route"} 1"#,
            "callboard_sidecar_ready 1",
        ] {
            assert!(page.lines().any(|given| given == line), "{line}\n{page}");
        }
    }
}
