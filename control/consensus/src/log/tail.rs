//! The log as memory knows it: vote, bounds, and the newest entries. PURE: no disk, no clock.
//!
//! It decides which entries may leave memory (only those already durable) and which part of a read must
//! come from disk. It does not write anything; `store` does, through `disk`.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::{LogIdOptionExt, entry::RaftEntry};

use crate::types::{Entry, LogId, Vote};

/// How much of the log may stay in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Entries kept at most, beyond those not yet durable.
    pub(crate) entries: usize,
    /// Bytes kept at most, beyond those not yet durable.
    pub(crate) bytes: usize,
}

/// Nothing may leave memory: there is no disk behind it.
pub(crate) const UNLIMITED: Limit = Limit { entries: usize::MAX, bytes: usize::MAX };

/// Vote, bounds and newest entries.
pub(crate) struct Tail {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    /// Consecutive; when not empty, its back is `last`.
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The index the log begins at when nothing was purged: 0, unless its first entry came with another.
    origin: u64,
    /// Every entry below this index is durable.
    durable_end: u64,
    limit: Limit,
}

/// What a read found in memory, and what it must fetch from disk before that.
pub(crate) struct Found {
    /// Indexes to read from disk; may be empty.
    pub(crate) on_disk: Range<u64>,
    /// The entries that follow them.
    pub(crate) in_memory: Vec<Entry>,
}

impl Tail {
    /// Begins with what is known to be durable; entries are then read from disk until new ones come.
    pub(crate) fn new(
        vote: Option<Vote>,
        committed: Option<LogId>,
        purged: Option<LogId>,
        last: Option<LogId>,
        limit: Limit,
    ) -> Self {
        let durable_end = last.next_index();
        Self { vote, committed, purged, last, entries: VecDeque::new(), bytes: 0, origin: 0, durable_end, limit }
    }

    /// The index of the oldest entry in memory, or the one after the last entry when memory is empty.
    fn memory_start(&self) -> u64 {
        self.last.next_index() - self.entries.len() as u64
    }

    /// Adds entries that follow the last one.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            let id = entry.log_id();
            debug_assert!(self.last.is_none() || id.index() == self.last.next_index(), "the log has no holes");
            if self.last.is_none() {
                self.origin = id.index();
            }
            self.bytes += weight(&entry);
            self.last = Some(id);
            self.entries.push_back(entry);
        }
    }

    /// Forgets every entry after `keep`.
    pub(crate) fn truncate_after(&mut self, keep: Option<LogId>) {
        let end = keep.next_index();
        if end >= self.last.next_index() {
            return;
        }
        while self.entries.back().is_some_and(|entry| entry.log_id().index() >= end) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= weight(&entry);
            }
        }
        self.last = keep;
        self.durable_end = self.durable_end.min(end);
    }

    /// Forgets every entry up to `upto`, that one included. It may lie beyond the last entry: a checkpoint
    /// received from the leader replaces the whole log.
    pub(crate) fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|entry| entry.log_id().index() <= upto.index()) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= weight(&entry);
            }
        }
        if self.last.as_ref() < Some(&upto) {
            self.last = Some(upto);
            self.durable_end = self.durable_end.max(upto.index() + 1);
        }
        if self.purged.as_ref() < Some(&upto) {
            self.purged = Some(upto);
        }
    }

    /// Notes that every entry below `end` is durable, and lets the oldest ones go if there are too many.
    pub(crate) fn durable(&mut self, end: u64) {
        self.durable_end = self.durable_end.max(end).min(self.last.next_index());
        while self.entries.len() > self.limit.entries || self.bytes > self.limit.bytes {
            if self.memory_start() >= self.durable_end {
                break;
            }
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= weight(&entry);
        }
    }

    /// Splits a read into a part on disk and a part in memory. Indexes outside the log are left out.
    pub(crate) fn find(&self, range: Range<u64>) -> Found {
        let start = range.start.max(self.purged.next_index()).max(self.origin);
        let end = range.end.min(self.last.next_index());
        let memory_start = self.memory_start();
        let split = memory_start.clamp(start.min(end), end);
        let in_memory = if end > split {
            // Both bounds lie within the deque, whose length fits a usize.
            let skip = usize::try_from(split - memory_start).unwrap_or(usize::MAX);
            let take = usize::try_from(end - split).unwrap_or(usize::MAX);
            self.entries.iter().skip(skip).take(take).cloned().collect()
        } else {
            Vec::new()
        };
        Found { on_disk: start.min(split)..split, in_memory }
    }
}

/// The memory an entry holds, roughly: its bytes and the struct around them.
pub(crate) fn weight(entry: &Entry) -> usize {
    use openraft::EntryPayload::{Blank, Membership, Normal};
    64 + match &entry.payload {
        Normal(data) => data.0.len(),
        Blank => 0,
        Membership(_) => 512,
    }
}

#[cfg(test)]
mod tests {
    use openraft::testing::{blank_ent, log_id};
    use proptest::prelude::*;

    use super::*;
    use crate::types::Types;

    fn entries(range: Range<u64>) -> Vec<Entry> {
        range.map(|index| blank_ent::<Types>(1, 1, index)).collect()
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id().index()).collect()
    }

    #[test]
    fn only_durable_entries_leave_memory() {
        let mut tail = Tail::new(None, None, None, None, Limit { entries: 2, bytes: usize::MAX });
        tail.append(entries(0..6));
        assert_eq!(indexes(&tail.find(0..9).in_memory), [0, 1, 2, 3, 4, 5]);
        tail.durable(3);
        let found = tail.find(0..9);
        assert_eq!((found.on_disk, indexes(&found.in_memory)), (0..3, vec![3, 4, 5]));
        tail.durable(6);
        let found = tail.find(0..9);
        assert_eq!((found.on_disk, indexes(&found.in_memory)), (0..4, vec![4, 5]));
    }

    #[test]
    fn a_late_flush_of_cut_entries_does_not_make_new_ones_durable() {
        let mut tail = Tail::new(None, None, None, None, Limit { entries: 0, bytes: 0 });
        tail.append(entries(0..6));
        tail.truncate_after(Some(log_id::<Types>(1, 1, 2)));
        tail.durable(6);
        tail.append(entries(3..5));
        tail.durable(3);
        assert_eq!(indexes(&tail.find(0..9).in_memory), [3, 4]);
    }

    #[test]
    fn purging_beyond_the_end_moves_the_end() {
        let mut tail = Tail::new(None, None, None, None, UNLIMITED);
        tail.append(entries(0..3));
        tail.purge(log_id::<Types>(2, 1, 9));
        assert_eq!(tail.last, Some(log_id::<Types>(2, 1, 9)));
        let found = tail.find(0..20);
        assert!(found.on_disk.is_empty() && found.in_memory.is_empty());
    }

    proptest! {
        /// Whatever was appended, flushed, cut and purged: a read covers exactly the part of the range that
        /// the log holds, once, in order.
        #[test]
        fn a_read_covers_the_log_exactly(
            steps in prop::collection::vec((0u8..4, 1u64..6), 1..40),
            from in 0u64..40,
            len in 0u64..40,
        ) {
            let mut tail = Tail::new(None, None, None, None, Limit { entries: 3, bytes: usize::MAX });
            let (mut start, mut end) = (0u64, 0u64);
            for (kind, n) in steps {
                match kind {
                    0 => { tail.append(entries(end..end + n)); end += n; }
                    1 => tail.durable(end.saturating_sub(n - 1)),
                    2 => {
                        let keep = end.saturating_sub(n).max(start);
                        // The writer thread has caught up before a cut returns.
                        tail.durable(keep);
                        if keep > 0 { tail.truncate_after(Some(log_id::<Types>(1, 1, keep - 1))); end = keep; }
                    }
                    _ => {
                        let upto = (start + n).min(end);
                        if upto > start { tail.purge(log_id::<Types>(1, 1, upto - 1)); start = upto; }
                    }
                }
            }
            let found = tail.find(from..from + len);
            let read: Vec<u64> = found.on_disk.clone().chain(indexes(&found.in_memory)).collect();
            let held: Vec<u64> = (from.max(start)..(from + len).min(end)).collect();
            prop_assert_eq!(read, held);
        }
    }
}
