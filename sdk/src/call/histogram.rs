//! How long the answers of a service take, without a lock: counts in buckets of two windows that take turns.
//!
//! A bucket is an eighth of a power of two of microseconds, so that a percentile is right to about 12 %. The older window
//! is forgotten when the newer one is full of samples or of time. Pure: time is an argument. Read by `hedge`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Eight buckets for each power of two.
const STEPS: u64 = 8;
/// Up to 2^36 µs, some 19 hours; what takes longer counts there.
const BUCKETS: usize = 34 * STEPS as usize;
/// After so many samples the windows change places.
const SAMPLES: u32 = 4096;
/// And after so many microseconds: ten seconds.
const PERIOD: u64 = 10_000_000;

#[derive(Debug)]
struct Window {
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
}

impl Window {
    fn new() -> Self {
        Self { counts: [const { AtomicU32::new(0) }; BUCKETS], total: AtomicU32::new(0) }
    }

    fn clear(&self) {
        self.counts.iter().for_each(|count| count.store(0, Relaxed));
        self.total.store(0, Relaxed);
    }
}

/// Counts samples in microseconds. A sample that crosses the change of windows may be lost: it is a statistic.
#[derive(Debug)]
pub struct Histogram {
    windows: [Window; 2],
    // The number of the present window above, which only grows; its place is the lowest bit.
    turn: AtomicU64,
    began: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { windows: [Window::new(), Window::new()], turn: AtomicU64::new(0), began: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Takes a sample at `now`, both in microseconds.
    pub fn record(&self, micros: u64, now: u64) {
        let turn = self.turn.load(Relaxed);
        let window = &self.windows[(turn & 1) as usize];
        window.counts[bucket(micros)].fetch_add(1, Relaxed);
        let total = window.total.fetch_add(1, Relaxed) + 1;
        let began = self.began.load(Relaxed);
        let old = now.saturating_sub(began) >= PERIOD;
        if (total >= SAMPLES || old) && self.began.compare_exchange(began, now.max(1), Relaxed, Relaxed).is_ok() {
            // The first sample of all begins the first window, and changes nothing.
            if began != 0 {
                self.windows[((turn + 1) & 1) as usize].clear();
                self.turn.store(turn + 1, Relaxed);
            }
        }
    }

    /// Counts the samples that are remembered.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.windows.iter().map(|window| u64::from(window.total.load(Relaxed))).sum()
    }

    /// Says whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the upper end of the bucket that holds this share of the samples, in microseconds; none without samples.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let total = self.len();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for place in 0..BUCKETS {
            let counts = self.windows.iter().map(|window| u64::from(window.counts[place].load(Relaxed)));
            seen += counts.sum::<u64>();
            if seen >= wanted {
                return Some(upper(place));
            }
        }
        None
    }
}

/// The values below 8 have a bucket each; above, eight for each power of two.
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let power = u64::from(micros.ilog2());
    let step = (micros >> (power - 3)) - STEPS;
    (((power - 2) * STEPS + step) as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(place: usize) -> u64 {
    let place = place as u64;
    if place < STEPS {
        return place;
    }
    let (power, step) = (place / STEPS + 2, place % STEPS);
    ((STEPS + step + 1) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_a_known_set() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.95), None);
        for micros in 1..=1000 {
            histogram.record(micros, 1);
        }
        let (half, most) = (histogram.quantile(0.5).unwrap(), histogram.quantile(0.95).unwrap());
        assert!((500..=563).contains(&half) && (950..=1070).contains(&most), "{half} {most}");
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let histogram = Histogram::default();
        for now in 0..100 {
            histogram.record(1_000_000, now);
        }
        for period in 1..=3 {
            for _ in 0..100 {
                histogram.record(1_000, period * (PERIOD + 1));
            }
        }
        assert!(histogram.quantile(1.0).unwrap() < 1_200, "{:?}", histogram.quantile(1.0));
        for _ in 0..3 * SAMPLES {
            histogram.record(50, 3 * PERIOD + 4);
        }
        assert!(histogram.len() <= 2 * u64::from(SAMPLES), "also many samples in no time");
        assert!(histogram.quantile(1.0).unwrap() < 60);
    }

    proptest! {
        #[test]
        fn a_bucket_is_an_eighth_wide(micros in 0u64..(1 << 35)) {
            let end = upper(bucket(micros));
            prop_assert!(end >= micros && end - micros <= micros / 8, "{} {}", micros, end);
            prop_assert!(bucket(end) == bucket(micros) && bucket(end + 1) == bucket(micros) + 1);
        }

        #[test]
        fn a_quantile_has_its_share_below_it(samples in proptest::collection::vec(1u64..10_000_000, 1..300), share in 0.0f64..1.0) {
            let histogram = Histogram::default();
            samples.iter().for_each(|micros| histogram.record(*micros, 1));
            let value = histogram.quantile(share).unwrap();
            let below = samples.iter().filter(|micros| **micros <= value).count();
            prop_assert!(below as f64 >= (samples.len() as f64 * share).floor());
        }
    }
}
