//! What the consensus engine sees of the log.
//!
//! An appended entry is readable when `append` returns and reported durable from the log thread after its
//! fsync; a vote is durable before it is answered. It decides nothing about when to purge (`keeper` does)
//! or how bytes are laid out (`disk` does).

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogIdOptionExt, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::disk::{Disk, Write};
use super::tail::{Tail, weight};
use crate::types::{Entry, LogId, Types, Vote};

/// Bytes of entries handed out at once to feed a follower.
const READ_BYTES_MAX: usize = 1 << 20;
/// Entries handed out at once to feed a follower.
const READ_ENTRIES_MAX: u64 = 4096;

/// The log, shared by everyone who reads it.
#[derive(Clone)]
pub(crate) struct LogStore {
    tail: Arc<Mutex<Tail>>,
    disk: Option<Arc<Disk>>,
}

impl LogStore {
    pub(crate) fn new(tail: Arc<Mutex<Tail>>, disk: Option<Arc<Disk>>) -> Self {
        Self { tail, disk }
    }

    /// The committed position as last stored.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.tail.lock().committed
    }

    /// The last entry of the log.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.tail.lock().last
    }

    /// Closes the file. Reads and writes after that are errors.
    pub(crate) async fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }

    /// Reads the entries of a range that the log holds.
    pub(crate) async fn read(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let (found, view) = {
            let tail = self.tail.lock();
            let found = tail.find(range);
            // The view is taken under the lock: what is not in memory now is in the file now, and stays
            // in the view even if it is purged in the meantime.
            let view = match &self.disk {
                Some(disk) if !found.on_disk.is_empty() => Some(disk.view()?),
                _ => None,
            };
            (found, view)
        };
        let Some(view) = view else { return Ok(found.in_memory) };
        let on_disk = found.on_disk;
        let mut entries =
            tokio::task::spawn_blocking(move || view.entries(on_disk)).await.map_err(io::Error::other)??;
        entries.extend(found.in_memory);
        Ok(entries)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(bounds(&range)).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mut entries = self.read(start..end.min(start.saturating_add(READ_ENTRIES_MAX))).await?;
        let mut bytes = 0;
        let fits = entries.iter().take_while(|entry| {
            bytes += weight(entry);
            bytes <= READ_BYTES_MAX
        });
        // At least one, however long, or a follower would never get past it.
        let keep = fits.count().max(1);
        entries.truncate(keep);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let tail = self.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if let Some(disk) = &self.disk {
            let (done, durable) = oneshot::channel();
            disk.write(Write::Vote(*vote, done)).await?;
            durable.await.map_err(io::Error::other)??;
        }
        self.tail.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.tail.lock().committed = committed;
        match &self.disk {
            Some(disk) => disk.write(Write::Committed(committed)).await,
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let Some(disk) = &self.disk else {
            self.tail.lock().append(entries);
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.tail.lock().append(entries.iter().cloned());
        disk.write(Write::Append(entries, callback)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.tail.lock().truncate_after(last_log_id);
        if let Some(disk) = &self.disk {
            // Waiting for the thread means that no earlier append can report itself durable after this.
            let (done, durable) = oneshot::channel();
            disk.write(Write::CutFrom(last_log_id.next_index(), done)).await?;
            durable.await.map_err(io::Error::other)??;
        }
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.tail.lock().purge(log_id);
        match &self.disk {
            Some(disk) => disk.write(Write::Purge(log_id)).await,
            None => Ok(()),
        }
    }
}
