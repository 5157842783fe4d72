//! Consistent hashing on a ring, as nginx lays it out and as Envoy does, bit for bit.
//!
//! A ring serves on while the set changes: whoever leaves is passed over, whoever comes has points beside it, and it answers
//! as one that is laid out anew. Where too much has changed, or the points of all are others (of Envoy's ring, where their
//! number hangs on who is there), it does so until a new one is laid out; then those who were there before have the number
//! of points they had.

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
                rule.hashes(member.endpoint(), points[position as usize], put);
            }
            let mut words = sort_spread(words, |word| *word);
            for word in &mut words {
                *word = *word >> 32 << 32 | u64::from(positions[*word as u32 as usize]);
            }
            (Ring::narrow(words)?, 32)
        } else {
            let mut words = Vec::with_capacity(len);
            for (rank, (position, _, member)) in ranked {
                rule.hashes(member.endpoint(), points[position as usize], &mut |hash| words.push((hash, rank)));
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
        let points = self.rule.points(now);
        let due = |position: usize| points.get(position).copied().unwrap_or(0);
        let mut sleepers = self.sleepers.clone();
        let mut comers = self.late.as_ref().map_or_else(Vec::new, |late| late.comers().to_vec());
        for position in changed_rows(before, now) {
            let key = now.stats(position).map(|stats| stats.key());
            let comer = key.map(|key| Comer { position: position as u32, key, points: due(position) });
            let is_laid = |comer: &Comer| laid.knows(position, comer.key) && laid.parts()[position] == comer.points;
            let is_awake = comer.as_ref().is_some_and(is_laid);
            laid.set(&mut sleepers, position, !is_awake);
            let comer = comer.filter(|comer| comer.points > 0 && !is_awake);
            match (comers.binary_search_by_key(&position, |comer| comer.position as usize), comer) {
                (Ok(at), Some(comer)) => comers[at] = comer,
                (Ok(at), None) => drop(comers.remove(at)),
                (Err(at), Some(comer)) => comers.insert(at, comer),
                (Err(_), None) => {}
            }
        }
        let late_len: u64 = comers.iter().map(|comer| u64::from(comer.points)).sum();
        let ring_len = self.ring.len();
        let late_max = (ring_len / LATE_FEW_SHARE).min(LATE_FEW).max(ring_len / LATE_SHARE).min(LATE_MAX);
        if late_len > (late_max * LATE_FOR_NOW) as u64 || !laid.bears_for_now(&sleepers) {
            return None;
        }
        // Whether everybody has as many points as are due: whoever's row is the same, too.
        let is_late = |position: usize| comers.binary_search_by_key(&position, |one| one.position as usize).is_ok();
        let on_ring = |position: usize| match sleepers.has(position) {
            true => 0,
            false => laid.parts().get(position).copied().unwrap_or(0),
        };
        let is_exact = comers.iter().all(|comer| comer.points == due(comer.position as usize))
            && (0..points.len().max(laid.parts().len()))
                .all(|position| on_ring(position) == due(position) || is_late(position));
        let is_rule = !matches!(self.rule, Rule::ById) || policy::is_for_ring(now);
        let lasts = is_exact && is_rule && late_len <= late_max as u64 && laid.bears(&sleepers);
        let hashes = |comer: &Comer, put: &mut dyn FnMut(u64)| {
            if let Some(member) = now.snapshot().member(comer.position as usize) {
                self.rule.hashes(member.endpoint(), comer.points, put);
            }
        };
        let late = Late::build(comers, self.late.as_ref(), (&self.ring, laid, &sleepers), now, hashes);
        let (ring, laid) = (Arc::clone(&self.ring), Some(laid.clone()));
        Some((Self { ring, rule: self.rule, shift: self.shift, laid, sleepers, late }, lasts))
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
