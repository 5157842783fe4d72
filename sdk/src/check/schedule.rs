//! When a check runs, and when a result becomes its status.
//!
//! Decides the delay before the first run, the pause between runs, how many results in a row change
//! a status, and when a critical instance is due for reaping. Pure: dice and clocks are arguments.
//! Does not run anything; the runner and the control node's reaper call it.

use std::time::{Duration, Instant};

use callboard_proto::CheckStatus;
use callboard_proto::definition::{INTERVAL_MIN, REAP_AFTER_MIN, Thresholds};

/// The longest first delay of a check that runs every second: it must have run once within 1.5 s of
/// its registration, which leaves a second for the run itself.
const FIRST_DELAY_OF_SHORTEST: Duration = Duration::from_millis(500);

/// Places the first run at a random point in `[0, interval)`, so that checks registered together do
/// not run together for ever.
///
/// `dice` is a uniform number in `[0, 1)`; others are clamped into it.
#[must_use]
pub fn first_delay(interval: Duration, dice: f64) -> Duration {
    let interval = interval.max(INTERVAL_MIN);
    let spread = if interval == INTERVAL_MIN { FIRST_DELAY_OF_SHORTEST } else { interval };
    // NaN clamps to NaN; `max` then takes the zero.
    let dice = dice.clamp(0.0, 1.0).max(0.0);
    let delay = spread.mul_f64(dice);
    if delay < spread { delay } else { spread - Duration::from_nanos(1) }
}

/// The time from the end of one run to the start of the next.
#[must_use]
pub fn pause(interval: Duration) -> Duration {
    interval.max(INTERVAL_MIN)
}

/// What a result means for the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The status is this from now on, with the output of this result.
    Publish(CheckStatus),
    /// Too few such results in a row: status and output stay.
    Hold,
}

/// Counts results in a row against the thresholds of a check.
///
/// Both counters start at their thresholds, so the very first result takes effect at once.
#[derive(Debug, Clone)]
pub struct Debounce {
    thresholds: Thresholds,
    successes: u32,
    failures: u32,
}

impl Debounce {
    /// Starts counting.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Debounce {
        Debounce { thresholds, successes: thresholds.passing, failures: thresholds.critical }
    }

    /// Takes one result.
    pub fn step(&mut self, result: CheckStatus) -> Step {
        match result {
            CheckStatus::Passing | CheckStatus::Warning => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes >= self.thresholds.passing { Step::Publish(result) } else { Step::Hold }
            }
            CheckStatus::Critical => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.thresholds.critical {
                    Step::Publish(CheckStatus::Critical)
                } else if self.failures >= self.thresholds.warning {
                    Step::Publish(CheckStatus::Warning)
                } else {
                    Step::Hold
                }
            }
        }
    }
}

/// Knows since when a check is critical, and whether its instance is due for deregistration.
#[derive(Debug, Clone)]
pub struct Reap {
    after: Duration,
    critical_since: Option<Instant>,
}

impl Reap {
    /// Starts with the status at `now`; critical from registration counts from there.
    /// Shorter times than a minute are taken as a minute.
    #[must_use]
    pub fn new(after: Duration, status: CheckStatus, now: Instant) -> Reap {
        let mut reap = Reap { after: after.max(REAP_AFTER_MIN), critical_since: None };
        reap.note(status, now);
        reap
    }

    /// Notes the status at `now`; only a change starts or stops the count.
    pub fn note(&mut self, status: CheckStatus, now: Instant) {
        match status {
            CheckStatus::Critical => self.critical_since = self.critical_since.or(Some(now)),
            CheckStatus::Passing | CheckStatus::Warning => self.critical_since = None,
        }
    }

    /// Whether the check has stayed critical for longer than the limit.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.critical_since.is_some_and(|since| now.saturating_duration_since(since) > self.after)
    }
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Critical, Passing, Warning};
    use proptest::prelude::*;

    use super::*;

    fn steps(thresholds: Thresholds, results: &[CheckStatus]) -> Vec<Step> {
        let mut debounce = Debounce::new(thresholds);
        results.iter().map(|&result| debounce.step(result)).collect()
    }

    #[test]
    fn the_first_result_takes_effect_at_once() {
        let thresholds = Thresholds { passing: 5, warning: 2, critical: 5 };
        for result in [Passing, Warning, Critical] {
            assert_eq!(steps(thresholds, &[result]), [Step::Publish(result)]);
        }
    }

    #[test]
    fn results_in_a_row_change_the_status() {
        let thresholds = Thresholds { passing: 2, warning: 2, critical: 3 };
        let results = [Passing, Critical, Critical, Critical, Critical, Passing, Critical, Passing, Warning];
        let expected = [
            Step::Publish(Passing),
            Step::Hold,
            Step::Publish(Warning),
            Step::Publish(Critical),
            Step::Publish(Critical),
            Step::Hold,
            Step::Hold,
            Step::Hold,
            Step::Publish(Warning),
        ];
        assert_eq!(steps(thresholds, &results), expected);
    }

    #[test]
    fn zero_and_one_both_mean_the_first() {
        let results = [Passing, Critical, Warning, Critical, Passing];
        for n in [0, 1] {
            let thresholds = Thresholds { passing: n, warning: n, critical: n };
            assert_eq!(steps(thresholds, &results), results.map(Step::Publish));
        }
    }

    #[test]
    fn an_instance_is_reaped_when_it_stays_critical() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut reap = Reap::new(Duration::from_secs(10), Critical, start);
        assert!(!reap.is_due(at(60)), "ten seconds are raised to a minute, and a minute is not longer than it");
        assert!(reap.is_due(at(61)));
        reap.note(Critical, at(50));
        assert!(reap.is_due(at(61)), "a second critical does not start anew");
        reap.note(Warning, at(62));
        assert!(!reap.is_due(at(1000)));
        reap.note(Critical, at(1000));
        assert!(!reap.is_due(at(1060)));
        assert!(reap.is_due(at(1061)));
    }

    proptest! {
        #[test]
        fn the_first_delay_lies_within_the_interval(millis in 0u64..10_000_000, dice in 0.0..1.0f64) {
            let interval = Duration::from_millis(millis);
            let delay = first_delay(interval, dice);
            prop_assert!(delay < interval.max(INTERVAL_MIN));
            if interval <= INTERVAL_MIN {
                prop_assert!(delay < FIRST_DELAY_OF_SHORTEST);
            }
        }

        #[test]
        fn odd_dice_stay_within_the_interval(dice in proptest::num::f64::ANY) {
            prop_assert!(first_delay(Duration::from_secs(10), dice) < Duration::from_secs(10));
        }

        /// The status can be told from the last results alone.
        #[test]
        fn a_published_status_has_its_row(
            (passing, warning, critical) in (0u32..5, 0u32..5, 0u32..5),
            results in proptest::collection::vec(prop_oneof![Just(Passing), Just(Warning), Just(Critical)], 1..40),
        ) {
            let thresholds = Thresholds { passing, warning, critical };
            let mut debounce = Debounce::new(thresholds);
            for (at, &result) in results.iter().enumerate() {
                let bad = result == Critical;
                let row = results[..=at].iter().rev().take_while(|&&r| (r == Critical) == bad).count();
                // A row that reaches back to the start has its threshold for free.
                let row = if row == at + 1 { u32::MAX } else { u32::try_from(row).unwrap() };
                let expected = match result {
                    Critical if row >= critical => Step::Publish(Critical),
                    Critical if row >= warning => Step::Publish(Warning),
                    good if !bad && row >= passing => Step::Publish(good),
                    _ => Step::Hold,
                };
                prop_assert_eq!(debounce.step(result), expected);
            }
        }
    }
}
