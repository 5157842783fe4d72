//! The figures as a recorder sees them, and the events as a subscriber does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::{Ask, Policy};
use callboard::endpoint::{Health, Outcome};
use callboard::metrics::{
    ABANDONED, CALLS, CALLS_FAILED, EJECTIONS, ENDPOINTS, HEDGES, IN_FLIGHT, OUTCOMES_FAILED, PICKS, RETRIES, Reporter,
    SNAPSHOT_AGE, TRIES_FAILED,
};
use callboard::tower::HttpService;
use http::Request;
use http_body_util::Empty;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use crate::backend::{catalog, echo, endpoints, nobody};
use callboard::testing::Registry;

/// Keeps every figure under `name{label=value,…}`; gauges as the bits of their value.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Kept {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().entry(name).or_default())
    }

    fn count(&self, name: &str, labels: &str) -> u64 {
        self.0.lock().get(&format!("{name}{{{labels}}}")).map_or(0, |cell| cell.load(SeqCst))
    }

    fn gauge(&self, name: &str, labels: &str) -> f64 {
        f64::from_bits(self.count(name, labels))
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn what_happened_is_told_once() {
    let kept = Kept::default();
    let _recorder = metrics::set_default_local_recorder(&kept);
    let (address, _) = echo().await;
    let catalog = catalog(&[nobody().await, address]);
    let balancer = catalog.balancer("users", Policy::RoundRobin);
    let calls = HttpService::<Empty<Bytes>>::new(balancer.clone());
    let get = || Request::get("/").body(Empty::new()).unwrap();
    for _ in 0..5 {
        drop(calls.send(get()).await.unwrap());
    }
    let failed = "service=users,policy=round_robin,reason=connect";
    let granted = "service=users,policy=round_robin,granted=true";
    assert_eq!((kept.count(TRIES_FAILED, failed), kept.count(RETRIES, granted)), (1, 1), "told when it happened");

    let mut reporter = Reporter::new();
    let held = calls.send(get()).await.unwrap();
    for _ in 0..2 {
        reporter.report(&[balancer.clone(), catalog.balancer("users", Policy::default())]);
        assert_eq!(kept.count(PICKS, "service=users"), 7, "six calls and a second try");
        assert_eq!(kept.count(OUTCOMES_FAILED, "service=users"), 1);
        assert_eq!(kept.gauge(IN_FLIGHT, "service=users"), 1.0);
        let states = ["healthy", "unhealthy", "aside"]
            .map(|state| kept.gauge(ENDPOINTS, &format!("service=users,state={state}")));
        assert_eq!(states, [2.0, 0.0, 1.0]);
        assert_eq!(kept.count(EJECTIONS, "service=users"), 1);
    }
    for policy in ["round_robin", "least_request"] {
        let age = kept.gauge(SNAPSHOT_AGE, &format!("service=users,policy={policy}"));
        assert!((0.0..3600.0).contains(&age), "{age}");
    }

    // An endpoint that left is told of until its last call is over.
    let mut next = endpoints(&[address]);
    next[0] = next[0].clone().with_health(Health::Critical);
    catalog.set("users", next);
    reporter.report(std::slice::from_ref(&balancer));
    assert_eq!(kept.gauge(IN_FLIGHT, "service=users"), 1.0);
    assert_eq!(kept.gauge(ENDPOINTS, "service=users,state=unhealthy"), 1.0);
    drop(held);
    reporter.report(&[balancer]);
    assert_eq!(kept.gauge(IN_FLIGHT, "service=users"), 0.0);
    assert_eq!(kept.count(PICKS, "service=users"), 7);
}

#[tokio::test]
async fn a_call_that_was_given_up_is_told_of_even_after_its_endpoint_left() {
    let kept = Kept::default();
    let _recorder = metrics::set_default_local_recorder(&kept);
    let catalog = catalog(&["127.0.0.1:1".parse().unwrap()]);
    let balancer = catalog.balancer("users", Policy::default());
    let mut reporter = Reporter::new();
    let (first, second) = (balancer.pick(&Ask::any()).unwrap(), balancer.pick(&Ask::any()).unwrap());
    reporter.report(std::slice::from_ref(&balancer));
    catalog.set("users", []);
    reporter.report(std::slice::from_ref(&balancer));
    drop(first);
    second.finish(Outcome::Failed);
    reporter.report(&[balancer]);
    let told = [PICKS, ABANDONED, OUTCOMES_FAILED].map(|name| kept.count(name, "service=users"));
    assert_eq!((told, kept.gauge(IN_FLIGHT, "service=users")), ([2, 1, 1], 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_client_reports_until_it_is_shut_down() {
    let kept = Kept::default();
    let _recorder = metrics::set_default_local_recorder(&kept);
    let registry = Registry::start();
    registry.add("web", "web-1", 80);
    let client = registry.client().unwrap();
    let balancer = client.balancer("web", Policy::RoundRobin).unwrap();
    client.watch("web").unwrap().ready(1, Duration::from_secs(10)).await.unwrap();
    let reporting = tokio::spawn({
        let client = client.clone();
        async move { client.report_metrics(Duration::from_secs(5)).await }
    });
    balancer.pick(&Ask::any()).unwrap().finish(Outcome::Success);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(kept.count(PICKS, "service=web"), 1);
    balancer.pick(&Ask::any()).unwrap().finish(Outcome::Success);
    client.shutdown().await;
    reporting.await.unwrap();
    assert_eq!(kept.count(PICKS, "service=web"), 2, "the last report comes at the end");
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_by_how_they_ended_even_by_callers_that_are_gone() {
    let kept = Kept::default();
    let _recorder = metrics::set_default_local_recorder(&kept);
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let get = || Request::get("/").body(Empty::<Bytes>::new()).unwrap();
    let reporting = tokio::spawn({
        let client = client.clone();
        async move { client.report_metrics(Duration::from_secs(5)).await }
    });
    let (first, second) = [(); 2].map(|()| client.http::<Empty<Bytes>>("users", Policy::RoundRobin).unwrap()).into();
    assert!(Arc::ptr_eq(first.stats(), second.stats()), "one service and policy, one account");
    for calls in [&first, &second, &second] {
        assert!(calls.send(get()).await.is_err(), "nobody is there");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let of = "service=users,policy=round_robin";
    let no_endpoint = format!("{of},reason={}", callboard::call::Reason::NoEndpoint.as_str());
    let told = || [kept.count(CALLS, of), kept.count(CALLS_FAILED, &no_endpoint), kept.count(HEDGES, of)];
    assert_eq!(told(), [3, 3, 0]);
    assert!(first.send(get()).await.is_err());
    drop((first, second));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(told(), [4, 4, 0], "and told once");
    client.shutdown().await;
    reporting.await.unwrap();
    assert_eq!(told(), [4, 4, 0]);
}
