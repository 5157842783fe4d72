//! Takes what is asked for: one call after the other, so many programs at once.

use std::collections::HashSet;
use std::sync::Arc;

use callboard_proto::NodeName;
use callboard_proto::acl::Fallback;
use callboard_proto::api::event::UserEvent;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::desk::{Desk, DeskError};
use super::run::{NO_CODE, run};
use super::words::{Call, Job, Part};
use crate::acl::Acl;
use crate::cluster::Cluster;

/// How many calls may wait; further ones are dropped.
const CALLS_MAX: usize = 64;
/// How many programs run at once; whoever asks for more is told so.
const JOBS_MAX: usize = 16;

/// What a node needs to run programs for others; clones share who runs.
#[derive(Clone)]
pub struct Exec {
    cluster: Cluster,
    acl: Arc<Acl>,
    node: NodeName,
    /// The jobs that are being taken or run, by their keys.
    taken: Arc<Mutex<HashSet<String>>>,
    places: Arc<Semaphore>,
}

impl Exec {
    /// A node that runs programs; the calls that it is to hear come through the channel.
    #[must_use]
    pub fn new(cluster: Cluster, acl: Arc<Acl>, node: NodeName) -> Exec {
        Exec { cluster, acl, node, taken: Arc::default(), places: Arc::new(Semaphore::new(JOBS_MAX)) }
    }

    /// Where calls wait to be heard.
    #[must_use]
    pub fn calls() -> (mpsc::Sender<UserEvent>, mpsc::Receiver<UserEvent>) {
        mpsc::channel(CALLS_MAX)
    }

    /// Takes a call: what it asks for runs on by itself.
    async fn hear(&self, event: &UserEvent, jobs: &TaskTracker, stop: &CancellationToken) {
        let call = match event
            .bytes()
            .map_err(|error| error.to_string())
            .and_then(|payload| Call::read(&payload).map_err(|error| error.to_string()))
        {
            Ok(call) => call,
            Err(reason) => {
                warn!(event = event.id, reason, "a call to run a program cannot be used");
                return;
            }
        };
        let desk = Desk::new(self.cluster.clone(), self.acl.clone(), self.node.clone(), call, stop.clone());
        let Some(taken) = Taken::begin(&self.taken, desk.place().job()) else {
            debug!(session = desk.session(), "a job that runs was called for again");
            return;
        };
        let job = match take(&desk).await {
            Ok(job) => job,
            Err(error @ (DeskError::Taken | DeskError::Gone)) => {
                debug!(session = desk.session(), error = &error as &dyn std::error::Error, "a job was left alone");
                return;
            }
            Err(error) => {
                warn!(session = desk.session(), error = &error as &dyn std::error::Error, "a job was not taken");
                return;
            }
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            refuse(&desk).await;
            return;
        };
        let stop = stop.clone();
        jobs.spawn(async move {
            info!(session = desk.session(), "running a program for somebody elsewhere");
            match run(&desk, job, &stop).await {
                Ok(code) => info!(session = desk.session(), code, "the program for somebody elsewhere ended"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(session = desk.session(), error, "a program for somebody elsewhere was ended");
                }
            }
            drop((taken, place));
        });
    }
}

/// Reads a job, and tells that it was taken.
async fn take(desk: &Desk) -> Result<Job, DeskError> {
    let job = desk.job().await?;
    desk.write(Part::Ack, b"").await?;
    Ok(job)
}

/// Tells that there is no place for a job.
async fn refuse(desk: &Desk) {
    let text = format!("callboard: {JOBS_MAX} programs run here already\n");
    let told = async {
        desk.write(Part::Out(0), text.as_bytes()).await?;
        desk.write(Part::Exit, NO_CODE.to_string().as_bytes()).await
    };
    warn!(session = desk.session(), max = JOBS_MAX, "a job was refused: too many run");
    if let Err(error) = told.await {
        debug!(session = desk.session(), error = &error as &dyn std::error::Error, "nobody was told");
    }
}

/// A job that is being taken or run, so that it is not begun twice.
struct Taken {
    all: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl Taken {
    fn begin(all: &Arc<Mutex<HashSet<String>>>, key: String) -> Option<Taken> {
        all.lock().insert(key.clone()).then(|| Taken { all: all.clone(), key })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

/// Runs what is asked for until told to stop; then every program is told to end.
pub async fn listen(exec: Exec, mut calls: mpsc::Receiver<UserEvent>, stop: CancellationToken) {
    // Without access control, too.
    if exec.acl.fallback() == Fallback::Allow {
        warn!(
            "disable_remote_exec is false and what no rule forbids is allowed (no access control, or acl.default_policy is \
             \"allow\"): whoever reaches the HTTP interface of any node can run any program here"
        );
    }
    let jobs = TaskTracker::new();
    loop {
        let heard = async {
            match calls.recv().await {
                Some(event) => exec.hear(&event, &jobs, &stop).await,
                // Nobody hands calls on any more, and programs may still run.
                None => stop.cancelled().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = heard => {}
        }
    }
    jobs.close();
    jobs.wait().await;
}
