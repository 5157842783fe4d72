//! Draws by weight in one load, whatever the weights: Vose's alias method (1991).
//!
//! Laid out in one sweep that keeps no lists of whom to look at next (Hübschle-Schneider and Sanders 2022): it is laid out
//! anew for each change, so that takes a few nanoseconds per endpoint. Used by `random`.

use super::group::Group;
use super::hash;

/// The height of a column, in units of thresholds.
const FULL: u64 = 1 << 32;

/// Draws by weight.
#[derive(Debug)]
pub(super) struct Alias(Box<[Cell]>);

/// The column of one position: its own below the threshold, the other above. Who weighs nothing has nothing of it.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
struct Cell {
    threshold: u32,
    other: u32,
}

impl Alias {
    /// Lays out the table of a group, which has somebody.
    pub(super) fn new(group: &Group) -> Self {
        Self::over(group.weights())
    }

    /// Lays out columns of equal height, of two positions each at most: the tall lend to the short. Given are weights by
    /// position; one of them is above 0, so that no column is left without anybody.
    fn over(weights: &[u32]) -> Self {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut cells: Vec<Cell> =
            (0u32..).take(weights.len()).map(|own| Cell { threshold: u32::MAX, other: own }).collect();
        // Rounded to 2^-32 of a column, as thresholds are.
        let scale = FULL as f64 * weights.len() as f64 / total.max(1) as f64;
        let mut heights: Vec<u64> = weights.iter().map(|weight| (f64::from(*weight) * scale + 0.5) as u64).collect();
        let short_from = |heights: &[u64], from: usize| (from..heights.len()).find(|column| heights[*column] < FULL);
        let tall_from = |heights: &[u64], from: usize| (from..heights.len()).find(|column| heights[*column] > FULL);
        let (mut next_short, mut next_tall) = (short_from(&heights, 0), tall_from(&heights, 0));
        let mut lent_short = None;
        while let (Some(low), Some(high)) = (lent_short.or(next_short), next_tall) {
            // Before somebody else becomes short, who comes next anyhow.
            if lent_short.take().is_none() {
                next_short = short_from(&heights, low + 1);
            }
            cells[low] = Cell { threshold: heights[low] as u32, other: high as u32 };
            heights[high] -= FULL - heights[low];
            // Full, neither short nor tall: no sweep stops at it again.
            heights[low] = FULL;
            if heights[high] <= FULL {
                lent_short = Some(high).filter(|_| heights[high] < FULL);
                next_tall = tall_from(&heights, high + 1);
            }
        }
        // Whoever is left is full but for rounding, and keeps the whole column.
        Self(cells.into())
    }

    /// Draws a position.
    #[inline]
    pub(super) fn draw(&self, random: u64) -> usize {
        let (column, coin) = ((random >> 32) as u32, random as u32);
        let own = hash::below(column, self.0.len() as u32);
        let cell = self.0[own as usize];
        // Without a branch the processor cannot guess wrong.
        let chosen = if coin < cell.threshold { own } else { cell.other };
        chosen as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The share of each position among all draws.
    fn shares(alias: &Alias, positions: usize) -> Vec<f64> {
        let mut shares = vec![0.0; positions];
        for (column, cell) in alias.0.iter().enumerate() {
            let own = if column == cell.other as usize { 1.0 } else { f64::from(cell.threshold) / 2f64.powi(32) };
            shares[column] += own / alias.0.len() as f64;
            shares[cell.other as usize] += (1.0 - own) / alias.0.len() as f64;
        }
        shares
    }

    fn weight() -> impl Strategy<Value = u32> {
        prop_oneof![4 => 1u32..1000, 2 => 0u32..2, 1 => any::<u32>()]
    }

    proptest! {
        #[test]
        fn the_table_holds_every_weight(mut weights in proptest::collection::vec(weight(), 1..300), one in 1u32..9) {
            weights[0] = weights[0].max(one);
            let alias = Alias::over(&weights);
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (got, weight) in shares(&alias, weights.len()).iter().zip(&weights) {
                let due = f64::from(*weight) / total;
                prop_assert!((got - due).abs() < 1e-6 / weights.len() as f64, "{got} for {due}");
                prop_assert!(*weight > 0 || *got == 0.0, "{got} for nothing");
            }
        }
    }
}
