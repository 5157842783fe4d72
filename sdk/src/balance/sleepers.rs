//! Who of those that a table was laid out for is passed over at present.
//!
//! A ring without somebody's points is the ring on which they are passed over. So while endpoints fall ill, get well, are
//! drained or leave, a table that takes a second to lay out serves on, with a bit for each that is passed over; whose points
//! are others now, or fewer, is passed over too, and comes in late (`late`). Keeps nobody alive: what an endpoint that left takes of the
//! service's counts is given back all the same. Used by the hash policies that have tables.

use std::sync::Arc;

use super::group::Group;
use crate::endpoint::EndpointKey;

/// One in so many may be passed over; beyond, a new table is worth its time.
const SHARE: u32 = 8;
/// With so many the old table is none to begin with.
const SHARE_MAX: u32 = 2;

/// Holds a bit for each position that is passed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Sleepers {
    /// Empty when there is nobody.
    bits: Box<[u64]>,
    count: u32,
}

/// Tells whom a table was laid out for.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    /// What each has in it, by position; 0 who has no part in it.
    parts: Arc<[u32]>,
    /// By position. An endpoint has its key for as long as it stays, under one address.
    keys: Arc<[Option<EndpointKey>]>,
    len: u32,
}

impl Laid {
    /// Remembers everybody in a group, with what each has in the table by position; none for a choice of its own.
    pub(super) fn of(group: &Group, parts: Vec<u32>) -> Option<Self> {
        let snapshot = group.snapshot();
        let key = |position| snapshot.stats(position).map(|stats| stats.key());
        group.is_whole().then(|| Self {
            keys: (0..parts.len()).map(key).collect(),
            parts: parts.into(),
            len: group.len(),
        })
    }

    /// Returns what each has in the table, by position.
    pub(super) fn parts(&self) -> &[u32] {
        &self.parts
    }

    /// Says whether an endpoint is one that the table was laid out for.
    pub(super) fn knows(&self, position: usize, key: EndpointKey) -> bool {
        self.keys.get(position).copied().flatten() == Some(key)
    }

    /// Returns what an endpoint has in the table that was laid out for it; 0 for anybody else.
    pub(super) fn part(&self, position: usize, key: EndpointKey) -> u32 {
        if self.knows(position, key) { self.parts[position] } else { 0 }
    }

    /// Says whether so few are passed over that the table may serve on for good.
    pub(super) fn bears(&self, sleepers: &Sleepers) -> bool {
        sleepers.count <= self.len / SHARE
    }

    /// Says whether so few are passed over that the table may serve until there is a new one.
    pub(super) fn bears_for_now(&self, sleepers: &Sleepers) -> bool {
        sleepers.count <= self.len / SHARE_MAX
    }

    /// Sets whether an endpoint is passed over; nobody has to be who has no part.
    pub(super) fn set(&self, sleepers: &mut Sleepers, position: usize, asleep: bool) {
        let asleep = asleep && self.parts.get(position).is_some_and(|part| *part > 0);
        if sleepers.has(position) == asleep {
            return;
        }
        if sleepers.bits.is_empty() {
            sleepers.bits = vec![0; self.parts.len().div_ceil(64)].into();
        }
        sleepers.bits[position / 64] ^= 1 << (position % 64);
        sleepers.count = if asleep { sleepers.count + 1 } else { sleepers.count - 1 };
        if sleepers.count == 0 {
            // A pick has nothing to look at.
            *sleepers = Sleepers::default();
        }
    }
}

impl Sleepers {
    /// Holds these positions, of so many.
    pub(super) fn of(positions: &[usize], len: usize) -> Self {
        let mut bits = vec![0; len.div_ceil(64)];
        positions.iter().for_each(|position| bits[position / 64] |= 1 << (position % 64));
        Self { bits: bits.into(), count: positions.len() as u32 }
    }

    /// Says whether nobody is passed over.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns a bit for each of so many positions, or all that there are, set where somebody is passed over.
    pub(super) fn bits(&self, len: usize) -> Vec<u64> {
        let mut bits = vec![0; len.div_ceil(64).max(self.bits.len())];
        bits[..self.bits.len()].copy_from_slice(&self.bits);
        bits
    }

    /// Says whether the endpoint at a position is passed over.
    #[inline]
    pub(super) fn has(&self, position: usize) -> bool {
        self.bits.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }
}

/// Returns the positions at which there is another row than in an earlier group of the service.
pub(super) fn changed_rows(before: &Group, now: &Group) -> Vec<usize> {
    let (old, new) = (before.snapshot(), now.snapshot());
    let is_same = |position: &usize| match (old.member(*position), new.member(*position)) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (old, new) => old.is_none() && new.is_none(),
    };
    new.changed_since(old).filter(|position| !is_same(position)).collect()
}
