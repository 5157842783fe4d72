//! Feeds committed entries to the machine, and takes and restores its checkpoints, for the consensus engine.
//!
//! It decides how entries are grouped into calls of [`Machine::apply`] and when proposers are answered:
//! after the machine has published. It does not decide when a checkpoint is taken (`keeper`) or where it
//! goes (`checkpoint`).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;

use crate::checkpoint::{Checkpoint, Shelf};
use crate::log::tail::weight;
use crate::machine::{CheckpointWriter, Committed, Machine};
use crate::types::{Entry, LogId, Membership, Meta, Snapshot, Types};

/// Entries handed to the machine in one call at most, so that the first of them is not answered too late.
const APPLY_MAX: usize = 4096;

/// What has been applied since the process began; read by `keeper`.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Bytes of log entries.
    pub(crate) bytes: AtomicU64,
}

/// The machine and what it reaches to.
pub(crate) struct State {
    /// Absent only while a checkpoint is being restored on a blocking thread.
    machine: Option<Box<dyn Machine>>,
    last: Option<LogId>,
    membership: Membership,
    shelf: Arc<Shelf>,
    applied: Arc<Applied>,
    /// A finished checkpoint that the engine is about to ask for.
    announced: Option<Snapshot>,
}

impl State {
    /// A machine that already holds what `meta` reaches to.
    pub(crate) fn new(machine: Box<dyn Machine>, meta: Meta, shelf: Arc<Shelf>, applied: Arc<Applied>) -> Self {
        Self {
            machine: Some(machine),
            last: meta.last_log_id,
            membership: meta.last_membership,
            shelf,
            applied,
            announced: None,
        }
    }

    /// The last entry applied.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// Takes a handle to the state as it is now.
    pub(crate) fn freeze(&self) -> Builder {
        Builder {
            meta: Meta { last_log_id: self.last, last_membership: self.membership.clone() },
            state: Mutex::new(self.machine.as_ref().map(|machine| machine.checkpoint())),
            shelf: Arc::clone(&self.shelf),
            finished: None,
        }
    }

    /// Keeps a finished checkpoint for the engine's next request to build one.
    pub(crate) fn announce(&mut self, snapshot: Snapshot) {
        self.announced = Some(snapshot);
    }

    /// Applies entries in order and returns one answer per entry; entries that are not proposals get an
    /// empty one.
    pub(crate) fn apply_batch(&mut self, entries: &[Entry]) -> io::Result<Vec<Vec<u8>>> {
        let machine = self.machine.as_deref_mut().ok_or_else(|| io::Error::other("the state is being restored"))?;
        let mut proposals = Vec::with_capacity(entries.len());
        let mut bytes = 0;
        for entry in entries {
            bytes += weight(entry) as u64;
            if let EntryPayload::Normal(data) = &entry.payload {
                let id = entry.log_id();
                proposals.push(Committed { log_index: id.index(), term: id.committed_leader_id().term, data: &data.0 });
            }
        }
        // The engine would wait for ever for a task that died, so a panic becomes an error that stops it.
        let mut answers = match proposals.is_empty() {
            true => Vec::new(),
            false => catch_unwind(AssertUnwindSafe(|| machine.apply(&proposals)))
                .map_err(|_| io::Error::other("the machine panicked while applying"))?,
        };
        if answers.len() != proposals.len() {
            return Err(io::Error::other(format!(
                "the machine answered {} of {} entries",
                answers.len(),
                proposals.len()
            )));
        }
        let mut answers = answers.drain(..);
        let all = entries
            .iter()
            .map(|entry| match &entry.payload {
                EntryPayload::Normal(_) => answers.next().unwrap_or_default(),
                EntryPayload::Blank | EntryPayload::Membership(_) => Vec::new(),
            })
            .collect();
        for entry in entries {
            if let EntryPayload::Membership(members) = &entry.payload {
                self.membership = Membership::new(Some(entry.log_id()), members.clone());
            }
        }
        if let Some(entry) = entries.last() {
            self.last = Some(entry.log_id());
        }
        self.applied.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(all)
    }
}

impl RaftStateMachine<Types> for State {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        let mut waiting = Vec::new();
        loop {
            let next = entries.next().await.transpose()?;
            let ended = next.is_none();
            if let Some((entry, responder)) = next {
                batch.push(entry);
                waiting.push(responder);
            }
            if !batch.is_empty() && (ended || batch.len() >= APPLY_MAX) {
                let answers = self.apply_batch(&batch)?;
                for (responder, answer) in waiting.drain(..).zip(answers) {
                    if let Some(responder) = responder {
                        responder.send(answer);
                    }
                }
                batch.clear();
            }
            if ended {
                return Ok(());
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder { finished: self.announced.take(), ..self.freeze() }
    }

    async fn install_snapshot(&mut self, _meta: &Meta, snapshot: Checkpoint) -> Result<(), io::Error> {
        let mut machine = self.machine.take().ok_or_else(|| io::Error::other("the state is being restored"))?;
        let shelf = Arc::clone(&self.shelf);
        let install = move || {
            let result = shelf.install(&snapshot, &mut *machine);
            (machine, result)
        };
        // Reading and parsing a large state would hold up everything else on this worker.
        let (machine, result) = if self.shelf.is_in_memory() {
            install()
        } else {
            tokio::task::spawn_blocking(install).await.map_err(io::Error::other)?
        };
        self.machine = Some(machine);
        let meta = result?;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.shelf.newest().map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// A state frozen at one entry, waiting to be written.
pub(crate) struct Builder {
    meta: Meta,
    /// In a lock only because the engine wants to share the builder between threads; it never does.
    state: Mutex<Option<CheckpointWriter>>,
    shelf: Arc<Shelf>,
    /// Written already.
    finished: Option<Snapshot>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Checkpoint;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        if let Some(finished) = self.finished.take() {
            return Ok(finished);
        }
        let state = self.state.lock().take().ok_or_else(|| io::Error::other("the state is being restored"))?;
        let (meta, shelf) = (self.meta.clone(), Arc::clone(&self.shelf));
        let write = move || shelf.write(meta, state);
        let snapshot = if self.shelf.is_in_memory() {
            write()?
        } else {
            tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??
        };
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}
