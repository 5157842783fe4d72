//! The background task beside the engine: publishes the status, takes checkpoints when due, purges the log.
//!
//! It decides when; `checkpoint` and `log` do the work, on their own threads, while entries go on being
//! applied. A checkpoint that cannot be written is reported and tried again later: the log still holds
//! everything, so nothing is lost by it. The task ends when the engine does, after publishing why.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::async_runtime::WatchReceiver;
use openraft::{LogIdOptionExt, RaftSnapshotBuilder};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, info};

use crate::checkpoint::Shelf;
use crate::error::Error;
use crate::options::Options;
use crate::state::Applied;
use crate::status::{Role, Status};
use crate::types::Engine;

/// Takes checkpoints, one at a time.
#[derive(Clone)]
pub(crate) struct Checkpointer {
    engine: Engine,
    one: Arc<Mutex<()>>,
}

impl Checkpointer {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, one: Arc::default() }
    }

    /// Writes the state as it is now and tells the engine, which then lets go of the log.
    pub(crate) async fn take(&self) -> Result<(), Error> {
        let _one = self.one.lock().await;
        let stopped = |fatal: openraft::errors::Fatal<_>| Error::Fatal { reason: fatal.to_string() };
        let builder = self.engine.with_state_machine(|state| {
            let builder = state.freeze();
            Box::pin(async move { builder })
        });
        let mut builder = builder.await.map_err(stopped)?;
        let snapshot = builder.build_snapshot().await.map_err(Error::WriteCheckpoint)?;
        // The engine would stop for good if its own attempt to build failed, so it is handed a finished one.
        let announce = self.engine.with_state_machine(move |state| {
            state.announce(snapshot);
            Box::pin(async {})
        });
        announce.await.map_err(stopped)?;
        self.engine.trigger().snapshot().await.map_err(stopped)
    }
}

/// What the task works on.
pub(crate) struct Keeper {
    pub(crate) engine: Engine,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) options: Arc<Options>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) status: watch::Sender<Status>,
    /// Resolves when the last handle is gone.
    pub(crate) gone: oneshot::Receiver<()>,
}

/// How checkpoints have gone so far.
#[derive(Default)]
struct Progress {
    /// The one being taken.
    running: Option<JoinHandle<Result<(), Error>>>,
    /// Log bytes applied when the last one was begun. Entries replayed at a restart count: they are log
    /// that a checkpoint would save.
    marked_bytes: u64,
    /// After a failure, no other is begun before this many entries are applied.
    not_before: u64,
    /// Why the last one failed, if it did.
    failure: Option<String>,
    /// Up to where a purge was asked for.
    purged_upto: u64,
}

impl Keeper {
    /// Runs until the engine stops or nobody holds a handle to it.
    pub(crate) async fn run(mut self) {
        let mut metrics = self.engine.metrics();
        let mut progress = Progress::default();
        loop {
            let mut status = Status::read(&metrics.borrow_and_update());
            status.checkpoint_failure.clone_from(&progress.failure);
            self.report(&status);
            let (stopped, applied) = (status.role == Role::Stopped, status.applied);
            self.publish(status);
            if stopped {
                return;
            }
            let covered = metrics.borrow_watched().snapshot.next_index();
            self.work(&mut progress, applied, covered).await;
            let running = async {
                match progress.running.as_mut() {
                    Some(running) => running.await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                changed = metrics.changed() => changed.is_err(),
                _ = &mut self.gone => return,
                taken = running => {
                    progress.running = None;
                    progress.failure = match taken {
                        Ok(Ok(())) => None,
                        Ok(Err(failure)) => Some(chain(&failure)),
                        Err(failure) => Some(failure.to_string()),
                    };
                    if let Some(reason) = &progress.failure {
                        error!(reason, "checkpoint not taken, the log keeps growing");
                        progress.not_before = applied.saturating_add(self.options.checkpoint_every);
                    }
                    false
                }
            };
            if ended {
                let mut last = self.status.borrow().clone();
                last.role = Role::Stopped;
                last.ready = false;
                self.publish(last);
                return;
            }
        }
    }

    /// Purges and begins a checkpoint, if it is time.
    async fn work(&self, progress: &mut Progress, applied: u64, covered: u64) {
        // Up to the older one of two, so that the newest may turn out damaged.
        if let Some(upto) = self.shelf.purge_upto()
            && upto > progress.purged_upto
            && self.engine.trigger().purge_log(upto).await.is_ok()
        {
            debug!(upto, "purging log");
            progress.purged_upto = upto;
        }
        let entries = (applied + 1).saturating_sub(covered);
        let bytes = self.applied.bytes.load(Ordering::Relaxed);
        let since = bytes.saturating_sub(progress.marked_bytes);
        let due = self.options.checkpoint_due(entries, since, self.shelf.newest_len());
        if due && progress.running.is_none() && applied >= progress.not_before {
            debug!(applied, entries, bytes = since, "taking a checkpoint");
            progress.marked_bytes = bytes;
            // Until the engine has noted this one, `covered` lags behind and would call for another.
            progress.not_before = applied.saturating_add(1);
            let checkpointer = self.checkpointer.clone();
            progress.running = Some(tokio::spawn(async move { checkpointer.take().await }));
        }
    }

    /// Logs what an operator wants to see change.
    fn report(&self, new: &Status) {
        let old = self.status.borrow();
        if (old.role, &old.leader, old.term) != (new.role, &new.leader, new.term) {
            info!(role = ?new.role, term = new.term, leader = new.leader.as_ref().map(|peer| peer.id), "consensus status");
        }
        if let (Some(reason), None) = (&new.fatal, &old.fatal) {
            error!(reason, "consensus stopped for good");
        }
    }

    fn publish(&self, status: Status) {
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

/// An error and what caused it, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
