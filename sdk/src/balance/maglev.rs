//! Maglev: a table of 65,537 entries that endpoints fill in turns, bit for bit as Envoy fills it (Eisenbud et al. 2016).
//!
//! Layout. Endpoints stand in the order of the bytes of `host:port`. Each walks the table from XXH64 (seed 0) of those
//! bytes modulo 65,537 in steps of XXH64 (seed 1) of them modulo 65,536, and 1; at its turn it takes the first free entry
//! it comes to. The heaviest has a turn in every round, one of a third of its weight in every third, in the
//! arithmetic of Envoy: weights as shares of all in 64-bit floating numbers, `round × share < turns × largest` waits.
//! A key belongs to the entry of its hash modulo 65,537. The quickest look-up, with shares exact to 1 %; but more than
//! the keys of who leaves move, and beyond some 600 endpoints shares are coarse. While the table of a changed set is filled,
//! the one before serves: keys of whoever left are looked up again re-mixed, and whoever came has its first entries.

use std::sync::Arc;

use super::group::Group;
use super::hash;
use super::picker::{Ask, Follower, Picker, Worker};
use super::sleepers::{Sleepers, changed_rows};
use super::turns::Turns;
use crate::catalog::Member;

/// Entries of the table: a prime, Envoy's default.
const SIZE: u32 = 65_537;
/// Stands for a free entry.
const FREE: u32 = u32::MAX;
/// Re-mixed looks into the table in search of an endpoint that is not left out.
const LOOKS_MAX: u32 = 32;
/// When so few entries are free, it is sooner found out which of them somebody comes to first than come to.
const FEW: usize = 256;
/// One in so many entries may be of those who came; of more, they wait for the new table.
const LATE_SHARE: u32 = 8;

/// Looks keys up in a Maglev table.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Arc<[u32]>,
    interim: Option<Interim>,
}

/// What has changed since the table was filled.
#[derive(Debug)]
struct Interim {
    sleepers: Sleepers,
    /// Entries of those who came, in order, and who has them.
    late: Box<[(u32, u32)]>,
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
        let mut named: Vec<(u32, u32, &Member)> =
            group.ordered().map(|(position, weight, member)| (position, weight, &**member)).collect();
        named.sort_by(|a, b| a.2.endpoint().authority().cmp(b.2.endpoint().authority()));
        let takers = named.into_iter().map(|(position, weight, member)| {
            Taker::new(member.endpoint().authority(), position, f64::from(weight) / total as f64)
        });
        Self { table: fill(takers.collect()).into(), interim: None }
    }

    #[inline]
    fn owner(&self, hash: u64) -> Option<usize> {
        self.table.get((hash % u64::from(SIZE)) as usize).map(|position| *position as usize)
    }

    /// Returns the owner as far as is known before the new table is filled.
    fn interim_owner(&self, interim: &Interim, hash: u64) -> Option<usize> {
        let entry = (hash % u64::from(SIZE)) as u32;
        match interim.late.binary_search_by_key(&entry, |(entry, _)| *entry) {
            Ok(at) => Some(interim.late[at].1 as usize),
            Err(_) => self.owner(hash).filter(|position| !interim.sleepers.has(*position)),
        }
    }

    /// Serves on until the table of a later group is filled; none where it has nothing to tell.
    fn until_filled(&self, before: &Group, now: &Group) -> Option<Self> {
        if self.interim.is_some() || !before.is_whole() || !now.is_whole() {
            return None;
        }
        let total: u64 = now.weighted().map(|(_, weight)| u64::from(weight)).sum();
        let (mut left, mut late, mut room) = (Vec::new(), Vec::new(), SIZE / LATE_SHARE);
        for position in changed_rows(before, now) {
            let [then, weight] =
                [before, now].map(|group| group.snapshot().weights().get(position).copied().unwrap_or(0));
            let key = |group: &Group| group.stats(position).map(|stats| stats.key());
            let same = key(before) == key(now);
            if then > 0 && (weight == 0 || !same) {
                left.push(position);
            }
            let Some(member) = now.snapshot().member(position).filter(|_| weight > 0 && (then == 0 || !same)) else {
                continue;
            };
            let share = f64::from(weight) / total as f64;
            let entries = ((f64::from(SIZE) * share) as u32).max(1);
            room = room.checked_sub(entries)?;
            let mut taker = Taker::new(member.endpoint().authority(), position as u32, share);
            late.extend((0..entries).map(|_| {
                let entry = taker.at;
                taker.step();
                (entry, position as u32)
            }));
        }
        if (left.is_empty() && late.is_empty()) || left.len() > before.len() as usize / 2 {
            return None;
        }
        late.sort_unstable();
        late.dedup_by_key(|(entry, _)| *entry);
        let interim = Interim { sleepers: Sleepers::of(&left, before.snapshot().weights().len()), late: late.into() };
        Some(Self { table: Arc::clone(&self.table), interim: Some(interim) })
    }
}

impl Taker {
    fn new(name: &str, position: u32, share: f64) -> Self {
        Self {
            share,
            position,
            at: (hash::xx64(name.as_bytes()) % u64::from(SIZE)) as u32,
            skip: (hash::xx64_seeded(name.as_bytes(), 1) % u64::from(SIZE - 1)) as u32 + 1,
            target: 0.0,
        }
    }

    #[inline]
    fn step(&mut self) {
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
                Some(interim) => self.interim_owner(interim, hash),
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
        self.until_filled(before, now).map(Follower::interim)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

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

    #[test]
    fn until_a_table_is_filled_who_left_has_nothing_and_who_came_its_share() {
        let row = |n: u32| Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n as u16);
        let before = Group::whole(Arc::new(Snapshot::empty("web").next((0..100).map(row), 1)));
        let put = [row(7).weighted(0, 0), row(200), row(201)];
        let now = Group::whole(Arc::new(before.snapshot().changed(put, &[("005", "")], 2)));
        let (old, new) = (Maglev::new(&before), Maglev::new(&now));
        let interim = old.until_filled(&before, &now).unwrap();
        let turns = AtomicU64::new(0);
        let pick = |maglev: &Maglev, hash| {
            let ask = Ask::hash(hash);
            maglev.pick(&now, &ask, &mut Worker::open(Turns::alone(&turns))).unwrap()
        };
        let keys = 50_000u64;
        let (mut came, mut other) = (0, 0);
        for hash in (0..keys).map(hash::mix) {
            let position = pick(&interim, hash);
            let weight = now.snapshot().weights()[position];
            assert_eq!(weight, 1);
            came += u64::from(now.snapshot().member(position).unwrap().endpoint().port() >= 1200);
            other += u64::from(position != pick(&new, hash));
        }
        assert!(came.abs_diff(keys / 50) < keys / 200, "{came}");
        assert!(other < keys / 10, "{other} of {keys}");
        let heavier = Group::whole(Arc::new(before.snapshot().changed([row(7).weighted(3, 1)], &[], 2)));
        assert!(old.until_filled(&before, &heavier).is_none(), "nothing to tell");
    }
}
