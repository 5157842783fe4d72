//! The number by which whoever is written to tells a new holder from an old one.
//!
//! It is the index at which the registry gave the lock away: the `ModifyIndex` of the key, read back from a confirmed
//! leader while it is held. Every later holder has a higher one, because the key changes when it is unlocked and again when
//! it is locked, and the index of writes only grows. `LockIndex` counts the times the key was locked, but begins
//! anew when the key is deleted (as sessions of behaviour `delete` do), so it is shown and not used.

use std::fmt;

use callboard_proto::Index;
use callboard_proto::api::kv::KvShown;

/// Proves how new a hold is: later holders of the same lock have higher ones. Send it with every write to what the lock
/// protects, and let that refuse a token lower than the highest it has seen.
///
/// They grow as long as the registry keeps its data. When it lost them, its index begins anew: what has seen a higher token
/// refuses the new holder then, which is the safe side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken {
    index: Index,
    taken: u64,
}

impl FencingToken {
    pub(super) fn of(row: &KvShown) -> Self {
        Self { index: row.modify_index, taken: row.lock_index }
    }

    /// Returns the token as a number.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.index.0
    }

    /// Returns how often the key was locked since it was created.
    #[must_use]
    pub fn lock_index(self) -> u64 {
        self.taken
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.index.fmt(f)
    }
}
