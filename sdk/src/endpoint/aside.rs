//! The rule that sets an endpoint aside after failures, and how many of one service are aside.
//!
//! The rule is pure: level and a random word in, milliseconds out. [`Aside`] is the one thing all
//! endpoints of a service share: a count that lets a pick skip every check while nobody is aside.
//! What counts as a failure is decided by the caller, who records an [`super::Outcome`].

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::clock::{Clock, millis};

/// Holds the settings of passive ejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failed calls in a row, after a connection was had, that set an endpoint aside. A failed
    /// connection does so at once: nobody listens, and no request was lost by finding out.
    pub failures_max: u32,
    /// The first time aside; doubled with each further one that no success interrupts.
    pub pause_base: Duration,
    /// The longest time aside.
    pub pause_max: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures_max: 5, pause_base: Duration::from_secs(1), pause_max: Duration::from_secs(30) }
    }
}

impl Ejection {
    /// Returns how long, in milliseconds, the `level`-th time aside in a row lasts (levels begin
    /// at 1): base doubled per level, capped, less up to a quarter by `random`, so that the clients
    /// that lost an endpoint together do not come back to it together.
    #[must_use]
    pub fn pause(&self, level: u32, random: u32) -> u64 {
        let factor = 1u64 << level.saturating_sub(1).min(32);
        let full = millis(self.pause_base).saturating_mul(factor).min(millis(self.pause_max)).max(1);
        let spread = u128::from(full / 4) * u128::from(random) / u128::from(u32::MAX);
        full - u64::try_from(spread).unwrap_or(0)
    }

    /// Returns how long, in milliseconds, the single trial call after a time aside may take before
    /// another one is let through.
    #[must_use]
    pub fn trial(&self) -> u64 {
        millis(self.pause_base).max(1)
    }
}

/// Counts the endpoints of one service that are aside or on trial; carried from snapshot to snapshot.
#[derive(Debug, Default)]
pub struct Aside {
    rule: Ejection,
    clock: Clock,
    marked: AtomicU32,
    keys: AtomicU32,
}

impl Aside {
    /// Builds it for one service.
    #[must_use]
    pub fn new(rule: Ejection, clock: Clock) -> Self {
        Self { rule, clock, ..Self::default() }
    }

    /// Says whether any endpoint carries a mark: the only question a pick asks on its fast path.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.marked.load(Relaxed) != 0
    }

    /// Returns the rule.
    #[must_use]
    pub fn rule(&self) -> &Ejection {
        &self.rule
    }

    /// Returns the clock the times aside are measured on.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn mark(&self) {
        self.marked.fetch_add(1, Relaxed);
    }

    pub(super) fn unmark(&self) {
        self.marked.fetch_sub(1, Relaxed);
    }

    pub(super) fn next_key(&self) -> u32 {
        self.keys.fetch_add(1, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_its_cap_and_jitter_only_shortens() {
        let rule = Ejection::default();
        let longest: Vec<u64> = (1..=7).map(|level| rule.pause(level, 0)).collect();
        assert_eq!(longest, [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(rule.pause(1, u32::MAX), 750);
        assert_eq!(rule.pause(u32::MAX, 0), 30000);
    }
}
