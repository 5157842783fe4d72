//! Least request: whoever has the fewest calls in flight, per weight.
//!
//! For few endpoints all are looked at; for many, two are drawn by weight and the better one wins, which takes
//! two gauges however many there are. Ties are broken at random: a fixed rule would send every quiet client to the
//! same endpoint. In flight is what this process has in flight; the load that servers report belongs to another policy.

use super::group::Group;
use super::hash;
use super::pair::{Drawn, Pairs};
use super::picker::{Ask, Picker, Worker};
use crate::endpoint::Gauge;

/// Random bits that break ties in a scan, below the cost.
const TIE_BITS: u32 = 16;
/// The largest cost that leaves room for them, and for a candidate to be below the start value.
const COST_MAX: u64 = (u64::MAX >> TIE_BITS) - 1;

/// Chooses by calls in flight.
#[derive(Debug)]
pub(super) struct LeastRequest {
    pairs: Pairs,
    scan: bool,
}

impl LeastRequest {
    /// Builds for a group; up to `scan_max` endpoints are all looked at.
    pub(super) fn new(group: &Group, scan_max: u32) -> Self {
        Self { pairs: Pairs::new(group), scan: group.len() <= scan_max }
    }

    /// Returns what the next call to `position` would cost: calls in flight and this one, per weight.
    #[inline]
    fn cost(&self, group: &Group, position: usize) -> u64 {
        let load = group.gauge(position).map_or(u64::MAX >> 40, Gauge::in_flight);
        match self.pairs.cost(position) {
            None => load,
            Some(cost) => (load + 1) * u64::from(cost),
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
        match self.pairs.draw(group, ask, worker) {
            Drawn::Two(first, second) => {
                let better = self.cost(group, second) < self.cost(group, first);
                Some(if better { second } else { first })
            }
            Drawn::One(only) => Some(only),
            Drawn::Nobody => None,
        }
    }
}
