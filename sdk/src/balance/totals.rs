//! Adds up what is in flight, and says what share of it is due to whom: the arithmetic of `bounded`.

use std::ops::AddAssign;

use super::group::Group;

/// Marks among what was counted what a server reported.
pub(super) const KNOWN: u32 = 1 << 31;
/// Bits after the point of a share.
pub(super) const SHARE_BITS: u32 = 32;

/// What all have in flight, or by how much that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// The calls that reports tell of, and those that only this process counts.
    pub(super) known: i64,
    pub(super) own: i64,
    /// The shares of those that report.
    pub(super) known_share: i64,
}

impl AddAssign for Sums {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.known += other.known;
        self.own += other.own;
        self.known_share += other.known_share;
    }
}

impl Sums {
    /// Returns what one endpoint adds, as it stands among `seen`.
    pub(super) fn of(seen: u32, share: u64) -> Self {
        let load = i64::from(seen & !KNOWN);
        match seen & KNOWN {
            0 => Self { own: load, ..Self::default() },
            _ => Self { known: load, known_share: share as i64, own: 0 },
        }
    }

    /// Returns what all servers have in flight of all clients, by the reports of at least half of them.
    #[inline]
    pub(super) fn reported(&self, all_share: i64) -> Option<u64> {
        if self.known_share == 0 {
            return None;
        }
        let known = u64::try_from(self.known).unwrap_or(0);
        if self.known_share == all_share {
            return Some(known);
        }
        let share = u128::try_from(self.known_share).ok()?;
        let all = u128::try_from(all_share).ok().filter(|all| share * 2 >= *all)?;
        u64::try_from(u128::from(known) * all / share).ok()
    }

    /// Returns what all have in flight as far as this process knows.
    #[inline]
    pub(super) fn total(&self, all_share: i64) -> u64 {
        self.reported(all_share).unwrap_or_else(|| u64::try_from(self.known + self.own).unwrap_or(0))
    }
}

/// The bound as a share of the total, factor included.
#[derive(Debug)]
pub(super) enum Shares {
    Equal(u64),
    /// By position; 0 who is not among them.
    Own(Box<[u64]>),
}

impl Shares {
    /// Shares out among a group; `factor` is in percent of the fair share, and at least 100 counts.
    pub(super) fn new(group: &Group, factor: u32) -> Self {
        let total: u64 = group.weights().iter().map(|weight| u64::from(*weight)).sum();
        let share = |weight: u32| {
            let share = (u128::from(weight) * u128::from(factor.max(100))) << SHARE_BITS;
            u64::try_from(share / (u128::from(total.max(1)) * 100)).unwrap_or(u64::MAX)
        };
        if group.is_equal() && group.is_whole() {
            Self::Equal(share(if group.is_empty() { 1 } else { group.weight(0) }))
        } else {
            // Most weigh as much as the one before, and dividing takes longer than all the rest.
            let mut last = (0, 0);
            let share = |weight: &u32| {
                if *weight != last.0 {
                    last = (*weight, share(*weight));
                }
                last.1
            };
            Self::Own(group.weights().iter().map(share).collect())
        }
    }

    /// Adds up the shares of all in the group.
    pub(super) fn all(&self, group: &Group) -> i64 {
        match self {
            Self::Equal(share) => *share as i64 * i64::from(group.len()),
            Self::Own(own) => own.iter().sum::<u64>() as i64,
        }
    }

    #[inline]
    pub(super) fn of(&self, position: usize) -> u64 {
        match self {
            Self::Equal(share) => *share,
            Self::Own(own) => own.get(position).copied().unwrap_or(0),
        }
    }
}
