//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018), over any hash policy.
//!
//! An endpoint may have in flight `factor` times its fair share of all calls in flight; a key whose own endpoint has
//! that many goes to another, which a re-mixed hash names, and so on: the order of endpoints is the key's own, so that
//! a full endpoint's keys spread over all and not onto one neighbour (Chen, Coleman, Shrivastava 2021). After
//! [`TRIES_MAX`] tries the least loaded of those seen has it.
//!
//! In flight counts what this process has in flight, or what the server last reported if that is more and not old: with
//! reports the bound is that of all clients together, without them of each alone. One server's report is soon
//! old, and clients that go by old ones herd; the total of all changes slowly. So the pick is a guess, and [`Picker::bound`]
//! tells the call the bound, which it takes along for the server to decide by its exact count (`crate::load::admits`).
//! The totals are running sums: a pick corrects them by what changed at the endpoints it looks at, and at one more that it
//! visits in turn, so that no pick looks at all. What was never looked at since the set changed counts as it was then.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use super::group::Group;
use super::hash;
use super::picker::{Ask, Follower, Picker, Worker};
use super::turns::Turns;
use crate::endpoint::Gauge;

/// Endpoints asked for one key. At a factor of 125 % one in five has room at worst, so 0.08 % find nobody; that many
/// are needed only by keys that are hot beyond everything.
const TRIES_MAX: u64 = 32;
/// A report counts for so many milliseconds as the load of its server: a full one that is left alone is not heard of,
const REPORT_AGE_MAX: u32 = 500;
/// and for so many in the total, where errors of single ones cancel out.
const TOTAL_AGE_MAX: u32 = 10_000;
/// Marks among `seen` what a server reported.
const KNOWN: u32 = 1 << 31;
/// Ages beyond are of reports newer than the coarse clock, whose ages wrapped.
const REPORT_AGE_WRAPPED: u32 = 1 << 23;
/// Bits after the point of a share.
const SHARE_BITS: u32 = 32;

/// Bounds what a hash policy puts on one endpoint.
pub(super) struct Bounded {
    picker: Box<dyn Picker>,
    factor: u32,
    /// What was last counted at each position, marked with `KNOWN` where it was a report.
    seen: Box<[AtomicU32]>,
    /// The sums over `seen`: those of reports, and those of what only this process counts.
    known: AtomicI64,
    own: AtomicI64,
    /// The shares of those that report, and of all.
    known_share: AtomicI64,
    all_share: i64,
    shares: Shares,
}

/// What all have in flight, or by how much that changes.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    known: i64,
    own: i64,
    known_share: i64,
}

impl AddAssign for Sums {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.known += other.known;
        self.own += other.own;
        self.known_share += other.known_share;
    }
}

impl Sums {
    /// Returns what one endpoint adds, as it stands among `seen`.
    fn of(seen: u32, share: u64) -> Self {
        let load = i64::from(seen & !KNOWN);
        match seen & KNOWN {
            0 => Self { own: load, ..Self::default() },
            _ => Self { known: load, known_share: share as i64, own: 0 },
        }
    }

    /// Returns what all servers have in flight of all clients, by the reports of at least half of them.
    #[inline]
    fn reported(&self, all_share: i64) -> Option<u64> {
        if self.known_share == 0 {
            return None;
        }
        let known = u64::try_from(self.known).unwrap_or(0);
        if self.known_share == all_share {
            return Some(known);
        }
        let share = u128::try_from(self.known_share).ok()?;
        let all = u128::try_from(all_share).ok().filter(|all| share * 2 >= *all)?;
        u64::try_from(u128::from(known) * all / share).ok()
    }

    /// Returns what all have in flight as far as this process knows.
    #[inline]
    fn total(&self, all_share: i64) -> u64 {
        self.reported(all_share).unwrap_or_else(|| u64::try_from(self.known + self.own).unwrap_or(0))
    }
}

/// The bound as a share of the total, factor included.
#[derive(Debug)]
enum Shares {
    Equal(u64),
    /// By position; 0 who is not among them.
    Own(Box<[u64]>),
}

impl Shares {
    #[inline]
    fn of(&self, position: usize) -> u64 {
        match self {
            Self::Equal(share) => *share,
            Self::Own(own) => own.get(position).copied().unwrap_or(0),
        }
    }
}

impl Bounded {
    /// Builds over the picker of a hash policy; `factor` is in percent of the fair share, and at least 100 counts.
    pub(super) fn new(group: &Group, picker: Box<dyn Picker>, factor: u32) -> Self {
        let total: u64 = group.weighted().map(|(_, weight)| u64::from(weight)).sum();
        let share = |weight: u32| {
            let share = (u128::from(weight) * u128::from(factor.max(100))) << SHARE_BITS;
            u64::try_from(share / (u128::from(total.max(1)) * 100)).unwrap_or(u64::MAX)
        };
        let shares = if group.is_equal() && group.is_whole() {
            Shares::Equal(share(if group.is_empty() { 1 } else { group.weight(0) }))
        } else {
            // Most weigh as much as the one before, and dividing takes longer than all the rest.
            let mut last = (0, 0);
            let share = |weight: &u32| {
                if *weight != last.0 {
                    last = (*weight, share(*weight));
                }
                last.1
            };
            Shares::Own(group.weights().iter().map(share).collect())
        };
        let all_share = match &shares {
            Shares::Equal(share) => *share as i64 * i64::from(group.len()),
            Shares::Own(own) => own.iter().sum::<u64>() as i64,
        };
        let now = group.snapshot().aside().clock().coarse();
        let mut sums = Sums::default();
        let mut look = |position: usize| {
            let gauge = group.gauge(position).filter(|_| group.weight_at(position) > 0)?;
            let counted = load(gauge, now).1;
            sums += Sums::of(counted, shares.of(position));
            Some(counted)
        };
        let seen = (0..group.weights().len()).map(|position| AtomicU32::new(look(position).unwrap_or(0))).collect();
        let Sums { known, own, known_share } = sums;
        Self {
            picker,
            factor,
            seen,
            known: AtomicI64::new(known),
            own: AtomicI64::new(own),
            known_share: AtomicI64::new(known_share),
            all_share,
            shares,
        }
    }

    #[inline]
    fn sums(&self) -> Sums {
        Sums {
            known: self.known.load(Relaxed),
            own: self.own.load(Relaxed),
            known_share: self.known_share.load(Relaxed),
        }
    }

    /// Adds what changed. Mostly that is one sum, and a locked instruction costs as much as the rest of a pick.
    #[inline]
    fn correct(&self, by: Sums) {
        for (sum, by) in [(&self.known, by.known), (&self.own, by.own), (&self.known_share, by.known_share)] {
            if by != 0 {
                sum.fetch_add(by, Relaxed);
            }
        }
    }

    /// Returns the load of an endpoint, and by how much that corrects the sums if it does.
    #[inline]
    fn look(&self, group: &Group, position: usize, now: u64) -> (u64, Option<Sums>) {
        let (Some(gauge), Some(seen)) = (group.gauge(position), self.seen.get(position)) else {
            return (0, None);
        };
        let (load, counted) = load(gauge, now);
        // Looked at before it is written: between two calls of a quiet endpoint there is nothing to write.
        if seen.load(Relaxed) == counted {
            return (u64::from(load), None);
        }
        // Whatever threads come between, the differences add up to what is stored.
        let share = self.shares.of(position);
        let before = Sums::of(seen.swap(counted, Relaxed), share);
        let mut sums = Sums::of(counted, share);
        sums += Sums { known: -before.known, own: -before.own, known_share: -before.known_share };
        (u64::from(load), Some(sums))
    }

    /// Returns how many calls the endpoint may have in flight, this one included.
    #[inline]
    fn most(&self, position: usize, total: u64) -> u64 {
        let share = u128::from(self.shares.of(position));
        let bound = u128::from(total + 1) * share + u128::from((1u64 << SHARE_BITS) - 1);
        (bound >> SHARE_BITS) as u64
    }
}

/// Returns the calls in flight at an endpoint, as far as anybody knows, and what counts in the total.
#[inline]
fn load(gauge: &Gauge, now: u64) -> (u32, u32) {
    let own = (gauge.in_flight() as u32) & !KNOWN;
    let Some(report) = gauge.report(now) else { return (own, own) };
    let both = own.max(report.load.in_flight);
    let counts = |age: u32| report.age <= age || report.age >= REPORT_AGE_WRAPPED;
    (if counts(REPORT_AGE_MAX) { both } else { own }, if counts(TOTAL_AGE_MAX) { both | KNOWN } else { own })
}

impl Picker for Bounded {
    #[inline]
    fn pick_open(&self, group: &Group, hash: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        self.choose(group, hash, turns, |hash| self.picker.pick_open(group, Some(hash), turns))
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let turns = worker.turns();
        self.choose(group, ask.hashed(), turns, |hash| self.picker.pick(group, &ask.rehashed(hash), worker))
    }

    fn follow(&self, before: &Group, now: &Group) -> Option<Follower> {
        let Follower { picker, lasts } = self.picker.follow(before, now)?;
        Some(Follower { picker: Box::new(Self::new(now, picker, self.factor)), lasts })
    }

    fn bound(&self, position: usize) -> Option<u32> {
        let share = self.shares.of(position);
        let total = self.sums().reported(self.all_share).filter(|_| share > 0)?;
        Some(u32::try_from(self.most(position, total)).unwrap_or(u32::MAX))
    }
}

impl Bounded {
    #[inline]
    fn choose(
        &self,
        group: &Group,
        hash: Option<u64>,
        turns: Turns<'_>,
        mut pick: impl FnMut(u64) -> Option<usize>,
    ) -> Option<usize> {
        let turn = turns.turn();
        // Multiples of the golden ratio come by everybody within three rounds, whatever the number (Steinhaus).
        let place = turn.wrapping_mul(hash::GOLDEN);
        let hash = hash.unwrap_or_else(|| hash::mix(place));
        let now = group.snapshot().aside().clock().coarse();
        let visited = hash::below((place >> 32) as u32, group.len());
        let mut correction = if visited < group.len() { self.look(group, group.at(visited), now).1 } else { None };
        let mut sums = self.sums();
        sums += correction.unwrap_or_default();
        let mut total = sums.total(self.all_share);
        let mut chosen = None;
        let mut least: Option<(u64, usize)> = None;
        for number in 0..TRIES_MAX {
            let again =
                if number == 0 { hash } else { hash::mix(hash.wrapping_add(number.wrapping_mul(hash::GOLDEN))) };
            let Some(position) = pick(again) else { break };
            let (load, difference) = self.look(group, position, now);
            if let Some(difference) = difference {
                *correction.get_or_insert_default() += difference;
                sums += difference;
                total = sums.total(self.all_share);
            }
            if load < self.most(position, total) {
                chosen = Some(position);
                break;
            }
            if least.is_none_or(|(other, _)| load < other) {
                least = Some((load, position));
            }
        }
        if let Some(correction) = correction {
            self.correct(correction);
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
    fn the_bound_that_servers_are_told_is_of_what_they_report() {
        let weighted = rows(4).zip([1, 1, 2, 4]).map(|(row, weight)| row.weighted(weight, 1));
        let (clock, balancer) = balancer(Policy::DX_HASH.bounded(125), weighted);
        let told = || {
            // Each pick visits one more endpoint.
            (0..3 * 4).for_each(|n| drop(balancer.pick(&Ask::hash(hash::mix(n))).unwrap()));
            let snapshot = balancer.snapshot();
            let members = snapshot.members().iter().cloned();
            members.map(|member| balancer.bound_of(&balancer.hold(member))).collect::<Vec<_>>()
        };
        assert_eq!(told(), [None; 4], "nobody has reported");
        let snapshot = balancer.snapshot();
        let report = |id: &str, in_flight| {
            let stats = snapshot.find(id, "").unwrap().stats();
            stats.note_report(Load { in_flight, latency: 1000 }, clock.exact());
        };
        report("002", 20);
        assert_eq!(told(), [None; 4], "a quarter of the weight is too little to go by");
        report("000", 9);
        report("001", 11);
        // 40 in flight on half of the weight: 80 in all, and the call itself.
        assert_eq!(told(), [13, 13, 26, 51].map(Some));
        report("003", 60);
        assert_eq!(told(), [16, 16, 32, 64].map(Some));
        clock.advance(Duration::from_millis(9_000));
        assert_eq!(told(), [16, 16, 32, 64].map(Some), "the total is slower to change than its parts");
        clock.advance(Duration::from_millis(1_001));
        assert_eq!(told(), [None; 4]);
    }

    #[test]
    fn who_has_no_bound_tells_none() {
        let (clock, balancer) = balancer(Policy::DX_HASH, rows(1));
        let picked = balancer.pick(&Ask::hash(1)).unwrap();
        picked.stats().note_report(Load { in_flight: 5, latency: 1000 }, clock.exact());
        assert_eq!(balancer.bound_of(&picked), None);
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
