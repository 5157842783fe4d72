//! Policies that walk a fixed order by turns: round robin and smooth weighted round robin.
//!
//! The order is laid out when the set changes: for round robin every eligible endpoint once, in an
//! order that differs per client so that clients do not walk in lock-step; for smooth weighted one
//! slot per share, spread as evenly as the shares allow. A pick is a turn and one load. Someone left
//! out costs another turn, not the next slot: taking the next slot would give the neighbour of a dead
//! endpoint twice its load. Who comes, leaves or weighs something else is edited into the order as it is copied; see
//! `edits`. Of many endpoints round robin keeps no list: it goes round in steps of a client's own
//! length that has no divisor in common with their number, so that it comes to everybody once a round.

use super::edits::{Density, edit};
use super::group::Group;
use super::hash;
use super::modulo::Modulo;
use super::picker::{Ask, Follower, Picker, Worker};
use super::turns::Turns;

/// Slots a weighted schedule may always have, and at the same time the inverse of its precision.
pub(super) const SLOTS_MIN: u64 = 4096;
/// Slots for one endpoint and beyond which precision gives way to memory.
const SLOTS_PER_ENDPOINT: u64 = 4;
/// Most slots a schedule grows to so that a very light endpoint still gets one.
const SLOTS_FOR_LIGHT: u64 = 65_536;
/// Up to so many endpoints round robin keeps a shuffled list.
const LISTED_MAX: u32 = 256;
/// Turns taken in search of an allowed endpoint before all are walked.
const TURNS_MAX: u32 = 16;

/// Walks a list of positions by turns.
#[derive(Debug)]
pub(super) struct Schedule {
    slots: Box<[u32]>,
    modulo: Modulo,
    /// None where weights do not count.
    density: Option<Density>,
}

impl Schedule {
    /// Lays out plain round robin over a list; `None` when nobody is eligible.
    fn equal(group: &Group, seed: u64) -> Option<Self> {
        Self::walk(shuffled(group, seed).map(|(position, _)| position).collect(), None)
    }

    /// Lays out smooth weighted round robin; `None` when nobody is eligible.
    pub(super) fn weighted(group: &Group, seed: u64) -> Option<Self> {
        let (positions, weights): (Vec<u32>, Vec<u32>) = shuffled(group, seed).unzip();
        let shares = shares(&weights);
        let order = interleave(&shares, seed as u32);
        let density = Density::of(&weights, &shares, seed);
        Self::walk(order.into_iter().map(|rank| positions[rank as usize]).collect(), Some(density))
    }

    /// Edits what changed into the order; says too whether the order is worn by many edits.
    pub(super) fn edited(&self, before: &Group, now: &Group) -> Option<(Self, bool)> {
        let (slots, density, is_worn) = edit(&self.slots, self.density.as_ref()?, before, now)?;
        Self::walk(slots.into(), Some(density)).map(|edited| (edited, is_worn))
    }

    #[cfg(test)]
    pub(super) fn round(&self) -> &[u32] {
        &self.slots
    }

    fn walk(slots: Box<[u32]>, density: Option<Density>) -> Option<Self> {
        let len = u32::try_from(slots.len()).ok().filter(|len| *len > 0)?;
        Some(Self { slots, modulo: Modulo::by(len), density })
    }
}

impl Picker for Schedule {
    #[inline]
    fn pick_open(&self, _: &Group, _: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        self.at(turns.turn())
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let mut turn = 0;
        for _ in 0..TURNS_MAX {
            turn = worker.turn();
            let position = self.at(turn)?;
            if worker.allows(group, ask, position) {
                return Some(position);
            }
        }
        let start = self.modulo.of(turn as u32) % group.len().max(1);
        worker.first_allowed(group, ask, start)
    }

    fn follow(&self, before: &Group, now: &Group) -> Option<Follower> {
        let (follower, is_worn) = self.edited(before, now)?;
        Some(if is_worn { Follower::interim(follower) } else { Follower::lasting(follower) })
    }
}

impl Schedule {
    #[inline]
    fn at(&self, turn: u64) -> Option<usize> {
        self.slots.get(self.modulo.of(turn as u32) as usize).map(|position| *position as usize)
    }
}

/// Goes round in steps.
#[derive(Debug)]
pub(super) struct Strides {
    stride: u32,
    modulo: Modulo,
}

impl Strides {
    fn new(len: u32, seed: u64) -> Self {
        // So that number × stride stays below 2^32; few of so many lengths have a divisor in common with `len`.
        let longest = u32::MAX / len.max(1);
        let first = hash::below((hash::mix(seed) >> 32) as u32, longest) + 1;
        let stride = (1..=first).rev().find(|stride| gcd(*stride, len) == 1).unwrap_or(1);
        Self { stride, modulo: Modulo::by(len.max(1)) }
    }

    #[inline]
    fn at(&self, turn: u64) -> u32 {
        self.modulo.of(self.modulo.of(turn as u32) * self.stride)
    }
}

impl Picker for Strides {
    #[inline]
    fn pick_open(&self, group: &Group, _: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        let nth = self.at(turns.turn());
        (nth < group.len()).then(|| group.at(nth))
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let mut nth = 0;
        for _ in 0..TURNS_MAX {
            nth = self.at(worker.turn());
            if nth >= group.len() {
                return None;
            }
            let position = group.at(nth);
            if worker.allows(group, ask, position) {
                return Some(position);
            }
        }
        worker.first_allowed(group, ask, nth)
    }
}

/// Builds plain round robin; `None` when nobody is eligible.
pub(super) fn round_robin(group: &Group, seed: u64) -> Option<Box<dyn Picker>> {
    if group.len() > LISTED_MAX {
        return Some(Box::new(Strides::new(group.len(), seed)));
    }
    let list = Schedule::equal(group, seed)?;
    Some(Box::new(list))
}

/// Returns position and weight of the eligible, in this client's own order. An endpoint's place hangs
/// on its key alone, so that an update moves nobody who stayed.
fn shuffled(group: &Group, seed: u64) -> impl Iterator<Item = (u32, u32)> + use<> {
    let mut order: Vec<(u64, u32, u32)> = group
        .weighted()
        .map(|(position, weight)| {
            let key = group.stats(position as usize).map_or(0, |stats| stats.key().number());
            (hash::mix(seed ^ key.wrapping_mul(hash::GOLDEN)), position, weight)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, position, weight)| (position, weight))
}

/// Gives each weight its number of slots, by largest remainder: off by less than one slot each.
/// The schedule is the exact one (weights over their common divisor) where that is short enough.
fn shares(weights: &[u32]) -> Vec<u32> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let Some(lightest) = weights.iter().copied().filter(|weight| *weight > 0).min() else {
        return vec![0; weights.len()];
    };
    let divisor = u64::from(weights.iter().copied().fold(0, gcd).max(1));
    let usual = SLOTS_MIN.max(weights.len() as u64 * SLOTS_PER_ENDPOINT);
    if total / divisor <= usual {
        return weights.iter().map(|w| (u64::from(*w) / divisor) as u32).collect();
    }
    let for_light = total.div_ceil(u64::from(lightest)).min(SLOTS_FOR_LIGHT);
    let slots = usual.max(for_light);
    let mut shares = Vec::with_capacity(weights.len());
    let mut claims = Vec::with_capacity(weights.len());
    for (rank, weight) in weights.iter().enumerate() {
        let exact = u128::from(slots) * u128::from(*weight);
        let share = (exact / u128::from(total)) as u32;
        let remainder = (exact % u128::from(total)) as u64;
        shares.push(share);
        // Those who would get nothing come before all remainders; the bound of one slot still holds.
        claims.push((share != 0 || *weight == 0, std::cmp::Reverse(remainder), rank));
    }
    let left = slots - shares.iter().map(|share| u64::from(*share)).sum::<u64>();
    claims.sort_unstable();
    for (_, _, rank) in claims.into_iter().take(left as usize) {
        shares[rank] += 1;
    }
    shares
}

/// Orders the slots. The j-th of k slots of one endpoint belongs at (j + phase) / k of the round; all
/// are sorted by that. Phases step by the golden ratio, which keeps any number of them well apart, so
/// that weights 5, 1, 1 do not put both light ones at the same place.
fn interleave(shares: &[u32], seed: u32) -> Vec<u32> {
    let mut slots = Vec::with_capacity(shares.iter().map(|share| *share as usize).sum());
    for (rank, share) in (0u32..).zip(shares) {
        let phase = u64::from(seed.wrapping_add(rank.wrapping_mul(0x9E37_79B9)));
        for nth in 0..u64::from(*share) {
            // Below 2^32 since nth < share: place in the upper half, rank in the lower.
            let place = ((nth << 32) | phase) / u64::from(*share);
            slots.push(place << 32 | u64::from(rank));
        }
    }
    slots.sort_unstable();
    slots.into_iter().map(|slot| slot as u32).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_weights_are_exact_and_well_mixed() {
        assert_eq!(shares(&[5, 1, 1]), [5, 1, 1]);
        assert_eq!(shares(&[100, 200, 300]), [1, 2, 3]);
        let order = interleave(&[5, 1, 1], 0x8000_0000);
        assert_eq!(order, [0, 1, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn a_very_light_endpoint_still_gets_a_slot() {
        let shares = shares(&[65_535, 65_534, 1]);
        assert!(shares[2] == 1 && shares[0] >= shares[1]);
    }

    proptest! {
        #[test]
        fn a_share_is_exact_to_one_in_4096(weights in proptest::collection::vec(1u32..100_000, 1..60)) {
            let shares = shares(&weights);
            let slots: u64 = shares.iter().map(|share| u64::from(*share)).sum();
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for (share, weight) in shares.iter().zip(&weights) {
                let got = f64::from(*share) / slots as f64;
                let due = f64::from(*weight) / total as f64;
                prop_assert!((got - due).abs() <= 1.0 / 4096.0, "{got} for {due}");
            }
        }

        #[test]
        fn steps_come_to_everybody_once_a_round(len in 1u32..5000, seed: u64) {
            let strides = Strides::new(len, seed);
            let mut seen: Vec<u32> = (0..u64::from(len)).map(|turn| strides.at(turn)).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len));
        }

        #[test]
        fn the_order_holds_every_share_and_spreads_it(
            shares in proptest::collection::vec(1u32..50, 1..20), seed: u32,
        ) {
            let order = interleave(&shares, seed);
            let slots = order.len() as f64;
            for (rank, share) in shares.iter().enumerate() {
                let at: Vec<usize> = (0..order.len()).filter(|i| order[*i] as usize == rank).collect();
                prop_assert_eq!(at.len(), *share as usize);
                // Between two turns of one, every other gets at most its due and one more.
                let due = slots / f64::from(*share);
                for pair in at.windows(2) {
                    prop_assert!((pair[1] - pair[0]) as f64 <= due + shares.len() as f64);
                }
            }
        }
    }
}
