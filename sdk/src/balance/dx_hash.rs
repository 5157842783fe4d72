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
use super::picker::{Ask, Follower, Picker, Worker};
use super::sleepers::changed_rows;
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
#[derive(Debug, PartialEq, Eq)]
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
        Some(Self::over(group, heaviest, (slots.into(), weights.into()), levels))
    }

    fn over(group: &Group, heaviest: u32, (slots, weights): (Box<[u32]>, Box<[u32]>), levels: u32) -> Self {
        let unit_shift = 64 - level(heaviest - 1);
        let sparse = weights.is_empty() && (group.len() as usize) < slots.len() * SPARSE / 100;
        Self { slots, weights, levels, sparse, unit_shift }
    }

    /// Edits what changed into a copy; none for a choice of its own, and where the array is to be of another size.
    fn edited(&self, before: &Group, now: &Group) -> Option<Self> {
        if !before.is_whole() || !now.is_whole() {
            return None;
        }
        let heaviest = now.weights().iter().copied().max().filter(|heaviest| *heaviest > 0)?;
        let changed = changed_rows(before, now);
        let mut slots = self.slots.clone();
        let mut weights = match heaviest {
            1 => Box::default(),
            _ if self.weights.is_empty() => slots.iter().map(|position| u32::from(*position != NOBODY)).collect(),
            _ => self.weights.clone(),
        };
        let mut set = |slots: &mut [u32], slot: usize, position, weight| {
            slots[slot] = position;
            if let Some(own) = weights.get_mut(slot) {
                *own = weight;
            }
        };
        for position in changed.iter().filter(|position| before.weight_at(**position) > 0) {
            set(&mut slots, before.snapshot().slot(*position)? as usize, NOBODY, 0);
        }
        for position in changed.iter().filter(|position| now.weight_at(**position) > 0) {
            let slot = now.snapshot().slot(*position)? as usize;
            if *slots.get(slot)? != NOBODY {
                return None;
            }
            set(&mut slots, slot, *position as u32, now.weight_at(*position));
        }
        // Somebody has to be in the upper half, or the array would be a smaller one.
        let upper = &slots[slots.len() / 2..];
        upper
            .iter()
            .any(|position| *position != NOBODY)
            .then(|| Self::over(now, heaviest, (slots, weights), self.levels))
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

    fn follow(&self, before: &Group, now: &Group) -> Option<Follower> {
        self.edited(before, now).map(Follower::lasting)
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
#[path = "dx_hash_tests.rs"]
mod tests;
