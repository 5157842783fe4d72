//! The remainder by a divisor that is known when a picker is built.
//!
//! Two multiplications instead of a division (Lemire, Kaser, Kurz 2019, "Faster remainder by direct
//! computation"): exact for every 32-bit number. Used by the policies that walk a list by turns.

/// Divides by a number chosen once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Modulo {
    divisor: u32,
    magic: u64,
}

impl Modulo {
    /// Prepares for `divisor`, which is at least 1.
    pub(super) fn by(divisor: u32) -> Self {
        assert!(divisor > 0, "nothing divides by zero");
        Self {
            divisor,
            // For divisor 1 this wraps to 0, and everything's remainder is 0, as it should be.
            magic: (u64::MAX / u64::from(divisor)).wrapping_add(1),
        }
    }

    /// Returns `number % divisor`.
    #[inline]
    pub(super) fn of(self, number: u32) -> u32 {
        let fraction = self.magic.wrapping_mul(u64::from(number));
        ((u128::from(fraction) * u128::from(self.divisor)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_the_remainder(divisor in 1u32.., number: u32) {
            prop_assert_eq!(Modulo::by(divisor).of(number), number % divisor);
        }
    }

    #[test]
    fn is_the_remainder_at_the_edges() {
        for divisor in [1, 2, 3, u32::MAX - 1, u32::MAX] {
            for number in [0, 1, 2, divisor - 1, divisor, u32::MAX] {
                assert_eq!(Modulo::by(divisor).of(number), number % divisor);
            }
        }
    }
}
