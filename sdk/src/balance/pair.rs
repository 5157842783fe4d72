//! Two endpoints drawn by weight, and which of them has less to do for its weight: what "the power of two choices" needs
//! (Mitzenmacher 1996), whatever a policy takes for work.
//!
//! Used by the policies that compare two: least request and peak EWMA.

use super::group::Group;
use super::hash;
use super::picker::{Ask, Worker};
use super::random::Draw;
use super::turns::Turns;

/// Draws taken in search of two allowed endpoints before all are walked.
const DRAWS_MAX: u32 = 8;

/// Draws pairs, and knows what weights do to work.
#[derive(Debug)]
pub(super) struct Pairs(Draw);

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
        Self(Draw::weighted(group))
    }

    /// Returns by what the work of each of two is multiplied to be compared per weight: the weight of the other one. None
    /// when all weights are equal.
    #[inline]
    pub(super) fn factors(&self, group: &Group, one: usize, other: usize) -> Option<(u32, u32)> {
        (!self.are_equal()).then(|| (group.weight_at(other), group.weight_at(one)))
    }

    /// Says whether all weights are equal.
    #[inline]
    pub(super) fn are_equal(&self) -> bool {
        matches!(self.0, Draw::Uniform)
    }

    /// Draws two different ones in random order where nobody has to be left out; none where weights count, or there is only
    /// one: [`Self::draw`] knows about them.
    #[inline(always)]
    pub(super) fn draw_open(&self, group: &Group, turns: Turns<'_>) -> Option<(usize, usize)> {
        let others = group.len().checked_sub(1).filter(|others| *others > 0 && self.are_equal())?;
        let random = turns.random();
        // The second by its distance from the first: drawing until they differ is a branch that cannot be foretold.
        let first = hash::below((random >> 32) as u32, others + 1);
        let second = first + 1 + hash::below(random as u32, others);
        let second = if second > others { second - others - 1 } else { second };
        Some((group.at(first), group.at(second)))
    }

    /// Draws two.
    pub(super) fn draw(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Drawn {
        let mut random = worker.random();
        let mut first = None;
        for _ in 0..DRAWS_MAX {
            let position = self.0.draw(group, random);
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
