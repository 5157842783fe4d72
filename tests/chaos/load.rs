//! The callers: calls begin at fixed times, whatever becomes of those before them.
//!
//! Three kinds take turns: a read through the SDK, a write (POST, which must never be repeated once it was sent) through
//! the SDK, and a read through the sidecar by a client that knows nothing of any of this. Times count from when a call
//! was meant to begin. What is counted belongs to the fault that was going on at that moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::Policy;
use callboard::call::{HttpService, HttpSettings, RetryPolicy};
use callboard::catalog::Catalog;
use callboard::endpoint::Endpoint;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::Error;
use crate::stage::{SERVICE, Stage, TRY_MAX};

/// Calls begun per second.
const RATE: u32 = 150;
/// Calls that may be under way at once. Hitting it counts as a failure: the load would not be open any more.
const UNDER_WAY_MAX: usize = 3000;
/// How long a caller waits at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures whose text is kept.
const TEXTS_MAX: usize = 5;

/// The kinds of calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A GET through the SDK.
    Read,
    /// A POST through the SDK.
    Write,
    /// A GET through the sidecar.
    Sidecar,
}

/// What was counted during one fault.
#[derive(Default)]
pub(crate) struct Tally {
    /// Calls begun, by kind.
    pub(crate) calls: [u64; 3],
    /// Calls failed for good, by kind.
    pub(crate) failed: [u64; 3],
    /// What failures said, the first few.
    pub(crate) texts: Vec<String>,
    /// How long each successful read of either way took, in microseconds.
    pub(crate) micros: Vec<u32>,
}

/// The running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    sdk: HttpService<Empty<Bytes>>,
    sidecar: HttpService<Empty<Bytes>>,
    tally: Mutex<Arc<Mutex<Tally>>>,
    under_way: Arc<Semaphore>,
    ended: AtomicBool,
}

impl Load {
    /// Begins to call.
    pub(crate) fn start(stage: &Stage) -> Result<Self, Error> {
        let (host, port) = stage.upstream.rsplit_once(':').ok_or("the sidecar's address has a port")?;
        // One endpoint and one try: a plain client.
        let beside = Catalog::fixed([("sidecar", [Endpoint::new("sidecar", host, port.parse()?)])]);
        let plain = HttpSettings { retry: RetryPolicy::never(), ..HttpSettings::default() };
        let retry = RetryPolicy { per_try_timeout: Some(TRY_MAX), ..RetryPolicy::default() };
        let patient = HttpSettings { retry, ..HttpSettings::default() };
        let shared = Arc::new(Shared {
            sdk: stage.client.http_with(SERVICE, Policy::default(), patient, Arc::default())?,
            sidecar: HttpService::with(beside.balancer("sidecar", Policy::RoundRobin), plain, Arc::default()),
            tally: Mutex::default(),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            ended: AtomicBool::new(false),
        });
        Ok(Self { task: tokio::spawn(Arc::clone(&shared).run()), shared })
    }

    /// Returns what was counted since the last turn, when the last call that began in it has ended.
    pub(crate) async fn turn(&self) -> Tally {
        let mut tally = std::mem::take(&mut *self.shared.tally.lock());
        // Every call holds its tally; patience bounds the wait.
        loop {
            match Arc::try_unwrap(tally) {
                Ok(last) => return last.into_inner(),
                Err(shared) => tally = shared,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the load; returns when no call begins any more.
    pub(crate) async fn stop(self) {
        self.shared.ended.store(true, Relaxed);
        // A load that panicked has shown so in the counts.
        let _ = self.task.await;
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let begun = Instant::now();
        for turn in 0u32.. {
            if self.ended.load(Relaxed) {
                return;
            }
            let meant = begun + Duration::from_secs(1) * turn / RATE;
            sleep_until(meant).await;
            let kind = [Kind::Read, Kind::Write, Kind::Sidecar][turn as usize % 3];
            let tally = Arc::clone(&self.tally.lock());
            tally.lock().calls[kind as usize] += 1;
            let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else {
                tally.lock().fail(kind, format!("{UNDER_WAY_MAX} calls are under way already"));
                continue;
            };
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                let outcome = match tokio::time::timeout(PATIENCE, shared.call(kind)).await {
                    Ok(outcome) => outcome.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {PATIENCE:?}")),
                };
                let mut tally = tally.lock();
                match outcome {
                    Err(text) => tally.fail(kind, text),
                    Ok(()) if kind == Kind::Write => {}
                    Ok(()) => tally.micros.push(u32::try_from(meant.elapsed().as_micros()).unwrap_or(u32::MAX)),
                }
                drop(place);
            });
        }
    }

    async fn call(&self, kind: Kind) -> Result<(), Error> {
        let method = if kind == Kind::Write { Method::POST } else { Method::GET };
        let request = Request::builder().method(method).uri("/").body(Empty::new())?;
        let service = if kind == Kind::Sidecar { &self.sidecar } else { &self.sdk };
        let (head, body) = service.send(request).await?.into_parts();
        let text = body.collect().await?.to_bytes();
        if head.status.is_success() {
            return Ok(());
        }
        Err(format!("answered {}: {}", head.status, String::from_utf8_lossy(&text).trim()).into())
    }
}

impl Tally {
    fn fail(&mut self, kind: Kind, text: String) {
        self.failed[kind as usize] += 1;
        if self.texts.len() < TEXTS_MAX {
            let name = ["read", "write", "sidecar"][kind as usize];
            self.texts.push(format!("{name}: {text}"));
        }
    }
}
