//! Signing in, staying signed in, and leaving without losing a call.
//!
//! A registration is a desired state that a task keeps true, not a request that was made once: it beats,
//! notices that it was forgotten and registers again, for as long as its guard lives. What is due when is
//! decided in `plan`, which is pure; `keeper` is the task around it; [`Registered`] is the guard.

mod flight;
mod guard;
mod keeper;
mod plan;
mod probe;
mod service;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use flight::{InFlight, Moving};
pub use guard::{Drain, Drained, Registered};
pub use plan::{Act, Plan, PlanSettings, Told};
pub use probe::InProcessCheck;
pub use service::Service;
pub use state::{Phase, Standing};

use crate::backoff::Backoff;
use crate::client::Api;
use crate::error::Error;
use keeper::Keeper;
use state::Shared;

/// What the client gives to every registration.
pub(crate) struct Host<'a> {
    pub(crate) api: Arc<Api>,
    pub(crate) backoff: Backoff,
    pub(crate) audit_every: Duration,
    pub(crate) tracker: &'a TaskTracker,
    pub(crate) end: &'a CancellationToken,
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
    let keeper = Keeper::new(host.api, service, shared.clone(), Plan::new(settings, tokio::time::Instant::now()));
    host.tracker.spawn(keeper.keep(end.clone()));
    Registered::new(shared, end)
}
