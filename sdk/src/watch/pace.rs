//! A token bucket that bounds how often a watch asks, however fast the servers answer.
//!
//! Pure: time is an argument. A server may rightly answer at once, again and again.

use std::time::Duration;

use tokio::time::Instant;

/// Lets a burst through, then one question per period.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    burst: u32,
    // When the bucket would be full again.
    full_at: Instant,
}

impl Pace {
    pub(super) fn new(period: Duration, burst: u32, now: Instant) -> Self {
        Self { period, burst: burst.max(1), full_at: now }
    }

    /// Takes a token; returns when the question may be asked, which is `now` while tokens last.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        self.full_at = self.full_at.max(now) + self.period;
        let allowed = self.full_at.checked_sub(self.period * self.burst).unwrap_or(now);
        allowed.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_per_period() {
        let start = Instant::now();
        let period = Duration::from_millis(100);
        let mut pace = Pace::new(period, 3, start);
        let waits: Vec<Duration> = (0..5).map(|_| pace.take(start) - start).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2].map(|periods| period * periods));
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.take(later), later, "rest refills it");
    }
}
