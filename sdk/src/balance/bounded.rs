//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018), over any hash policy.
//!
//! An endpoint may have in flight `factor` times its fair share of all calls in flight; a key whose own endpoint has
//! that many goes to another, which a re-mixed hash names, and so on: the order of endpoints is the key's own, so that
//! a full endpoint's keys spread over all and not onto one neighbour (Chen, Coleman, Shrivastava 2021). After
//! [`TRIES_MAX`] tries the least loaded of those seen has it.
//!
//! In flight counts what this process has in flight, or what the server last reported if that is more and not old: with
//! reports the bound holds for all clients together, without them for each alone.
//! The total is a running sum: a pick corrects it by what changed at the endpoints it looks at, and at one more that it
//! visits in turn, so that no pick looks at all. What was never looked at since the set changed counts as it was then.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};
use crate::endpoint::EndpointStats;

/// Endpoints asked for one key. At a factor of 125 % one in five has room at worst, so 0.08 % find nobody; that many
/// are needed only by keys that are hot beyond everything.
const TRIES_MAX: u64 = 32;
/// A report counts for so many milliseconds.
const REPORT_AGE_MAX: u32 = 1000;
/// Ages beyond are of reports newer than the coarse clock, whose ages wrapped.
const REPORT_AGE_WRAPPED: u32 = 1 << 23;
/// Bits after the point of a share.
const SHARE_BITS: u32 = 32;

/// Bounds what a hash policy puts on one endpoint.
pub(super) struct Bounded {
    picker: Box<dyn Picker>,
    /// What was last counted at each position.
    seen: Box<[AtomicU32]>,
    /// The sum of `seen`.
    total: AtomicI64,
    shares: Shares,
}

/// The bound as a share of the total, factor included.
#[derive(Debug)]
enum Shares {
    Equal(u64),
    /// By position.
    Own(Box<[u64]>),
}

impl Bounded {
    /// Builds over the picker of a hash policy; `factor` is in percent of the fair share, and at least 100 counts.
    pub(super) fn new(group: &Group, picker: Box<dyn Picker>, factor: u32) -> Self {
        let total: u64 = group.weighted().map(|(_, weight)| u64::from(weight)).sum();
        let share = |weight: u32| {
            let share = (u128::from(weight) * u128::from(factor.max(100))) << SHARE_BITS;
            u64::try_from(share / (u128::from(total.max(1)) * 100)).unwrap_or(u64::MAX)
        };
        let len = group.snapshot().weights().len();
        let shares = if group.is_equal() {
            Shares::Equal(share(if group.is_empty() { 1 } else { group.weight(0) }))
        } else {
            let mut own = vec![0; len];
            group.weighted().for_each(|(position, weight)| own[position as usize] = share(weight));
            Shares::Own(own.into())
        };
        let seen: Box<[AtomicU32]> = (0..len).map(|_| AtomicU32::new(0)).collect();
        let bounded = Self { picker, seen, total: AtomicI64::new(0), shares };
        let now = group.snapshot().aside().clock().coarse();
        let loads = group.weighted().map(|(position, _)| bounded.look(group, position as usize, now).1);
        bounded.total.store(loads.sum(), Relaxed);
        bounded
    }

    /// Returns the load of an endpoint, and by how much that corrects the total.
    #[inline]
    fn look(&self, group: &Group, position: usize, now: u64) -> (u64, i64) {
        let (Some(stats), Some(seen)) = (group.stats(position), self.seen.get(position)) else {
            return (0, 0);
        };
        let load = load(stats, now);
        // Looked at before it is written: between two calls of a quiet endpoint there is nothing to write.
        if seen.load(Relaxed) == load {
            return (u64::from(load), 0);
        }
        // Whatever threads come between, the differences add up to what is stored.
        let before = seen.swap(load, Relaxed);
        (u64::from(load), i64::from(load) - i64::from(before))
    }

    /// Returns how many calls the endpoint may have in flight, this one included.
    #[inline]
    fn bound(&self, position: usize, total: u64) -> u64 {
        let share = match &self.shares {
            Shares::Equal(share) => *share,
            Shares::Own(own) => own.get(position).copied().unwrap_or(0),
        };
        let bound = u128::from(total + 1) * u128::from(share) + u128::from((1u64 << SHARE_BITS) - 1);
        (bound >> SHARE_BITS) as u64
    }
}

/// Returns the calls in flight at an endpoint, as far as anybody knows.
#[inline]
fn load(stats: &EndpointStats, now: u64) -> u32 {
    let own = stats.in_flight() as u32;
    match stats.report(now) {
        Some(report) if report.age <= REPORT_AGE_MAX || report.age >= REPORT_AGE_WRAPPED => {
            own.max(report.load.in_flight)
        }
        _ => own,
    }
}

impl Picker for Bounded {
    #[inline]
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let turn = worker.turn();
        let hash = ask.hashed().unwrap_or_else(|| hash::mix(turn.wrapping_mul(hash::GOLDEN)));
        let now = group.snapshot().aside().clock().coarse();
        let visited = hash::below(turn as u32, group.len());
        let mut correction = if visited < group.len() { self.look(group, group.at(visited), now).1 } else { 0 };
        let total = self.total.load(Relaxed);
        let mut chosen = None;
        let mut least: Option<(u64, usize)> = None;
        for number in 0..TRIES_MAX {
            let again =
                if number == 0 { hash } else { hash::mix(hash.wrapping_add(number.wrapping_mul(hash::GOLDEN))) };
            let Some(position) = self.picker.pick(group, &ask.rehashed(again), worker) else { break };
            let (load, difference) = self.look(group, position, now);
            correction += difference;
            if load < self.bound(position, u64::try_from(total + correction).unwrap_or(0)) {
                chosen = Some(position);
                break;
            }
            if least.is_none_or(|(other, _)| load < other) {
                least = Some((load, position));
            }
        }
        // Once a pick, since a locked instruction costs as much as the rest.
        if correction != 0 {
            self.total.fetch_add(correction, Relaxed);
        }
        chosen.or(least.map(|(_, position)| position))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::balance::{Balancer, Picked, Policy};
    use crate::catalog::Snapshot;
    use crate::endpoint::{Clock, Ejection, Endpoint, Load};

    fn balancer(policy: Policy, rows: impl IntoIterator<Item = Endpoint>) -> (Clock, Balancer) {
        let clock = Clock::manual();
        let snapshot = Snapshot::empty_with("web", Ejection::default(), clock.clone()).next(rows, 1);
        (clock, Balancer::with_seed(policy, Arc::new(snapshot), 1))
    }

    fn rows(len: usize) -> impl Iterator<Item = Endpoint> {
        (0..len).map(|n| Endpoint::new(&format!("{n:03}"), &format!("10.0.0.{n}"), 80).in_slot(n as u32))
    }

    fn in_flight(balancer: &Balancer) -> Vec<u64> {
        balancer.snapshot().members().iter().map(|member| member.stats().in_flight()).collect()
    }

    fn hashes() -> Vec<Policy> {
        vec![Policy::DX_HASH, Policy::RING_HASH, Policy::ENVOY_RING, Policy::Maglev, Policy::Rendezvous]
    }

    #[test]
    fn nobody_has_more_than_the_bound() {
        for policy in hashes() {
            let (_clock, balancer) = balancer(policy.bounded(125), rows(20));
            // Half of all calls have one key.
            let key = |n: u64| if n.is_multiple_of(2) { 0 } else { n };
            let mut held: Vec<Picked> =
                (0..1000).map(|n| balancer.pick(&Ask::hash(hash::mix(key(n)))).unwrap()).collect();
            let most = |balancer: &Balancer| in_flight(balancer).into_iter().max().unwrap();
            assert!(most(&balancer) <= 63, "{:?}: {:?}", balancer.policy(), in_flight(&balancer));
            // As calls end, the bound comes down with the total.
            for n in 0..20_000 {
                drop(held.swap_remove((hash::mix(n) % held.len() as u64) as usize));
                if !n.is_multiple_of(25) || held.len() < 200 {
                    held.push(balancer.pick(&Ask::hash(hash::mix(key(n)))).unwrap());
                }
            }
            let mean = held.len() as f64 / 20.0;
            assert!(most(&balancer) as f64 <= (mean * 1.25).ceil() * 1.1, "{mean}: {:?}", in_flight(&balancer));
        }
    }

    #[test]
    fn a_key_stays_at_home_while_there_is_room_and_comes_back() {
        let (_clock, bounded) = balancer(Policy::DX_HASH.bounded(200), rows(10));
        let (_clock, plain) = balancer(Policy::DX_HASH, rows(10));
        let who = |balancer: &Balancer, n| balancer.pick(&Ask::hash(hash::mix(n))).unwrap();
        let home = |n| who(&plain, n).endpoint().id().to_owned();
        assert!(
            (0..500).all(|n| who(&bounded, n).endpoint().id() == home(n)),
            "one call at a time is within every bound"
        );
        let held: Vec<Picked> = (0..100).map(|_| who(&bounded, 7)).collect();
        let at_home = held.iter().filter(|picked| picked.endpoint().id() == home(7)).count();
        assert_eq!(at_home, 20, "twice the fair share");
        drop(held);
        assert_eq!(who(&bounded, 7).endpoint().id(), home(7));
    }

    #[test]
    fn a_server_that_reports_more_is_full_for_this_client_too() {
        let (clock, balancer) = balancer(Policy::DX_HASH.bounded(125), rows(10));
        let home = || balancer.pick(&Ask::hash(7)).unwrap().endpoint().id().to_owned();
        let first = home();
        let snapshot = balancer.snapshot();
        let stats = snapshot.find(&first, "").unwrap().stats();
        stats.note_report(Load { in_flight: 100, latency: 1000 }, clock.exact());
        assert_ne!(home(), first);
        clock.advance(Duration::from_millis(1001));
        assert_eq!(home(), first, "what is old does not count");
    }

    #[test]
    fn shares_follow_weights() {
        let rows = rows(4).zip([1, 1, 2, 4]).map(|(row, weight)| row.weighted(weight, 1));
        let (_clock, balancer) = balancer(Policy::DX_HASH.bounded(100), rows);
        let _held: Vec<Picked> = (0..800).map(|n| balancer.pick(&Ask::hash(hash::mix(n % 3))).unwrap()).collect();
        let got = in_flight(&balancer);
        assert!(got.iter().zip([100, 100, 200, 400]).all(|(got, due)| got.abs_diff(due) <= due / 8), "{got:?}");
    }
}
