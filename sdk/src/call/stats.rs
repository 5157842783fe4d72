//! What the calls of one service came to, in counters: for whoever exports metrics.
//!
//! Written by `service` and `sequence`, two additions for a call that goes well; read by [`CallStats::counts`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::error::Reason;

/// Counts calls and what was done for them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CallStats {
    calls: AtomicU64,
    answered: AtomicU64,
    failed: [AtomicU64; Reason::ALL.len()],
    retries: AtomicU64,
    hedges: AtomicU64,
    hedges_won: AtomicU64,
    refused_by_budget: AtomicU64,
}

/// The counters of calls, and whose they are.
#[derive(Debug, Clone)]
pub struct CallsOf {
    /// The service that is called.
    pub service: Arc<str>,
    /// The name of the policy by which endpoints are chosen.
    pub policy: &'static str,
    /// The counters.
    pub stats: Arc<CallStats>,
}

/// The counters at one moment, each counted from the beginning. They are read one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls begun.
    pub calls: u64,
    /// Calls that got an answer, whatever its status.
    pub answered: u64,
    /// Tries after the first, hedges left out.
    pub retries: u64,
    /// Second servers asked because the first took long.
    pub hedges: u64,
    /// Of these, the ones that answered first.
    pub hedges_won: u64,
    /// Retries and hedges refused because too many calls were being retried.
    pub refused_by_budget: u64,
    failed: [u64; Reason::ALL.len()],
}

impl CallCounts {
    /// Returns the calls that failed for this reason.
    #[must_use]
    pub fn failed(&self, reason: Reason) -> u64 {
        self.failed[reason as usize]
    }

    /// Returns the calls that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }
}

impl CallStats {
    /// Reads the counters.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        CallCounts {
            calls: self.calls.load(Relaxed),
            answered: self.answered.load(Relaxed),
            retries: self.retries.load(Relaxed),
            hedges: self.hedges.load(Relaxed),
            hedges_won: self.hedges_won.load(Relaxed),
            refused_by_budget: self.refused_by_budget.load(Relaxed),
            failed: std::array::from_fn(|place| self.failed[place].load(Relaxed)),
        }
    }

    pub(super) fn begin(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    #[cold]
    pub(super) fn failed(&self, reason: Reason) {
        self.failed[reason as usize].fetch_add(1, Relaxed);
    }

    #[cold]
    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    #[cold]
    pub(super) fn hedged(&self) {
        self.hedges.fetch_add(1, Relaxed);
    }

    #[cold]
    pub(super) fn hedge_won(&self) {
        self.hedges_won.fetch_add(1, Relaxed);
    }

    #[cold]
    pub(super) fn budget_refused(&self) {
        self.refused_by_budget.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_counter() {
        let stats = CallStats::default();
        for (times, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, times, "they are listed in order");
            (0..times).for_each(|_| stats.failed(reason));
        }
        let counts = stats.counts();
        assert_eq!(counts.failed(Reason::Deadline), 5);
        assert_eq!(counts.failures(), (0..8).sum::<u64>());
    }
}
