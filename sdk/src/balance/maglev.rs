//! Maglev: a table of 65,537 entries that endpoints fill in turns, bit for bit as Envoy fills it (Eisenbud et al. 2016).
//!
//! Layout. Endpoints stand in the order of the bytes of `host:port`. Each walks the table from XXH64 (seed 0) of those
//! bytes modulo 65,537 in steps of XXH64 (seed 1) of them modulo 65,536, and 1; at its turn it takes the first free entry
//! it comes to. The heaviest has a turn in every round, one of a third of its weight in every third, in the
//! arithmetic of Envoy: weights as shares of all in 64-bit floating numbers, `round × share < turns × largest` waits.
//! A key belongs to the entry of its hash modulo 65,537. The quickest look-up, with shares exact to 1 %; but more than
//! the keys of who leaves move, and beyond some 600 endpoints shares are coarse.

use super::group::Group;
use super::hash;
use super::picker::{Ask, Picker, Worker};

/// Entries of the table: a prime, Envoy's default.
const SIZE: u32 = 65_537;
/// Stands for a free entry.
const FREE: u32 = u32::MAX;
/// Re-mixed looks into the table in search of an endpoint that is not left out.
const LOOKS_MAX: u32 = 32;

/// Looks keys up in a Maglev table.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Box<[u32]>,
}

/// An endpoint that takes entries.
struct Taker {
    share: f64,
    position: u32,
    /// The entry it looks at next, and how far from one to the next.
    at: u32,
    skip: u32,
    /// Below this times the round it waits.
    target: f64,
}

impl Maglev {
    /// Builds the table. Who comes after 65,537 others gets nothing.
    pub(super) fn new(group: &Group) -> Self {
        let total: u64 = group.weighted().map(|(_, weight)| u64::from(weight)).sum();
        let mut named: Vec<(&str, u32, u32)> = group
            .ordered()
            .map(|(position, weight, member)| (member.endpoint().authority(), weight, position))
            .collect();
        named.sort_by(|a, b| a.0.cmp(b.0));
        let mut takers: Vec<Taker> = named
            .into_iter()
            .map(|(name, weight, position)| Taker {
                share: f64::from(weight) / total as f64,
                position,
                at: (hash::xx64(name.as_bytes()) % u64::from(SIZE)) as u32,
                skip: (hash::xx64_seeded(name.as_bytes(), 1) % u64::from(SIZE - 1)) as u32 + 1,
                target: 0.0,
            })
            .collect();
        let largest = takers.iter().map(|taker| taker.share).fold(0.0, f64::max);
        let mut table = vec![FREE; SIZE as usize];
        let mut free = SIZE;
        let mut round = 1.0;
        while free > 0 && !takers.is_empty() {
            for taker in &mut takers {
                if round * taker.share < taker.target {
                    continue;
                }
                taker.target += largest;
                while table[taker.at as usize] != FREE {
                    taker.step();
                }
                table[taker.at as usize] = taker.position;
                taker.step();
                free -= 1;
                if free == 0 {
                    break;
                }
            }
            round += 1.0;
        }
        Self { table: table.into() }
    }

    #[inline]
    fn owner(&self, hash: u64) -> Option<usize> {
        self.table.get((hash % u64::from(SIZE)) as usize).map(|position| *position as usize)
    }
}

impl Taker {
    fn step(&mut self) {
        self.at += self.skip;
        if self.at >= SIZE {
            self.at -= SIZE;
        }
    }
}

impl Picker for Maglev {
    #[inline]
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let hash = ask.hashed().unwrap_or_else(|| worker.random());
        if worker.is_open() {
            return self.owner(hash);
        }
        self.search(hash, group, ask, worker)
    }
}

impl Maglev {
    #[cold]
    fn search(&self, mut hash: u64, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        for _ in 0..LOOKS_MAX {
            let position = self.owner(hash)?;
            if worker.allows(group, ask, position) {
                return Some(position);
            }
            hash = hash::mix(hash);
        }
        let start = hash::below(hash as u32, group.len());
        worker.first_allowed(group, ask, start)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Snapshot;
    use crate::endpoint::Endpoint;

    fn maglev(weights: &[u32]) -> Maglev {
        let row = |(n, weight): (usize, &u32)| {
            Endpoint::new(&format!("{n}"), &format!("10.0.0.{}", n + 1), 443).weighted(*weight, 1)
        };
        let rows = weights.iter().enumerate().map(row);
        Maglev::new(&Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1))))
    }

    fn digest(maglev: &Maglev) -> u32 {
        hash::crc32(&maglev.table.iter().flat_map(|position| position.to_le_bytes()).collect::<Vec<u8>>())
    }

    // From a second implementation, in another language, which was first found equal to the answers of a real Envoy.
    #[test]
    fn golden_tables() {
        assert_eq!(digest(&maglev(&[1; 9])), 0xD92D_86C4);
        assert_eq!(digest(&maglev(&[1, 3, 7, 2])), 0x61E1_8022);
    }

    #[test]
    fn entries_follow_weights() {
        let table = maglev(&[1, 3, 7, 2]).table;
        for (position, weight) in (0u32..).zip([1.0, 3.0, 7.0, 2.0]) {
            let got = table.iter().filter(|own| **own == position).count() as f64 / f64::from(SIZE);
            assert!((got - weight / 13.0).abs() < 0.001, "{got}");
        }
    }
}
