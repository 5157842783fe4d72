//! Least request: whoever has the fewest calls in flight, per weight.
//!
//! For few endpoints all are looked at; for many, two are drawn by weight and the better one wins
//! ("the power of two choices", Mitzenmacher 1996), which needs two cache lines however many there
//! are. Ties are broken at random: a fixed rule would send every quiet client to the same endpoint.
//! In flight is what this process has in flight; the load that servers report belongs to another policy.

use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};
use super::random::Draw;

/// Draws taken in search of two allowed endpoints before all are walked.
const DRAWS_MAX: u32 = 8;

/// Random bits that break ties in a scan, below the cost.
const TIE_BITS: u32 = 16;
/// The largest cost that leaves room for them, and for a candidate to be below the start value.
const COST_MAX: u64 = (u64::MAX >> TIE_BITS) - 1;

/// Chooses by calls in flight.
#[derive(Debug)]
pub(super) struct LeastRequest {
    draw: Draw,
    /// Cost of one call, inverse to the weight, by position; empty when all weights are equal.
    costs: Box<[u32]>,
    scan: bool,
}

impl LeastRequest {
    /// Builds for a group; up to `scan_max` endpoints are all looked at.
    pub(super) fn new(group: &Group, scan_max: u32) -> Self {
        let draw = Draw::weighted(group);
        let costs = match draw {
            Draw::Uniform => Box::default(),
            Draw::Alias(_) => {
                let heaviest = group.weighted().map(|(_, weight)| weight).max().unwrap_or(1);
                let mut costs = vec![u32::MAX; group.snapshot().weights().len()];
                for (position, weight) in group.weighted() {
                    let cost = (u64::from(heaviest) << 8) / u64::from(weight.max(1));
                    costs[position as usize] = u32::try_from(cost).unwrap_or(u32::MAX);
                }
                costs.into()
            }
        };
        Self { draw, costs, scan: group.len() <= scan_max }
    }

    /// Returns what the next call to `position` would cost: calls in flight and this one, per weight.
    #[inline]
    fn cost(&self, group: &Group, position: usize) -> u64 {
        let load = group.stats(position).map_or(u64::MAX >> 40, |stats| stats.in_flight());
        match self.costs.get(position) {
            None => load,
            Some(cost) => (load + 1) * u64::from(*cost),
        }
    }

    fn scan(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let mut tie = worker.random();
        let mut best = None;
        let mut least = u64::MAX;
        for nth in 0..group.len() {
            let position = group.at(nth);
            if !worker.allows(group, ask, position) {
                continue;
            }
            tie = tie.wrapping_mul(hash::GOLDEN).wrapping_add(1);
            // Cost above, random bits below: one comparison orders by cost and breaks ties.
            let cost = self.cost(group, position).min(COST_MAX);
            let candidate = cost << TIE_BITS | tie >> (64 - TIE_BITS);
            if candidate < least {
                (least, best) = (candidate, Some(position));
            }
        }
        best
    }
}

impl Picker for LeastRequest {
    #[inline]
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        if self.scan {
            return self.scan(group, ask, worker);
        }
        let mut random = worker.random();
        let mut first = None;
        for _ in 0..DRAWS_MAX {
            let position = self.draw.draw(group, random);
            random = hash::mix(random);
            if first == Some(position) || !worker.allows(group, ask, position) {
                continue;
            }
            let Some(other) = first else {
                first = Some(position);
                continue;
            };
            // Drawn in random order, so giving ties to the first is giving them at random.
            let better = self.cost(group, position) < self.cost(group, other);
            return Some(if better { position } else { other });
        }
        first.or_else(|| {
            let start = hash::below(random as u32, group.len());
            worker.first_allowed(group, ask, start)
        })
    }
}
