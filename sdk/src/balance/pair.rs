//! Two endpoints drawn by weight, and what a call costs on each by weight: what "the power of two choices" needs
//! (Mitzenmacher 1996), whatever a policy takes for cost.
//!
//! Used by the policies that compare two: least request and peak EWMA.

use super::group::Group;
use super::hash;
use super::picker::{Ask, Worker};
use super::random::Draw;

/// Draws taken in search of two allowed endpoints before all are walked.
const DRAWS_MAX: u32 = 8;
/// The cost of a call to the heaviest endpoint; to one of half its weight it is twice that.
const COST_ONE: u64 = 1 << 8;

/// Draws pairs, and knows what weights do to costs.
#[derive(Debug)]
pub(super) struct Pairs {
    draw: Draw,
    /// Cost of one call, inverse to the weight, by position; empty when all weights are equal.
    costs: Box<[u32]>,
}

/// Says what was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// Two different ones, in random order: giving ties to the first is giving them at random.
    Two(usize, usize),
    /// Only one was allowed, or found in time.
    One(usize),
    /// Nobody is left.
    Nobody,
}

impl Pairs {
    /// Prepares for a group.
    pub(super) fn new(group: &Group) -> Self {
        let draw = Draw::weighted(group);
        let costs = match draw {
            Draw::Uniform => Box::default(),
            Draw::Alias(_) => {
                let heaviest = group.weighted().map(|(_, weight)| weight).max().unwrap_or(1);
                let mut costs = vec![u32::MAX; group.snapshot().weights().len()];
                for (position, weight) in group.weighted() {
                    let cost = u64::from(heaviest) * COST_ONE / u64::from(weight.max(1));
                    costs[position as usize] = u32::try_from(cost).unwrap_or(u32::MAX);
                }
                costs.into()
            }
        };
        Self { draw, costs }
    }

    /// Returns the cost of one call to `position` where weights differ.
    #[inline]
    pub(super) fn cost(&self, position: usize) -> Option<u32> {
        self.costs.get(position).copied()
    }

    /// Draws two.
    #[inline(always)]
    pub(super) fn draw(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Drawn {
        let mut random = worker.random();
        if worker.is_open()
            && matches!(self.draw, Draw::Uniform)
            && let Some(others @ 1..) = group.len().checked_sub(1)
        {
            // The second by its distance from the first: drawing until they differ is a branch that cannot be foretold.
            let first = hash::below((random >> 32) as u32, others + 1);
            let second = first + 1 + hash::below(random as u32, others);
            let second = if second > others { second - others - 1 } else { second };
            return Drawn::Two(group.at(first), group.at(second));
        }
        let mut first = None;
        for _ in 0..DRAWS_MAX {
            let position = self.draw.draw(group, random);
            random = hash::mix(random);
            if first == Some(position) || !worker.allows(group, ask, position) {
                continue;
            }
            match first {
                Some(first) => return Drawn::Two(first, position),
                None => first = Some(position),
            }
        }
        let start = || hash::below(random as u32, group.len());
        first.or_else(|| worker.first_allowed(group, ask, start())).map_or(Drawn::Nobody, Drawn::One)
    }
}
