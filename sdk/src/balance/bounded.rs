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
//! visits in turn, so that no pick looks at all. When the set changes what was counted is taken over, and only who changed is looked at.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use super::group::Group;
use super::hash;
use super::picker::{Ask, Follower, Picker, Worker};
use super::sleepers::changed_rows;
use super::totals::{KNOWN, SHARE_BITS, Shares, Sums};
use super::turns::Turns;
use crate::endpoint::Gauge;

/// Endpoints asked for one key. At a factor of 125 % one in five has room at worst, so 0.08 % find nobody; that many
/// are needed only by keys that are hot beyond everything.
const TRIES_MAX: u64 = 32;
/// A report counts for so many milliseconds as the load of its server: a full one that is left alone is not heard of,
const REPORT_AGE_MAX: u32 = 500;
/// and for so many in the total, where errors of single ones cancel out.
const TOTAL_AGE_MAX: u32 = 10_000;
/// Ages beyond are of reports newer than the coarse clock, whose ages wrapped.
const REPORT_AGE_WRAPPED: u32 = 1 << 23;

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

impl Bounded {
    /// Builds over the picker of a hash policy; `factor` is in percent of the fair share, and at least 100 counts.
    pub(super) fn new(group: &Group, picker: Box<dyn Picker>, factor: u32) -> Self {
        let now = group.snapshot().aside().clock().coarse();
        let counted = (0..group.weights().len()).map(|position| counted(group, position, now)).collect();
        Self::over(group, picker, factor, counted)
    }

    /// Builds the one of a later group over its picker. What was counted is taken over, and only those are looked at whose
    /// rows are others. The sums are those of what is taken over, whatever the old one goes on to count for picks that still
    /// have it: its endpoints' gauges tell that, to whoever looks at them next.
    fn followed(&self, picker: Box<dyn Picker>, before: &Group, now: &Group) -> Self {
        if !before.is_whole() || !now.is_whole() {
            return Self::new(now, picker, self.factor);
        }
        let mut seen: Vec<u32> = self.seen.iter().map(|seen| seen.load(Relaxed)).collect();
        seen.resize(now.weights().len(), 0);
        let time = now.snapshot().aside().clock().coarse();
        for position in changed_rows(before, now) {
            if let Some(seen) = seen.get_mut(position) {
                *seen = counted(now, position, time);
            }
        }
        Self::over(now, picker, self.factor, seen)
    }

    /// Builds it with what was counted at each position.
    fn over(group: &Group, picker: Box<dyn Picker>, factor: u32, counted: Vec<u32>) -> Self {
        let shares = Shares::new(group, factor);
        let all_share = shares.all(group);
        let mut sums = Sums::default();
        for (position, counted) in counted.iter().enumerate().filter(|(_, counted)| **counted > 0) {
            sums += Sums::of(*counted, shares.of(position));
        }
        let seen = counted.into_iter().map(AtomicU32::new).collect();
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

/// Returns what counts in the total of the endpoint at a position, 0 where nobody is who may be called.
fn counted(group: &Group, position: usize, now: u64) -> u32 {
    group.gauge(position).filter(|_| group.weight_at(position) > 0).map_or(0, |gauge| load(gauge, now).1)
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
        Some(Follower { picker: Box::new(self.followed(picker, before, now)), lasts })
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
#[path = "bounded_tests.rs"]
mod tests;
