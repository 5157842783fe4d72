//! Points of those who came after a ring was laid out, beside it.
//!
//! Each point takes the keys from the point before it on to its own, as it would on a ring that is laid out anew: that it
//! comes right before one of the ring's points is known by number, so that ties are decided once. A bit for each small arc
//! says whether a point here may have keys of it, so most keys ask no further. Built anew at every change, for few. Used by
//! `ring_hash`.

use std::cmp::Ordering;

use super::group::Group;
use super::ring::Ring;
use super::sleepers::{Laid, Sleepers};
use crate::endpoint::EndpointKey;

/// Arcs per point, and their number as a power of two at least and at most.
const ARCS: usize = 16;
const ARCS_LOG: std::ops::RangeInclusive<u32> = 6..=18;

/// Somebody who came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comer {
    pub(super) position: u32,
    pub(super) key: EndpointKey,
    /// How many points it has.
    pub(super) points: u32,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u64,
    /// Keys above this belong to it.
    start: u64,
    owner: u32,
    /// How many of the ring's points come before it.
    place: u32,
}

/// Holds them.
#[derive(Debug)]
pub(super) struct Late {
    /// By position.
    comers: Box<[Comer]>,
    /// In order.
    points: Box<[Point]>,
    /// Whether the keys of the first point begin before the end of the ring.
    wraps: bool,
    /// A bit for each arc.
    arcs: Box<[u64]>,
    shift: u32,
}

impl Late {
    /// Places the points of those who came; `before` are the points that were there, and `hashes` tells those of a comer.
    /// None when nobody came.
    pub(super) fn build(
        comers: Vec<Comer>,
        before: Option<&Self>,
        (ring, laid, sleepers): (&Ring, &Laid, &Sleepers),
        now: &Group,
        hashes: impl Fn(&Comer, &mut dyn FnMut(u64)),
    ) -> Option<Self> {
        if comers.is_empty() {
            return None;
        }
        let old = before.map_or(&[][..], |before| &before.comers);
        let has = |all: &[Comer], comer: &Comer| {
            all.binary_search_by_key(&comer.position, |one| one.position).is_ok_and(|at| all[at] == *comer)
        };
        let gone: Vec<u32> = old.iter().filter(|comer| !has(&comers, comer)).map(|comer| comer.position).collect();
        let mut points: Vec<Point> = before.map_or_else(Vec::new, |before| before.points.to_vec());
        points.retain(|point| !gone.contains(&point.owner));
        let identity =
            |position: u32| now.snapshot().member(position as usize).map(|member| member.endpoint().identity());
        let earlier = |a: u32, b: u32| identity(a).cmp(&identity(b));
        // Whoever had the point may be gone for good, and somebody else have the position.
        let is_gone =
            |owner: u32| now.stats(owner as usize).is_none_or(|stats| !laid.knows(owner as usize, stats.key()));
        for comer in comers.iter().filter(|comer| !has(old, comer)) {
            let mut own = Vec::with_capacity(comer.points as usize);
            hashes(comer, &mut |hash| own.push(hash));
            for (hash, mut place) in own.iter().copied().zip(ring.first_of_each(&own)) {
                // Of two points with one hash that of the endpoint that is earlier in order comes first.
                while place < ring.len() && ring.at(place).0 == hash {
                    let owner = ring.at(place).1;
                    if !is_gone(owner) && earlier(owner, comer.position) != Ordering::Less {
                        break;
                    }
                    place += 1;
                }
                points.push(Point { hash, start: 0, owner: comer.position, place: place as u32 });
            }
        }
        points.sort_by(|a, b| a.hash.cmp(&b.hash).then_with(|| earlier(a.owner, b.owner)));
        let log = (points.len() * ARCS).next_power_of_two().ilog2().clamp(*ARCS_LOG.start(), *ARCS_LOG.end());
        let arcs = vec![0; 1 << (log - 6)].into();
        let mut late = Self { comers: comers.into(), points: points.into(), wraps: false, arcs, shift: 64 - log };
        late.stretch(ring, sleepers);
        Some(late)
    }

    /// Finds where the keys of each point begin.
    fn stretch(&mut self, ring: &Ring, sleepers: &Sleepers) {
        let awake = |number: &usize| !sleepers.has(ring.at(*number).1 as usize);
        // The point before: its number, as if points here had the number of that which they come before, and its hash.
        let mut before: Option<(usize, u64)> = None;
        for nth in 0..self.points.len() {
            let Point { hash, place, .. } = self.points[nth];
            let lowest = before.map_or(0, |(number, _)| number);
            let on_ring = (lowest..place as usize).rev().find(awake).map(|number| ring.at(number).0);
            let start = match on_ring.or(before.map(|(_, hash)| hash)) {
                Some(start) => start,
                None => {
                    // The first of all: its keys begin after the last of all.
                    self.wraps = true;
                    let last = self.points[self.points.len() - 1];
                    let on_ring = (last.place as usize..ring.len()).rev().find(awake).map(|number| ring.at(number).0);
                    let others = self.points.len() > 1;
                    on_ring.or(others.then_some(last.hash)).unwrap_or(hash)
                }
            };
            self.points[nth].start = start;
            let wraps = nth == 0 && self.wraps;
            if wraps {
                self.mark(start, u64::MAX);
                self.mark(0, hash);
            } else if start < hash {
                self.mark(start + 1, hash);
            }
            before = Some((place as usize, hash));
        }
    }

    fn mark(&mut self, first: u64, last: u64) {
        for arc in first >> self.shift..=last >> self.shift {
            self.arcs[(arc / 64) as usize] |= 1 << (arc % 64);
        }
    }

    /// Returns who came.
    pub(super) fn comers(&self) -> &[Comer] {
        &self.comers
    }

    /// Returns the owner of a key if it is one of them.
    #[inline]
    pub(super) fn owner(&self, key: u64) -> Option<u32> {
        let arc = key >> self.shift;
        if self.arcs[(arc / 64) as usize] >> (arc % 64) & 1 == 0 {
            return None;
        }
        self.search(key)
    }

    #[cold]
    fn search(&self, key: u64) -> Option<u32> {
        let nth = self.first_from(key);
        match self.points.get(nth) {
            Some(point) if key > point.start || (nth == 0 && self.wraps) => Some(point.owner),
            None if self.wraps && key > self.points[0].start => Some(self.points[0].owner),
            _ => None,
        }
    }

    fn first_from(&self, key: u64) -> usize {
        self.points.partition_point(|point| point.hash < key)
    }
}

/// Returns the owners of all points, from the key's own on and around; on the ring of those who are awake.
pub(super) fn walk<'a>(
    (ring, sleepers): (&'a Ring, &'a Sleepers),
    late: Option<&'a Late>,
    key: u64,
) -> impl Iterator<Item = usize> + 'a {
    let points = late.map_or(&[][..], |late| &late.points);
    let start = ring.first_from(key);
    let first = late.map_or(0, |late| late.first_from(key));
    let (mut number, mut nth) = (start, first);
    std::iter::from_fn(move || {
        loop {
            if nth < first + points.len() {
                let (point, round) =
                    if nth < points.len() { (points[nth], 0) } else { (points[nth - points.len()], ring.len()) };
                if point.place as usize + round <= number {
                    nth += 1;
                    return Some(point.owner as usize);
                }
            }
            if number == start + ring.len() {
                return None;
            }
            let owner = ring.at(number).1 as usize;
            number += 1;
            if !sleepers.has(owner) {
                return Some(owner);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Snapshot;
    use crate::endpoint::Endpoint;

    /// What an endpoint is to the ring.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Part {
        Awake,
        Asleep,
        Late,
        /// On the ring with other points, which are passed over.
        Changed,
        /// Somebody who is gone had points on the ring; the position is another's, who came.
        Taken,
    }

    /// Points that crowd, so that ties happen, and at the ends.
    fn point() -> impl Strategy<Value = u32> {
        prop_oneof![4 => 0u32..12, 2 => (u32::MAX - 8)..=u32::MAX, 3 => 5000u32..5020, 1 => any::<u32>()]
    }

    fn rows() -> impl Strategy<Value = Vec<(Part, Vec<u32>)>> {
        let part = prop_oneof![
            Just(Part::Awake),
            Just(Part::Asleep),
            Just(Part::Late),
            Just(Part::Changed),
            Just(Part::Taken)
        ];
        proptest::collection::vec((part, proptest::collection::vec(point(), 1..6)), 1..12)
    }

    fn ring(rows: &[(Part, Vec<u32>)], ranks: &[u32], has: impl Fn(Part) -> bool) -> Option<Ring> {
        let mut words: Vec<(u32, u32, u32)> = Vec::new();
        for (position, (_, points)) in rows.iter().enumerate().filter(|(_, (part, _))| has(*part)) {
            words.extend(points.iter().map(|point| (*point, ranks[position], position as u32)));
        }
        words.sort_unstable();
        Ring::narrow(words.into_iter().map(|(hash, _, owner)| u64::from(hash) << 32 | u64::from(owner)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn beside_the_ring_is_as_on_it(rows in rows(), keys in proptest::collection::vec(point(), 10), order: u64) {
            // Positions are in the order of the rows, identities are not.
            let ranks: Vec<u32> = (0..rows.len() as u32).map(|n| (crate::balance::hash::mix(order ^ u64::from(n)) >> 32) as u32).collect();
            // Whoever had a position before had another place in the order.
            let ranks_then: Vec<u32> = (ranks.iter().zip(&rows))
                .map(|(rank, (part, _))| if *part == Part::Taken { !rank } else { *rank })
                .collect();
            let row = |n: usize| Endpoint::new(&format!("{:010}", ranks[n]), "10.0.0.1", n as u16);
            let mut snapshot = Snapshot::empty("web");
            for n in 0..rows.len() {
                snapshot = snapshot.changed([row(n)], &[], 1);
            }
            let now = Group::whole(Arc::new(snapshot));
            let (Some(old), Some(anew)) = (ring(&rows, &ranks_then, |part| part != Part::Late), ring(&rows, &ranks, |part| part != Part::Asleep)) else {
                return Ok(());
            };
            // The ring was laid out for the one before of a position that is taken.
            let gone = |n: usize| rows[n].0 == Part::Taken;
            let then = rows.iter().enumerate().filter(|(n, _)| gone(*n)).map(|(n, _)| Endpoint::new(&format!("{:010}", ranks[n]), "10.0.0.2", n as u16));
            let then = Group::whole(Arc::new(now.snapshot().changed(then, &[], 1)));
            let laid = Laid::of(&then, vec![1; rows.len()]).unwrap();
            let mut sleepers = Sleepers::default();
            let mut comers = Vec::new();
            for (position, (part, points)) in rows.iter().enumerate() {
                laid.set(&mut sleepers, position, matches!(part, Part::Asleep | Part::Changed | Part::Taken));
                if matches!(part, Part::Late | Part::Changed | Part::Taken) {
                    let key = now.stats(position).unwrap().key();
                    comers.push(Comer { position: position as u32, key, points: points.len() as u32 });
                }
            }
            let hashes = |comer: &Comer, put: &mut dyn FnMut(u64)| {
                rows[comer.position as usize].1.iter().for_each(|point| put(u64::from(*point) << 32));
            };
            // First some of them, then all: the points of some are there already, those of others go.
            let some: Vec<Comer> = comers.iter().copied().step_by(2).collect();
            let before = Late::build(some, None, (&old, &laid, &Sleepers::default()), &now, hashes);
            let late = Late::build(comers, before.as_ref(), (&old, &laid, &sleepers), &now, hashes);
            for key in keys.into_iter().chain(rows.iter().flat_map(|(_, points)| points.iter().flat_map(|p| [*p, p.wrapping_add(1)]))) {
                let key = u64::from(key) << 32;
                let first = anew.first_from(key);
                let due: Vec<usize> = (first..first + anew.len()).map(|number| anew.at(number).1 as usize).collect();
                let walked: Vec<usize> = walk((&old, &sleepers), late.as_ref(), key).collect();
                prop_assert_eq!(&walked, &due);
                let owner = late.as_ref().and_then(|late| late.owner(key));
                let is_late = matches!(rows[due[0]].0, Part::Late | Part::Changed | Part::Taken);
                prop_assert_eq!(owner.map(|owner| owner as usize), is_late.then_some(due[0]));
            }
        }
    }
}
