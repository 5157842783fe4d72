//! One reply on load, as two words: what was said, and where that ranks among the replies.
//!
//! Each is read and written whole, so that nobody ever sees half a reply. What was said is written once, when it comes
//! in; the rank is what picks compare, and what they count themselves in. Used by `replies` alone.

use super::Load;

/// How long a reply is believed, in milliseconds.
pub(super) const AGE_MAX: u64 = 1000;
/// Most in flight that a reply is entered with.
pub(super) const FLIGHT_MAX: u32 = (1 << FLIGHT_BITS) - 1;
/// Most picks that a reply is good for.
pub(super) const USES_MAX: u32 = (1 << USES_BITS) - 1;
/// Endpoints at positions from here on give no replies; one number less than there are, for [`Rank::NOBODY`].
pub(super) const POSITIONS_MAX: usize = (1 << POSITION_BITS) - 1;
/// Places of replies that a rank can tell apart.
pub(super) const PLACES_MAX: usize = 1 << PLACE_BITS;

const LATENCY_BITS: u32 = 12;
const FLIGHT_BITS: u32 = 14;
const TIME_BITS: u32 = 10;
const USES_BITS: u32 = 6;
const POSITION_BITS: u32 = 22;
const PLACE_BITS: u32 = 4;
/// Milliseconds per unit of the time, as a shift: a reply's time begins anew after 4.096 s.
const TIME_UNIT: u32 = 2;

/// What an endpoint said. From the lowest bit: latency, in flight, time, uses it is good for, position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said(pub(super) u64);

impl Said {
    pub(super) fn new(position: usize, load: Load, now: u64, uses: u32) -> Self {
        let word = (position as u64) << USES_BITS | u64::from(uses.min(USES_MAX));
        let word = word << TIME_BITS | time(now);
        let word = word << FLIGHT_BITS | u64::from(load.in_flight.min(FLIGHT_MAX));
        Self(word << LATENCY_BITS | u64::from(encode(load.latency)))
    }

    pub(super) fn position(self) -> usize {
        (self.0 >> (LATENCY_BITS + FLIGHT_BITS + TIME_BITS + USES_BITS)) as usize
    }

    /// Returns the latency as [`encode`] writes it; 0 when the server does not know yet.
    pub(super) fn latency(self) -> u32 {
        field(self.0, 0, LATENCY_BITS)
    }

    pub(super) fn in_flight(self) -> u32 {
        field(self.0, LATENCY_BITS, FLIGHT_BITS)
    }

    pub(super) fn uses(self) -> u32 {
        field(self.0, LATENCY_BITS + FLIGHT_BITS + TIME_BITS, USES_BITS)
    }

    /// Returns the age in milliseconds, exact to 4; wrong by a multiple of 4.096 s where it is more than that.
    pub(super) fn age(self, now: u64) -> u64 {
        let said = u64::from(field(self.0, LATENCY_BITS + FLIGHT_BITS, TIME_BITS));
        (time(now).wrapping_sub(said) & ((1 << TIME_BITS) - 1)) << TIME_UNIT
    }

    /// Returns the last millisecond of the clock at which a reply that is `age` old now is believed.
    pub(super) fn believed_until(age: u64, now: u64) -> u64 {
        ((now >> TIME_UNIT << TIME_UNIT) + AGE_MAX).saturating_sub(age) | ((1 << TIME_UNIT) - 1)
    }
}

/// Where a reply ranks: of two, the lower number is picked first. From the highest bit that is used: whether it comes
/// after all that are not like it, in flight, latency, place; and then uses left and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(pub(super) u64);

impl Rank {
    /// The rank of a place without a reply that may be used: after all others, of a position that nobody has.
    pub(super) const NOBODY: Self = Self(u64::MAX);

    const USES_SHIFT: u32 = POSITION_BITS;
    const PLACE_SHIFT: u32 = Self::USES_SHIFT + USES_BITS;
    const LATENCY_SHIFT: u32 = Self::PLACE_SHIFT + PLACE_BITS;
    const FLIGHT_SHIFT: u32 = Self::LATENCY_SHIFT + LATENCY_BITS;
    /// One bit more than in what was said, so that the calls which picks count do not run over.
    const LAST_SHIFT: u32 = Self::FLIGHT_SHIFT + FLIGHT_BITS + 1;
    /// One more in flight, one use less.
    const PICK: u64 = (1 << Self::FLIGHT_SHIFT) - (1 << Self::USES_SHIFT);

    /// Ranks what was said in a place, with `uses` left of it and so many in flight by now.
    pub(super) fn new(said: Said, place: usize, uses: u32, in_flight: u32, comes_last: bool) -> Self {
        let word = u64::from(comes_last) << Self::LAST_SHIFT
            | u64::from(in_flight.min(FLIGHT_MAX)) << Self::FLIGHT_SHIFT
            | u64::from(said.latency()) << Self::LATENCY_SHIFT
            | (place as u64) << Self::PLACE_SHIFT
            | u64::from(uses) << Self::USES_SHIFT;
        Self(word | said.position() as u64)
    }

    #[inline]
    pub(super) fn position(self) -> usize {
        field(self.0, 0, POSITION_BITS) as usize
    }

    #[inline]
    pub(super) fn place(self) -> usize {
        field(self.0, Self::PLACE_SHIFT, PLACE_BITS) as usize
    }

    pub(super) fn latency(self) -> u32 {
        field(self.0, Self::LATENCY_SHIFT, LATENCY_BITS)
    }

    #[inline]
    pub(super) fn uses(self) -> u32 {
        field(self.0, Self::USES_SHIFT, USES_BITS)
    }

    /// Returns what it is after a pick: one more in flight, one use less, and nobody's with the last.
    #[inline]
    pub(super) fn picked(self) -> Self {
        if self.uses() <= 1 { Self::NOBODY } else { Self(self.0.wrapping_add(Self::PICK)) }
    }
}

#[inline]
fn field(word: u64, shift: u32, bits: u32) -> u32 {
    (word >> shift & ((1 << bits) - 1)) as u32
}

fn time(now: u64) -> u64 {
    now >> TIME_UNIT & ((1 << TIME_BITS) - 1)
}

/// Writes microseconds as 12 bits that keep the order: 7 of precision, 5 of size; exact below 256. So 128 of it are a
/// doubling.
pub(super) fn encode(micros: u32) -> u32 {
    let size = (32 - micros.leading_zeros()).saturating_sub(8);
    (size << 7) + (micros >> size)
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(bits: u32) -> u32 {
    if bits < 256 {
        return bits;
    }
    let size = (bits >> 7) - 1;
    ((bits & 127) + 128) << size
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_latency_keeps_its_order_and_a_hundredth(a in any::<u32>(), b in any::<u32>()) {
            prop_assert!(a > b || encode(a) <= encode(b));
            prop_assert!(encode(a) < 1 << LATENCY_BITS);
            let back = decode(encode(a));
            prop_assert!(back <= a && a - back <= a / 128, "{a} became {back}");
        }

        #[test]
        fn what_is_said_is_read_again(
            position in 0..POSITIONS_MAX, in_flight in 0..=FLIGHT_MAX, latency in any::<u32>(),
            now in 0u64..1 << 40, uses in 0..=USES_MAX, later in 0u64..4000,
        ) {
            let said = Said::new(position, Load { in_flight, latency }, now, uses);
            prop_assert_eq!((said.position(), said.in_flight(), said.uses()), (position, in_flight, uses));
            prop_assert_eq!(said.latency(), encode(latency));
            let age = said.age(now + later);
            prop_assert!(age.abs_diff(later) < 4, "{age} for {later}");
            let until = Said::believed_until(age, now + later);
            prop_assert!(said.age(until) <= AGE_MAX && said.age(until + 1) > AGE_MAX);
        }

        #[test]
        fn a_pick_counts_up_to_the_last_use(
            position in 0..POSITIONS_MAX, in_flight in 0..=FLIGHT_MAX, uses in 1..=USES_MAX,
            place in 0..PLACES_MAX, comes_last in any::<bool>(),
        ) {
            let said = Said::new(position, Load { in_flight, latency: 1000 }, 0, uses);
            let mut rank = Rank::new(said, place, uses, in_flight, comes_last);
            for left in (1..=uses).rev() {
                prop_assert_eq!((rank.position(), rank.place(), rank.uses()), (position, place, left));
                let next = rank.picked();
                prop_assert!(next > rank);
                rank = next;
            }
            prop_assert_eq!(rank, Rank::NOBODY);
        }
    }
}
