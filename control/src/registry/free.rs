//! Small numbers that are given out, the lowest first, and come back.

use imbl::OrdMap;

/// The numbers that nobody has, as ranges: the end of each, which is not in it, by its start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Free(OrdMap<u32, u32>);

impl Default for Free {
    fn default() -> Free {
        Free(OrdMap::unit(0, u32::MAX))
    }
}

impl Free {
    /// Everything but some numbers, in any order; nothing if one is given twice or is none.
    pub(super) fn without(mut used: Vec<u32>) -> Option<Free> {
        used.sort_unstable();
        if used.last() == Some(&u32::MAX) {
            return None;
        }
        let mut free = OrdMap::new();
        let mut start = 0;
        for number in used.into_iter().chain([u32::MAX]) {
            if number > start {
                free.insert(start, number);
            } else if number < start {
                return None;
            }
            start = number.saturating_add(1);
        }
        Some(Free(free))
    }

    /// The lowest one.
    pub(super) fn take(&mut self) -> u32 {
        let (start, end) = self.0.get_min().copied().expect("fewer than four thousand million have one");
        self.0.remove(&start);
        if start + 1 < end {
            self.0.insert(start + 1, end);
        }
        start
    }

    /// Puts one back that was taken.
    pub(super) fn give_back(&mut self, number: u32) {
        let end = self.0.remove(&(number + 1)).unwrap_or(number + 1);
        let before = self.0.get_prev(&number).filter(|(_, end)| **end == number).map(|(start, _)| *start);
        self.0.insert(before.unwrap_or(number), end);
    }
}
