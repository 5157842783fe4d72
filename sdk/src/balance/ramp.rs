//! Slow start: how likely an endpoint that started lately is accepted, by the time since it started.
//!
//! The ramp is Envoy's (`slow_start_config`): `max(min, (t / window) ^ (1 / aggression))`, applied not to a weight but
//! as a chance at the gate, so that it holds for every policy. For a call with a key the chance is drawn from the hash
//! of key and endpoint: all clients agree, and as the ramp rises keys only ever move to the endpoint. Where everybody is
//! new there is nobody to hold back for: chances are relative to the eldest's.
//!
//! Starts are times of day on the servers' clocks. A start in the future (their clock is ahead) counts from when this
//! client first saw it; one in the past that is too early (their clock is behind) shortens the ramp.
//! Pure; built with a stage, asked by the gate while it is on.

use std::collections::HashMap;
use std::time::Duration;

use super::group::Group;
use super::hash;
use super::policy::Policy;
use crate::endpoint::{Clock, EndpointKey};

/// Holds the settings of slow start.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowStart {
    /// How long after its start an endpoint gets its full share.
    pub window: Duration,
    /// The shape: 1 is a straight line, more begins steeper, less begins flatter.
    pub aggression: f64,
    /// The share at the beginning, in percent.
    pub share_min: u32,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), aggression: 1.0, share_min: 10 }
    }
}

impl SlowStart {
    /// Returns the share of its usual calls, in 0..=1, that an endpoint gets `age` milliseconds after its start.
    #[must_use]
    pub fn share(&self, age: u64) -> f64 {
        let window = self.window.as_millis() as f64;
        let least = f64::from(self.share_min.min(100)) / 100.0;
        if age as f64 >= window {
            return 1.0;
        }
        let passed = age as f64 / window;
        // A straight line needs no power.
        let risen = if self.aggression == 1.0 { passed } else { passed.powf(1.0 / self.aggression.max(0.01)) };
        risen.clamp(least, 1.0)
    }
}

/// An endpoint on its ramp.
#[derive(Clone, Copy, Debug)]
struct Ramping {
    position: u32,
    key: EndpointKey,
    /// Equal for all clients.
    name: u64,
    started: u64,
    /// When it began, in milliseconds of the service's clock, which may be before that clock did.
    began: i64,
}

/// Holds who is on a ramp in one group.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    rule: SlowStart,
    /// In the order of positions.
    ramping: Box<[Ramping]>,
    /// When the eldest of all began, if everybody is on a ramp.
    eldest: Option<i64>,
    /// When the last ramp ends, in milliseconds of the clock.
    ends: u64,
    /// How many times its share an idle endpoint may draw under the policy.
    draws: f64,
}

impl Ramp {
    /// Looks who is on a ramp; none when nobody is. `before` are the ramps of the snapshot before.
    pub(super) fn build(rule: &SlowStart, policy: &Policy, group: &Group, before: &[&Self]) -> Option<Self> {
        let clock = group.snapshot().aside().clock();
        let (now, wall) = (clock.exact(), clock.wall());
        let window = rule.window.as_millis() as i64;
        let seen = before.iter().flat_map(|ramp| &ramp.ramping).map(|one| (one.key, (one.started, one.began)));
        let seen: HashMap<EndpointKey, (u64, i64)> = seen.collect();
        let mut ramping = Vec::new();
        for (position, _) in group.weighted() {
            let Some(member) = group.snapshot().member(position as usize) else { continue };
            let Some(started) = member.endpoint().started() else { continue };
            let key = member.stats().key();
            let age = wall as i64 - (started as i64).saturating_mul(1000);
            let began = match seen.get(&key) {
                // Once seen it goes on, whatever the clocks do meanwhile.
                Some((same, began)) if *same == started => *began,
                _ => now as i64 - age.max(0),
            };
            if now as i64 - began < window {
                let (id, node) = member.endpoint().identity();
                let name = hash::mix(hash::key(id.as_bytes()) ^ hash::mix(hash::key(node.as_bytes())));
                ramping.push(Ramping { position, key, name, started, began });
            }
        }
        let youngest = ramping.iter().map(|one| one.began).max()?;
        let eldest = ramping.iter().map(|one| one.began).min().filter(|_| ramping.len() == group.len() as usize);
        ramping.sort_unstable_by_key(|one| one.position);
        let ends = (youngest + window).max(0) as u64;
        clock.keep_until(ends);
        Some(Self { rule: rule.clone(), ramping: ramping.into(), eldest, ends, draws: draws(policy, group.len()) })
    }

    /// Says whether anybody is still on a ramp.
    #[inline]
    pub(super) fn is_on(&self, clock: &Clock) -> bool {
        clock.coarse() < self.ends
    }

    /// Says whether a call may go to a position, `salt` being the call's hash or a random word.
    pub(super) fn accepts(&self, position: usize, salt: u64, now: u64) -> bool {
        let Ok(place) = self.ramping.binary_search_by_key(&position, |one| one.position as usize) else {
            return true;
        };
        let one = &self.ramping[place];
        let share = |began: i64| self.rule.share((now as i64 - began).max(0) as u64);
        let full = self.eldest.map_or(1.0, share);
        let own = share(one.began);
        if own >= full {
            return true;
        }
        let chance = own / full / self.draws;
        f64::from((hash::mix(salt ^ one.name) >> 32) as u32) < chance * 4_294_967_296.0
    }
}

/// The replies that Prequal chooses the best of.
const POOL: u32 = 16;

/// Returns how many times its share an endpoint without load is offered: a scan for the idlest offers it every call, the
/// better of two twice as often as one draw, the best of a pool as often as there are replies in it.
fn draws(policy: &Policy, len: u32) -> f64 {
    match policy {
        Policy::LeastRequest { scan_max } if len <= *scan_max => f64::from(len.max(1)),
        Policy::LeastRequest { .. } | Policy::PeakEwma => 2.0,
        Policy::Prequal { .. } => f64::from(len.clamp(1, POOL)),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Snapshot;
    use crate::endpoint::{Ejection, Endpoint};

    const EPOCH: u64 = Clock::MANUAL_EPOCH;

    fn group(clock: &Clock, started: &[u64]) -> Group {
        let rows = started
            .iter()
            .enumerate()
            .map(|(n, started)| Endpoint::new(&format!("web-{n}"), &format!("10.0.0.{n}"), 80).started_at(*started));
        Group::whole(Arc::new(Snapshot::empty_with("web", Ejection::default(), clock.clone()).next(rows, 1)))
    }

    fn accepted(ramp: &Ramp, position: usize, now: u64) -> f64 {
        (0..10_000u64).filter(|n| ramp.accepts(position, hash::mix(*n), now)).count() as f64 / 10_000.0
    }

    #[test]
    fn the_share_rises_from_its_least_to_all() {
        let line = SlowStart::default();
        assert_eq!([0, 1500, 15_000, 30_000].map(|age| line.share(age)), [0.1, 0.1, 0.5, 1.0]);
        let steep = SlowStart { aggression: 2.0, ..line };
        assert!((steep.share(7500) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_new_one_is_accepted_more_and_more() {
        let clock = Clock::manual();
        let group = group(&clock, &[EPOCH - 1000, EPOCH - 15]);
        let ramp = Ramp::build(&SlowStart::default(), &Policy::Random, &group, &[]).unwrap();
        assert!((accepted(&ramp, 1, clock.coarse()) - 0.5).abs() < 0.02);
        assert_eq!(accepted(&ramp, 0, clock.coarse()), 1.0);
        clock.advance(Duration::from_secs(14));
        assert!(ramp.is_on(&clock) && accepted(&ramp, 1, clock.coarse()) > 0.9);
        clock.advance(Duration::from_secs(1));
        assert!(!ramp.is_on(&clock));
        assert!(Ramp::build(&SlowStart::default(), &Policy::Random, &group, &[&ramp]).is_none());
    }

    #[test]
    fn where_everybody_is_new_nobody_is_held_back() {
        let clock = Clock::manual();
        let all = group(&clock, &[EPOCH, EPOCH, EPOCH]);
        let ramp = Ramp::build(&SlowStart::default(), &Policy::Random, &all, &[]).unwrap();
        assert!((0..3).all(|position| accepted(&ramp, position, clock.coarse()) == 1.0));
        let one_older = group(&clock, &[EPOCH - 15, EPOCH - 6]);
        let ramp = Ramp::build(&SlowStart::default(), &Policy::Random, &one_older, &[]).unwrap();
        assert!((accepted(&ramp, 1, clock.coarse()) - 0.4).abs() < 0.02, "0.2 beside 0.5");
    }

    #[test]
    fn a_server_whose_clock_is_ahead_ramps_from_first_sight_on() {
        let clock = Clock::manual();
        let group = group(&clock, &[EPOCH - 1000, EPOCH + 3600]);
        let first = Ramp::build(&SlowStart::default(), &Policy::Random, &group, &[]).unwrap();
        clock.advance(Duration::from_secs(15));
        let again = Ramp::build(&SlowStart::default(), &Policy::Random, &group, &[&first]).unwrap();
        assert!((accepted(&again, 1, clock.coarse()) - 0.5).abs() < 0.02, "an update does not begin it anew");
        clock.advance(Duration::from_secs(15));
        assert!(Ramp::build(&SlowStart::default(), &Policy::Random, &group, &[&again]).is_none());
    }

    proptest! {
        /// A key that was accepted once stays accepted while the ramp rises.
        #[test]
        fn keys_only_come(key: u64, aggression in 0.2f64..5.0, share_min in 0u32..=100, steps in proptest::collection::vec(1u64..4000, 1..20)) {
            let clock = Clock::manual();
            let group = group(&clock, &[EPOCH - 1000, EPOCH]);
            let rule = SlowStart { aggression, share_min, ..SlowStart::default() };
            let ramp = Ramp::build(&rule, &Policy::RING_HASH, &group, &[]).unwrap();
            let mut before = false;
            for step in steps {
                clock.advance(Duration::from_millis(step));
                let accepted = ramp.accepts(1, key, clock.coarse());
                prop_assert!(accepted || !before);
                before = accepted;
            }
        }
    }
}
