//! When a second server is asked for the same answer because the first one takes long.
//!
//! Only of calls that may be carried out twice, charged to the retry budget, at most one at a time (Dean and Barroso, "The
//! Tail at Scale", 2013). The wait is a percentile of how long answers take, held between two bounds. Pure. Called by
//! `sequence`, which asks, waits and drops the loser.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::Histogram;

/// With fewer samples nobody knows what is slow.
const SAMPLES_MIN: u64 = 100;
/// The percentile is looked up anew after so many samples.
const REFRESH: u64 = 64;

/// Holds when to hedge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeSettings {
    /// The share of answers that come in time: 0.95 asks a second server for about 5 % of the calls.
    pub percentile: f64,
    /// The shortest wait, whatever the percentile says.
    pub floor: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        Self { percentile: 0.95, floor: Duration::from_millis(2), cap: Duration::from_secs(1) }
    }
}

/// Remembers how long answers take, and says how long to wait for one.
#[derive(Debug)]
pub(super) struct Hedges {
    settings: HedgeSettings,
    histogram: Histogram,
    seen: AtomicU64,
    // In microseconds; 0 while too little is known.
    wait: AtomicU64,
}

impl Hedges {
    pub(super) fn new(settings: HedgeSettings) -> Self {
        Self { settings, histogram: Histogram::default(), seen: AtomicU64::new(0), wait: AtomicU64::new(0) }
    }

    /// Notes that an answer took so long; `now` in microseconds of any clock.
    pub(super) fn record(&self, took: Duration, now: u64) {
        self.histogram.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), now);
        let seen = self.seen.fetch_add(1, Relaxed) + 1;
        if seen >= SAMPLES_MIN && (seen.is_multiple_of(REFRESH) || seen == SAMPLES_MIN) {
            self.wait.store(self.histogram.quantile(self.settings.percentile).unwrap_or(0), Relaxed);
        }
    }

    /// Returns how long to wait before a second server is asked; none while too little is known.
    pub(super) fn wait(&self) -> Option<Duration> {
        let micros = self.wait.load(Relaxed);
        let HedgeSettings { floor, cap, .. } = self.settings;
        (micros != 0).then(|| Duration::from_micros(micros).max(floor).min(cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_the_percentile_between_its_bounds() {
        let hedges = Hedges::new(HedgeSettings::default());
        for sample in 0..99 {
            hedges.record(Duration::from_millis(sample), 1);
        }
        assert_eq!(hedges.wait(), None, "too little is known");
        hedges.record(Duration::from_millis(99), 1);
        let wait = hedges.wait().unwrap().as_millis();
        assert!((94..=107).contains(&wait), "{wait} ms");
        let fast = Hedges::new(HedgeSettings::default());
        let slow = Hedges::new(HedgeSettings::default());
        for _ in 0..200 {
            fast.record(Duration::from_micros(80), 1);
            slow.record(Duration::from_secs(7), 1);
        }
        assert_eq!((fast.wait(), slow.wait()), (Some(Duration::from_millis(2)), Some(Duration::from_secs(1))));
    }
}
