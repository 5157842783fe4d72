//! Which endpoints compare badly with the others of their service: counts in, places out.
//!
//! Two rules of Envoy's outlier detection (`success_rate` and `failure_percentage`), judged on the exact counts of one
//! interval. One change: with few endpoints a single failure among thousands of calls is 1.9 deviations off, so an
//! endpoint must also be off by a stated gap. Decides nothing about how long and how many: that is `aside`. Called
//! through `Snapshot::sweep`.

use std::time::Duration;

use super::stats::Tally;

/// Holds the settings of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Outliers {
    /// How often endpoints are compared, each time by the calls since the last one.
    pub interval: Duration,
    /// Neither rule says anything with fewer endpoints of enough calls.
    pub endpoints_min: u32,
    /// Calls in the interval from which on a success rate counts.
    pub rate_calls_min: u32,
    /// An endpoint is an outlier if its success rate is so many standard deviations below the mean of all …
    pub deviations: f64,
    /// … and at least so many percentage points below it. 0 is Envoy's rule.
    pub gap_min: u32,
    /// Calls in the interval from which on a share of failures counts.
    pub share_calls_min: u32,
    /// An endpoint is an outlier if so many of its calls failed, in percent, whatever the others do. Above 100: never.
    pub share_failed: u32,
    /// The first time aside, after which one call is let through; doubled with each further one, and halved again by
    /// each interval without a finding.
    pub pause_base: Duration,
    /// The longest time aside.
    pub pause_max: Duration,
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            endpoints_min: 5,
            rate_calls_min: 100,
            deviations: 1.9,
            gap_min: 5,
            share_calls_min: 50,
            share_failed: 85,
            pause_base: Duration::from_secs(10),
            pause_max: Duration::from_secs(300),
        }
    }
}

impl Outliers {
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, reason: &str| Err((field, reason.to_owned()));
        if self.interval.is_zero() {
            return wrong("ejection.outliers.interval", "must be more than 0");
        }
        if !self.deviations.is_finite() || self.deviations < 0.0 {
            return wrong("ejection.outliers.deviations", "must be a number from 0 on");
        }
        if self.rate_calls_min == 0 || self.share_calls_min == 0 {
            return wrong("ejection.outliers", "rate_calls_min and share_calls_min must be at least 1");
        }
        if self.pause_base.is_zero() || self.pause_max < self.pause_base {
            return wrong("ejection.outliers.pause_base", "must be more than 0 and at most pause_max");
        }
        Ok(())
    }
}

/// Returns the places of the outliers among `tallies`, the worst first, at most `room`.
pub(crate) fn judge(rule: &Outliers, tallies: &[Tally], room: u32) -> Vec<usize> {
    let mut found: Vec<usize> = by_rate(rule, tallies);
    found.extend(by_share(rule, tallies));
    found.sort_by(|a, b| rate(tallies[*a]).total_cmp(&rate(tallies[*b])).then(a.cmp(b)));
    found.dedup();
    found.truncate(room as usize);
    found
}

fn rate(tally: Tally) -> f64 {
    f64::from(tally.successes) / (tally.total().max(1) as f64)
}

/// Returns the places of those with enough calls; none when they are too few.
fn counted(tallies: &[Tally], calls_min: u32, endpoints_min: u32) -> Vec<usize> {
    let enough = |place: &usize| tallies[*place].total() >= u64::from(calls_min.max(1));
    let counted: Vec<usize> = (0..tallies.len()).filter(enough).collect();
    if counted.len() < endpoints_min as usize { Vec::new() } else { counted }
}

fn by_rate(rule: &Outliers, tallies: &[Tally]) -> Vec<usize> {
    let counted = counted(tallies, rule.rate_calls_min, rule.endpoints_min);
    let len = counted.len().max(1) as f64;
    let mean = counted.iter().map(|place| rate(tallies[*place])).sum::<f64>() / len;
    let variance = counted.iter().map(|place| (rate(tallies[*place]) - mean).powi(2)).sum::<f64>() / len;
    let least = (mean - rule.deviations * variance.sqrt()).min(mean - f64::from(rule.gap_min) / 100.0);
    counted.into_iter().filter(|place| rate(tallies[*place]) < least).collect()
}

fn by_share(rule: &Outliers, tallies: &[Tally]) -> Vec<usize> {
    let failed = |place: &usize| {
        let tally = tallies[*place];
        u64::from(tally.failures) * 100 >= tally.total() * u64::from(rule.share_failed)
    };
    counted(tallies, rule.share_calls_min, rule.endpoints_min).into_iter().filter(failed).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(successes: u32, failures: u32) -> Tally {
        Tally { successes, failures }
    }

    fn judged(tallies: &[Tally]) -> Vec<usize> {
        judge(&Outliers::default(), tallies, u32::MAX)
    }

    #[test]
    fn one_that_fails_more_than_the_others_is_found() {
        let mut tallies = vec![tally(1000, 2); 9];
        tallies.push(tally(900, 100));
        assert_eq!(judged(&tallies), [9]);
        tallies[9] = tally(999, 1);
        assert!(judged(&tallies).is_empty(), "one failure is no finding");
        let strict = Outliers { gap_min: 0, ..Outliers::default() };
        let one_off: Vec<Tally> = (0..10).map(|n| tally(1000, u32::from(n == 3))).collect();
        assert_eq!(judge(&strict, &one_off, 9), [3], "Envoy's rule would say otherwise");
    }

    #[test]
    fn too_few_endpoints_or_calls_say_nothing() {
        let four = [tally(100, 0), tally(100, 0), tally(100, 0), tally(0, 100)];
        assert!(judged(&four).is_empty());
        let rare = [tally(40, 0), tally(40, 0), tally(40, 0), tally(40, 0), tally(0, 49)];
        assert!(judged(&rare).is_empty());
        let enough = [tally(50, 0), tally(50, 0), tally(50, 0), tally(50, 0), tally(7, 43)];
        assert_eq!(judged(&enough), [4], "86 % of 50");
    }

    #[test]
    fn the_worst_come_first_when_there_is_room_for_few() {
        let tallies = [tally(5, 95), tally(0, 100), tally(10, 90), tally(100, 0), tally(100, 0), tally(100, 0)];
        assert_eq!(judge(&Outliers::default(), &tallies, 2), [1, 0]);
        assert!(judge(&Outliers::default(), &tallies, 0).is_empty());
    }

    proptest! {
        /// Endpoints that do alike are never told apart, and nobody above the mean is ever found by comparison.
        #[test]
        fn nobody_is_found_among_equals(successes in 0u32..500, failures in 0u32..500, len in 0usize..40) {
            let rule = Outliers { share_failed: 101, ..Outliers::default() };
            prop_assert!(judge(&rule, &vec![tally(successes, failures); len], u32::MAX).is_empty());
        }

        #[test]
        fn who_is_found_is_worse_than_who_is_not(counts in proptest::collection::vec((100u32..1000, 0u32..300), 5..30)) {
            let rule = Outliers { share_failed: 101, ..Outliers::default() };
            let tallies: Vec<Tally> = counts.iter().map(|(good, bad)| tally(*good, *bad)).collect();
            let found = judge(&rule, &tallies, u32::MAX);
            let worst_kept = (0..tallies.len()).filter(|n| !found.contains(n)).map(|n| rate(tallies[n])).fold(1.0, f64::min);
            prop_assert!(found.iter().all(|place| rate(tallies[*place]) <= worst_kept));
            prop_assert!(found.len() < tallies.len());
        }
    }
}
