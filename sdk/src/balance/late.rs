//! Points of those who came after a ring was laid out, and of those who have more of them than then, beside it.
//!
//! Each point takes the keys from the ring's point before it on to its own, as it would on a ring that is laid out anew: that
//! it comes right before one of the ring's points is known by number, so that ties are decided once. Neither hangs on who
//! else is here or passed over, so a point stays as it is until its owner has others. A bit for each small arc says whether
//! a point here may have keys of it, so most keys ask no further. For few. Used by `ring_hash`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::group::Group;
use super::ring::Ring;
use super::sleepers::{Laid, Sleepers};
use crate::endpoint::EndpointKey;

/// Points of the ring per arc, on average, and the number of arcs as a power of two at least and at most.
const RING_PER_ARC: usize = 4;
const ARCS_LOG: std::ops::RangeInclusive<u32> = 12..=18;

/// Somebody who has points here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comer {
    pub(super) position: u32,
    pub(super) key: EndpointKey,
    /// How many of its points the ring has, which are its first ones.
    pub(super) laid: u32,
    /// How many points it has.
    pub(super) points: u32,
}

impl Comer {
    /// Counts the points here.
    pub(super) fn late(&self) -> u32 {
        self.points - self.laid
    }
}

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u64,
    owner: u32,
    /// How many of the ring's points come before it. Keys up to the last of these, which may be passed over, are none of its.
    place: u32,
}

/// Holds them; successors share what is the same.
#[derive(Clone, Debug)]
pub(super) struct Late {
    /// By position.
    comers: Arc<[Comer]>,
    /// In order.
    points: Arc<Vec<Point>>,
    /// A bit for each arc.
    arcs: Arc<[u64]>,
    ring: Arc<Ring>,
    shift: u32,
    /// How many points have left marks though they are here no longer.
    left: usize,
}

impl Late {
    /// Places the points of those who came; `before` are the points that were there, and `hashes` tells those of a comer
    /// that the ring does not have. None when nobody came.
    pub(super) fn build(
        comers: Vec<Comer>,
        before: Option<&Self>,
        (ring, laid): (&Arc<Ring>, &Laid),
        now: &Group,
        hashes: impl Fn(&Comer, &mut dyn FnMut(u64)),
    ) -> Option<Self> {
        if comers.is_empty() {
            return None;
        }
        let old = before.map_or(&[][..], |before| &before.comers);
        if *old == *comers {
            return before.cloned();
        }
        let has = |all: &[Comer], comer: &Comer| {
            all.binary_search_by_key(&comer.position, |one| one.position).is_ok_and(|at| all[at] == *comer)
        };
        let gone: Vec<u32> = old.iter().filter(|comer| !has(&comers, comer)).map(|comer| comer.position).collect();
        let identity =
            |position: u32| now.snapshot().member(position as usize).map(|member| member.endpoint().identity());
        let earlier = |a: u32, b: u32| identity(a).cmp(&identity(b));
        let order = |a: &Point, b: &Point| a.hash.cmp(&b.hash).then_with(|| earlier(a.owner, b.owner));
        let fresh: Vec<&Comer> = comers.iter().filter(|comer| !has(old, comer)).collect();
        let mut new = Vec::with_capacity(fresh.iter().map(|comer| comer.late() as usize).sum());
        for comer in fresh {
            place(comer, (ring, laid), now, earlier, &hashes, &mut new);
        }
        new.sort_by(order);
        let kept = before.map_or(&[][..], |before| &before.points);
        let mut points = Vec::with_capacity(kept.len() + new.len());
        let stay: Vec<Point>;
        let mut rest = if gone.is_empty() {
            kept
        } else {
            stay = kept.iter().filter(|point| gone.binary_search(&point.owner).is_err()).copied().collect();
            &stay
        };
        for point in &new {
            let (before, after) = rest.split_at(rest.iter().take_while(|kept| order(kept, point).is_lt()).count());
            points.extend_from_slice(before);
            points.push(*point);
            rest = after;
        }
        points.extend_from_slice(rest);
        let log = (ring.len() / RING_PER_ARC).next_power_of_two().ilog2().clamp(*ARCS_LOG.start(), *ARCS_LOG.end());
        let shift = 64 - log;
        let left = before.map_or(0, |before| before.left) + kept.len() + new.len() - points.len();
        let (arcs, left) = match before {
            Some(before) if left <= points.len() => {
                let mut arcs: Arc<[u64]> = (&*before.arcs).into();
                mark(&new, ring, &mut arcs, shift);
                (arcs, left)
            }
            _ => {
                let mut arcs: Arc<[u64]> = vec![0; 1 << (log - 6)].into();
                mark(&points, ring, &mut arcs, shift);
                (arcs, 0)
            }
        };
        Some(Self { comers: comers.into(), points: points.into(), arcs, ring: Arc::clone(ring), shift, left })
    }

    /// Returns who came.
    pub(super) fn comers(&self) -> &[Comer] {
        &self.comers
    }

    /// Returns the owner of a key if it is one of them. None, too, where one on the ring would have it that may be passed
    /// over; then [`walk`] knows.
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
        let first = self.first_from(key);
        // Those that none of the ring's points comes before have keys across the end.
        let point = self.points.get(first).or(self.points.first().filter(|point| point.place == 0))?;
        let is_across = point.place == 0 && first < self.points.len();
        (is_across || key > point.start(&self.ring)).then_some(point.owner)
    }

    fn first_from(&self, key: u64) -> usize {
        self.points.partition_point(|point| point.hash < key)
    }
}

/// Finds where the points of a comer are.
fn place(
    comer: &Comer,
    (ring, laid): (&Ring, &Laid),
    now: &Group,
    earlier: impl Fn(u32, u32) -> Ordering,
    hashes: impl Fn(&Comer, &mut dyn FnMut(u64)),
    points: &mut Vec<Point>,
) {
    // Whoever had the point may be gone for good, and somebody else have the position.
    let is_gone = |owner: u32| now.stats(owner as usize).is_none_or(|stats| !laid.knows(owner as usize, stats.key()));
    let mut own = Vec::with_capacity(comer.late() as usize);
    hashes(comer, &mut |hash| own.push(hash));
    own.sort_unstable();
    let places: Vec<usize> = own.iter().map(|hash| ring.first_from(*hash)).collect();
    for (hash, mut place) in own.into_iter().zip(places) {
        // Of two points with one hash that of the endpoint that is earlier in order comes first.
        while place < ring.len() && ring.at(place).0 == hash {
            let owner = ring.at(place).1;
            if !is_gone(owner) && earlier(owner, comer.position) != Ordering::Less {
                break;
            }
            place += 1;
        }
        points.push(Point { hash, owner: comer.position, place: place as u32 });
    }
}

impl Point {
    /// Returns where the ring's point before it is: the last one before the first.
    fn start(&self, ring: &Ring) -> u64 {
        let before = if self.place == 0 { ring.len() } else { self.place as usize };
        ring.at(before - 1).0
    }
}

/// Marks the arcs that may have keys of these points.
fn mark(points: &[Point], ring: &Ring, arcs: &mut Arc<[u64]>, shift: u32) {
    let arcs = Arc::make_mut(arcs);
    let mut mark = |first: u64, last: u64| {
        for arc in first >> shift..=last >> shift {
            arcs[(arc / 64) as usize] |= 1 << (arc % 64);
        }
    };
    for point in points {
        let start = point.start(ring);
        if point.place == 0 {
            mark(start, u64::MAX);
            mark(0, point.hash);
        } else if start < point.hash {
            mark(start + 1, point.hash);
        }
    }
}

/// Returns the owners of all points, from the key's own on and around; on the ring of those who are awake.
pub(super) fn walk<'a>(
    (ring, sleepers): (&'a Ring, &'a Sleepers),
    late: Option<&'a Late>,
    key: u64,
) -> impl Iterator<Item = usize> + 'a {
    let points = late.map_or(&[][..], |late| &*late.points);
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
        /// On the ring with some of its points.
        Grown,
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
            Just(Part::Grown),
            Just(Part::Taken)
        ];
        proptest::collection::vec((part, proptest::collection::vec(point(), 1..6)), 1..12)
    }

    /// How many of its points the ring has.
    fn laid((part, points): &(Part, Vec<u32>)) -> usize {
        match part {
            Part::Late => 0,
            Part::Grown => points.len() / 2,
            _ => points.len(),
        }
    }

    fn ring(rows: &[(Part, Vec<u32>)], ranks: &[u32], count: impl Fn(&(Part, Vec<u32>)) -> usize) -> Option<Ring> {
        let mut words: Vec<(u32, u32, u32)> = Vec::new();
        for (position, row) in rows.iter().enumerate() {
            words.extend(row.1[..count(row)].iter().map(|point| (*point, ranks[position], position as u32)));
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
            let (Some(old), Some(anew)) = (ring(&rows, &ranks_then, laid), ring(&rows, &ranks, |(part, points)| if *part == Part::Asleep { 0 } else { points.len() })) else {
                return Ok(());
            };
            let old = Arc::new(old);
            // The ring was laid out for the one before of a position that is taken.
            let gone = |n: usize| rows[n].0 == Part::Taken;
            let then = rows.iter().enumerate().filter(|(n, _)| gone(*n)).map(|(n, _)| Endpoint::new(&format!("{:010}", ranks[n]), "10.0.0.2", n as u16));
            let then = Group::whole(Arc::new(now.snapshot().changed(then, &[], 1)));
            let table = Laid::of(&then, vec![1; rows.len()]).unwrap();
            let mut sleepers = Sleepers::default();
            let mut comers = Vec::new();
            for (position, row) in rows.iter().enumerate() {
                let (part, points) = row;
                table.set(&mut sleepers, position, matches!(part, Part::Asleep | Part::Changed | Part::Taken));
                if matches!(part, Part::Late | Part::Changed | Part::Taken | Part::Grown) {
                    let key = now.stats(position).unwrap().key();
                    let laid = if *part == Part::Grown { laid(row) } else { 0 };
                    comers.push(Comer { position: position as u32, key, laid: laid as u32, points: points.len() as u32 });
                }
            }
            let hashes = |comer: &Comer, put: &mut dyn FnMut(u64)| {
                rows[comer.position as usize].1[comer.laid as usize..].iter().for_each(|point| put(u64::from(*point) << 32));
            };
            // First some of them, then all: the points of some are there already, those of others go.
            let some: Vec<Comer> = comers.iter().copied().step_by(2).collect();
            let before = Late::build(some, None, (&old, &table), &now, hashes);
            let late = Late::build(comers, before.as_ref(), (&old, &table), &now, hashes);
            for key in keys.into_iter().chain(rows.iter().flat_map(|(_, points)| points.iter().flat_map(|p| [*p, p.wrapping_add(1)]))) {
                let key = u64::from(key) << 32;
                let first = anew.first_from(key);
                let due: Vec<usize> = (first..first + anew.len()).map(|number| anew.at(number).1 as usize).collect();
                let walked: Vec<usize> = walk((&old, &sleepers), late.as_ref(), key).collect();
                prop_assert_eq!(&walked, &due);
                // It answers for its own, and the ring for all others, but where somebody there is passed over.
                let beside = late.as_ref().and_then(|late| late.owner(key)).map(|owner| owner as usize);
                let on_ring = Some(old.owner(key) as usize).filter(|owner| !sleepers.has(*owner));
                prop_assert!(beside.or(on_ring).is_none_or(|owner| owner == due[0]));
                let is_wholly_late = matches!(rows[due[0]].0, Part::Late | Part::Changed | Part::Taken);
                prop_assert!(beside.is_some() || on_ring.is_none() || !is_wholly_late);
            }
        }
    }
}
