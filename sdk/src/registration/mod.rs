//! Signing in, staying signed in, and leaving without losing a call.
//!
//! A registration is a desired state that a task keeps true, not a request that was made once: it beats,
//! notices that it was forgotten and registers again, for as long as its guard lives. What is due when is
//! decided in `plan`, which is pure; `keeper` is the task around it, on a thread of its own (`thread`) that also notices
//! when the application is stuck (`pulse`); `mirror` reads the own row where everybody reads it; [`Registered`] is the
//! guard; [`InFlight`] counts and measures what is served.

mod flight;
mod guard;
mod keeper;
mod mirror;
mod plan;
mod probe;
mod pulse;
mod quality;
mod service;
mod state;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use flight::{InFlight, Moving};
pub use guard::{Drain, Drained, Registered};
pub(crate) use mirror::FindWatch;
pub use plan::{Act, Plan, PlanSettings, Told};
pub use probe::InProcessCheck;
pub use pulse::Pulse;
pub use quality::Quality;
pub use service::Service;
pub use state::{Phase, Standing};
pub(crate) use thread::BeatThread;

use crate::backoff::Backoff;
use crate::client::Api;
use crate::error::Error;
use keeper::Keeper;
use mirror::Mirror;
use state::Shared;

/// What the client gives to every registration.
pub(crate) struct Host<'a> {
    pub(crate) api: Arc<Api>,
    pub(crate) backoff: Backoff,
    pub(crate) audit_every: Duration,
    pub(crate) tracker: &'a TaskTracker,
    pub(crate) end: &'a CancellationToken,
    /// Where beats are sent from; the application's own runtime if there is none. `api` must be used nowhere else then,
    /// since connections live on the runtime that opened them.
    pub(crate) thread: Option<&'a BeatThread>,
    /// How the watch of the own service is found, on which node the row is, and how long the watch may be silent.
    pub(crate) find_watch: FindWatch,
    pub(crate) node: Option<String>,
    pub(crate) silence_max: Duration,
}

/// Starts keeping a registration true, and waits until it is for the first time.
pub(crate) async fn register(host: Host<'_>, service: Service) -> Result<Registered, Error> {
    let patience = service.patience;
    let instance = service.instance_id().to_owned();
    let guard = start(host, service);
    let Some(after) = patience else { return Ok(guard) };
    match tokio::time::timeout(after, guard.settled()).await {
        Ok(settled) => settled.map(|()| guard),
        Err(_) => {
            let source = guard.standing().error;
            // Dropping the guard ends the task, which takes back what a lost answer may have left behind.
            drop(guard);
            Err(Error::NotRegistered { instance, after, source })
        }
    }
}

fn start(host: Host<'_>, mut service: Service) -> Registered {
    service.note_start();
    let probes = std::mem::take(&mut service.probes);
    let shared = Arc::new(Shared::new(&service, &probes));
    let end = host.end.child_token();
    for (place, probe) in probes.into_iter().enumerate() {
        let (shared, end) = (shared.clone(), end.clone());
        host.tracker.spawn(async move {
            end.run_until_cancelled(probe.run(&shared, place)).await;
        });
    }
    let settings = PlanSettings { ttl: service.ttl, audit_every: host.audit_every, backoff: host.backoff };
    let mirror = Mirror::new(host.find_watch, host.node, host.silence_max);
    let stuck_after = service.ttl.map(|ttl| service.stuck_after.unwrap_or(ttl));
    let plan = Plan::new(settings, tokio::time::Instant::now());
    let keeping = Keeper::new(host.api, service, shared.clone(), plan, mirror).keep(end.clone());
    match host.thread {
        Some(thread) => {
            thread.spawn(host.tracker, keeping);
            if let Some(limit) = stuck_after {
                let (shared, end) = (shared.clone(), end.clone());
                let feeling = pulse::feel(Handle::current(), shared, Pulse::new(limit));
                thread.spawn(host.tracker, async move {
                    end.run_until_cancelled(feeling).await;
                });
            }
        }
        None => drop(host.tracker.spawn(keeping)),
    }
    Registered::new(shared, end)
}
