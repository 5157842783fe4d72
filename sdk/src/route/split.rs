//! Shares of calls: by a sequence of turns that keeps them at any time, or by a call's hash.
//!
//! Turn `t` stands at `t · φ` on a circle of 2^64 (a Weyl sequence of the golden ratio, which spreads more evenly than any
//! other): after n turns, from wherever, every share was hit as often as it should be but for a few. A call with a
//! hash stands where its hash is mixed to, and so always goes the same way.

use crate::balance::hash::{GOLDEN, mix};

/// Divides calls among choices by weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    // Where each choice ends on the circle; the last ends at its end.
    ends: Box<[u64]>,
}

impl Split {
    /// Builds a split of choices with these weights; none when no weight is above 0.
    #[must_use]
    pub fn new(weights: &[u64]) -> Option<Self> {
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        if total == 0 {
            return None;
        }
        let mut sum = 0u128;
        let ends = weights.iter().map(|weight| {
            sum += u128::from(*weight);
            // The circle in shares; multiplied first, so that equal weights end at equal places on all clients.
            u64::try_from((sum << 64) / total).unwrap_or(u64::MAX)
        });
        Some(Self { ends: ends.collect() })
    }

    /// Returns the choice for a turn.
    #[must_use]
    pub fn by_turn(&self, turn: u64) -> usize {
        self.at(turn.wrapping_mul(GOLDEN))
    }

    /// Returns the choice for a hash; always the same for the same.
    #[must_use]
    pub fn by_hash(&self, hash: u64) -> usize {
        // Mixed, so that the place on a ring and the side of a split have nothing to do with one another.
        self.at(mix(hash))
    }

    fn at(&self, point: u64) -> usize {
        // The very last point belongs to the last choice that has a share.
        let choice = self.ends.partition_point(|end| *end <= point);
        choice.min(self.ends.partition_point(|end| *end < u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn five_percent_is_fifty_of_a_thousand_from_any_start() {
        let split = Split::new(&[95, 5]).unwrap();
        for start in [0, 7, 1 << 40, u64::MAX - 500] {
            let hits = (0..1000u64).filter(|turn| split.by_turn(start.wrapping_add(*turn)) == 1).count();
            assert!((49..=51).contains(&hits), "{hits} from {start}");
        }
    }

    #[test]
    fn no_weight_no_calls() {
        assert_eq!(Split::new(&[]), None);
        assert_eq!(Split::new(&[0, 0]), None);
        let split = Split::new(&[0, 1, 0]).unwrap();
        assert!((0..1000).all(|turn| split.by_turn(turn) == 1));
        assert_eq!((split.at(u64::MAX), split.at(0)), (1, 1));
    }

    proptest! {
        /// Over any stretch of turns every choice has its share, but for a handful.
        #[test]
        fn shares_hold_over_every_stretch(weights in proptest::collection::vec(0u64..10_000, 1..8), start: u64, len in 1u64..3000) {
            let Some(split) = Split::new(&weights) else { return Ok(()) };
            let mut hits = vec![0u64; weights.len()];
            for turn in 0..len {
                hits[split.by_turn(start.wrapping_add(turn))] += 1;
            }
            let total: u64 = weights.iter().sum();
            for (hit, weight) in hits.iter().zip(&weights) {
                let due = len as f64 * *weight as f64 / total as f64;
                prop_assert!((*hit as f64 - due).abs() <= 3.0 + (len as f64).log2() / 2.0, "{} for {}", hit, due);
                prop_assert!(*weight > 0 || *hit == 0);
            }
        }

        #[test]
        fn a_hash_goes_the_same_way_and_most_stay_when_shares_move(hashes in proptest::collection::vec(any::<u64>(), 400)) {
            let (before, after) = (Split::new(&[90, 10]).unwrap(), Split::new(&[80, 20]).unwrap());
            let moved = hashes.iter().filter(|hash| before.by_hash(**hash) != after.by_hash(**hash)).count();
            prop_assert!(moved < 90, "a tenth is due: {} of 400", moved);
            prop_assert!(hashes.iter().all(|hash| before.by_hash(*hash) == 0 || after.by_hash(*hash) == 1));
        }
    }
}
