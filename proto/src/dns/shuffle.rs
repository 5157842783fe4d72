//! The order of answers: random, with heavier rows in front more often.
//!
//! Resolvers take the first address, so the order is what spreads the load. Weighted sampling without replacement
//! by exponential keys (Efraimidis and Spirakis, 2006): each row draws `-ln(u) / weight` and the smallest go first.

/// A small generator of random words (SplitMix64, Steele et al., 2014); good enough to deal cards, not to keep
/// secrets.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws from (0, 1].
    fn unit(&mut self) -> f64 {
        // 53 bits are what a double holds.
        const STEPS: f64 = (1_u64 << 53) as f64;
        ((self.word() >> 11) + 1) as f64 / STEPS
    }
}

/// Puts items in a random order that the seed decides; those of weight 0 come after all others.
pub(super) fn shuffle<T>(items: &mut Vec<T>, seed: u64, weight: impl Fn(&T) -> u16) {
    let mut random = Random(seed);
    let mut keyed: Vec<(bool, f64, T)> = items
        .drain(..)
        .map(|item| {
            let weight = weight(&item);
            (weight == 0, -random.unit().ln() / f64::from(weight.max(1)), item)
        })
        .collect();
    keyed.sort_by(|one, two| one.0.cmp(&two.0).then_with(|| one.1.total_cmp(&two.1)));
    items.extend(keyed.into_iter().map(|(_, _, item)| item));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_place_is_shared_by_weight() {
        const ROUNDS: u64 = 20_000;
        let mut first = [0_u64; 4];
        for seed in 0..ROUNDS {
            let mut items = vec![(0, 1), (1, 3), (2, 6), (3, 0)];
            shuffle(&mut items, seed, |(_, weight)| *weight);
            first[items[0].0] += 1;
        }
        // Seeds are fixed, so the counts are too; the bounds only say what was meant.
        assert_eq!(first[3], 0, "weight 0 comes last");
        for (place, weight) in [(0, 1), (1, 3), (2, 6)] {
            let expect = ROUNDS * weight / 10;
            assert!(first[place].abs_diff(expect) < ROUNDS / 50, "{first:?}");
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        for seed in 0..100 {
            let mut items: Vec<u16> = (0..50).collect();
            shuffle(&mut items, seed, |item| *item);
            items.sort_unstable();
            assert!(items.iter().copied().eq(0..50));
        }
    }
}
