//! Who of those that a table was laid out for is not to be called at present.
//!
//! A ring without somebody's points is the ring on which they are passed over. So as long as endpoints only fall ill, get
//! well, are drained or leave, a table that takes a second to lay out serves on, with a bit for each that is passed over.
//! Used by `ring_hash`.

use super::group::Group;
use crate::catalog::Snapshot;

/// One in so many may be passed over; beyond, a new table is worth its time.
const SHARE: u32 = 8;

/// Holds a bit for each position.
#[derive(Debug, Default)]
pub(super) struct Sleepers {
    /// Empty when there is nobody.
    bits: Box<[u64]>,
}

impl Sleepers {
    /// Returns who of all that were eligible `then` is not in `now`. None where that does not tell everything: somebody
    /// came, moved or weighs something else, too many are gone, or `now` is a choice of its own.
    pub(super) fn between(then: &Snapshot, now: &Group) -> Option<Self> {
        if !now.is_whole() {
            return None;
        }
        let most = then.eligible_len() / SHARE;
        let mut sleepers = Self::default();
        let mut count = 0;
        for position in now.snapshot().unlike(then) {
            let weight = |snapshot: &Snapshot| snapshot.weights().get(position).copied().unwrap_or(0);
            match (weight(then), weight(now.snapshot())) {
                (0, 0) => {}
                (_, 0) => {
                    count += 1;
                    if count > most {
                        return None;
                    }
                    sleepers.add(position, then.weights().len());
                }
                (old, new) => {
                    let (before, after) =
                        (then.member(position)?.endpoint(), now.snapshot().member(position)?.endpoint());
                    let same = before.identity() == after.identity() && before.authority() == after.authority();
                    if old != new || !same {
                        return None;
                    }
                }
            }
        }
        Some(sleepers)
    }

    fn add(&mut self, position: usize, positions: usize) {
        if self.bits.is_empty() {
            self.bits = vec![0; positions.div_ceil(64)].into();
        }
        if let Some(word) = self.bits.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    /// Says whether the endpoint at a position is passed over.
    #[inline]
    pub(super) fn has(&self, position: usize) -> bool {
        self.bits.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }
}
