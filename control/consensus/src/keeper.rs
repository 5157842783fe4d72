//! The background task beside the engine: publishes the status, takes checkpoints when due, purges the log.
//!
//! It decides when; `checkpoint` and `log` do the work, on their own threads, while entries go on being
//! applied. It ends when the engine does, after publishing why.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::LogIdOptionExt;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{oneshot, watch};
use tracing::{debug, error, info};

use crate::checkpoint::Shelf;
use crate::options::Options;
use crate::state::Applied;
use crate::status::{Role, Status};
use crate::types::Engine;

/// What the task works on.
pub(crate) struct Keeper {
    pub(crate) engine: Engine,
    pub(crate) options: Arc<Options>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) status: watch::Sender<Status>,
    /// Resolves when the last handle is gone.
    pub(crate) gone: oneshot::Receiver<()>,
}

impl Keeper {
    /// Runs until the engine stops or nobody holds a handle to it.
    pub(crate) async fn run(mut self) {
        let mut metrics = self.engine.metrics();
        let mut seen = metrics.borrow_watched().snapshot;
        // Log bytes applied when the newest checkpoint was asked for. Entries replayed at a restart count:
        // they are log that a checkpoint would save.
        let mut marked = 0;
        let mut asked: Option<u64> = None;
        let mut purged_upto = 0;
        loop {
            let (status, snapshot) = {
                let metrics = metrics.borrow_and_update();
                (Status::read(&metrics), metrics.snapshot)
            };
            self.report(&status);
            let (stopped, applied) = (status.role == Role::Stopped, status.applied);
            self.publish(status);
            if stopped {
                return;
            }

            if snapshot != seen {
                seen = snapshot;
                marked = asked.take().unwrap_or_else(|| self.applied.bytes.load(Ordering::Relaxed));
            }
            // Up to the older one of two, so that the newest may turn out damaged.
            if let Some(upto) = self.shelf.purge_upto()
                && upto > purged_upto
                && self.engine.trigger().purge_log(upto).await.is_ok()
            {
                debug!(upto, "purging log");
                purged_upto = upto;
            }
            let entries = (applied + 1).saturating_sub(seen.next_index());
            let bytes = self.applied.bytes.load(Ordering::Relaxed);
            let since = bytes.saturating_sub(marked);
            if asked.is_none() && self.options.checkpoint_due(entries, since, self.shelf.newest_len()) {
                debug!(applied, entries, bytes = since, "taking a checkpoint");
                asked = self.engine.trigger().snapshot().await.ok().map(|()| bytes);
            }
            let ended = tokio::select! {
                changed = metrics.changed() => changed.is_err(),
                _ = &mut self.gone => return,
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
