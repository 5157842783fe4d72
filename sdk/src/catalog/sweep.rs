//! Compares the endpoints of a snapshot by the calls of the last interval, and sets outliers aside.
//!
//! The thin part around `endpoint::outlier`, which decides. Driven by whoever ticks a balancer.

use super::Snapshot;
use crate::endpoint::{EndpointStats, Tally, judge};

impl Snapshot {
    /// Compares endpoints if the interval of [`crate::endpoint::Outliers`] is over, and returns how many went aside.
    /// Several callers may call it as often as they like: one does the work, once per interval. Walks everybody.
    pub fn sweep(&self) -> usize {
        let aside = self.aside();
        let Some(rule) = aside.rule().outliers.as_ref().filter(|_| aside.sweep_due()) else {
            return 0;
        };
        let counted: Vec<(&EndpointStats, Tally)> = self
            .eligible()
            .map(|(_, member)| (&**member.stats(), member.stats().take_tally()))
            .filter(|(stats, tally)| {
                stats.relax();
                tally.total() > 0
            })
            .collect();
        let tallies: Vec<Tally> = counted.iter().map(|(_, tally)| *tally).collect();
        let found = judge(rule, &tallies, aside.room());
        found.into_iter().filter(|place| counted[*place].0.eject()).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::endpoint::{Clock, Ejection, Endpoint, Outcome};

    #[test]
    fn an_outlier_goes_aside_once_per_interval_and_within_the_share() {
        let clock = Clock::manual();
        let rule = Ejection { failures_max: 1_000_000, share_max: 20, ..Ejection::default() };
        let rows = (0..10).map(|n| Endpoint::new(&format!("web-{n}"), "10.0.0.1", 80));
        let snapshot = Snapshot::empty_with("web", rule, clock.clone()).next(rows, 1);
        let calls = || {
            for (n, member) in snapshot.members().iter().enumerate() {
                (0..100).for_each(|_| member.stats().record(if n < 3 { Outcome::Failed } else { Outcome::Success }));
            }
        };
        clock.advance(Duration::from_secs(10));
        assert_eq!(snapshot.sweep(), 0, "no calls yet");
        calls();
        assert_eq!(snapshot.sweep(), 0, "not time yet");
        clock.advance(Duration::from_secs(10));
        assert_eq!((snapshot.sweep(), snapshot.sweep(), snapshot.aside_len()), (2, 0, 2), "two of ten");
        calls();
        clock.advance(Duration::from_secs(10));
        assert_eq!(snapshot.sweep(), 0);
    }
}
