//! Random choice: uniform, and by weight over an alias table.
//!
//! Uniform needs no table of its own. Also the source of candidates for least request.

use super::alias::Alias;
use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};
use super::turns::Turns;

/// Draws taken in search of an allowed endpoint before all are walked.
const DRAWS_MAX: u32 = 8;

/// Draws eligible endpoints at random.
#[derive(Debug)]
pub(super) enum Draw {
    /// Everyone alike.
    Uniform,
    /// By weight.
    Alias(Alias),
}

impl Draw {
    /// Prepares to draw by weight; equal weights need no table.
    pub(super) fn weighted(group: &Group) -> Self {
        if group.is_equal() {
            return Self::Uniform;
        }
        Self::Alias(Alias::new(group))
    }

    /// Draws one position, which may have to be left out; the group has somebody.
    #[inline]
    pub(super) fn draw(&self, group: &Group, random: u64) -> usize {
        match self {
            Self::Uniform => group.at(hash::below((random >> 32) as u32, group.len())),
            Self::Alias(alias) => alias.draw(random),
        }
    }
}

impl Picker for Draw {
    #[inline]
    fn pick_open(&self, group: &Group, _: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        (!group.is_empty()).then(|| self.draw(group, turns.random()))
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        if group.is_empty() {
            return None;
        }
        let mut random = worker.random();
        for _ in 0..DRAWS_MAX {
            let position = self.draw(group, random);
            if worker.allows(group, ask, position) {
                return Some(position);
            }
            random = hash::mix(random);
        }
        let start = hash::below(random as u32, group.len());
        worker.first_allowed(group, ask, start)
    }
}
