//! Maglev: a table of 65,537 entries that endpoints fill in turns, bit for bit as Envoy fills it (Eisenbud et al. 2016).
//!
//! Layout. Endpoints stand in the order of the bytes of `host:port`. Each walks the table from XXH64 (seed 0) of those
//! bytes modulo 65,537 in steps of XXH64 (seed 1) of them modulo 65,536, and 1; at its turn it takes the first free entry
//! it comes to. The heaviest has a turn in every round, one of a third of its weight in every third, in the
//! arithmetic of Envoy: weights as shares of all in 64-bit floating numbers, `round × share < turns × largest` waits.
//! A key belongs to the entry of its hash modulo 65,537. The quickest look-up, with shares exact to 1 %; but more than
//! the keys of who leaves move, and beyond some 600 endpoints shares are coarse. While the table of a changed set is filled,
//! the one before serves with what `maglev_interim` knows of the change.

use std::sync::Arc;

use super::group::Group;
use super::hash;
use super::maglev_interim::Interim;
use super::picker::{Ask, Follower, Picker, Worker};
use super::sleepers::{Laid, changed_rows};
use super::turns::Turns;
use crate::catalog::Member;

/// Entries of the table: a prime, Envoy's default.
pub(super) const SIZE: u32 = 65_537;
/// Stands for a free entry.
const FREE: u32 = u32::MAX;
/// Re-mixed looks into the table in search of an endpoint that is not left out.
const LOOKS_MAX: u32 = 32;
/// When so few entries are free, it is sooner found out which of them somebody comes to first than come to.
const FEW: usize = 256;

/// Looks keys up in a Maglev table.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Arc<[u32]>,
    /// Whom it was filled for, with their weights; none for a choice of its own.
    laid: Option<Laid>,
    /// What has changed since.
    interim: Option<Interim>,
}

/// An endpoint that takes entries.
pub(super) struct Taker {
    share: f64,
    position: u32,
    /// The entry it looks at next, and how far from one to the next.
    pub(super) at: u32,
    skip: u32,
    /// Below this times the round it waits.
    target: f64,
}

impl Maglev {
    /// Builds the table. Who comes after 65,537 others gets nothing.
    pub(super) fn new(group: &Group) -> Self {
        let total: u64 = group.weighted().map(|(_, weight)| u64::from(weight)).sum();
        let mut named: Vec<(u32, u32, &Member)> =
            group.ordered().map(|(position, weight, member)| (position, weight, &**member)).collect();
        named.sort_by(|a, b| a.2.endpoint().authority().cmp(b.2.endpoint().authority()));
        let takers = named.into_iter().map(|(position, weight, member)| {
            Taker::new(member.endpoint().authority(), position, f64::from(weight) / total as f64)
        });
        let table = fill(takers.collect()).into();
        Self { table, laid: Laid::of(group, group.weights().to_vec()), interim: None }
    }

    #[inline]
    fn owner(&self, hash: u64) -> Option<usize> {
        self.table.get((hash % u64::from(SIZE)) as usize).map(|position| *position as usize)
    }

    /// Serves on for a later group, until a table is filled for that one; none where too much has changed.
    pub(super) fn until_filled(&self, before: &Group, now: &Group) -> Option<Self> {
        let laid = self.laid.as_ref().filter(|_| before.is_whole() && now.is_whole())?;
        let interim = Interim::build(&self.table, laid, self.interim.as_ref(), changed_rows(before, now), now)?;
        let interim = Some(interim).filter(|interim| !interim.is_empty());
        Some(Self { table: Arc::clone(&self.table), laid: Some(laid.clone()), interim })
    }

    /// Says whether the table is the one that would be filled anew.
    pub(super) fn is_filled(&self) -> bool {
        self.interim.is_none()
    }
}

impl Taker {
    pub(super) fn new(name: &str, position: u32, share: f64) -> Self {
        Self {
            share,
            position,
            at: (hash::xx64(name.as_bytes()) % u64::from(SIZE)) as u32,
            skip: (hash::xx64_seeded(name.as_bytes(), 1) % u64::from(SIZE - 1)) as u32 + 1,
            target: 0.0,
        }
    }

    #[inline]
    pub(super) fn step(&mut self) {
        self.at += self.skip;
        if self.at >= SIZE {
            self.at -= SIZE;
        }
    }

    /// Goes on to the first of the free entries that it comes to; returns where among them that is.
    fn jump(&mut self, free: &[u32]) -> usize {
        // Steps from here to an entry: what is between, divided by the length of a step. Numbers modulo a prime have inverses,
        // by Fermat the power of two less than the prime: 2^16 - 1, here.
        let times = |a: u32, b: u32| (u64::from(a) * u64::from(b) % u64::from(SIZE)) as u32;
        let (mut inverse, mut power) = (1, self.skip % SIZE);
        for _ in 0..16 {
            inverse = times(inverse, power);
            power = times(power, power);
        }
        let steps = |entry: &u32| times((entry + SIZE - self.at) % SIZE, inverse);
        let nearest = (0..free.len()).min_by_key(|nth| steps(&free[*nth])).unwrap_or(0);
        self.at = free[nearest];
        nearest
    }
}

/// Fills a table: who of the takers has each entry. They take their turns in their order.
fn fill(mut takers: Vec<Taker>) -> Vec<u32> {
    let largest = takers.iter().map(|taker| taker.share).fold(0.0, f64::max);
    let mut table = vec![FREE; SIZE as usize];
    // A bit for each entry, which stays in the nearest cache.
    let mut taken = vec![0u64; (SIZE as usize).div_ceil(64)];
    let is_taken = |taken: &[u64], entry: u32| taken[entry as usize / 64] >> (entry % 64) & 1 == 1;
    let mut free = SIZE as usize;
    // Which entries are free, once they are few.
    let mut few: Vec<u32> = Vec::new();
    let mut round = 1.0;
    while free > 0 && !takers.is_empty() {
        for taker in &mut takers {
            if round * taker.share < taker.target {
                continue;
            }
            taker.target += largest;
            if free > FEW {
                while is_taken(&taken, taker.at) {
                    taker.step();
                }
            } else {
                if few.is_empty() {
                    few = (0..SIZE).filter(|entry| !is_taken(&taken, *entry)).collect();
                }
                let nearest = taker.jump(&few);
                few.swap_remove(nearest);
            }
            table[taker.at as usize] = taker.position;
            taken[taker.at as usize / 64] |= 1 << (taker.at % 64);
            taker.step();
            free -= 1;
            if free == 0 {
                break;
            }
        }
        round += 1.0;
    }
    table
}

impl Picker for Maglev {
    #[inline]
    fn pick_open(&self, group: &Group, hash: Option<u64>, turns: Turns<'_>) -> Option<usize> {
        let hash = hash.unwrap_or_else(|| turns.random());
        if self.interim.is_none() {
            return self.owner(hash);
        }
        self.pick(group, &Ask::hash(hash), &mut Worker::open(turns))
    }

    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        let mut hash = ask.hashed().unwrap_or_else(|| worker.random());
        for _ in 0..LOOKS_MAX {
            let owner = match &self.interim {
                None => self.owner(hash),
                Some(interim) => interim.owner(&self.table, hash),
            };
            if let Some(position) = owner.filter(|position| worker.allows(group, ask, *position)) {
                return Some(position);
            }
            hash = hash::mix(hash);
        }
        let start = hash::below(hash as u32, group.len());
        worker.first_allowed(group, ask, start)
    }

    fn follow(&self, before: &Group, now: &Group) -> Option<Follower> {
        let follower = self.until_filled(before, now)?;
        Some(if follower.is_filled() { Follower::lasting(follower) } else { Follower::interim(follower) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// Fills a table as it is described, entry by entry.
    fn plainly(mut takers: Vec<Taker>) -> Vec<u32> {
        let largest = takers.iter().map(|taker| taker.share).fold(0.0, f64::max);
        let mut table = vec![FREE; SIZE as usize];
        let (mut round, mut free) = (1.0, SIZE);
        while free > 0 {
            for taker in &mut takers {
                if round * taker.share < taker.target || free == 0 {
                    continue;
                }
                taker.target += largest;
                while table[taker.at as usize] != FREE {
                    taker.step();
                }
                table[taker.at as usize] = taker.position;
                free -= 1;
            }
            round += 1.0;
        }
        table
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]

        #[test]
        fn a_table_is_filled_as_described(weights in proptest::collection::vec(1u32..5, 1..40), salt: u32) {
            let total = f64::from(weights.iter().sum::<u32>());
            let takers = || {
                let rows = (0u32..).zip(&weights);
                rows.map(|(n, weight)| Taker::new(&format!("{salt}-{n}"), n, f64::from(*weight) / total)).collect()
            };
            prop_assert!(fill(takers()) == plainly(takers()));
        }
    }
}
