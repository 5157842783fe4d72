//! Least request: whoever has the fewest calls in flight, per weight.
//!
//! For few endpoints all are looked at; for many, two are drawn by weight and the better one wins, which takes
//! two gauges however many there are. Ties are broken at random: a fixed rule would send every quiet client to the
//! same endpoint. In flight is what this process has in flight; the load that servers report belongs to another policy.

use super::group::Group;
use super::hash;
use super::pair::{Drawn, Pairs};
use super::picker::{Ask, Picker, Worker};
use super::turns::Turns;
use crate::endpoint::Gauge;

/// Random bits that break ties in a scan, below the work.
const TIE_BITS: u32 = 16;
/// What an endpoint has in flight that nobody knows.
const MOST: u64 = u64::MAX >> 40;

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

    /// Returns which of two has less in flight for its weight; the first if both have.
    #[inline]
    fn idler(&self, group: &Group, first: usize, second: usize) -> usize {
        let (mut one, mut other) = (work(group, first), work(group, second));
        if let Some((factor, other_factor)) = self.pairs.factors(group, first, second) {
            one *= u64::from(factor);
            other *= u64::from(other_factor);
        }
        if other < one { second } else { first }
    }

    fn scan(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let mut tie = worker.random();
        let equal = self.pairs.are_equal();
        let mut best = None;
        let mut least = u64::MAX;
        for nth in 0..group.len() {
            let position = group.at(nth);
            if !worker.allows(group, ask, position) {
                continue;
            }
            tie = tie.wrapping_mul(hash::GOLDEN).wrapping_add(1);
            let work = work(group, position);
            // Work per weight above, random bits below: one comparison orders by work and breaks ties. The bits of positive
            // floats are ordered as they are, and equal shares have equal bits.
            let cost =
                if equal { work } else { (work as f64 / f64::from(group.weight_at(position))).to_bits() >> TIE_BITS };
            let candidate = cost << TIE_BITS | tie >> (u64::BITS - TIE_BITS);
            if candidate < least {
                (least, best) = (candidate, Some(position));
            }
        }
        best
    }
}

/// Returns the calls in flight at `position`, and the next one.
#[inline]
fn work(group: &Group, position: usize) -> u64 {
    group.gauge(position).map_or(MOST, Gauge::in_flight) + 1
}

impl Picker for LeastRequest {
    #[inline]
    fn pick_open(&self, group: &Group, _: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        if !self.scan
            && let Some((first, second)) = self.pairs.draw_open(group, turns)
        {
            return Some(self.idler(group, first, second));
        }
        self.pick(group, &Ask::any(), &mut Worker::open(turns))
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        if self.scan {
            return self.scan(group, ask, worker);
        }
        match self.pairs.draw(group, ask, worker) {
            Drawn::Two(first, second) => Some(self.idler(group, first, second)),
            Drawn::One(only) => Some(only),
            Drawn::Nobody => None,
        }
    }
}
