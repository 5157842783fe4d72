//! How many retries there may be: 20 % of the calls plus 10 a second, so that retries cannot grow into
//! a storm that keeps a struggling service down (the rule of Finagle's retry budget).
//!
//! Counting a call is one or two atomic operations without a clock; only a retry reads the time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A retry costs so many units.
const RETRY: i64 = 1000;
/// The most that calls can save up: 500 retries.
const SAVED_MAX: i64 = 500 * RETRY;
/// The most that time can save up: ten seconds' worth.
const RESERVE_SECONDS: u64 = 10;

/// Grants or refuses retries; shared by everything that retries.
#[derive(Debug)]
pub struct RetryBudget {
    per_call: i64,
    per_second: u64,
    saved: AtomicI64,
    // Up to which microsecond since `started` the time's share is spent.
    spent_until: AtomicU64,
    started: Instant,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(0.2, 10)
    }
}

impl RetryBudget {
    /// Builds a budget of a share of the calls (0.2 means 20 %) and a number of retries per second.
    #[must_use]
    pub fn new(share: f64, per_second: u32) -> Self {
        Self {
            per_call: (share.clamp(0.0, 1.0) * RETRY as f64) as i64,
            per_second: per_second.into(),
            saved: AtomicI64::new(0),
            spent_until: AtomicU64::new(0),
            // The reserve is full from the start.
            started: Instant::now().checked_sub(Duration::from_secs(RESERVE_SECONDS)).unwrap_or_else(Instant::now),
        }
    }

    /// Counts a call.
    #[inline]
    pub fn deposit(&self) {
        if self.saved.load(Relaxed) < SAVED_MAX {
            self.saved.fetch_add(self.per_call, Relaxed);
        }
    }

    /// Asks for a retry at `now`; true grants and charges it.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        let saved = self.saved.fetch_update(Relaxed, Relaxed, |saved| (saved >= RETRY).then_some(saved - RETRY));
        saved.is_ok() || self.withdraw_reserve(now)
    }

    fn withdraw_reserve(&self, now: Instant) -> bool {
        let Some(cost) = 1_000_000u64.checked_div(self.per_second) else { return false };
        let now = u64::try_from(now.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX);
        let floor = now.saturating_sub(RESERVE_SECONDS * 1_000_000);
        let charge = |spent: u64| {
            let until = spent.max(floor) + cost;
            (until <= now).then_some(until)
        };
        self.spent_until.fetch_update(Relaxed, Relaxed, charge).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_calls_and_ten_a_second() {
        let budget = RetryBudget::default();
        let now = Instant::now();
        let granted = |at: Instant| (0..10_000).take_while(|_| budget.withdraw(at)).count();
        let reserve = granted(now);
        assert!((100..=101).contains(&reserve), "ten seconds are in reserve: {reserve}");
        for _ in 0..1000 {
            budget.deposit();
        }
        assert_eq!(granted(now), 200);
        assert_eq!(granted(now + Duration::from_secs(3)), 30);
        let long = granted(now + Duration::from_secs(3600));
        assert_eq!(long, 100, "no more than ten seconds are saved up");
    }

    #[test]
    fn savings_have_a_bound_and_zero_is_never() {
        let budget = RetryBudget::new(1.0, 0);
        for _ in 0..10_000 {
            budget.deposit();
        }
        let now = Instant::now();
        assert_eq!((0..10_000).take_while(|_| budget.withdraw(now)).count(), 500);
        assert!(!RetryBudget::new(0.0, 0).withdraw(now));
    }
}
