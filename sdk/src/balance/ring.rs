//! A ring of points on which a key belongs to the first point at or above it: built once, looked up in one cache line.
//!
//! The ring is cut into equal arcs, one per line. A line holds, for each point of its arc, where in the arc it is (in
//! 16 bits) and who owns it, and who owns the first point after them. So a look-up is one multiplication, one line, a
//! row of comparisons without a guess, and one load. A sorted array needs two dozen lines for 16 million points, an
//! index over it three. Where 16 bits do not tell the key from a point, or a line is full, the sorted points are asked.
//! Used by `ring_hash`, which decides where the points are.

/// Points a line has room for, and owners: the next point's comes after them. For up to 65,536 positions, and beyond.
const FEW: usize = 14;
const FEW_OWNERS: usize = FEW + 1;
const MANY: usize = 9;
const MANY_OWNERS: usize = MANY + 1;
/// Points per line on average, about half of the room: one line in 60 is full.
const FEW_PER_LINE: usize = 8;
const MANY_PER_LINE: usize = 4;
/// Marks in `Line::start` that there are more points than room.
const FULL: u32 = 1 << 31;

/// Looks keys up.
#[derive(Debug)]
pub(super) struct Ring {
    lines: Lines,
    points: Points,
}

#[derive(Debug)]
enum Lines {
    Few(Box<[Line<u16, FEW, FEW_OWNERS>]>),
    Many(Box<[Line<u32, MANY, MANY_OWNERS>]>),
}

/// The points of one arc, in order.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line<O, const ROOM: usize, const OWNERS: usize> {
    /// How far into the arc; of those that are not there, the highest number.
    places: [u16; ROOM],
    owners: [O; OWNERS],
    /// The number of the arc's first point among all.
    start: u32,
}

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
        if points.len() == 0 {
            return None;
        }
        let lines = match lay(&points, FEW_PER_LINE) {
            Some(lines) => Lines::Few(lines),
            None => Lines::Many(lay(&points, MANY_PER_LINE)?),
        };
        Some(Self { lines, points })
    }

    /// Returns the owner of a key; a ring of 32 bits has its keys in the upper half.
    #[inline]
    pub(super) fn owner(&self, key: u64) -> u32 {
        let found = match &self.lines {
            Lines::Few(lines) => find(lines, key),
            Lines::Many(lines) => find(lines, key),
        };
        found.unwrap_or_else(|start| self.search(start, key))
    }

    /// Goes on from a point that is not beyond the key.
    #[cold]
    fn search(&self, start: usize, key: u64) -> u32 {
        let mut points = (start..self.points.len()).map(|number| self.points.at(number));
        points.find(|(hash, _)| *hash >= key).unwrap_or(self.points.at(0)).1
    }

    /// Returns the owners of all points, from the key's own on and around.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = u32> {
        let place = match &self.points {
            Points::Narrow(words) => words.partition_point(|word| word >> 32 << 32 < key),
            Points::Wide(points) => points.partition_point(|(hash, _)| *hash < key),
        };
        (place..place + self.points.len()).map(|number| self.points.at(number).1)
    }

    /// Returns all points in order, as hash and owner.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, u32)> {
        (0..self.points.len()).map(|number| self.points.at(number))
    }
}

/// Lays points out in lines; `None` when an owner's number is too large for them.
fn lay<O: Copy + Default + TryFrom<u32>, const ROOM: usize, const OWNERS: usize>(
    points: &Points,
    per_line: usize,
) -> Option<Box<[Line<O, ROOM, OWNERS>]>> {
    let len = points.len().div_ceil(per_line);
    let mut next = 0;
    let line = |line| {
        let start = next;
        let mut laid = Line { places: [u16::MAX; ROOM], owners: [O::default(); OWNERS], start: start as u32 };
        loop {
            let (hash, owner) = points.at(next);
            let owner = O::try_from(owner).ok()?;
            let (own, place) = arc(hash, len);
            if next == points.len() || own != line {
                match laid.owners.get_mut(next - start) {
                    Some(after) => *after = owner,
                    None => laid.start |= FULL,
                }
                return Some(laid);
            }
            if let Some(free) = laid.places.get_mut(next - start) {
                (*free, laid.owners[next - start]) = (place, owner);
            }
            next += 1;
        }
    };
    (0..len).map(line).collect()
}

/// Returns the owner of a key, or the number of a point from which to search.
#[inline]
fn find<O: Copy + Into<u32>, const ROOM: usize, const OWNERS: usize>(
    lines: &[Line<O, ROOM, OWNERS>],
    key: u64,
) -> Result<u32, usize> {
    let (line, place) = arc(key, lines.len());
    let line = &lines[line];
    let below = line.places.iter().map(|other| u16::from(*other < place)).sum::<u16>() as usize;
    let equal = line.places.iter().fold(false, |any, other| any | (*other == place));
    if equal || (below == ROOM && line.start & FULL != 0) {
        return Err((line.start & !FULL) as usize);
    }
    // Never more than there is room for; this way the compiler knows.
    Ok(line.owners[below.min(OWNERS - 1)].into())
}

/// Returns the line of a hash, and the 16 bits that say how far into its arc it is.
#[inline]
fn arc(hash: u64, lines: usize) -> (usize, u16) {
    let scaled = (hash >> 32) * lines as u64;
    ((scaled >> 32) as usize, (scaled >> 16) as u16)
}

/// Sorts words that are spread evenly, as hashes are: dealt out by their leading bits first, then within each few.
pub(super) fn sort_spread(words: Vec<u64>) -> Vec<u64> {
    /// Below this, and for what is left of a deal, the ordinary sort is as quick.
    const FEW: usize = 1024;
    if words.len() < FEW {
        let mut words = words;
        words.sort_unstable();
        return words;
    }
    let shift = 64 - (words.len() / 8).ilog2();
    let mut ends = vec![0u32; 1 << (64 - shift)];
    for word in &words {
        ends[(word >> shift) as usize] += 1;
    }
    let mut total = 0;
    for end in &mut ends {
        total += *end;
        // The beginning for now; moves to the end while words are dealt.
        *end = total - *end;
    }
    let mut dealt = vec![0u64; words.len()];
    for word in words {
        let at = &mut ends[(word >> shift) as usize];
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
        let hash = prop_oneof![near, any::<u64>()];
        let owner = prop_oneof![3 => 0u32..1000, 1 => 0u32..1_000_000];
        proptest::collection::btree_map(hash, owner, 1..200)
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
            let beside = points.keys().flat_map(|hash| [hash.wrapping_sub(1), *hash, hash.wrapping_add(1)]);
            for key in beside.chain(keys).chain([0, u64::MAX]) {
                prop_assert_eq!(wide.owner(key), due(&points, key)[0]);
                prop_assert_eq!(wide.walk(key).collect::<Vec<_>>(), due(&points, key));
                let key = key >> 32 << 32;
                prop_assert_eq!(thin.owner(key), due(&narrow, key)[0]);
                prop_assert_eq!(thin.walk(key).collect::<Vec<_>>(), due(&narrow, key));
            }
        }

        #[test]
        fn dealing_sorts(words in proptest::collection::vec(any::<u64>(), 0..3000)) {
            let mut due = words.clone();
            due.sort_unstable();
            prop_assert_eq!(sort_spread(words), due);
        }
    }
}
