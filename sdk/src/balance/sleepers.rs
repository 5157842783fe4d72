//! Who of those that a table was laid out for is not to be called at present.
//!
//! A ring without somebody's points is the ring on which they are passed over. So as long as endpoints only fall ill, get
//! well, are drained or leave, a table that takes a second to lay out serves on, with a bit for each that is passed over.
//! Keeps nobody alive: what an endpoint that left takes of the service's counts is given back all the same. Used by
//! `ring_hash`.

use std::sync::Arc;

use super::group::Group;
use crate::catalog::Footprint;
use crate::endpoint::EndpointKey;

/// One in so many may be passed over; beyond, a new table is worth its time.
const SHARE: u32 = 8;

/// Holds a bit for each position that is passed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Sleepers {
    /// Empty when there never was anybody.
    bits: Box<[u64]>,
    count: u32,
}

/// Tells whom a table was laid out for.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    /// By position; 0 who has no part in it.
    weights: Arc<[u32]>,
    /// By position. An endpoint has its key for as long as it stays, under one address.
    keys: Arc<[Option<EndpointKey>]>,
    /// Of the snapshot that was looked at last.
    footprint: Footprint,
    most: u32,
}

impl Laid {
    /// Remembers everybody in a group; none for a choice of its own.
    pub(super) fn of(group: &Group) -> Option<Self> {
        let snapshot = group.snapshot();
        let key = |position| snapshot.stats(position).map(|stats| stats.key());
        group.is_whole().then(|| Self {
            weights: snapshot.weights().into(),
            keys: (0..snapshot.weights().len()).map(key).collect(),
            footprint: snapshot.footprint(),
            most: snapshot.eligible_len() / SHARE,
        })
    }

    /// Returns who is passed over in `now`, given who was in the group before it. None where that does not tell everything:
    /// somebody came, moved or weighs something else, too many are gone, or `now` is a choice of its own.
    pub(super) fn follow(&self, before: &Sleepers, now: &Group) -> Option<(Self, Sleepers)> {
        if !now.is_whole() {
            return None;
        }
        let snapshot = now.snapshot();
        let mut sleepers = before.clone();
        for position in snapshot.changed_since(&self.footprint) {
            let due = self.weights.get(position).copied().unwrap_or(0);
            let weight = snapshot.weights().get(position).copied().unwrap_or(0);
            if weight == 0 {
                if due > 0 {
                    sleepers.set(position, true, self.weights.len());
                }
                continue;
            }
            let key = snapshot.stats(position).map(|stats| stats.key());
            if weight != due || self.keys.get(position).copied().flatten() != key {
                return None;
            }
            sleepers.set(position, false, self.weights.len());
        }
        let footprint = snapshot.footprint();
        (sleepers.count <= self.most).then(|| (Self { footprint, ..self.clone() }, sleepers))
    }
}

impl Sleepers {
    fn set(&mut self, position: usize, asleep: bool, positions: usize) {
        if self.has(position) == asleep {
            return;
        }
        if self.bits.is_empty() {
            self.bits = vec![0; positions.div_ceil(64)].into();
        }
        self.bits[position / 64] ^= 1 << (position % 64);
        self.count = if asleep { self.count + 1 } else { self.count - 1 };
    }

    /// Says whether the endpoint at a position is passed over.
    #[inline]
    pub(super) fn has(&self, position: usize) -> bool {
        self.bits.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }
}
