//! Deterministic subsetting: which servers one of many clients connects to, from its ordinal alone.
//!
//! Servers stand on a circle in an order of their own (the slot the registry gave, its bits reversed, else a hash of the
//! identity). Client c of C takes k servers one after the other, from rank `c·N/C + F` on: starts that are evenly spaced
//! cover every server equally often, to one connection, whatever C, N and k are (numbers are fixed point; see the tests).
//!
//! When the server of rank r leaves, N becomes N−1 and every start moves by less than one rank, some forward and some
//! backward. A client loses one connection and no second one as long as those whose servers include the lost one never
//! move their start forward. With `E = F' − F + F/N` that holds for all clients at once exactly when
//! `(r+1−N)/N ≤ E ≤ (r+1−k)/N`; a server that comes is the same step backward. The canonical rotation
//! `F = −Σh − k/2`, h being the places of the servers on the circle in 0..1, stays inside that range when servers stand
//! well spread. Where it would not, a [`Subset`] goes as far as it may and catches up later: the bound of one moved
//! connection per step holds always, and clients agree on F, hence balance, whenever it is canonical.
//! Pure; called by `layout`.

use super::hash;

/// One whole rank, in fixed point.
const ONE: i128 = 1 << 32;
/// Kept away from the ends of the allowed range, for what division cuts off.
const MARGIN: i128 = 4;

/// Tells a client which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordinal {
    /// Its number, below `clients`; no other client has it.
    pub ordinal: u32,
    /// How many clients there are: at least the highest number and one.
    pub clients: u32,
}

impl Ordinal {
    /// Stands in until the true one is known: a place at random among very many.
    pub(super) fn random(seed: u64) -> Self {
        Self { ordinal: hash::mix(seed) as u32 >> 1, clients: 1 << 31 }
    }
}

/// A server's place on the circle and its name in the caller's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    at: u32,
    /// Tells apart servers at one place; stable as long as the server is known.
    name: u64,
}

impl Place {
    /// Finds the place of a server. Slots that are dense stand well spread by the order of van der Corput.
    pub(super) fn of(id: &str, node: &str, slot: Option<u32>) -> Self {
        let name = hash::mix(hash::key(id.as_bytes()) ^ hash::mix(hash::key(node.as_bytes())));
        let at = slot.map_or((name >> 32) as u32, u32::reverse_bits);
        Self { at, name }
    }
}

/// Remembers the servers that were known and how the circle is turned.
#[derive(Clone, Debug, Default)]
pub(super) struct Subset {
    places: Vec<Place>,
    size: usize,
    turn: i128,
}

impl Subset {
    /// Follows to another set of servers, one step after the other: those who left first, then those who came.
    pub(super) fn follow(&self, mut places: Vec<Place>, size: usize) -> Self {
        places.sort_unstable();
        places.dedup();
        let size = size.max(1);
        let fresh = Self { turn: canonical(&places, size), places, size };
        if self.places.is_empty() || self.size != size {
            return fresh;
        }
        let mut own = self.clone();
        let gone: Vec<Place> =
            own.places.iter().filter(|place| fresh.places.binary_search(place).is_err()).copied().collect();
        let come: Vec<Place> =
            fresh.places.iter().filter(|place| own.places.binary_search(place).is_err()).copied().collect();
        if gone.len() + come.len() > own.places.len() {
            // Nearly nobody stayed; there is nothing to be spared.
            return fresh;
        }
        gone.into_iter().for_each(|place| own.step(place, false));
        come.into_iter().for_each(|place| own.step(place, true));
        own
    }

    fn step(&mut self, place: Place, comes: bool) {
        let (rank, more) = match self.places.binary_search(&place) {
            Ok(rank) if !comes => (rank, self.places.len()),
            Err(rank) if comes => (rank, self.places.len() + 1),
            _ => return,
        };
        if comes {
            self.places.insert(rank, place);
        } else {
            self.places.remove(rank);
        }
        let wanted = canonical(&self.places, self.size);
        let (n, k, r) = (more as i128, self.size as i128, rank as i128);
        if k >= n - 1 {
            // One of the two sets is everybody, so there is nothing to keep.
            self.turn = wanted;
            return;
        }
        let least = (r + 1 - n) * ONE / n + MARGIN;
        let most = (r + 1 - k) * ONE / n - MARGIN;
        self.turn = if comes {
            // Solved for the turn of the larger set: F = (F' − E)·N/(N−1).
            wanted.clamp((self.turn - most) * n / (n - 1) + MARGIN, (self.turn - least) * n / (n - 1) - MARGIN)
        } else {
            let kept = self.turn - self.turn.div_euclid(n);
            wanted.clamp(kept + least, kept + most)
        };
    }

    /// Returns the servers of a client; everybody when the size is not below their number.
    pub(super) fn chosen(&self, client: Ordinal) -> impl Iterator<Item = Place> {
        let len = self.places.len();
        let clients = client.clients.max(client.ordinal.saturating_add(1)).max(1);
        let start = i128::from(client.ordinal) * len as i128 * ONE / i128::from(clients) + self.turn;
        let start = start.div_euclid(ONE).rem_euclid(len.max(1) as i128) as usize;
        (0..self.size.min(len)).map(move |nth| self.places[(start + nth) % len])
    }
}

/// Returns the turn of a set that has no past, in ranks.
fn canonical(places: &[Place], size: usize) -> i128 {
    let sum: i128 = places.iter().map(|place| i128::from(place.at)).sum();
    -sum - size as i128 * ONE / 2
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    type Connections = Vec<BTreeSet<Place>>;

    fn hashed(number: u32) -> Place {
        Place::of(&format!("web-{number}"), "n1", None)
    }

    fn slotted(number: u32) -> Place {
        Place::of(&format!("web-{number}"), "n1", Some(number))
    }

    fn connections(subset: &Subset, clients: u32) -> Connections {
        (0..clients).map(|ordinal| subset.chosen(Ordinal { ordinal, clients }).collect()).collect()
    }

    fn most(connections: &Connections) -> usize {
        let mut counts: BTreeMap<Place, usize> = BTreeMap::new();
        connections.iter().flatten().for_each(|place| *counts.entry(*place).or_default() += 1);
        counts.values().copied().max().unwrap_or(0)
    }

    /// The next whole number is the best that can be had; from C·k ≥ 20·N on it is within 5 % of the mean.
    fn assert_even(connections: &Connections, servers: usize, size: usize) {
        let total = connections.len() * size.min(servers);
        assert!(connections.iter().all(|own| own.len() == size.min(servers)), "all different");
        assert!(most(connections) <= total.div_ceil(servers), "{} of {total} over {servers}", most(connections));
    }

    #[test]
    fn the_table_of_the_notes_is_even() {
        for (clients, servers, size) in [(100, 100, 5), (100, 100, 25), (500, 100, 20), (1000, 1000, 20), (333, 97, 31)]
        {
            let subset = Subset::default().follow((0..servers).map(hashed).collect(), size);
            let connections = connections(&subset, clients);
            assert_even(&connections, servers as usize, size);
            let mean = (clients as usize * size) as f64 / f64::from(servers);
            assert!(most(&connections) as f64 <= (mean * 1.05).max(mean.ceil()));
        }
    }

    #[test]
    fn a_client_more_moves_few_connections() {
        let subset = Subset::default().follow((0..100).map(slotted).collect(), 20);
        let (before, after) = (connections(&subset, 100), connections(&subset, 101));
        for (old, new) in before.iter().zip(&after) {
            assert!(old.difference(new).count() <= 1, "less than N/C ranks");
        }
    }

    #[test]
    fn a_set_that_shrinks_and_grows_back_ends_where_it_began() {
        let all: Vec<Place> = (0..40).map(slotted).collect();
        let mut subset = Subset::default().follow(all.clone(), 8);
        let before = connections(&subset, 50);
        for left in [39, 30, 20, 12, 20, 30, 40] {
            subset = subset.follow(all[..left].to_vec(), 8);
        }
        assert_eq!(connections(&subset, 50), before);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever C, N and k are: every server has the mean number of connections, rounded up at most.
        #[test]
        fn connections_are_even(clients in 1u32..300, servers in 1u32..150, size in 1usize..60, slots: bool) {
            let place = if slots { slotted } else { hashed };
            let subset = Subset::default().follow((0..servers).map(place).collect(), size);
            assert_even(&connections(&subset, clients), servers as usize, size);
        }

        /// Through any story of servers that come and go, one at a time, however badly they stand: no client ever
        /// moves more than one connection, and connections stay even.
        #[test]
        fn one_change_moves_at_most_one_connection(
            clients in 1u32..80, size in 1usize..25, slots: bool, first in proptest::collection::btree_set(0u32..64, 1..64),
            story in proptest::collection::vec(0u32..64, 1..120), narrow: bool,
        ) {
            // A narrow story keeps to servers that stand close together.
            let place = |number: u32| match (slots, narrow) {
                (true, true) => slotted(number * 64),
                (true, false) => slotted(number),
                (false, _) => hashed(number),
            };
            let mut known: BTreeSet<u32> = first;
            let mut subset = Subset::default().follow(known.iter().map(|n| place(*n)).collect(), size);
            let mut before = connections(&subset, clients);
            for number in story {
                if !known.remove(&number) {
                    known.insert(number);
                }
                if known.is_empty() {
                    known.insert(number);
                }
                subset = subset.follow(known.iter().map(|n| place(*n)).collect(), size);
                let after = connections(&subset, clients);
                for (old, new) in before.iter().zip(&after) {
                    prop_assert!(new.difference(old).count() <= 1 && old.difference(new).count() <= 1, "{:?} {:?}", old, new);
                }
                assert_even(&after, known.len(), size);
                before = after;
            }
        }

        /// Of servers in dense slots of which some left, the rotation is canonical whatever happened before: a client
        /// that has just started agrees with those that saw it all.
        #[test]
        fn clients_of_any_age_agree_on_slots(seed: u64, size in 1usize..12) {
            let all: Vec<Place> = (0..64).map(slotted).collect();
            let mut subset = Subset::default().follow(all.clone(), size);
            for step in 0..20u64 {
                let left = hash::mix(seed ^ step);
                // A quarter is away, another one each time.
                let known: Vec<Place> = all.iter().enumerate().filter(|(n, _)| !hash::mix(left ^ *n as u64).is_multiple_of(4)).map(|(_, place)| *place).collect();
                subset = subset.follow(known.clone(), size);
                prop_assert_eq!(subset.turn, Subset::default().follow(known, size).turn);
            }
        }
    }
}
