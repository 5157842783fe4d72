//! A ring of points on which a key belongs to the first point at or above it: built once, looked up in one cache line.
//!
//! The ring is cut into equal arcs, one per line. A line is sixteen words, one for each point of its arc: where in the arc
//! it is, above who owns it; and after them who owns the first point of a later arc. So a look-up is one multiplication, one
//! line, a row of subtractions without a guess, and one word of that line. A sorted array needs two dozen lines for 16
//! million points, an index over it three. Where the bits that owners leave to places do not tell the key from a point, or
//! a line is full, the sorted points are asked. Used by `ring_hash`, which decides where the points are.

use std::array::from_fn;

/// Words of a line.
const WORDS: usize = 16;
/// Points per line on average, half of the room: one line in 120 has more than there is room for.
const PER_LINE: usize = 8;
/// Points per stretch on average: within one, a guess by where the key is in it is off by four, as a rule.
const PER_STRETCH: usize = 64;
/// Points around a guess that are compared before it is given up.
const NEAR: usize = 16;
/// Words are below 2 to this, so that the highest bit of a difference says which of two is less.
const WORD_BITS: u32 = 31;
/// Stands in a line for all points for which there is no room.
const MORE: u32 = u32::MAX >> (u32::BITS - WORD_BITS);

/// Looks keys up.
#[derive(Debug)]
pub(super) struct Ring {
    lines: Box<[Line]>,
    /// The bits of a word that say how far into the arc the point is; the others are its owner.
    place_bits: u32,
    /// Whether points at one place have one hash.
    exact: bool,
    points: Points,
    /// How many points come before each of so many stretches of equal width, and before the end; for searches.
    starts: Box<[u32]>,
}

/// The points of one arc, in order.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u32; WORDS]);

/// All points, in order.
#[derive(Debug)]
enum Points {
    /// Hash above owner.
    Narrow(Box<[u64]>),
    /// Hash and owner.
    Wide(Box<[(u64, u32)]>),
}

impl Points {
    fn len(&self) -> usize {
        match self {
            Self::Narrow(words) => words.len(),
            Self::Wide(points) => points.len(),
        }
    }

    /// Returns hash (a narrow one in the upper half) and owner; after the last comes the first.
    #[inline]
    fn at(&self, number: usize) -> (u64, u32) {
        let number = if number < self.len() { number } else { number - self.len() };
        match self {
            Self::Narrow(words) => (words[number] >> 32 << 32, words[number] as u32),
            Self::Wide(points) => points[number],
        }
    }
}

impl Ring {
    /// Builds a ring of 32 bits; words are a hash above an owner, in order. `None` without points.
    pub(super) fn narrow(words: Vec<u64>) -> Option<Self> {
        Self::over(Points::Narrow(words.into()))
    }

    /// Builds a ring of 64 bits; points are in order. `None` without points.
    pub(super) fn wide(points: Vec<(u64, u32)>) -> Option<Self> {
        Self::over(Points::Wide(points.into()))
    }

    fn over(points: Points) -> Option<Self> {
        let most = (0..points.len()).map(|number| points.at(number).1).max()?;
        // The highest number that owners have bits for is none of theirs: with the highest place it would be `MORE`.
        let place_bits = u32::MAX.checked_shl(u32::BITS - (most + 1).leading_zeros()).unwrap_or(0) & MORE;
        let lines = lay(&points, place_bits);
        // From one hash of 32 bits to the next, a fraction of 32 bits moves by as much as there are lines.
        let exact =
            matches!(points, Points::Narrow(_)) && lines.len() > !(place_bits << (u32::BITS - WORD_BITS)) as usize;
        let starts = starts(&points);
        Some(Self { lines, place_bits, exact, points, starts })
    }

    /// Returns the owner of a key; a ring of 32 bits has its keys in the upper half.
    #[inline]
    pub(super) fn owner(&self, key: u64) -> u32 {
        let (line, within) = arc(key, self.lines.len());
        let place = place(within, self.place_bits);
        let Line(words) = &self.lines[line];
        // By the sign of differences: what waits for a line that is far away keeps others from being fetched meanwhile, so
        // it must be few instructions. A comparison is as many again.
        let below = words.iter().map(|word| word.wrapping_sub(place) >> WORD_BITS).sum::<u32>() as usize;
        // The last word is below no place; this way the compiler knows.
        let word = words[below % WORDS];
        if word == MORE || (!self.exact && word & self.place_bits == place) {
            return self.far_owner(key);
        }
        word & !self.place_bits
    }

    #[cold]
    #[inline(never)]
    fn far_owner(&self, key: u64) -> u32 {
        self.at(self.first_from(key)).1
    }

    /// Counts the points.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Returns a point as hash (a narrow one in the upper half) and owner; after the last comes the first.
    #[inline]
    pub(super) fn at(&self, number: usize) -> (u64, u32) {
        self.points.at(number)
    }

    /// Returns the number of the first point that is not below a key; that of none if all are.
    pub(super) fn first_from(&self, key: u64) -> usize {
        match &self.points {
            Points::Narrow(words) => first_from(words, &self.starts, key, |word| *word >> 32 << 32),
            Points::Wide(points) => first_from(points, &self.starts, key, |(hash, _)| *hash),
        }
    }

    /// Returns all points in order, as hash and owner.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, u32)> {
        (0..self.points.len()).map(|number| self.points.at(number))
    }
}

/// Returns the number of the first point that is not below a key. Guesses where it would be if the points of its stretch were
/// spread evenly, and counts those around, which takes no guess by the processor; so searches for many keys wait for memory
/// together.
#[inline]
fn first_from<T>(points: &[T], starts: &[u32], key: u64, hash: impl Fn(&T) -> u64) -> usize {
    let (stretch, within) = arc(key, starts.len() - 1);
    let (low, high) = (starts[stretch] as usize, starts[stretch + 1] as usize);
    let guess = low + arc(u64::from(within) << 32, high - low).0;
    let from = guess.saturating_sub(NEAR / 2);
    if let Some(near) = points[from..].first_chunk::<NEAR>() {
        let below = near.iter().map(|point| usize::from(hash(point) < key)).sum();
        if (1..NEAR).contains(&below) {
            return from + below;
        }
    }
    low + points[low..high].partition_point(|point| hash(point) < key)
}

/// Counts the points before each stretch, and before the end.
fn starts(points: &Points) -> Box<[u32]> {
    let stretches = points.len().div_ceil(PER_STRETCH);
    let mut starts = vec![0; stretches + 1];
    for number in 0..points.len() {
        starts[arc(points.at(number).0, stretches).0 + 1] += 1;
    }
    for stretch in 0..stretches {
        starts[stretch + 1] += starts[stretch];
    }
    starts.into()
}

/// Lays points out in lines.
fn lay(points: &Points, place_bits: u32) -> Box<[Line]> {
    let len = points.len().div_ceil(PER_LINE);
    let mut next = 0;
    let line = |line| {
        let start = next;
        while next < points.len() && arc(points.at(next).0, len).0 == line {
            next += 1;
        }
        let (count, after) = (next - start, points.at(next).1);
        Line(from_fn(|nth| match start + nth {
            _ if nth == WORDS - 1 && count >= WORDS => MORE,
            point if point < next => {
                let (hash, owner) = points.at(point);
                place(arc(hash, len).1, place_bits) | owner
            }
            _ => place_bits | after,
        }))
    };
    (0..len).map(line).collect()
}

/// Returns the line of a hash, and how far into its arc it is, as a fraction of 32 bits.
#[inline]
fn arc(hash: u64, lines: usize) -> (usize, u32) {
    let scaled = (hash >> 32) * lines as u64;
    ((scaled >> 32) as usize, scaled as u32)
}

/// Returns how far into an arc something is, as words have it.
#[inline]
fn place(within: u32, place_bits: u32) -> u32 {
    within >> (u32::BITS - WORD_BITS) & place_bits
}

/// Sorts what is spread evenly by its leading word, as hashes are: dealt out by their leading bits first, then within each few.
pub(super) fn sort_spread<T: Copy + Ord>(mut words: Vec<T>, lead: impl Fn(&T) -> u64) -> Vec<T> {
    /// Below this, and for what is left of a deal, the ordinary sort is as quick.
    const FEW: usize = 1024;
    if words.len() < FEW {
        words.sort_unstable();
        return words;
    }
    let shift = 64 - (words.len() / 8).ilog2();
    let mut ends = vec![0u32; 1 << (64 - shift)];
    for word in &words {
        ends[(lead(word) >> shift) as usize] += 1;
    }
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        // The beginning for now; moves to the end while words are dealt.
        *end = total - *end;
    }
    let mut dealt = vec![words[0]; words.len()];
    for word in words {
        let at = &mut ends[(lead(&word) >> shift) as usize];
        dealt[*at as usize] = word;
        *at += 1;
    }
    let mut begin = 0;
    for end in ends {
        dealt[begin..end as usize].sort_unstable();
        begin = end as usize;
    }
    dealt
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Hashes that crowd, so that lines are full, ties happen and ends are hit; owners of both widths.
    fn hashes() -> impl Strategy<Value = BTreeMap<u64, u32>> {
        let near = (0u64..40, prop_oneof![Just(0u64), Just(1 << 31), Just(u64::MAX >> 32)], 0u64..3);
        let near = near.prop_map(|(step, base, low)| (base.saturating_add(step).min(u64::MAX >> 32)) << 32 | low);
        // Those at even places are told from the next ones by the last bit that a place has.
        let even = any::<u32>().prop_map(|hash| u64::from(hash & !15) << 32);
        let hash = prop_oneof![near, even, any::<u64>()];
        // Of few owners the whole hash of 32 bits is in the lines.
        let owners = prop_oneof![Just(3u32), Just(6), Just(1000), Just(1_000_000)];
        owners.prop_flat_map(move |owners| proptest::collection::btree_map(hash.clone(), 0..owners, 1..200))
    }

    /// The owners of all points from a key's own on and around.
    fn walk(ring: &Ring, key: u64) -> Vec<u32> {
        let first = ring.first_from(key);
        (first..first + ring.len()).map(|number| ring.at(number).1).collect()
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_a_search_finds(points in hashes(), keys in proptest::collection::vec(any::<u64>(), 30)) {
            let due = |points: &BTreeMap<u64, u32>, key: u64| -> Vec<u32> {
                points.range(key..).chain(points.range(..key)).map(|(_, owner)| *owner).collect()
            };
            let narrow: BTreeMap<u64, u32> = points.iter().map(|(hash, owner)| (hash >> 32 << 32, *owner)).collect();
            let words: Vec<u64> = narrow.iter().map(|(hash, owner)| hash | u64::from(*owner)).collect();
            let (thin, wide) = (Ring::narrow(words).unwrap(), Ring::wide(points.clone().into_iter().collect()).unwrap());
            let steps = [1, 1 << 32].map(|step: u64| [step.wrapping_neg(), step]).concat();
            let beside = points.keys().flat_map(|hash| steps.iter().chain([&0]).map(|step| hash.wrapping_add(*step)));
            for key in beside.chain(keys).chain([0, u64::MAX]) {
                prop_assert_eq!(wide.owner(key), due(&points, key)[0]);
                prop_assert_eq!(walk(&wide, key), due(&points, key));
                prop_assert_eq!(wide.first_from(key), points.range(..key).count());
                let key = key >> 32 << 32;
                prop_assert_eq!(thin.owner(key), due(&narrow, key)[0]);
                prop_assert_eq!(walk(&thin, key), due(&narrow, key));
            }
        }

        #[test]
        fn dealing_sorts(words in proptest::collection::vec(any::<u64>(), 0..3000)) {
            let mut due = words.clone();
            due.sort_unstable();
            prop_assert_eq!(sort_spread(words, |word| *word), due);
        }
    }
}
