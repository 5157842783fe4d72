//! Consistent hashing over the slots that the registry gives: DxHash (Dong and Wang 2021), with nested arrays.
//!
//! A key walks a sequence of slots of its own until it comes to one that somebody has. Which endpoint that is depends
//! on the slots in use and on nothing else: not on history, not on the order of answers, not on other clients. Whoever
//! leaves gives up its own keys and no others, whoever comes takes its share of all and moves nothing else, and an
//! update is a number written into an array. This holds over all sizes of the array, because the sequences are nested:
//! leave out of a sequence the slots above some power of two, and what is left is the sequence in the smaller array.
//! (With DxHash's own sequences half of all keys move whenever the array doubles.)
//!
//! Layout, equal in all processes and versions; `mix`, `GOLDEN` and `below` are those of [`super::hash`]:
//! - Level 0 is slot 0; level l > 0 are the slots from 2^(l-1) to below 2^l: as many as all levels below it together.
//! - Word i of a key is `mix(key + (i + 1) × GOLDEN)`.
//! - A step goes down from the highest level in which somebody is. At level l, come to for the i-th time (from 0), bit l
//!   of word i says whether to stop; level 0 always stops. The place there is `word i × STEPS[l]`, with STEPS[l] being
//!   `mix(l + 1) | 1`. The slot is the first of the level plus `below(high half of the place, size of the level)`.
//! - A slot of weight w is taken if the leading b bits of `mix(place)` are below w, where 2^b is the least power of two
//!   that is not below the highest weight. So doubled weights change nothing, and a changed weight moves keys from or
//!   to its own endpoint; only where the highest weight passes a power of two do others move.
//! - After [`STEPS_MAX`] steps in vain rendezvous hashing decides, over keys `mix(slot + 1)`. That happens where not one in
//!   some fifty slots is used; what comes to an end at that number moves when the array doubles.
//!
//! A step in vain costs some 5 ns; there are on average (size of the array × highest weight) / (sum of weights), both
//! rounded up to powers of two: below 2 where slots are given without gaps and weights are alike.

use std::hint::select_unpredictable;

use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};
use super::turns::Turns;

/// Slots are below this; where one is not, or somebody has none, there is nothing to hash over.
const SLOTS_MAX: u32 = 1 << 20;
/// Levels of an array of so many slots.
const LEVELS: usize = 21;
/// Steps a key takes at most.
const STEPS_MAX: u8 = 250;
/// Steps taken without walking down level by level; one key in 50 takes more where slots are given without gaps.
const QUICK: usize = 4;
/// Where fewer slots are used, in percent, a second step at once is quicker than guessing that the first will do.
const SPARSE: usize = 85;
/// Stands for a slot that nobody has.
const NOBODY: u32 = u32::MAX;

const STEPS: [u64; LEVELS] = steps();

const fn steps() -> [u64; LEVELS] {
    let mut steps = [0; LEVELS];
    let mut at = 0;
    while at < LEVELS {
        steps[at] = hash::mix(at as u64 + 1) | 1;
        at += 1;
    }
    steps
}

/// Looks keys up among slots.
#[derive(Debug)]
pub(super) struct DxHash {
    /// Positions by slot.
    slots: Box<[u32]>,
    /// Weights by slot; empty when everybody's is 1.
    weights: Box<[u32]>,
    /// The levels up to the highest in which somebody is, as bits.
    levels: u32,
    /// Whether weights are alike, and so many slots are nobody's that the first step is often in vain.
    sparse: bool,
    /// How far a word is shifted to be compared with a weight.
    unit_shift: u32,
}

impl DxHash {
    /// Builds for a group in which everybody has a slot of its own; otherwise `None`.
    pub(super) fn new(group: &Group) -> Option<Self> {
        let snapshot = group.snapshot();
        let (mut highest, mut heaviest) = (None, 1);
        for (position, weight) in group.weighted() {
            highest = highest.max(Some(snapshot.slot(position as usize).filter(|slot| *slot < SLOTS_MAX)?));
            heaviest = heaviest.max(weight);
        }
        let size = highest? as usize + 1;
        let mut slots = vec![NOBODY; size.next_power_of_two()];
        let mut weights = if heaviest > 1 { vec![0; slots.len()] } else { Vec::new() };
        for (position, weight) in group.weighted() {
            let slot = snapshot.slot(position as usize)?;
            if std::mem::replace(&mut slots[slot as usize], position) != NOBODY {
                return None;
            }
            if let Some(own) = weights.get_mut(slot as usize) {
                *own = weight;
            }
        }
        let levels = (2 << level(highest?)) - 1;
        let unit_shift = 64 - level(heaviest - 1);
        let sparse = weights.is_empty() && (group.len() as usize) < slots.len() * SPARSE / 100;
        Some(Self { slots: slots.into(), weights: weights.into(), levels, sparse, unit_shift })
    }

    /// Returns the position of the first one on the key's way. The second step is taken whether it is needed or not: where
    /// slots are sparse that cannot be foretold, and a processor that guesses wrong loses more time than a step takes.
    #[inline]
    fn first_owner(&self, key: u64) -> Option<usize> {
        let stop = |coins: u32| (coins & self.levels | 1).ilog2();
        let holder = |level, word| self.slots[slot(level, place(level, word))];
        let (one, two) = (word(key, 0), word(key, 1));
        let level = stop(one as u32);
        // Where the first step came to, the second goes by the second word.
        let passed = u32::MAX << level;
        let next = stop(one as u32 & !passed | two as u32 & passed);
        let (first, second) = (holder(level, one), holder(next, if next < level { one } else { two }));
        let position = select_unpredictable(first == NOBODY, second, first);
        if position == NOBODY { self.late_owner(key) } else { Some(position as usize) }
    }

    /// Returns the position of the first one on the key's way, who is most often there at the first step.
    #[inline]
    fn early_owner(&self, key: u64) -> Option<usize> {
        let word = word(key, 0);
        let level = (word as u32 & self.levels | 1).ilog2();
        self.taker(level, word).or_else(|| self.late_owner(key))
    }

    #[inline(never)]
    fn late_owner(&self, key: u64) -> Option<usize> {
        self.owner(key, |_| true)
    }

    /// Returns the position of the first one on the key's way that `allows` lets through.
    #[inline]
    fn owner(&self, key: u64, allows: impl Fn(usize) -> bool) -> Option<usize> {
        // The first steps without walking down: the words of a key are laid over one another by how often each level
        // was come to, as bits, and the highest level whose coin says stop is the highest bit.
        let mut words = [0; QUICK];
        let (mut once, mut twice, mut thrice) = (0u32, 0u32, 0u32);
        for number in 0..QUICK {
            words[number] = word(key, number as u8);
            let [new, second, third, fourth] = words.map(|word| word as u32);
            let coins = new & !once | second & once & !twice | third & twice & !thrice | fourth & thrice;
            let level = (coins & self.levels | 1).ilog2();
            let visit = (once >> level & 1) + (twice >> level & 1) + (thrice >> level & 1);
            if let Some(position) = self.taker(level, words[visit as usize]).filter(|position| allows(*position)) {
                return Some(position);
            }
            let passed = u32::MAX << level;
            thrice |= twice & passed;
            twice |= once & passed;
            once |= passed;
        }
        self.steps(key, allows)
    }

    /// Walks from the beginning, level by level.
    #[inline(never)]
    fn steps(&self, key: u64, allows: impl Fn(usize) -> bool) -> Option<usize> {
        let mut visits = [0; LEVELS];
        for _ in 0..STEPS_MAX {
            let (level, word) = descend(self.levels, &mut visits, key);
            if let Some(position) = self.taker(level, word).filter(|position| allows(*position)) {
                return Some(position);
            }
        }
        self.rendezvous(key, allows)
    }

    /// Returns who takes the slot at which a word stops on a level.
    #[inline]
    fn taker(&self, level: u32, word: u64) -> Option<usize> {
        let place = place(level, word);
        let slot = slot(level, place);
        let position = self.slots[slot];
        let heavy = || match self.weights.get(slot) {
            Some(weight) => hash::mix(place) >> self.unit_shift < u64::from(*weight),
            None => true,
        };
        (position != NOBODY && heavy()).then_some(position as usize)
    }

    fn rendezvous(&self, key: u64, allows: impl Fn(usize) -> bool) -> Option<usize> {
        let rows = self.slots.iter().enumerate().filter(|(_, position)| **position != NOBODY);
        let mut best: Option<((u64, u32), u32)> = None;
        for (slot, position) in rows {
            let draw = hash::mix(key ^ hash::mix(slot as u64 + 1));
            let own = (draw, self.weights.get(slot).copied().unwrap_or(1));
            let wins = best.is_none_or(|(held, _)| hash::outdraws(own, held));
            if wins && allows(*position as usize) {
                best = Some((own, *position));
            }
        }
        best.map(|(_, position)| position as usize)
    }
}

impl Picker for DxHash {
    #[inline]
    fn pick_open(&self, _: &Group, hash: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        let key = hash.unwrap_or_else(|| turns.random());
        if self.sparse { self.first_owner(key) } else { self.early_owner(key) }
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let key = ask.hashed().unwrap_or_else(|| worker.random());
        self.owner(key, |position| worker.allows(group, ask, position))
    }
}

/// Goes down from the highest of the levels, given as bits, to where a coin says stop; returns that level and its word.
#[inline]
fn descend(levels: u32, visits: &mut [u8], seed: u64) -> (u32, u64) {
    let mut level = levels.ilog2();
    loop {
        let visit = &mut visits[level as usize];
        let word = word(seed, *visit);
        *visit += 1;
        if level == 0 || word >> level & 1 == 1 {
            return (level, word);
        }
        level -= 1;
    }
}

#[inline]
fn word(seed: u64, number: u8) -> u64 {
    hash::mix(seed.wrapping_add((u64::from(number) + 1).wrapping_mul(hash::GOLDEN)))
}

/// Returns the place of a word on a level.
#[inline]
fn place(level: u32, word: u64) -> u64 {
    word.wrapping_mul(STEPS[level as usize])
}

/// Returns the slot of a place: the first of the level plus `below(high half of the place, size of the level)`, where both are
/// the same power of two, or 0 and 1.
#[inline]
fn slot(level: u32, place: u64) -> usize {
    ((1 << 32 | place >> 32) >> (33 - level)) as usize
}

/// Returns the level of a slot.
#[inline]
fn level(number: u32) -> u32 {
    32 - number.leading_zeros()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Snapshot;
    use crate::endpoint::Endpoint;

    /// Slots and weights; ids count backwards, since neither ids nor positions may matter.
    fn group(rows: &BTreeMap<u32, u32>) -> Group {
        let row = |(slot, weight): (&u32, &u32)| {
            Endpoint::new(&format!("{:08}", u32::MAX - slot), "10.0.0.1", 80).in_slot(*slot).weighted(*weight, 1)
        };
        Group::whole(Arc::new(Snapshot::empty("web").next(rows.iter().map(row), 1)))
    }

    fn owners(rows: &BTreeMap<u32, u32>, keys: u64) -> Vec<u32> {
        let group = group(rows);
        let dx = DxHash::new(&group).unwrap();
        let slot = |key| group.snapshot().slot(dx.owner(hash::mix(key), |_| true).unwrap()).unwrap();
        (0..keys).map(slot).collect()
    }

    fn even(slots: impl IntoIterator<Item = u32>) -> BTreeMap<u32, u32> {
        slots.into_iter().map(|slot| (slot, 1)).collect()
    }

    // From a second implementation, in another language, of the layout above.
    #[test]
    fn golden_owners() {
        let text = |rows: &BTreeMap<u32, u32>| {
            let owners: Vec<String> = owners(rows, 24).iter().map(u32::to_string).collect();
            owners.join(" ")
        };
        assert_eq!(text(&even(0..10)), "6 1 9 1 2 5 6 5 7 8 5 6 0 6 3 8 3 6 4 0 2 5 7 8");
        assert_eq!(
            text(&even([3, 700, 65_537])),
            "3 700 65537 65537 700 65537 3 700 65537 65537 3 700 3 65537 3 3 3 3 700 65537 3 65537 700 700"
        );
        assert_eq!(text(&even([900_000])), "900000 ".repeat(24).trim());
        assert_eq!(text(&even([900_000, 900_001, 900_002])), RENDEZVOUS);
        assert_eq!(
            text(&BTreeMap::from([(0, 1), (1, 5), (2, 2), (6, 100), (9, 1)])),
            "6 1 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6"
        );
    }

    const RENDEZVOUS: &str = "900001 900000 900000 900002 900000 900000 900002 900002 900002 900002 900002 900002 900000 900002 900000 900001 900000 900002 900001 900002 \
                              900000 900001 900000 900001";

    #[test]
    fn without_slots_of_their_own_there_is_nothing_to_hash_over() {
        let build = |slots: &[Option<u32>]| {
            let rows = slots.iter().enumerate().map(|(n, slot)| {
                let row = Endpoint::new(&format!("{n}"), "10.0.0.1", 80);
                slot.map_or(row.clone(), |slot| row.in_slot(slot))
            });
            DxHash::new(&Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1))))
        };
        assert!(build(&[Some(0), Some(7)]).is_some());
        assert!(build(&[Some(0), None]).is_none());
        assert!(build(&[Some(4), Some(4)]).is_none());
        assert!(build(&[Some(SLOTS_MAX)]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever somebody's weight becomes (0 is gone) below the highest, however the array grows or shrinks by it:
        /// keys move from the one or to the one, and never both ways.
        #[test]
        fn a_change_moves_keys_of_nobody_else(
            rows in prop_oneof![
                proptest::collection::btree_map(0u32..200, Just(1u32), 100..150),
                proptest::collection::btree_map(0u32..200, 1u32..9, 100..150),
            ],
            slot in 0u32..400, weight in 0u32..9,
        ) {
            let normal = |rows: &BTreeMap<u32, u32>| rows.values().max().map(|weight| weight.next_power_of_two());
            let before = owners(&rows, 500);
            let mut changed = rows.clone();
            let old = changed.insert(slot, weight).unwrap_or(0);
            changed.retain(|_, weight| *weight > 0);
            if normal(&changed) != normal(&rows) {
                changed.entry(slot).and_modify(|weight| *weight = 1);
            }
            let weight = changed.get(&slot).copied().unwrap_or(0);
            prop_assume!(normal(&changed) == normal(&rows));
            for (old_owner, new_owner) in before.into_iter().zip(owners(&changed, 500)) {
                let due = if weight > old { new_owner } else { old_owner };
                prop_assert!(old_owner == new_owner || due == slot);
            }
        }
    }

    #[test]
    fn shares_follow_weights() {
        for rows in [even((0..50).map(|n| n * 3)), (0..40).map(|n| (n * 2, 1 + n % 7)).collect()] {
            let keys = 100_000;
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            owners(&rows, keys).into_iter().for_each(|slot| *counts.entry(slot).or_default() += 1);
            let total: u32 = rows.values().sum();
            for (slot, weight) in &rows {
                let due = keys as f64 * f64::from(*weight) / f64::from(total);
                // Five standard deviations; the keys are fixed.
                assert!((f64::from(counts[slot]) - due).abs() < 5.0 * due.sqrt(), "{slot}: {} for {due}", counts[slot]);
            }
        }
    }

    #[test]
    fn the_first_steps_are_those_of_the_walk() {
        for rows in [even([0, 2, 3, 9, 17, 40]), even(0..10), (0..9).map(|n| (n * n, 1 + n)).collect()] {
            let group = group(&rows);
            let dx = DxHash::new(&group).unwrap();
            for key in (0..3000).map(hash::mix) {
                let due = dx.steps(key, |_| true);
                assert_eq!(dx.owner(key, |_| true), due);
                assert!(!dx.sparse || dx.first_owner(key) == due);
            }
        }
    }

    #[test]
    fn doubled_weights_change_nothing() {
        let rows: BTreeMap<u32, u32> = (0..40).map(|n| (n * 2, 1 + n % 7)).collect();
        let doubled = rows.iter().map(|(slot, weight)| (*slot, weight * 16)).collect();
        assert_eq!(owners(&rows, 2000), owners(&doubled, 2000));
        let same = |weight| (0..40).map(|slot| (slot, weight)).collect();
        assert_eq!(owners(&same(1), 2000), owners(&same(64), 2000));
    }

    #[test]
    fn who_is_left_out_leaves_its_keys_to_all() {
        let group = group(&even(0..20));
        let dx = DxHash::new(&group).unwrap();
        let mut counts = [0u32; 20];
        for key in 0..40_000 {
            let home = dx.owner(hash::mix(key), |_| true).unwrap();
            if home == 5 {
                counts[dx.owner(hash::mix(key), |position| position != 5).unwrap()] += 1;
            }
        }
        assert!(counts.iter().enumerate().all(|(at, count)| at == 5 || (60..160).contains(count)), "{counts:?}");
    }
}
