//! What serves while a Maglev table is filled for a changed set: the table before, and what has changed since.
//!
//! Whoever left gives up its keys, whoever weighs less some of them, by the keys' hashes; they are looked up again re-mixed, and
//! so come to all others. Whoever came, or weighs more, takes the first entries on its walk that are not its own. So no keys move
//! but to and from who changed, everybody's share is as its weight to about 1 % of all, and who answers hangs on the table and on
//! who is there now, not on the changes in between. Used by `maglev`.

use super::group::Group;
use super::hash;
use super::maglev::{SIZE, Taker};
use super::sleepers::{Laid, Sleepers};

/// One in so many entries may be of those who came; of more, they wait for the new table.
const LATE_SHARE: u32 = 8;
/// One in so many keys may be given up.
const LOST_SHARE: u64 = 2;
/// Keeps what is given up apart from where a key is looked up.
const LESS_SALT: u64 = 0x05EE_D1E5;

/// Holds what has changed since a table was filled.
#[derive(Debug)]
pub(super) struct Interim {
    /// Who gives up keys: all of them, unless among those who weigh less.
    sleepers: Sleepers,
    /// In order: who keeps some keys, and how many in 1 / 2^32.
    less: Box<[(u32, u32)]>,
    /// Entries of those who came or weigh more, in order, and who has them.
    late: Box<[(u32, u32)]>,
    /// Where somebody is other than when the table was filled.
    positions: Box<[usize]>,
}

/// What somebody weighs who is other than when the table was filled.
struct Differs {
    position: usize,
    /// 0 unless the same endpoint is in the table.
    before: u32,
    now: u32,
}

impl Interim {
    /// Finds what is other than when `table` was filled: what was before, and `changed` since then. None where it is too much.
    pub(super) fn build(
        table: &[u32],
        laid: &Laid,
        before: Option<&Self>,
        mut changed: Vec<usize>,
        now: &Group,
    ) -> Option<Self> {
        if let Some(before) = before {
            changed.extend_from_slice(&before.positions);
            changed.sort_unstable();
            changed.dedup();
        }
        let total: u64 = laid.parts().iter().map(|weight| u64::from(*weight)).sum();
        let (mut lost, mut gained) = (0, 0);
        let (mut sleepers, mut less, mut differ) = (Vec::new(), Vec::new(), Vec::new());
        for position in changed {
            let in_table = laid.parts().get(position).copied().unwrap_or(0);
            let is_same = now.stats(position).is_some_and(|stats| laid.knows(position, stats.key()));
            let one = Differs { position, before: if is_same { in_table } else { 0 }, now: now.weight_at(position) };
            let kept = one.before.min(one.now);
            if kept < in_table {
                sleepers.push(position);
                if kept > 0 {
                    let share = (u64::from(kept) << 32) / u64::from(in_table);
                    less.push((position as u32, share as u32));
                }
            }
            lost += u64::from(in_table - kept);
            gained += u64::from(one.now - kept);
            if in_table != one.before || one.before != one.now {
                differ.push(one);
            }
        }
        if lost * LOST_SHARE > total {
            return None;
        }
        Some(Self {
            sleepers: Sleepers::of(&sleepers, laid.parts().len()),
            less: less.into(),
            late: late(table, &differ, (total, total + gained), now)?.into(),
            positions: differ.iter().map(|one| one.position).collect(),
        })
    }

    /// Says whether all is as it was when the table was filled.
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Returns who answers a key; none who gave it up.
    pub(super) fn owner(&self, table: &[u32], hash: u64) -> Option<usize> {
        let entry = (hash % u64::from(SIZE)) as u32;
        if let Ok(at) = self.late.binary_search_by_key(&entry, |(entry, _)| *entry) {
            return Some(self.late[at].1 as usize);
        }
        let position = *table.get(entry as usize)?;
        (!self.gives_up(position, hash)).then_some(position as usize)
    }

    fn gives_up(&self, position: u32, hash: u64) -> bool {
        if !self.sleepers.has(position as usize) {
            return false;
        }
        match self.less.binary_search_by_key(&position, |(position, _)| *position) {
            Ok(at) => hash::mix(hash ^ LESS_SALT) >> 32 >= u64::from(self.less[at].1),
            Err(_) => true,
        }
    }
}

/// Finds the entries of those who came or weigh more. What the table was filled for weighed `total`, and with all that is
/// gained it is `grown`; what is lost makes room by being looked up again, in which the late entries have their part.
fn late(table: &[u32], differ: &[Differs], (total, grown): (u64, u64), now: &Group) -> Option<Vec<(u32, u32)>> {
    let mut late = Vec::new();
    let mut room = SIZE / LATE_SHARE;
    for one in differ.iter().filter(|one| one.now > one.before) {
        let Some(member) = now.snapshot().member(one.position) else { continue };
        let share = |weight: u32, all: u64| f64::from(weight) / all.max(1) as f64;
        let entries = (share(one.now, grown) - share(one.before, total)) * f64::from(SIZE);
        let entries = (entries.round() as u32).max(u32::from(one.before == 0));
        room = room.checked_sub(entries)?;
        let position = one.position as u32;
        let mut taker = Taker::new(member.endpoint().authority(), position, 0.0);
        // The walk comes by every entry once.
        let walk = (0..SIZE).map(|_| {
            let entry = taker.at;
            taker.step();
            entry
        });
        let others = walk.filter(|entry| one.before == 0 || table.get(*entry as usize) != Some(&position));
        late.extend(others.take(entries as usize).map(|entry| (entry, position)));
    }
    late.sort_unstable();
    late.dedup_by_key(|(entry, _)| *entry);
    Some(late)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use proptest::prelude::*;

    use crate::balance::group::Group;
    use crate::balance::hash;
    use crate::balance::maglev::Maglev;
    use crate::balance::picker::{Ask, Picker, Worker};
    use crate::balance::turns::Turns;
    use crate::catalog::Snapshot;
    use crate::endpoint::Endpoint;

    const KEYS: u64 = 50_000;

    fn row(n: u32, weight: u32) -> Endpoint {
        Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n as u16).weighted(weight, 1)
    }

    /// Puts rows by number and weight, 0 for whoever leaves.
    fn changed(before: &Group, rows: &[(u32, u32)]) -> Group {
        let gone: Vec<String> =
            rows.iter().filter(|(_, weight)| *weight == 0).map(|(n, _)| format!("{n:03}")).collect();
        let gone: Vec<(&str, &str)> = gone.iter().map(|id| (id.as_str(), "")).collect();
        let put = rows.iter().filter(|(_, weight)| *weight > 0).map(|(n, weight)| row(*n, *weight));
        Group::whole(Arc::new(before.snapshot().changed(put, &gone, 2)))
    }

    fn hundred() -> Group {
        Group::whole(Arc::new(Snapshot::empty("web").next((0..100).map(|n| row(n, 4)), 1)))
    }

    /// Returns the port of each key's endpoint.
    fn owners(maglev: &Maglev, group: &Group) -> Vec<u16> {
        let turns = AtomicU64::new(0);
        let pick = |hash| maglev.pick(group, &Ask::hash(hash), &mut Worker::open(Turns::alone(&turns)));
        let port = |hash| group.snapshot().member(pick(hash).unwrap()).unwrap().endpoint().port();
        (0..KEYS).map(hash::mix).map(port).collect()
    }

    fn counts(owners: &[u16]) -> BTreeMap<u16, f64> {
        let mut counts = BTreeMap::new();
        owners.iter().for_each(|port| *counts.entry(*port).or_default() += 1.0);
        counts
    }

    #[test]
    fn who_left_has_nothing_and_who_came_its_share() {
        let before = hundred();
        let now = changed(&before, &[(7, 0), (5, 0), (200, 4), (201, 4)]);
        let (old, new) = (Maglev::new(&before), Maglev::new(&now));
        let interim = owners(&old.until_filled(&before, &now).unwrap(), &now);
        let counts = counts(&interim);
        assert_eq!(counts.len(), 100);
        assert!(!counts.contains_key(&1005) && !counts.contains_key(&1007));
        assert!([1200, 1201].iter().all(|came| (counts[came] - KEYS as f64 / 100.0).abs() < 100.0), "{counts:?}");
        let other = interim.iter().zip(owners(&new, &now)).filter(|(own, due)| **own != *due).count();
        assert!(other < KEYS as usize / 10, "{other}");
    }

    #[test]
    fn a_changed_weight_moves_keys_from_or_to_its_own_endpoint() {
        let before = hundred();
        let old = Maglev::new(&before);
        let homes = owners(&old, &before);
        for weight in [1, 3, 5, 8, 20] {
            let now = changed(&before, &[(7, weight)]);
            let interim = old.until_filled(&before, &now).unwrap();
            assert!(!interim.is_filled());
            let interim = owners(&interim, &now);
            let moved = || homes.iter().zip(&interim).filter(|(home, now)| home != now);
            assert!(moved().all(|(home, now)| if weight > 4 { *now == 1007 } else { *home == 1007 }));
            let due = KEYS as f64 * f64::from(weight) / f64::from(99 * 4 + weight);
            assert!((counts(&interim)[&1007] - due).abs() < 0.002 * KEYS as f64, "{weight}: {due}");
            let new = owners(&Maglev::new(&now), &now);
            let other = |owners: &[u16]| owners.iter().zip(&new).filter(|(own, due)| *own != *due).count();
            assert!(other(&interim) < other(&homes) + moved().count(), "{weight}: some moved where they will be");
        }
    }

    #[test]
    fn as_it_was_it_is_filled_and_too_much_waits_for_a_new_table() {
        let before = hundred();
        let old = Maglev::new(&before);
        let heavier = changed(&before, &[(7, 8)]);
        let interim = old.until_filled(&before, &heavier).unwrap();
        let back = changed(&heavier, &[(7, 4)]);
        assert!(interim.until_filled(&heavier, &back).unwrap().is_filled());
        assert!(old.until_filled(&before, &changed(&before, &[(7, 100)])).is_none());
        let half: Vec<(u32, u32)> = (0..51).map(|n| (n, 0)).collect();
        assert!(old.until_filled(&before, &changed(&before, &half)).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// Whatever happens while tables are not filled: shares are as weights, whoever is gone has nothing, and what happened in
        /// between does not matter.
        #[test]
        fn shares_are_as_weights_through_any_history(events in proptest::collection::vec((80u32..120, 0u32..8), 1..12)) {
            let first = hundred();
            let old = Maglev::new(&first);
            let (mut before, mut interim) = (first.clone(), old.until_filled(&first, &first).unwrap());
            for event in &events {
                let now = changed(&before, &[*event]);
                interim = interim.until_filled(&before, &now).unwrap();
                before = now;
            }
            let found = owners(&interim, &before);
            prop_assert_eq!(&found, &owners(&old.until_filled(&first, &before).unwrap(), &before));
            let counts = counts(&found);
            let total: u32 = before.weighted().map(|(_, weight)| weight).sum();
            for (position, weight) in before.weighted() {
                let port = before.snapshot().member(position as usize).unwrap().endpoint().port();
                let (got, due) = (counts.get(&port).copied().unwrap_or(0.0), f64::from(weight) / f64::from(total));
                prop_assert!((got / KEYS as f64 - due).abs() < 0.003, "{port}: {got} for {due}");
            }
            prop_assert_eq!(counts.len(), before.len() as usize);
        }
    }
}
