//! Consistent hashing on nginx's ketama ring, bit for bit.
//!
//! Layout. Each eligible endpoint of weight w puts `points × w` points (160 in nginx) on a ring of
//! 32 bits. Point j of `host:port` is CRC-32 over the bytes of `host`, one zero byte, the digits of
//! `port`, and the four bytes of point j−1, lowest first (zero before the first). A key belongs to
//! the first point at or above the low 32 bits of its hash, and past the last point to the first.
//! Of two points with one hash the endpoint that is earlier by id, then node, keeps it.
//!
//! Look-up. An index over the leading bits of the ring names the first point of each bucket; a short
//! scan does the rest: two cache lines where a binary search over 16 million points takes two dozen.

use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};

/// Points on a ring at most: 512 MiB of them. Beyond, every endpoint's points shrink alike.
const POINTS_MAX: u64 = 1 << 26;
/// Points per bucket of the index at most; measured against 1, 2, 12 and 32.
const POINTS_PER_BUCKET: usize = 4;
/// Points compared at once; measured against 8.
const WINDOW: usize = 4;
/// Points looked at beyond the key's own, in search of an endpoint that is not left out.
const WALK_MAX: usize = 512;

/// Looks keys up on a ketama ring.
#[derive(Debug)]
pub(super) struct RingHash {
    /// Hash in the upper half, position in the lower; sorted, hashes distinct.
    points: Box<[u64]>,
    /// For each value of the leading bits, the first point at or above it.
    index: Box<[u32]>,
    shift: u32,
}

impl RingHash {
    /// Builds the ring with `points` per unit of weight; `None` when nobody is there.
    pub(super) fn new(group: &Group, points: u32) -> Option<Self> {
        let full = |weight: u32| u64::from(weight) * u64::from(points.max(1));
        let wanted: u64 = group.weighted().map(|(_, weight)| full(weight)).sum();
        let mut ring = Vec::with_capacity(wanted.min(POINTS_MAX) as usize);
        let mut positions = Vec::with_capacity(group.len() as usize);
        for (rank, (position, weight, member)) in (0u64..).zip(group.ordered()) {
            let share = if wanted <= POINTS_MAX {
                full(weight)
            } else {
                (u128::from(full(weight)) * u128::from(POINTS_MAX) / u128::from(wanted)).max(1) as u64
            };
            let base = base(member.endpoint().host(), member.endpoint().port());
            let mut hash = 0;
            for _ in 0..share {
                hash = !hash::update_word(base, hash);
                ring.push(u64::from(hash) << 32 | rank);
            }
            positions.push(position);
        }
        ring.sort_unstable();
        ring.dedup_by_key(|point| *point >> 32);
        // Ranks decided who keeps a point; from here on positions are what is wanted.
        for point in &mut ring {
            *point = *point >> 32 << 32 | u64::from(positions[*point as u32 as usize]);
        }
        Self::index(ring)
    }

    fn index(points: Vec<u64>) -> Option<Self> {
        if points.is_empty() {
            return None;
        }
        let buckets = (points.len() / POINTS_PER_BUCKET).next_power_of_two().max(2);
        let shift = 32 - buckets.trailing_zeros();
        let mut index = Vec::with_capacity(buckets);
        let mut at = 0;
        for bucket in 0..buckets as u64 {
            while points.get(at).is_some_and(|point| (point >> 32) >> shift < bucket) {
                at += 1;
            }
            index.push(at as u32);
        }
        Some(Self { points: points.into(), index: index.into(), shift })
    }

    /// Returns the place on the ring of the first point at or above `hash`, which may be past the last.
    #[inline]
    fn place(&self, hash: u32) -> usize {
        let mut at = self.index[(hash >> self.shift) as usize] as usize;
        let least = u64::from(hash) << 32;
        // Counting in a window costs no guess; asking one point after the other costs a wrong one a pick.
        while let Some(window) = self.points.get(at..at + WINDOW) {
            let below = window.iter().filter(|point| **point < least).count();
            at += below;
            if below < WINDOW {
                return at;
            }
        }
        while self.points.get(at).is_some_and(|point| *point < least) {
            at += 1;
        }
        at
    }
}

impl Picker for RingHash {
    #[inline]
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        // A call without a key has no home; any will do.
        let hash = ask.hashed().unwrap_or_else(|| worker.random());
        let place = self.place(hash as u32);
        let own = *self.points.get(place).or_else(|| self.points.first())? as u32;
        if worker.is_open() {
            return Some(own as usize);
        }
        // Onward round the ring: a left-out endpoint's keys spread over all, not onto one neighbour.
        let onward = self.points[place..].iter().chain(&self.points[..place]);
        let found = onward
            .take(WALK_MAX)
            .map(|point| *point as u32 as usize)
            .find(|position| worker.allows(group, ask, *position));
        found.or_else(|| {
            let start = hash::below(hash as u32, group.len());
            worker.first_allowed(group, ask, start)
        })
    }
}

/// Returns the CRC state after `host`, zero, `port`: what all points of an endpoint begin from.
fn base(host: &str, port: u16) -> u32 {
    let state = hash::update(!0, host.as_bytes());
    let state = hash::update(state, &[0]);
    hash::update(state, port.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;

    use super::*;
    use crate::catalog::Snapshot;
    use crate::endpoint::Endpoint;

    /// Ids are chosen so that their order is that of the list, as nginx's is that of its file.
    fn group(authorities: &[&str], weight: u32) -> Group {
        let rows = authorities.iter().enumerate().map(|(n, authority)| {
            let (host, port) = authority.rsplit_once(':').unwrap();
            Endpoint::new(&format!("{n:03}"), host, port.parse().unwrap()).weighted(weight, 1)
        });
        Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1)))
    }

    fn nine() -> Vec<String> {
        (1..=9).map(|n| format!("10.0.0.{n}:443")).collect()
    }

    fn ring(authorities: &[&str], weight: u32) -> RingHash {
        RingHash::new(&group(authorities, weight), 160).unwrap()
    }

    /// CRC-32 over all points in order, each as hash and position, lowest byte first.
    fn digest(ring: &RingHash) -> u32 {
        let bytes: Vec<u8> = ring
            .points
            .iter()
            .flat_map(|point| [(point >> 32) as u32, *point as u32])
            .flat_map(u32::to_le_bytes)
            .collect();
        hash::crc32(&bytes)
    }

    fn owner(ring: &RingHash, hash: u32) -> u32 {
        let place = ring.place(hash);
        *ring.points.get(place).unwrap_or(&ring.points[0]) as u32
    }

    // The vectors come from a second implementation (a few lines over a library's CRC-32 and XXH3), which
    // was first found equal to the answers of a real nginx.
    #[test]
    fn golden_rings() {
        let nine = nine();
        let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
        let nine = ring(&nine, 1);
        let first: Vec<u32> = nine.points[..4].iter().map(|p| (p >> 32) as u32).collect();
        assert_eq!(first, [0x0024_6D18, 0x00B3_01A2, 0x00B3_7748, 0x00C2_E48A]);
        assert_eq!((nine.points.len(), digest(&nine)), (1440, 0xE190_7B92));
        let mixed = ["[2001:db8::1]:80", "web-2.internal:65535", "10.0.0.3:1"];
        let mixed = ring(&mixed, 2);
        assert_eq!((mixed.points.len(), digest(&mixed)), (960, 0xCEB7_E227));
    }

    #[test]
    fn golden_owners() {
        let nine = nine();
        let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
        let nine = ring(&nine, 1);
        // Key, owner as nginx chooses it (CRC-32 of the key), owner as an ask by key chooses it.
        for (key, by_crc32, by_key) in [
            ("", 7, 2),
            ("a", 9, 9),
            ("user:42", 1, 8),
            ("/index.html", 2, 6),
            ("00000000-0000-0000-0000-000000000000", 3, 4),
            ("éclair", 4, 9),
            ("key-0", 6, 5),
            ("key-1", 6, 7),
            ("key-2", 6, 5),
            ("key-3", 5, 8),
            ("key-4", 1, 2),
            ("key-5", 8, 4),
        ] {
            let bytes = key.as_bytes();
            assert_eq!(owner(&nine, hash::crc32(bytes)) + 1, by_crc32, "{key}");
            assert_eq!(owner(&nine, hash::key(bytes) as u32) + 1, by_key, "{key}");
        }
    }

    #[test]
    fn the_order_of_the_answer_does_not_matter() {
        let rows = || (0..50).map(|n| Endpoint::new(&format!("{n}"), &format!("10.0.0.{n}"), 80));
        let ring = |snapshot| RingHash::new(&Group::whole(Arc::new(snapshot)), 160).unwrap();
        let up = ring(Snapshot::empty("web").next(rows(), 1));
        let down = ring(Snapshot::empty("web").next(rows().rev(), 2));
        assert_eq!(up.points, down.points);
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_search_finds(
            hashes in proptest::collection::btree_set(any::<u32>(), 1..200),
            keys in proptest::collection::vec(any::<u32>(), 50),
        ) {
            let points: Vec<u64> = hashes.iter().map(|hash| u64::from(*hash) << 32).collect();
            let ring = RingHash::index(points.clone()).unwrap();
            for key in keys.into_iter().chain(hashes).chain([0, u32::MAX]) {
                prop_assert_eq!(ring.place(key), points.partition_point(|point| *point < u64::from(key) << 32));
            }
        }
    }
}
