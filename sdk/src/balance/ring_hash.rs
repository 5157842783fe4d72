//! Consistent hashing on a ring, as nginx lays it out and as Envoy does, bit for bit.
//!
//! A ring serves on while the set changes: whoever leaves is passed over, whoever comes, or has more points than before, has
//! them beside it, and it answers as one that is laid out anew. Where too much has changed, or the points of all are others
//! (of Envoy's ring, where their number hangs on who is there), it does so until a new one is laid out; then those who were
//! there before have the number of points they had, and who changed has its share rounded up.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::group::Group;
use super::hash;
use super::late::{self, Comer, Late};
use super::picker::{Ask, Follower, Picker, Worker};
use super::policy;
use super::ring::{Ring, sort_spread};
use super::rule::{POINTS_MAX, Rule};
use super::sleepers::{Laid, Sleepers, changed_rows};
use super::turns::Turns;

/// Points looked at beyond the key's own, in search of an endpoint that is not left out.
const WALK_MAX: usize = 512;
/// Points beside the ring for good: one in so many, and at most so many in all,
const LATE_SHARE: usize = 128;
const LATE_MAX: usize = 40_960;
/// but of a small ring so many as long as they are not more than one in so many.
const LATE_FEW: usize = 1280;
const LATE_FEW_SHARE: usize = 8;
/// So many times as many serve until there is a new ring.
const LATE_FOR_NOW: usize = 4;
/// So many may be given another number of points by a change of somebody else; beyond, all are, as a rule.
const OTHERS_MAX: usize = 64;

/// Looks keys up on a ring.
#[derive(Debug)]
pub(super) struct RingHash {
    ring: Arc<Ring>,
    rule: Rule,
    /// What brings an ask's hash to the width of the ring: 32 for the narrow one, else 0.
    shift: u32,
    /// None for a choice of its own.
    laid: Option<Laid>,
    sleepers: Sleepers,
    late: Option<Late>,
}

impl RingHash {
    /// Builds nginx's ring with `points` per unit of weight; `None` when nobody is there.
    pub(super) fn ketama(group: &Group, points: u32) -> Option<Self> {
        Self::lay(group, Rule::Ketama(points))
    }

    /// Builds Envoy's ring; `None` when nobody is there.
    pub(super) fn envoy(group: &Group, points_min: u32, points_max: u32) -> Option<Self> {
        Self::lay(group, Rule::Envoy(points_min.into(), u64::from(points_max).min(POINTS_MAX)))
    }

    /// Builds Envoy's ring by id and node; `None` when nobody is there.
    pub(super) fn by_id(group: &Group) -> Option<Self> {
        Self::lay(group, Rule::ById)
    }

    fn lay(group: &Group, rule: Rule) -> Option<Self> {
        let points = rule.points(group);
        let len = points.iter().map(|points| *points as usize).sum();
        // Ranks decide who comes first at one place; from there on positions are what is wanted.
        let ranked = (0u32..).zip(group.ordered());
        let positions: Vec<u32> = group.ordered().map(|(position, ..)| position).collect();
        let (ring, shift) = if rule.is_narrow() {
            let mut words = Vec::with_capacity(len);
            for (rank, (position, _, member)) in ranked {
                let put = &mut |hash| words.push(hash | u64::from(rank));
                rule.hashes(member.endpoint(), 0..points[position as usize], put);
            }
            let mut words = sort_spread(words, |word| *word);
            for word in &mut words {
                *word = *word >> 32 << 32 | u64::from(positions[*word as u32 as usize]);
            }
            (Ring::narrow(words)?, 32)
        } else {
            let mut words = Vec::with_capacity(len);
            for (rank, (position, _, member)) in ranked {
                rule.hashes(member.endpoint(), 0..points[position as usize], &mut |hash| words.push((hash, rank)));
            }
            let mut words = sort_spread(words, |(hash, _)| *hash);
            for (_, rank) in &mut words {
                *rank = positions[*rank as usize];
            }
            (Ring::wide(words)?, 0)
        };
        let laid = Laid::of(group, points);
        Some(Self { ring: Arc::new(ring), rule, shift, laid, sleepers: Sleepers::default(), late: None })
    }
}

impl Picker for RingHash {
    #[inline]
    fn pick_open(&self, _: &Group, hash: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        // A call without a key has no home; any will do.
        let key = hash.unwrap_or_else(|| turns.random()) << self.shift;
        if let Some(owner) = self.late.as_ref().and_then(|late| late.owner(key)) {
            return Some(owner as usize);
        }
        let owner = self.ring.owner(key) as usize;
        if !self.sleepers.is_empty() && self.sleepers.has(owner) { self.awake(key) } else { Some(owner) }
    }

    /// Looks onward round the ring: a left-out endpoint's keys spread over all, not onto one neighbour.
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let key = ask.hashed().unwrap_or_else(|| worker.random()) << self.shift;
        let onward = late::walk((&self.ring, &self.sleepers), self.late.as_ref(), key).take(WALK_MAX);
        let mut allowed = onward.filter(|position| worker.allows(group, ask, *position));
        allowed.next().or_else(|| {
            let start = hash::below((key >> self.shift) as u32, group.len());
            worker.first_allowed(group, ask, start)
        })
    }

    fn follow(&self, before: &Group, now: &Group) -> Option<Follower> {
        let (follower, lasts) = self.changed(before, now)?;
        Some(if lasts { Follower::lasting(follower) } else { Follower::interim(follower) })
    }
}

impl RingHash {
    /// Serves on for a later group; says too whether it chooses as a new one, and may do so for good.
    fn changed(&self, before: &Group, now: &Group) -> Option<(Self, bool)> {
        let laid = self.laid.as_ref().filter(|_| before.is_whole() && now.is_whole())?;
        let ring_len = self.ring.len();
        let late_max = (ring_len / LATE_FEW_SHARE).min(LATE_FEW).max(ring_len / LATE_SHARE).min(LATE_MAX);
        let rows = changed_rows(before, now);
        let (due, is_exact) = match self.due(laid, &rows, (before, now)) {
            Some(due) => (due, true),
            None => (self.nearly_due(&rows, now), false),
        };
        let mut sleepers = self.sleepers.clone();
        let comer = |(position, points): (u32, u32)| {
            let key = now.stats(position as usize).map(|stats| stats.key());
            let on_ring = key.map_or(0, |key| laid.part(position as usize, key));
            // The first points of an endpoint are the same however many it has.
            let on_ring = if on_ring <= points { on_ring } else { 0 };
            laid.set(&mut sleepers, position as usize, on_ring == 0);
            key.filter(|_| on_ring < points).map(|key| Comer { position, key, laid: on_ring, points })
        };
        let comers: Vec<Comer> = due.into_iter().filter_map(comer).collect();
        let late_len: u64 = comers.iter().map(|comer| u64::from(comer.late())).sum();
        if late_len > (late_max * LATE_FOR_NOW) as u64 || !laid.bears_for_now(&sleepers) {
            return None;
        }
        let is_rule = !matches!(self.rule, Rule::ById) || policy::is_for_ring(now);
        let lasts = is_exact && is_rule && late_len <= late_max as u64 && laid.bears(&sleepers);
        let hashes = |comer: &Comer, put: &mut dyn FnMut(u64)| {
            if let Some(member) = now.snapshot().member(comer.position as usize) {
                self.rule.hashes(member.endpoint(), comer.laid..comer.points, put);
            }
        };
        let late = Late::build(comers, self.late.as_ref(), (&self.ring, laid), now, hashes);
        let (ring, laid) = (Arc::clone(&self.ring), Some(laid.clone()));
        Some((Self { ring, rule: self.rule, shift: self.shift, laid, sleepers, late }, lasts))
    }

    /// Returns who is to have how many points, by position, of those in whose rows something changed, who have points beside
    /// the ring, and whom the rule gives others than they had; who is not there has none. None where the last are many.
    fn due(&self, laid: &Laid, rows: &[usize], (before, now): (&Group, &Group)) -> Option<Vec<(u32, u32)>> {
        let len = before.weights().len().max(now.weights().len()).max(laid.parts().len());
        let mut special = self.sleepers.bits(len);
        let comers = self.comers().iter().map(|comer| comer.position as usize);
        for position in rows.iter().copied().chain(comers) {
            special[position / 64] |= 1 << (position % 64);
        }
        let mut due: Vec<(u32, u32)> = Vec::new();
        let mut others = 0;
        let parts = laid.parts();
        let mut put = |position: u32, points: u32| {
            let at = position as usize;
            let is_special = special[at / 64] >> (at % 64) & 1 == 1;
            if is_special || parts.get(at).copied().unwrap_or(0) != points {
                others += usize::from(!is_special);
                due.push((position, points));
            }
            if others > OTHERS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let walk = match self.rule.per_unit(now) {
            // Most are as they were laid out: many are compared at once.
            Some(per_unit) => (0u32..).zip(now.weights().chunks(64)).try_for_each(|(word, weights)| {
                let first = word as usize * 64;
                let laid = parts.get(first..first + weights.len()).unwrap_or_default();
                let differ = |(weight, points): (&u32, &u32)| u32::from(weight * per_unit != *points);
                let is_same = laid.len() == weights.len() && weights.iter().zip(laid).map(differ).sum::<u32>() == 0;
                if is_same && special[word as usize] == 0 {
                    return ControlFlow::Continue(());
                }
                let mut there = (word * 64..).zip(weights).filter(|(_, weight)| **weight > 0);
                there.try_for_each(|(position, weight)| put(position, weight * per_unit))
            }),
            None => self.rule.shares(now, put),
        };
        if walk.is_break() {
            return None;
        }
        let gone = rows.iter().filter(|position| now.weight_at(**position) == 0);
        due.extend(gone.map(|position| (*position as u32, 0)));
        due.sort_unstable();
        Some(due)
    }

    /// Returns the same for now, where the rule gives others to many: those beside the ring have what they had.
    fn nearly_due(&self, rows: &[usize], now: &Group) -> Vec<(u32, u32)> {
        let kept = self.comers().iter().filter(|comer| rows.binary_search(&(comer.position as usize)).is_err());
        let due = rows.iter().map(|position| (*position as u32, self.rule.nearly(now, now.weight_at(*position))));
        let mut due: Vec<(u32, u32)> = kept.map(|comer| (comer.position, comer.points)).chain(due).collect();
        due.sort_unstable();
        due
    }

    fn comers(&self) -> &[Comer] {
        self.late.as_ref().map_or(&[], Late::comers)
    }

    /// Returns the owner of the first point that counts at present.
    #[inline(never)]
    fn awake(&self, key: u64) -> Option<usize> {
        late::walk((&self.ring, &self.sleepers), self.late.as_ref(), key).next()
    }
}

#[cfg(test)]
#[path = "ring_hash_tests.rs"]
mod tests;
