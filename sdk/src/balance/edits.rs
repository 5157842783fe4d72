//! Edits who came, who left and who weighs something else into the round of smooth weighted round robin.
//!
//! Everybody else keeps their slots and the order of them; the changed one's are left out or spread in evenly while the
//! round is copied, so that a pick is what it was: one turn, one load. A slot stays worth the same weight, and the round
//! grows and shrinks by what is edited. Shares stay exact to 1/4096, which is checked for every round; where it fails, and
//! where evenness has been worn by many edits, the round is laid out anew. Used by `schedule`.

use super::changes::{self, Change};
use super::group::Group;
use super::hash;
use super::schedule::SLOTS_MIN;

/// Endpoints that change at once; of more the round is laid out anew.
const CHANGES_MAX: usize = 64;
/// One slot in so many may be edited, beyond, the round is worn.
const WEAR: u64 = 4;
/// Slots compared at once.
const RUN: usize = 64;

/// Tells what slots are worth, and how well they tell it.
#[derive(Clone, Debug)]
pub(super) struct Density {
    /// So many slots stood for so much weight when the round was laid out.
    slots: u64,
    weight: u64,
    /// The most by which anybody's slots miss what the weight is worth, in slots.
    error: f64,
    /// Slots that were edited since.
    edited: u64,
    seed: u64,
}

impl Density {
    /// Measures a round that was laid out with `shares` for `weights`.
    pub(super) fn of(weights: &[u32], shares: &[u32], seed: u64) -> Self {
        let sum = |numbers: &[u32]| numbers.iter().map(|number| u64::from(*number)).sum::<u64>();
        let mut density = Self { slots: sum(shares), weight: sum(weights), error: 0.0, edited: 0, seed };
        let errors = weights.iter().zip(shares).map(|(weight, share)| density.miss(*weight, *share));
        density.error = errors.fold(0.0, f64::max);
        density
    }

    /// Returns what weight is worth, in slots.
    fn worth(&self, weight: u64) -> f64 {
        weight as f64 * self.slots as f64 / self.weight.max(1) as f64
    }

    fn miss(&self, weight: u32, share: u32) -> f64 {
        (f64::from(share) - self.worth(weight.into())).abs()
    }

    /// Says whether everybody's share of a round of `len` slots is exact to 1/4096, given the weights.
    fn is_exact(&self, weights: &[u32], len: usize) -> bool {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let heaviest = weights.iter().copied().max().unwrap_or(0);
        // Share and due differ by (error - excess x due) / len, for an error in slots and a round of that much excess.
        let excess = (len as f64 - self.worth(total)).abs();
        let due = f64::from(heaviest) / total.max(1) as f64;
        (self.error + excess * due) * SLOTS_MIN as f64 <= len as f64
    }
}

/// Copies a round of `before` with the edits that make it one of `now`; says too whether it is worn. None where it has to be
/// laid out anew at once.
pub(super) fn edit(round: &[u32], density: &Density, before: &Group, now: &Group) -> Option<(Vec<u32>, Density, bool)> {
    let changes = changes::between(before, now, CHANGES_MAX)?;
    let mut density = density.clone();
    let left = leave_out(round, &changes);
    let mut come = Vec::new();
    for change in changes.iter().filter(|change| change.now > 0) {
        let share = density.worth(change.now.into()).round().max(1.0);
        let share = if share < f64::from(u32::MAX / 2) { share as u32 } else { return None };
        density.error = density.error.max(density.miss(change.now, share));
        let key = now.stats(change.position as usize).map_or(0, |stats| stats.key().number());
        let phase = hash::mix(density.seed ^ key.wrapping_mul(hash::GOLDEN)) >> 32;
        come.push((change.position, share, phase));
    }
    let more: u64 = come.iter().map(|(_, share, _)| u64::from(*share)).sum();
    let len = usize::try_from(left.len() as u64 + more).ok().filter(|len| u32::try_from(*len).is_ok())?;
    density.edited += (round.len() - left.len()) as u64 + more;
    if density.edited > density.slots || !density.is_exact(now.weights(), len) {
        return None;
    }
    let is_worn = density.edited * WEAR > density.slots;
    Some((if come.is_empty() { left } else { spread_in(&left, &come, len) }, density, is_worn))
}

/// Copies a round without those who changed.
fn leave_out(round: &[u32], changes: &[Change]) -> Vec<u32> {
    let gone: Vec<u32> = changes.iter().filter(|change| change.before > 0).map(|change| change.position).collect();
    let mut left = Vec::with_capacity(round.len());
    for run in round.chunks(RUN) {
        // Of each without a branch: most runs have none of them.
        let hit = gone.iter().any(|gone| run.iter().fold(false, |hit, slot| hit | (slot == gone)));
        if hit {
            left.extend(run.iter().filter(|slot| !gone.contains(slot)));
        } else {
            left.extend_from_slice(run);
        }
    }
    left
}

/// Copies a round and spreads new slots in evenly: given are position, number of slots, and the phase of 32 bits.
fn spread_in(round: &[u32], come: &[(u32, u32, u64)], len: usize) -> Vec<u32> {
    let mut slots = Vec::new();
    for (position, share, phase) in come {
        slots.extend((0..u64::from(*share)).map(|nth| {
            // A place of 32 bits, as those of the round were when it was laid out.
            let place = ((nth << 32) | phase) / u64::from(*share);
            ((place * len as u64) >> 32, *position)
        }));
    }
    slots.sort_unstable();
    let mut spread = Vec::with_capacity(len);
    let mut rest = round;
    for (place, position) in slots {
        let (next, later) = rest.split_at((place as usize).saturating_sub(spread.len()).min(rest.len()));
        spread.extend_from_slice(next);
        spread.push(position);
        rest = later;
    }
    spread.extend_from_slice(rest);
    spread
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::balance::picker::Picker;
    use crate::balance::schedule::Schedule;
    use crate::catalog::Snapshot;
    use crate::endpoint::Endpoint;

    fn row(n: usize, weight: u32) -> Endpoint {
        Endpoint::new(&format!("{n:04}"), &format!("10.0.0.{n}"), 80).weighted(weight, 1)
    }

    fn weight() -> impl Strategy<Value = u32> {
        prop_oneof![2 => Just(0u32), 3 => Just(1u32), 2 => 1u32..4, 1 => 1u32..3000]
    }

    /// What a round gives everybody.
    fn counts(round: &[u32]) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        round.iter().for_each(|position| *counts.entry(*position).or_default() += 1);
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever happens, somebody's share of a round is due to 1/4096, and whoever has no weight is not in it.
        #[test]
        fn shares_stay_exact_through_any_history(
            weights in proptest::collection::vec(weight(), 1..400),
            events in proptest::collection::vec((0usize..420, weight()), 1..60),
            seed: u64,
        ) {
            let rows = weights.iter().enumerate().map(|(n, weight)| row(n, *weight));
            let mut before = Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1)));
            let mut schedule = Schedule::weighted(&before, seed);
            for (n, weight) in events {
                let now = Group::whole(Arc::new(match weight {
                    0 => before.snapshot().changed([], &[(&format!("{n:04}"), "")], 2),
                    _ => before.snapshot().changed([row(n, weight)], &[], 2),
                }));
                let edited = schedule.as_ref().and_then(|schedule| schedule.edited(&before, &now));
                schedule = edited.map(|(schedule, _)| schedule).or_else(|| Schedule::weighted(&now, seed));
                before = now;
                let round = schedule.as_ref().map_or(&[][..], Schedule::round);
                let total: f64 = before.weighted().map(|(_, weight)| f64::from(weight)).sum();
                let counts = counts(round);
                let weights = before.snapshot().weights();
                prop_assert!(counts.keys().all(|position| weights[*position as usize] > 0));
                for (position, weight) in before.weighted() {
                    // A round of 65,536 slots has none for the lightest among many heavy ones.
                    let got = f64::from(counts.get(&position).copied().unwrap_or(0)) / round.len() as f64;
                    let due = f64::from(weight) / total;
                    prop_assert!((got - due).abs() <= 1.0001 / 4096.0, "{} for {}", got, due);
                }
            }
        }
    }

    #[test]
    fn one_among_many_is_edited_in_and_out_and_many_edits_wear_a_round() {
        let all = Group::whole(Arc::new(Snapshot::empty("web").next((0..1000).map(|n| row(n, 2)), 1)));
        let schedule = Schedule::weighted(&all, 1).unwrap();
        let change = |weight| Group::whole(Arc::new(all.snapshot().changed([row(7, weight)], &[], 2)));
        for weight in [0, 8, 20] {
            let now = change(weight);
            let (edited, is_worn) = schedule.edited(&all, &now).unwrap();
            assert!(!is_worn);
            let places: Vec<usize> = (0..edited.round().len()).filter(|at| edited.round()[*at] == 7).collect();
            assert_eq!(places.len(), weight as usize / 2);
            // Evenly: as far apart as the round is long for so many.
            let due = edited.round().len() as f64 / f64::from(weight.max(2) / 2);
            assert!(places.windows(2).all(|pair| ((pair[1] - pair[0]) as f64 - due).abs() <= 2.0), "{places:?}");
            let back = edited.edited(&now, &all).unwrap().0;
            assert_eq!(counts(back.round()), counts(schedule.round()));
        }
        assert!(schedule.edited(&all, &change(3)).is_none(), "half a slot is too much to miss");
        let heavy = change(600);
        let follower = schedule.follow(&all, &heavy).unwrap();
        assert!(!follower.lasts, "a slot in four is new");
    }
}
