//! Peak EWMA: of two drawn by weight, the one where a call is expected to end first.
//!
//! Expected is the moving average of how long calls take there (Finagle's rule, see `endpoint::Latency`) times the
//! calls of this process in flight and this one, per weight. Failures count as slow calls, so that failing fast
//! attracts nobody. An average fades while nobody calls, so that one peak is not the last that is heard of an endpoint.
//! An endpoint that nobody knows counts as half as slow as the one it is compared with: it is called soon, and with one
//! call in flight it is as slow as others; counted as free it would get everything that comes before its first answer.

use super::group::Group;
use super::pair::{Drawn, Pairs};
use super::picker::{Ask, Picker, Worker};
use super::turns::Turns;

/// What an endpoint nobody knows is taken for, as a share of the other's average.
const UNKNOWN: f32 = 0.5;

/// Chooses by expected time.
#[derive(Debug)]
pub(super) struct PeakEwma(Pairs);

/// What is known of a candidate.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// In microseconds; 0 when nobody knows.
    latency: f32,
    /// Calls in flight and this one, for its weight beside the other's.
    calls: f32,
}

impl PeakEwma {
    /// Builds for a group.
    pub(super) fn new(group: &Group) -> Self {
        Self(Pairs::new(group))
    }

    /// Returns which of two is expected to be done sooner; the first if both are.
    #[inline]
    fn better(&self, group: &Group, first: usize, second: usize) -> usize {
        let now = group.snapshot().aside().clock().coarse();
        let (mut one, mut other) = (Self::look(group, first, now), Self::look(group, second, now));
        if let Some((factor, other_factor)) = self.0.factors(group, first, second) {
            one.calls *= factor as f32;
            other.calls *= other_factor as f32;
        }
        if other.beats(one) { second } else { first }
    }

    #[inline]
    fn look(group: &Group, position: usize, now: u64) -> Seen {
        let Some(gauge) = group.gauge(position) else {
            return Seen { latency: f32::MAX, calls: f32::MAX };
        };
        // As signed numbers of 32 bits, which the processor converts in one instruction; in flight are below 2^24.
        let calls = (gauge.in_flight() as i32 + 1) as f32;
        Seen { latency: gauge.latency().faded(now), calls }
    }
}

impl Seen {
    /// Says whether a call here is expected to end before one at `other`.
    #[inline]
    fn beats(self, other: Self) -> bool {
        let known = |own: f32, other: f32| if own > 0.0 { own } else { (other * UNKNOWN).max(1.0) };
        known(self.latency, other.latency) * self.calls < known(other.latency, self.latency) * other.calls
    }
}

impl Picker for PeakEwma {
    #[inline]
    fn pick_open(&self, group: &Group, _: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        match self.0.draw_open(group, turns) {
            Some((first, second)) => Some(self.better(group, first, second)),
            None => self.pick(group, &Ask::any(), &mut Worker::open(turns)),
        }
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        match self.0.draw(group, ask, worker) {
            Drawn::Two(first, second) => Some(self.better(group, first, second)),
            Drawn::One(only) => Some(only),
            Drawn::Nobody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::balance::{Ask, Balancer, Picked, Policy};
    use crate::catalog::Snapshot;
    use crate::endpoint::{Clock, Ejection, Endpoint, Outcome};

    fn balancer(weights: &[u32]) -> (Clock, Balancer) {
        let clock = Clock::manual();
        let rows = weights
            .iter()
            .enumerate()
            .map(|(n, weight)| Endpoint::new(&format!("{n}"), &format!("10.0.0.{n}"), 80).weighted(*weight, 1));
        let snapshot = Snapshot::empty_with("web", Ejection::default(), clock.clone()).next(rows, 1);
        (clock, Balancer::with_seed(Policy::PeakEwma, Arc::new(snapshot), 1))
    }

    /// Makes calls to one after the other, each as long as `millis` says for its endpoint.
    fn calls(
        clock: &Clock,
        balancer: &Balancer,
        count: usize,
        millis: impl Fn(&str) -> u64,
    ) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..count {
            let picked = balancer.pick(&Ask::any()).unwrap();
            let id = picked.endpoint().id().to_owned();
            clock.advance(Duration::from_millis(millis(&id)));
            picked.finish(Outcome::Success);
            *counts.entry(id).or_default() += 1;
        }
        counts
    }

    #[test]
    fn the_slow_are_passed_over_and_heard_again() {
        let (clock, balancer) = balancer(&[1; 4]);
        let counts = calls(&clock, &balancer, 4000, |id| if id == "0" { 50 } else { 5 });
        let slow = counts["0"];
        assert!(slow < 400, "{counts:?}");
        // Quick again: what was learned fades, it is tried, and gets its share.
        let counts = calls(&clock, &balancer, 20_000, |_| 5);
        assert!(counts["0"] > 1000, "{counts:?}");
        let counts = calls(&clock, &balancer, 20_000, |_| 5);
        assert!(counts["0"] > 4000, "{counts:?}");
    }

    #[test]
    fn a_failure_counts_as_slow() {
        let (_clock, balancer) = balancer(&[1; 2]);
        balancer.pick(&Ask::any()).unwrap().finish(Outcome::Failed);
        let failed = |id: &str| balancer.snapshot().find(id, "").unwrap().stats().failures() > 0;
        for _ in 0..50 {
            let picked = balancer.pick(&Ask::any()).unwrap();
            assert!(!failed(picked.endpoint().id()));
            picked.finish(Outcome::Success);
        }
    }

    #[test]
    fn the_unknown_are_tried_but_not_flooded() {
        let (clock, balancer) = balancer(&[1; 3]);
        calls(&clock, &balancer, 100, |_| 10);
        let rows: Vec<Endpoint> = balancer.snapshot().members().iter().map(|m| m.endpoint().clone()).collect();
        let more = rows.into_iter().chain([Endpoint::new("new", "10.0.0.9", 80)]);
        balancer.publish(Arc::new(balancer.snapshot().next(more, 2)));
        // Nobody answers for now.
        let held: Vec<Picked> = (0..400).map(|_| balancer.pick(&Ask::any()).unwrap()).collect();
        let new = held.iter().filter(|picked| picked.endpoint().id() == "new").count();
        assert!((100..220).contains(&new), "{new} of 400");
    }

    #[test]
    fn weights_count() {
        let (_clock, balancer) = balancer(&[1, 3]);
        let held: Vec<Picked> = (0..400).map(|_| balancer.pick(&Ask::any()).unwrap()).collect();
        let light = held.iter().filter(|picked| picked.endpoint().id() == "0").count();
        assert!(light.abs_diff(100) <= 2, "{light} of 400");
    }
}
