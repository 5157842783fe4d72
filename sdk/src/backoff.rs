//! How long to wait before the next try: exponential, capped, jittered.
//!
//! Pure: the number of failures and a random word go in, a duration comes out, so that the one who
//! counts failures can also be tested without a clock. Used by `watch`, `registration` and the
//! choice of servers. (The crates for this bring their own loop or hide the dice; this is all we need.)

use std::time::Duration;

/// Holds the bounds of the waits between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, before jitter.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(15) }
    }
}

impl Backoff {
    /// Returns the wait after the `failures`-th failure in a row (counted from 1): the base doubled per
    /// failure and capped, of which `dice`, any random word, takes away up to a half. Jitter only
    /// shortens, so the cap holds; at least half remains, so a broken server is never hammered.
    #[must_use]
    pub fn delay(&self, failures: u32, dice: u32) -> Duration {
        let doubled = self.base.saturating_mul(1u32 << failures.saturating_sub(1).min(31));
        let full = doubled.min(self.max);
        full - full.mul_f64(0.5 * f64::from(dice) / f64::from(u32::MAX)).min(full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_to_the_cap() {
        let backoff = Backoff::default();
        let millis: Vec<u128> = (1..=9).map(|failures| backoff.delay(failures, 0).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 15000]);
        assert_eq!(backoff.delay(1, u32::MAX).as_millis(), 50);
    }

    proptest! {
        #[test]
        fn jitter_takes_at_most_half(failures: u32, dice: u32, base in 1u64..10_000, max in 1u64..100_000) {
            let backoff = Backoff { base: Duration::from_millis(base), max: Duration::from_millis(max) };
            let full = backoff.delay(failures, 0);
            let wait = backoff.delay(failures, dice);
            prop_assert!(wait <= full && full <= backoff.max.max(backoff.base));
            prop_assert!(wait + Duration::from_nanos(2) >= full / 2);
        }

        #[test]
        fn waits_never_shrink_while_failing(failures in 1u32..100) {
            let backoff = Backoff::default();
            prop_assert!(backoff.delay(failures + 1, 0) >= backoff.delay(failures, 0));
        }
    }
}
