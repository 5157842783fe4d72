//! The counter that a pick takes its turns and its random bits from.
//!
//! One that belongs to one thread or worker is advanced by a load and a store, one that is shared by a locked
//! instruction. Two words, so that it is handed on in registers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::hash;

/// Gives a pick its turns.
#[derive(Clone, Copy, Debug)]
pub struct Turns<'a> {
    counter: &'a AtomicU64,
    /// Nobody else advances the counter at the same time.
    alone: bool,
}

impl<'a> Turns<'a> {
    /// Counts on a counter that others may advance at the same time. Begin it at a random place.
    #[inline]
    #[must_use]
    pub const fn shared(counter: &'a AtomicU64) -> Self {
        Self { counter, alone: false }
    }

    /// Counts on a counter that nobody else advances at the same time; if somebody does, turns are taken twice.
    #[inline]
    #[must_use]
    pub const fn alone(counter: &'a AtomicU64) -> Self {
        Self { counter, alone: true }
    }

    /// Takes a turn: a number one above the last one taken on this counter.
    #[inline]
    #[must_use]
    pub fn turn(self) -> u64 {
        if !self.alone {
            return self.counter.fetch_add(1, Relaxed);
        }
        let turn = self.counter.load(Relaxed);
        self.counter.store(turn.wrapping_add(1), Relaxed);
        turn
    }

    /// Takes 64 random bits, good for balancing and for nothing else: SplitMix64 over the turns.
    #[inline]
    #[must_use]
    pub fn random(self) -> u64 {
        hash::mix(self.turn().wrapping_mul(hash::GOLDEN))
    }

    /// Returns the turn that comes next, which is not taken.
    #[inline]
    pub(super) fn next(self) -> u64 {
        self.counter.load(Relaxed)
    }
}
