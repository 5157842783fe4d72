//! A ring of points on which a key belongs to the first point at or above it: built once, looked up in one cache line.
//!
//! The ring is cut into as many equal arcs as there are lines; a line holds the points of its arc, and who owns the
//! first point after them. So a look-up is one multiplication, one line, seven comparisons without a guess and one load;
//! a sorted array needs two dozen lines for 16 million points, an index over it three. The price is 21 bytes a point.
//! Used by `ring_hash`, which decides where the points are.

/// Points a line has room for.
const ROOM: usize = 7;
/// Points per line on average: one arc in 80 has more than there is room for. Measured against 2, 4 and 5.
const POINTS_PER_LINE: usize = 3;
/// Bits of `Line::rest` that say how many points there are.
const LEN_BITS: u32 = 3;

/// Looks keys up.
#[derive(Debug)]
pub(super) struct Ring {
    lines: Box<[Line]>,
    /// What did not fit.
    more: Box<[Line]>,
    /// The whole points, in order, where they are longer than 32 bits: asked when the upper halves are equal.
    exact: Box<[(u64, u32)]>,
}

/// The points of one arc, in order.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    /// The upper halves; of those that are not there, the highest number.
    hashes: [u32; ROOM],
    /// The owners, and after them the owner of the next point on the ring.
    owners: [u32; ROOM + 1],
    /// How many points there are, and above that the number of the line in `more` that goes on, counted from 1.
    rest: u32,
}

impl Line {
    const EMPTY: Self = Self { hashes: [u32::MAX; ROOM], owners: [0; ROOM + 1], rest: 0 };

    /// Makes the line of some points; those for whom it has no room go to `more`.
    fn holding(points: &[(u32, u32)], more: &mut Vec<Self>) -> Self {
        let mut line = Self::EMPTY;
        // From the last on, since each names the one that goes on.
        for (place, own) in points.chunks(ROOM).enumerate().rev() {
            let next = line;
            line = Self { rest: own.len() as u32, ..Self::EMPTY };
            if (place + 1) * ROOM < points.len() {
                more.push(next);
                line.rest |= (more.len() as u32) << LEN_BITS;
            }
            for (at, (hash, owner)) in own.iter().enumerate() {
                (line.hashes[at], line.owners[at]) = (*hash, *owner);
            }
        }
        line
    }

    fn len(&self) -> usize {
        (self.rest & ((1 << LEN_BITS) - 1)) as usize
    }

    #[inline]
    fn next(&self) -> Option<usize> {
        (self.rest >> LEN_BITS).checked_sub(1).map(|line| line as usize)
    }

    fn points(&self) -> impl Iterator<Item = (u32, u32)> {
        self.hashes.into_iter().zip(self.owners).take(self.len())
    }
}

impl Ring {
    /// Builds a ring of 32 bits; words are a hash above an owner, in order. `None` without points.
    pub(super) fn narrow(words: &[u64]) -> Option<Self> {
        Self::fill(words.iter().map(|word| ((word >> 32) as u32, *word as u32)), words.len(), Box::default())
    }

    /// Builds a ring of 64 bits; points are in order. `None` without points.
    pub(super) fn wide(points: Vec<(u64, u32)>) -> Option<Self> {
        let exact: Box<[(u64, u32)]> = points.into();
        let points: Vec<(u32, u32)> = exact.iter().map(|(hash, owner)| ((hash >> 32) as u32, *owner)).collect();
        Self::fill(points.into_iter(), exact.len(), exact)
    }

    fn fill(points: impl Iterator<Item = (u32, u32)>, len: usize, exact: Box<[(u64, u32)]>) -> Option<Self> {
        if len == 0 {
            return None;
        }
        let mut lines = vec![Line::EMPTY; len.div_ceil(POINTS_PER_LINE)];
        let mut more = Vec::new();
        let mut points = points.peekable();
        let first = points.peek().map(|(_, owner)| *owner);
        let mut together = Vec::new();
        while let Some((hash, owner)) = points.next() {
            together.push((hash, owner));
            let line = arc(hash, lines.len());
            if points.peek().is_none_or(|(next, _)| arc(*next, len.div_ceil(POINTS_PER_LINE)) != line) {
                lines[line] = Line::holding(&together, &mut more);
                together.clear();
            }
        }
        // Backwards, so that everybody knows who comes next; after the last comes the first.
        let mut next = first?;
        for line in lines.iter_mut().rev() {
            let mut last = *line;
            let mut place = None;
            while let Some(further) = last.next() {
                (last, place) = (more[further], Some(further));
            }
            match place {
                None => line.owners[line.len()] = next,
                Some(place) => more[place].owners[last.len()] = next,
            }
            if line.len() > 0 {
                next = line.owners[0];
            }
        }
        Some(Self { lines: lines.into(), more: more.into(), exact })
    }

    /// Returns the owner of a key; a ring of 32 bits has its keys in the upper half.
    #[inline]
    pub(super) fn owner(&self, key: u64) -> u32 {
        let high = (key >> 32) as u32;
        let mut line = &self.lines[arc(high, self.lines.len())];
        loop {
            let below = line.hashes.iter().map(|hash| u32::from(*hash < high)).sum::<u32>() as usize;
            if below == ROOM
                && let Some(next) = line.next()
            {
                line = &self.more[next];
                continue;
            }
            if !self.exact.is_empty() && line.hashes.get(below) == Some(&high) {
                return self.search(key);
            }
            return line.owners[below & ROOM];
        }
    }

    #[cold]
    fn search(&self, key: u64) -> u32 {
        let place = self.exact.partition_point(|(hash, _)| *hash < key);
        self.exact.get(place).or(self.exact.first()).map_or(0, |(_, owner)| *owner)
    }

    /// Returns the owners of all points, from the key's own on and around.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = u32> {
        let high = (key >> 32) as u32;
        let line = arc(high, self.lines.len());
        let place = self.exact.partition_point(|(hash, _)| *hash < key);
        let (before, after) = self.exact.split_at(place);
        let wide = after.iter().chain(before).map(|(_, owner)| *owner);
        let lines = if self.exact.is_empty() { self.lines.len() } else { 0 };
        let (line, end) = (line.min(lines), (line + 1).min(lines));
        let narrow = (line..end)
            .flat_map(move |line| self.points(line).filter(move |(hash, _)| *hash >= high))
            .chain((end..lines).chain(0..line).flat_map(|line| self.points(line)))
            .chain((line..end).flat_map(move |line| self.points(line).filter(move |(hash, _)| *hash < high)));
        wide.chain(narrow.map(|(_, owner)| owner))
    }

    /// Returns the points of an arc, in order.
    fn points(&self, line: usize) -> impl Iterator<Item = (u32, u32)> {
        let further = |line: &&Line| line.next().map(|next| &self.more[next]);
        std::iter::successors(Some(&self.lines[line]), further).flat_map(Line::points)
    }

    /// Returns all points in order, as (upper half of) hash and owner.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.lines.len()).flat_map(|line| self.points(line))
    }

    /// Returns the whole points in order.
    #[cfg(test)]
    pub(super) fn exact(&self) -> &[(u64, u32)] {
        &self.exact
    }
}

/// Returns the line of a hash.
#[inline]
fn arc(hash: u32, lines: usize) -> usize {
    ((u64::from(hash) * lines as u64) >> 32) as usize
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

    /// Hashes that crowd, so that lines overflow, ties of upper halves happen and ends are hit.
    fn hashes() -> impl Strategy<Value = BTreeMap<u64, u32>> {
        let near = (0u64..40, prop_oneof![Just(0u64), Just(1 << 31), Just(u64::MAX >> 32)], 0u64..3);
        let near = near.prop_map(|(step, base, low)| (base.saturating_add(step).min(u64::MAX >> 32)) << 32 | low);
        let hash = prop_oneof![near, any::<u64>()];
        proptest::collection::btree_map(hash, 0u32..1000, 1..200)
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_a_search_finds(points in hashes(), keys in proptest::collection::vec(any::<u64>(), 30)) {
            let due = |points: &BTreeMap<u64, u32>, key: u64| -> Vec<u32> {
                points.range(key..).chain(points.range(..key)).map(|(_, owner)| *owner).collect()
            };
            let narrow: BTreeMap<u64, u32> = points.iter().map(|(hash, owner)| (hash >> 32 << 32, *owner)).collect();
            let words: Vec<u64> = narrow.iter().map(|(hash, owner)| hash | u64::from(*owner)).collect();
            let (thin, wide) = (Ring::narrow(&words).unwrap(), Ring::wide(points.clone().into_iter().collect()).unwrap());
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
