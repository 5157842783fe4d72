//! Random choice: uniform, and by weight over an alias table.
//!
//! Uniform needs no table of its own. The weighted choice is Vose's alias method (1991): one draw,
//! one load, whatever the weights. Also the source of candidates for least request.

use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};

/// Draws taken in search of an allowed endpoint before all are walked.
const DRAWS_MAX: u32 = 8;

/// Draws eligible endpoints at random.
#[derive(Debug)]
pub(super) enum Draw {
    /// Everyone alike.
    Uniform,
    /// By weight.
    Alias(Box<[Cell]>),
}

/// One column of the alias table: its own endpoint below the threshold, the other above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    threshold: u32,
    own: u32,
    other: u32,
}

impl Draw {
    /// Prepares to draw by weight; equal weights need no table.
    pub(super) fn weighted(group: &Group) -> Self {
        if group.is_equal() {
            return Self::Uniform;
        }
        let (positions, weights): (Vec<u32>, Vec<u32>) = group.weighted().unzip();
        Self::Alias(alias(&positions, &weights))
    }

    /// Draws one position, which may have to be left out; the group has somebody.
    #[inline]
    pub(super) fn draw(&self, group: &Group, random: u64) -> usize {
        let (column, coin) = ((random >> 32) as u32, random as u32);
        match self {
            Self::Uniform => group.at(hash::below(column, group.len())),
            Self::Alias(cells) => {
                let cell = cells[hash::below(column, cells.len() as u32) as usize];
                // Without a branch the processor cannot guess wrong.
                let chosen = if coin < cell.threshold { cell.own } else { cell.other };
                chosen as usize
            }
        }
    }
}

impl Picker for Draw {
    #[inline]
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

/// Builds the table: columns of equal height, the tall lending to the short, each column of two at most.
fn alias(positions: &[u32], weights: &[u32]) -> Box<[Cell]> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    // Heights in units of 2^-32 of a column.
    let full = 1u64 << 32;
    let mut heights: Vec<u64> = weights
        .iter()
        .map(|weight| {
            let scaled = u128::from(*weight) * weights.len() as u128 * u128::from(full);
            ((scaled + total / 2) / total) as u64
        })
        .collect();
    let mut cells: Vec<Cell> =
        positions.iter().map(|position| Cell { threshold: u32::MAX, own: *position, other: *position }).collect();
    let (mut short, mut tall): (Vec<usize>, Vec<usize>) =
        (0..heights.len()).partition(|column| heights[*column] < full);
    while let (Some(low), Some(high)) = (short.pop(), tall.last().copied()) {
        cells[low].threshold = heights[low] as u32;
        cells[low].other = positions[high];
        heights[high] -= full - heights[low];
        if heights[high] < full {
            tall.pop();
            short.push(high);
        }
    }
    // Whoever is left is full but for rounding, and keeps the whole column.
    cells.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_table_holds_every_weight(weights in proptest::collection::vec(1u32..1000, 1..50)) {
            let positions: Vec<u32> = (0u32..).take(weights.len()).collect();
            let cells = alias(&positions, &weights);
            let mut mass = vec![0.0; weights.len()];
            for cell in &cells {
                let own = if cell.own == cell.other { 1.0 } else { f64::from(cell.threshold) / 2f64.powi(32) };
                mass[cell.own as usize] += own;
                mass[cell.other as usize] += 1.0 - own;
            }
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (got, weight) in mass.iter().zip(&weights) {
                let due = f64::from(*weight) / total * weights.len() as f64;
                prop_assert!((got - due).abs() < 1e-6, "{got} for {due}");
            }
        }
    }
}
