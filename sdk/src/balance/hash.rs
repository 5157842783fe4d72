//! The hash functions of the balancing policies, pinned: equal across processes, machines and versions.
//!
//! - A key becomes 64 bits by XXH3-64 with seed 0 over its bytes, nothing added. Those 64 bits are
//!   [`super::Ask::hash`].
//! - The ketama ring is a ring of 32 bits; an ask meets it with the *low* 32 bits of its hash. Whoever
//!   must agree with nginx's `hash … consistent` asks with [`crc32`] of the key instead of XXH3.
//! - CRC-32 is the one of IEEE 802.3: reflected, polynomial 0xEDB88320, all ones before and after.
//! - Envoy hashes keys, points of its ring and places of its Maglev table by [`xx64`].
//! - Bits are mixed by the finaliser of SplitMix64 (Steele, Lea, Flood 2014, constants of Stafford's Mix13).
//!
//! The tests below and in `ring_hash` hold golden vectors; a change here breaks every cache that clients share.

/// The odd 64-bit number nearest to 2^64 divided by the golden ratio: SplitMix64's step.
pub(crate) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Hashes a key: XXH3-64, seed 0.
#[inline]
#[must_use]
pub fn key(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// Hashes a key as Envoy does: XXH64, seed 0. Whoever must agree with Envoy's `ring_hash` or `maglev` asks with it.
#[inline]
#[must_use]
pub fn xx64(bytes: &[u8]) -> u64 {
    xx64_seeded(bytes, 0)
}

#[inline]
pub(crate) fn xx64_seeded(bytes: &[u8], seed: u64) -> u64 {
    twox_hash::XxHash64::oneshot(seed, bytes)
}

/// Hashes a key as nginx's ketama does: CRC-32 in the low half.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

/// Scrambles 64 bits; a bijection.
#[inline]
#[must_use]
pub(crate) const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Scales 32 random bits to `0..n` (Lemire 2019, without the rejection: the bias is below n / 2^32).
#[inline]
#[must_use]
pub(crate) fn below(random: u32, n: u32) -> u32 {
    ((u64::from(random) * u64::from(n)) >> 32) as u32
}

/// Says whether a draw with a weight beats another, in rendezvous hashing: lowest `-log2(draw) / weight` wins. Each is 64
/// random bits, as a fraction of 2^64, and a weight above 0.
#[inline]
pub(crate) fn outdraws(own: (u64, u32), other: (u64, u32)) -> bool {
    if own.1 == other.1 {
        return own.0 > other.0;
    }
    let cost = |draw: u64| u128::from((64 << LOG2_BITS) - log2(draw.max(1)));
    cost(own.0) * u128::from(other.1) < cost(other.0) * u128::from(own.1)
}

/// Bits after the point of [`log2`].
pub(crate) const LOG2_BITS: u32 = 32;
/// Bits that choose a stretch of the logarithm's table; between its ends the logarithm is taken for straight.
const LOG2_TABLE_BITS: u32 = 8;
const LOG2_TABLE: [u64; (1 << LOG2_TABLE_BITS) + 1] = log2_table();

/// Returns the binary logarithm of `x`, which is not 0, in units of 2^-32; off by less than 3e-6, never falling.
#[inline]
pub(crate) fn log2(x: u64) -> u64 {
    let whole = 63 - x.leading_zeros();
    // What follows the leading one.
    let fraction = (x << (63 - whole)) << 1;
    let stretch = (fraction >> (64 - LOG2_TABLE_BITS)) as usize;
    let within = (fraction << LOG2_TABLE_BITS) >> 32;
    let (low, high) = (LOG2_TABLE[stretch], LOG2_TABLE[stretch + 1]);
    (u64::from(whole) << LOG2_BITS) + low + (((high - low) * within) >> 32)
}

/// Logarithms of 1 + n/256, bit by bit: the square of a number has twice its logarithm.
const fn log2_table() -> [u64; (1 << LOG2_TABLE_BITS) + 1] {
    let mut table = [0; (1 << LOG2_TABLE_BITS) + 1];
    let mut at = 0;
    while at < 1 << LOG2_TABLE_BITS {
        // Between 1 and 2, in units of 2^-62.
        let mut number = (((1 << LOG2_TABLE_BITS) + at) as u64) << (62 - LOG2_TABLE_BITS);
        let mut bit = 0;
        while bit < LOG2_BITS {
            number = ((number as u128 * number as u128) >> 62) as u64;
            table[at] <<= 1;
            if number >> 63 != 0 {
                number >>= 1;
                table[at] |= 1;
            }
            bit += 1;
        }
        at += 1;
    }
    table[1 << LOG2_TABLE_BITS] = 1 << LOG2_BITS;
    table
}

const TABLES: [[u32; 256]; 4] = tables();

/// Table 0 advances by one byte; table k by a byte with k zero bytes after it, so that four
/// independent look-ups advance by four bytes at once ("slicing by 4", Kounavis and Berry 2005).
const fn tables() -> [[u32; 256]; 4] {
    let mut tables = [[0u32; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 4 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Advances a raw CRC state (not inverted) over bytes.
pub(crate) fn update(mut state: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        state = (state >> 8) ^ TABLES[0][((state ^ u32::from(*byte)) & 0xFF) as usize];
    }
    state
}

/// Advances a raw CRC state over the four bytes of `word`, lowest first.
#[inline]
pub(crate) fn update_word(state: u32, word: u32) -> u32 {
    let [a, b, c, d] = (state ^ word).to_le_bytes().map(usize::from);
    TABLES[3][a] ^ TABLES[2][b] ^ TABLES[1][c] ^ TABLES[0][d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_keys() {
        // The first is XXH3's published value for the empty input.
        assert_eq!(key(b""), 0x2D06_8005_38D3_94C2);
        assert_eq!(key(b"user:42"), 0x9FC1_E605_FA71_74AA);
        assert_eq!((xx64(b""), xx64(b"a")), (0xEF46_DB37_51D8_E999, 0xD24E_C4F1_A98C_6E5B), "XXH64's published values");
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32");
        assert_eq!(mix(GOLDEN), 0xE220_A839_7B1D_CDAF, "SplitMix64(0), first output");
    }

    #[test]
    fn golden_logarithms() {
        // From a second implementation, with numbers of any length.
        assert_eq!((log2(1), log2(2), log2(1 << 63)), (0, 1 << 32, 63 << 32));
        assert_eq!((log2(3), log2(u64::MAX), log2(GOLDEN)), (0x1_95C0_1A39, 0x3F_FFFF_FFFF, 0x3F_4E46_0BC8));
    }

    proptest! {
        #[test]
        fn the_logarithm_is_near_and_never_falls(x in 1u64.., step in 0u64..1 << 40) {
            let got = log2(x) as f64 / 2f64.powi(LOG2_BITS as i32);
            prop_assert!((got - (x as f64).log2()).abs() < 3.0e-6);
            prop_assert!(log2(x.saturating_add(step)) >= log2(x));
        }

        #[test]
        fn four_bytes_at_once_equal_four_in_a_row(state: u32, word: u32) {
            prop_assert_eq!(update_word(state, word), update(state, &word.to_le_bytes()));
        }
    }
}
