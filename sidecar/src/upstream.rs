//! One service as the sidecar calls it: the SDK's balancer and HTTP service, and what is counted.
//!
//! [`Upstream`] is shared by all workers; [`Local`] is one worker's half of it, with connections that
//! live on that worker's runtime. Decides only which protocol an instance is spoken to in and what a
//! hash key is; picking, pooling and retrying are the SDK's. Opened by `directory`.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callboard::balance::{self, Balancer, hash};
use callboard::call::{CallStats, HttpService, HttpSettings, ResponseBody, RetryBudget, RetryPolicy};
use callboard::catalog::Snapshot;
use callboard::http::{PoolSettings, Protocol as PoolProtocol};
use http::Request;

use crate::config::{Hash, HashBy, Policy, Protocol, Timeouts};
use crate::directory::News;
use crate::forward::upload::Upload;
use crate::metrics::{Counters, UpstreamView};

/// The body of an instance's answer.
pub(crate) type UpstreamBody = ResponseBody<Upload>;

/// What an upstream is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// How an instance is chosen.
    pub(crate) policy: Policy,
    /// Whether `/ready` may say yes while there is no instance.
    pub(crate) start_empty: bool,
}

/// One service, shared by all workers.
pub(crate) struct Upstream {
    /// Names the service in texts and metrics, with tag and datacenter when the name said them.
    pub(crate) label: String,
    /// Chooses instances.
    pub(crate) balancer: Balancer,
    /// How long things may take.
    pub(crate) timeouts: Timeouts,
    settings: Settings,
    news: News,
    budget: Arc<RetryBudget>,
    counters: Box<[Counters]>,
    /// What the SDK counts, one for each half of each worker.
    calls: Mutex<Vec<Arc<CallStats>>>,
    used: AtomicU64,
    heard: AtomicBool,
    retired: AtomicBool,
}

impl Upstream {
    /// Joins a balancer with the source of its news.
    pub(crate) fn new(
        label: String,
        balancer: Balancer,
        news: News,
        settings: Settings,
        timeouts: Timeouts,
        workers: usize,
    ) -> Upstream {
        Upstream {
            label,
            balancer,
            timeouts,
            settings,
            news,
            budget: Arc::default(),
            counters: (0..workers).map(|_| Counters::default()).collect(),
            calls: Mutex::default(),
            used: AtomicU64::new(0),
            heard: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// Tells whether raw bytes are passed.
    pub(crate) fn is_tcp(&self) -> bool {
        self.settings.protocol == Protocol::Tcp
    }

    /// Waits until the catalog has said anything about the service, at most for the time to discover.
    pub(crate) async fn known(&self) {
        if self.heard.load(Relaxed) {
            return;
        }
        if self.balancer.snapshot().generation() == 0 {
            // When the time is over, what follows fails with the better text: no endpoint known, index 0.
            let _ = tokio::time::timeout(self.timeouts.discover, self.news.first(&self.balancer)).await;
        }
        if self.balancer.snapshot().generation() > 0 {
            self.heard.store(true, Relaxed);
        }
    }

    /// Why `/ready` cannot say yes because of this upstream.
    pub(crate) fn unready(&self) -> Option<String> {
        let snapshot = self.balancer.snapshot();
        (!self.settings.start_empty && snapshot.eligible_len() == 0).then(|| {
            let known = snapshot.members().len();
            format!("upstream {}: no healthy instance ({known} known, index {})", self.label, snapshot.index())
        })
    }

    /// What `/metrics` shows.
    pub(crate) fn view(&self) -> UpstreamView<'_> {
        let snapshot = self.balancer.snapshot();
        let healthy = u64::from(snapshot.eligible_len());
        UpstreamView {
            service: &self.label,
            counters: &self.counters,
            healthy,
            unhealthy: snapshot.members().len() as u64 - healthy,
            aside: snapshot.aside_len() as u64,
            ejections: snapshot.aside().ejections(),
            calls: self
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .map(|calls| calls.counts())
                .collect(),
            age: self.news.age().unwrap_or_else(|| self.balancer.age()),
        }
    }

    /// Notes a use at a time of the caller's clock.
    pub(crate) fn touch(&self, now: u64) {
        // All workers would write this line; once per tick is enough.
        if self.used.load(Relaxed) != now {
            self.used.store(now, Relaxed);
        }
    }

    /// When it was used last, by the callers' clock.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Takes it out of service; workers drop their halves and ask the directory again.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
        self.news.stop();
    }

    /// Tells whether it was taken out of service.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Tells whether nobody is listed under the name.
    pub(crate) fn is_empty(&self) -> bool {
        self.balancer.snapshot().members().is_empty()
    }

    /// Hashes what the policy wants hashed.
    pub(crate) fn hash_of<B>(&self, request: &Request<B>, client: IpAddr) -> Option<u64> {
        let Policy::Hash(_, by) = &self.settings.policy else { return None };
        match by {
            HashBy::Header(name) => request.headers().get(name).map(|value| hash::key(value.as_bytes())),
            HashBy::Path => Some(hash::key(request.uri().path().as_bytes())),
            HashBy::Source => Some(source_hash(client)),
        }
    }

    /// Hashes a raw client, which has nothing but an address.
    pub(crate) fn hash_of_client(&self, client: IpAddr) -> Option<u64> {
        matches!(&self.settings.policy, Policy::Hash(..)).then(|| source_hash(client))
    }
}

fn source_hash(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(address) => hash::key(&address.octets()),
        IpAddr::V6(address) => hash::key(&address.octets()),
    }
}

/// The SDK's policy of that name.
pub(crate) fn policy(policy: &Policy) -> balance::Policy {
    match policy {
        Policy::RoundRobin => balance::Policy::RoundRobin,
        Policy::Weighted => balance::Policy::SmoothWeighted,
        Policy::Random => balance::Policy::Random,
        Policy::LeastRequest => balance::Policy::LEAST_REQUEST,
        Policy::PeakEwma => balance::Policy::PeakEwma,
        Policy::Prequal => balance::Policy::PREQUAL,
        Policy::Hash(Hash::Slots, _) => balance::Policy::DX_HASH,
        Policy::Hash(Hash::Ring, _) => balance::Policy::RING_HASH,
        Policy::Hash(Hash::Maglev, _) => balance::Policy::Maglev,
    }
}

/// Tells whether every instance says that it speaks HTTP/2; one that does not would get bytes it cannot read.
fn speaks_http2(snapshot: &Snapshot) -> bool {
    let says = |value: &String| matches!(value.as_str(), "h2" | "http2" | "h2c" | "grpc");
    !snapshot.members().is_empty()
        && snapshot.members().iter().all(|member| member.endpoint().meta().get("protocol").is_some_and(says))
}

/// One worker's half of an upstream.
pub(crate) struct Local {
    /// The shared half.
    pub(crate) upstream: Arc<Upstream>,
    worker: usize,
    http1: HttpService<Upload>,
    http2: HttpService<Upload>,
    /// The snapshot the choice of protocol was made by, and the choice.
    chosen: AtomicU64,
    is_http2: AtomicBool,
}

/// Unused connections are closed before most servers would: theirs is usually 60 s or more, Node's 5 s
/// is met by the SDK's transparent retry.
const POOL_IDLE: Duration = Duration::from_secs(20);

impl Local {
    /// Builds the half of worker number `worker`.
    pub(crate) fn new(upstream: Arc<Upstream>, worker: usize) -> Local {
        let service = |protocol| {
            let pool = PoolSettings {
                protocol,
                connect_timeout: upstream.timeouts.connect,
                idle_timeout: POOL_IDLE,
                ..PoolSettings::default()
            };
            let settings = HttpSettings {
                pool,
                response_timeout: Some(upstream.timeouts.response_header),
                retry: RetryPolicy { per_try_timeout: upstream.timeouts.per_try, ..RetryPolicy::default() },
                ..HttpSettings::default()
            };
            HttpService::with(upstream.balancer.clone(), settings, Arc::clone(&upstream.budget))
        };
        let (http1, http2) = (service(PoolProtocol::Http1), service(PoolProtocol::Http2));
        let counted = [&http1, &http2].map(|service| Arc::clone(service.stats()));
        upstream.calls.lock().unwrap_or_else(PoisonError::into_inner).extend(counted);
        Local { upstream, worker, http1, http2, chosen: AtomicU64::new(u64::MAX), is_http2: AtomicBool::new(false) }
    }

    /// The counters that only this worker writes.
    #[inline]
    pub(crate) fn counters(&self) -> &Counters {
        &self.upstream.counters[self.worker]
    }

    /// The service to send a request with, and whether it speaks HTTP/2.
    #[inline]
    pub(crate) fn http(&self, upgrades: bool) -> (&HttpService<Upload>, bool) {
        let is_http2 = match self.upstream.settings.protocol {
            Protocol::Http2 => true,
            // An upgrade is a matter of HTTP/1.1; who speaks only HTTP/2 will refuse it.
            Protocol::Http1 | Protocol::Tcp => false,
            Protocol::Auto => !upgrades && self.by_meta(),
        };
        if is_http2 { (&self.http2, true) } else { (&self.http1, false) }
    }

    /// What the instances' meta says; looked up anew when the snapshot changed.
    fn by_meta(&self) -> bool {
        let snapshot = self.upstream.balancer.snapshot();
        if self.chosen.load(Relaxed) != snapshot.generation() {
            self.is_http2.store(speaks_http2(&snapshot), Relaxed);
            self.chosen.store(snapshot.generation(), Relaxed);
        }
        self.is_http2.load(Relaxed)
    }

    /// Closes connections kept for instances that are gone.
    pub(crate) fn tidy(&self) {
        let snapshot = self.upstream.balancer.snapshot();
        let keys: std::collections::HashSet<_> = snapshot.members().iter().map(|member| member.stats().key()).collect();
        self.http1.pool().retain(|key| keys.contains(key));
        self.http2.pool().retain(|key| keys.contains(key));
    }
}
