//! Which number a client has among the clients of a service: a seat, held as a key under its session.
//!
//! Numbers should be dense, since servers are shared out by them: newcomers take a low free one, and where many are free the
//! client of the highest number moves down. The registry decides who gets a seat; this decides which to ask for.
//! Pure; called by `company`.

use std::collections::BTreeSet;

use crate::balance::Ordinal;

/// The most clients of one service that can be told apart.
pub(super) const SEATS_MAX: u32 = 1 << 16;
/// The client of the highest number moves down when more than one in so many seats is free.
const FREE_SHARE: usize = 8;
/// Of how many free seats the lowest may be asked for at once, as a power of two: 1024.
const SPREAD_BITS: u32 = 10;

/// Remembers who sits where.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: BTreeSet<u32>,
    own: Option<u32>,
    /// Refusals since the last seat. Many clients that start together must not all want the same one.
    refused: u32,
}

impl Seats {
    /// Takes in all seats that are taken, as the registry lists them after every answer to this client.
    pub(super) fn see(&mut self, taken: BTreeSet<u32>) {
        // Somebody deleted the key: the seat is anybody's.
        self.own = self.own.filter(|own| taken.contains(own));
        self.taken = taken;
    }

    /// Returns the seat to ask for, if another one is wanted. `dice` is any random word.
    pub(super) fn wanted(&self, dice: u32) -> Option<u32> {
        let free = || (0..SEATS_MAX).filter(|seat| !self.taken.contains(seat));
        let lowest = free().next()?;
        let Some(own) = self.own else {
            let spread = 1u32 << self.refused.min(SPREAD_BITS);
            let nth = (u64::from(dice) * u64::from(spread)) >> 32;
            return free().nth(nth as usize).or(Some(lowest));
        };
        let highest = self.taken.last() == Some(&own);
        let seats = own as usize + 1;
        let gaps = seats - self.taken.len().min(seats);
        (highest && lowest < own && gaps * FREE_SHARE > seats).then_some(lowest)
    }

    /// Notes what the registry said to a seat that was asked for; returns the seat to give back.
    pub(super) fn answered(&mut self, seat: u32, won: bool) -> Option<u32> {
        self.taken.insert(seat);
        if !won {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        self.refused = 0;
        let left = self.own.replace(seat).filter(|left| *left != seat);
        if let Some(left) = left {
            self.taken.remove(&left);
        }
        left
    }

    /// Returns what balancers need to know.
    pub(super) fn ordinal(&self) -> Option<Ordinal> {
        let clients = self.clients();
        self.own.map(|ordinal| Ordinal { ordinal, clients })
    }

    /// Returns the number of seats up to the highest that is taken.
    pub(super) fn clients(&self) -> u32 {
        self.taken.last().map_or(0, |highest| highest + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_newcomer_takes_the_lowest_free_seat() {
        let mut seats = Seats::default();
        seats.see([0, 1, 3].into());
        assert_eq!(seats.wanted(7), Some(2));
        assert_eq!(seats.answered(2, true), None);
        assert_eq!((seats.ordinal(), seats.wanted(0)), (Some(Ordinal { ordinal: 2, clients: 4 }), None));
        seats.see([0, 1, 3].into());
        assert_eq!((seats.ordinal(), seats.wanted(0)), (None, Some(2)), "its key was deleted");
    }

    #[test]
    fn the_refused_look_further_apart() {
        let mut seats = Seats::default();
        seats.see(BTreeSet::new());
        seats.answered(0, false);
        seats.answered(1, false);
        assert_eq!((seats.wanted(0), seats.wanted(u32::MAX)), (Some(2), Some(5)));
    }

    #[test]
    fn the_last_moves_down_where_many_seats_are_free() {
        let mut seats = Seats::default();
        seats.see((0..9).collect());
        seats.answered(9, true);
        seats.see((0..10).filter(|n| *n != 4).collect());
        assert_eq!(seats.wanted(0), None, "one in ten may be free");
        seats.see([0, 1, 2, 3, 5, 6, 8, 9].into());
        assert_eq!(seats.wanted(0), Some(4));
        assert_eq!(seats.answered(4, true), Some(9), "the old seat is given back");
        assert_eq!(seats.ordinal(), Some(Ordinal { ordinal: 4, clients: 9 }));
    }

    proptest! {
        /// However many come together and leave again, everybody ends with a seat of its own, and few are free.
        #[test]
        fn everybody_sits_alone_and_close(clients in 1usize..40, leave in proptest::collection::vec(any::<bool>(), 40), seed: u32) {
            let mut taken: BTreeSet<u32> = BTreeSet::new();
            let mut all: Vec<Seats> = (0..clients).map(|_| Seats::default()).collect();
            let mut dice = seed;
            let mut settle = |all: &mut Vec<Seats>, taken: &mut BTreeSet<u32>| {
                for _ in 0..200 {
                    for seats in all.iter_mut() {
                        seats.see(taken.clone());
                    }
                    // All ask on what they saw; the first to come wins.
                    for seats in all.iter_mut() {
                        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        if let Some(seat) = seats.wanted(dice)
                            && let Some(left) = seats.answered(seat, taken.insert(seat))
                        {
                            taken.remove(&left);
                        }
                    }
                }
            };
            settle(&mut all, &mut taken);
            let mut place = 0;
            all.retain(|seats| {
                place += 1;
                let stays = !leave[place - 1];
                if !stays && let Some(own) = seats.own {
                    taken.remove(&own);
                }
                stays
            });
            settle(&mut all, &mut taken);
            let own: BTreeSet<u32> = all.iter().map(|seats| seats.own.unwrap()).collect();
            prop_assert_eq!(own.len(), all.len());
            if let Some(highest) = own.last() {
                let free = *highest as usize + 1 - own.len();
                prop_assert!(free * FREE_SHARE <= *highest as usize + 1, "{:?}", own);
            }
        }
    }
}
