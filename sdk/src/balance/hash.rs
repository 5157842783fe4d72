//! The hash functions of the balancing policies, pinned: equal across processes, machines and versions.
//!
//! - A key becomes 64 bits by XXH3-64 with seed 0 over its bytes, nothing added. Those 64 bits are
//!   [`super::Ask::hash`].
//! - The ketama ring is a ring of 32 bits; an ask meets it with the *low* 32 bits of its hash. Whoever
//!   must agree with nginx's `hash … consistent` asks with [`crc32`] of the key instead of XXH3.
//! - CRC-32 is the one of IEEE 802.3: reflected, polynomial 0xEDB88320, all ones before and after.
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

/// Hashes a key as nginx's ketama does: CRC-32 in the low half.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

/// Scrambles 64 bits; a bijection.
#[inline]
#[must_use]
pub(crate) fn mix(mut word: u64) -> u64 {
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
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of CRC-32");
        assert_eq!(mix(GOLDEN), 0xE220_A839_7B1D_CDAF, "SplitMix64(0), first output");
    }

    proptest! {
        #[test]
        fn four_bytes_at_once_equal_four_in_a_row(state: u32, word: u32) {
            prop_assert_eq!(update_word(state, word), update(state, &word.to_le_bytes()));
        }
    }
}
