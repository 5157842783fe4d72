//! Counts how often values of a size came, in buckets that grow with the value: what the engine of the log (openraft)
//! keeps its sizes and latencies in.
//!
//! Stands in for the crate of the same name on crates.io, which at its first use fills tables for sixteen precisions that
//! stay in memory, 26 MB: half of an idle node. The engine uses one precision, and a bucket's bounds are two shifts. It
//! has what the engine calls and nothing else; with other features of the engine or a newer one it may have to grow.

mod chart;
mod percentiles;

use std::marker::PhantomData;

pub use chart::AsciiChart;
pub use percentiles::PercentileStats;

/// Each doubling of the value has this many buckets: a bucket is at most a quarter as wide as its values are large.
const STEPS: u64 = 4;
/// Values below [`STEPS`] have a bucket each; then come four for each of the 62 doublings up to 2^64.
const BUCKETS: usize = 252;

/// How often values came. The parameter is a name that the engine writes; there is no data of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
    label: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Builds one that has counted nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0, label: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value that came so many times. Counts stop at their largest instead of beginning anew.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let count = &mut self.counts[bucket_of(value)];
        *count = count.saturating_add(times);
        self.total = self.total.saturating_add(times);
    }

    /// Returns how many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the value that the given share of the values (0.5 is the median) does not exceed, as exactly as buckets
    /// tell: the middle of its bucket, at most an eighth off. 0 when nothing was counted.
    #[must_use]
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            below = below.saturating_add(*count);
            if below >= rank {
                let (first, last) = bounds_of(bucket);
                return first + (last - first) / 2;
            }
        }
        0
    }

    /// Returns the usual percentiles.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

fn bucket_of(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let doublings = u64::from(value.ilog2() - STEPS.ilog2());
    // The value without its doublings lies between STEPS and twice that.
    (doublings * STEPS + (value >> doublings)) as usize
}

/// The smallest and the largest value of a bucket.
fn bounds_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return (bucket, bucket);
    }
    let doublings = bucket / STEPS - 1;
    let first = (STEPS + bucket % STEPS) << doublings;
    (first, first + ((1 << doublings) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let (first, last) = bounds_of(bucket);
            assert_eq!((first, bucket_of(first), bucket_of(last)), (next, bucket, bucket));
            assert!(last - first <= first / STEPS, "a quarter at most");
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends where numbers do");
    }

    #[test]
    fn percentiles_are_near_the_truth() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!((histogram.total(), histogram.percentile(0.5)), (0, 0));
        for value in 1..=1_000 {
            histogram.record(value);
        }
        let told = histogram.percentile_stats();
        for (told, truth) in [(told.p1, 10), (told.p10, 100), (told.p50, 500), (told.p90, 900), (told.p99, 990)] {
            assert!(told.abs_diff(truth) * 8 <= truth, "{told} for {truth}");
        }
        histogram.record_n(u64::MAX, u64::MAX);
        assert_eq!(histogram.total(), u64::MAX);
        assert!(histogram.percentile(1.0) > u64::MAX / 8 * 7);
        assert!(histogram.percentile_stats().to_string().contains("p50="));
    }

    #[test]
    fn a_chart_has_a_line_for_each() {
        let mut histogram = Histogram::new();
        histogram.record_n(7, 3);
        let chart = AsciiChart::new().add("steps", histogram).add("nothing", Histogram::new()).to_string();
        let lines: Vec<&str> = chart.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("steps") && lines[1].contains("7..7") && lines[1].contains('3'));
    }
}
