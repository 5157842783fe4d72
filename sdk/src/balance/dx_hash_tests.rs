//! Tests of `dx_hash`: golden owners, whose keys move, and edits beside what is built anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::catalog::Snapshot;
use crate::endpoint::Endpoint;

/// Slots and weights; ids count backwards, since neither ids nor positions may matter.
fn group(rows: &BTreeMap<u32, u32>) -> Group {
    let row = |(slot, weight): (&u32, &u32)| {
        Endpoint::new(&format!("{:08}", u32::MAX - slot), "10.0.0.1", 80).in_slot(*slot).weighted(*weight, 1)
    };
    Group::whole(Arc::new(Snapshot::empty("web").next(rows.iter().map(row), 1)))
}

fn owners(rows: &BTreeMap<u32, u32>, keys: u64) -> Vec<u32> {
    let group = group(rows);
    let dx = DxHash::new(&group).unwrap();
    let slot = |key| group.snapshot().slot(dx.owner(hash::mix(key), |_| true).unwrap()).unwrap();
    (0..keys).map(slot).collect()
}

fn even(slots: impl IntoIterator<Item = u32>) -> BTreeMap<u32, u32> {
    slots.into_iter().map(|slot| (slot, 1)).collect()
}

// From a second implementation, in another language, of the layout above.
#[test]
fn golden_owners() {
    let text = |rows: &BTreeMap<u32, u32>| {
        let owners: Vec<String> = owners(rows, 24).iter().map(u32::to_string).collect();
        owners.join(" ")
    };
    assert_eq!(text(&even(0..10)), "6 1 9 1 2 5 6 5 7 8 5 6 0 6 3 8 3 6 4 0 2 5 7 8");
    assert_eq!(
        text(&even([3, 700, 65_537])),
        "3 700 65537 65537 700 65537 3 700 65537 65537 3 700 3 65537 3 3 3 3 700 65537 3 65537 700 700"
    );
    assert_eq!(text(&even([900_000])), "900000 ".repeat(24).trim());
    assert_eq!(text(&even([900_000, 900_001, 900_002])), RENDEZVOUS);
    assert_eq!(
        text(&BTreeMap::from([(0, 1), (1, 5), (2, 2), (6, 100), (9, 1)])),
        "6 1 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6 6"
    );
}

const RENDEZVOUS: &str = "900001 900000 900000 900002 900000 900000 900002 900002 900002 900002 900002 900002 900000 900002 900000 900001 900000 900002 900001 900002 \
                          900000 900001 900000 900001";

#[test]
fn without_slots_of_their_own_there_is_nothing_to_hash_over() {
    let build = |slots: &[Option<u32>]| {
        let rows = slots.iter().enumerate().map(|(n, slot)| {
            let row = Endpoint::new(&format!("{n}"), "10.0.0.1", 80);
            slot.map_or(row.clone(), |slot| row.in_slot(slot))
        });
        DxHash::new(&Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1))))
    };
    assert!(build(&[Some(0), Some(7)]).is_some());
    assert!(build(&[Some(0), None]).is_none());
    assert!(build(&[Some(4), Some(4)]).is_none());
    assert!(build(&[Some(SLOTS_MAX)]).is_none());
}

#[test]
fn one_among_many_is_edited_and_another_array_is_built_anew() {
    let rows = |rows: &[(u32, u32)]| {
        let mut all: BTreeMap<u32, u32> = even(0..100);
        all.extend(rows.iter().copied());
        all.retain(|_, weight| *weight > 0);
        all
    };
    let edited = |from: &BTreeMap<u32, u32>, to: &BTreeMap<u32, u32>| {
        let before = group(from);
        let next = to.iter().map(|(slot, weight)| {
            let id = format!("{:08}", u32::MAX - slot);
            Endpoint::new(&id, "10.0.0.1", 80).in_slot(*slot).weighted(*weight, 1)
        });
        let now = Group::whole(Arc::new(before.snapshot().next(next, 2)));
        let edited = DxHash::new(&before).unwrap().edited(&before, &now);
        assert!(edited.is_none() || edited == DxHash::new(&now));
        edited.is_some()
    };
    assert!(edited(&even(0..100), &rows(&[(7, 0), (100, 1), (127, 1)])));
    assert!(edited(&rows(&[(7, 5), (8, 4)]), &rows(&[(7, 2), (8, 0)])));
    assert!(edited(&even(0..100), &rows(&[(7, 2)])) && edited(&rows(&[(7, 2)]), &even(0..100)), "weights come and go");
    assert!(!edited(&even(0..100), &rows(&[(128, 1)])), "a larger array");
    assert!(!edited(&even(0..100), &even(0..64)), "a smaller array");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens, what is edited is what is built anew.
    #[test]
    fn what_is_edited_is_what_is_built_anew(
        heaviest in 1u32..4,
        weights in proptest::collection::vec(0u32..4, 1..70),
        events in proptest::collection::vec((0u32..70, proptest::option::weighted(0.9, 0u32..90), 0u32..4), 1..30),
    ) {
        let row = |n: u32, slot: Option<u32>, weight: u32| {
            let row = Endpoint::new(&format!("{n:02}"), "10.0.0.1", n as u16).weighted(weight.min(heaviest), 1);
            slot.map_or(row.clone(), |slot| row.in_slot(slot))
        };
        let rows = (0u32..).zip(&weights).map(|(n, weight)| row(n, Some(n), *weight));
        let mut before = Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1)));
        for (n, slot, weight) in events {
            let id = format!("{n:02}");
            let now = Group::whole(Arc::new(match weight {
                0 => before.snapshot().changed([], &[(&id, "")], 2),
                _ => before.snapshot().changed([row(n, slot, weight)], &[], 2),
            }));
            let anew = if now.is_empty() { None } else { DxHash::new(&now) };
            if let Some(edited) = DxHash::new(&before).and_then(|dx| dx.edited(&before, &now)) {
                prop_assert_eq!(Some(edited), anew);
            }
            before = now;
        }
    }

    /// Whatever somebody's weight becomes (0 is gone) below the highest, however the array grows or shrinks by it:
    /// keys move from the one or to the one, and never both ways.
    #[test]
    fn a_change_moves_keys_of_nobody_else(
        rows in prop_oneof![
            proptest::collection::btree_map(0u32..200, Just(1u32), 100..150),
            proptest::collection::btree_map(0u32..200, 1u32..9, 100..150),
        ],
        slot in 0u32..400, weight in 0u32..9,
    ) {
        let normal = |rows: &BTreeMap<u32, u32>| rows.values().max().map(|weight| weight.next_power_of_two());
        let before = owners(&rows, 500);
        let mut changed = rows.clone();
        let old = changed.insert(slot, weight).unwrap_or(0);
        changed.retain(|_, weight| *weight > 0);
        if normal(&changed) != normal(&rows) {
            changed.entry(slot).and_modify(|weight| *weight = 1);
        }
        let weight = changed.get(&slot).copied().unwrap_or(0);
        prop_assume!(normal(&changed) == normal(&rows));
        for (old_owner, new_owner) in before.into_iter().zip(owners(&changed, 500)) {
            let due = if weight > old { new_owner } else { old_owner };
            prop_assert!(old_owner == new_owner || due == slot);
        }
    }
}

#[test]
fn shares_follow_weights() {
    for rows in [even((0..50).map(|n| n * 3)), (0..40).map(|n| (n * 2, 1 + n % 7)).collect()] {
        let keys = 100_000;
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        owners(&rows, keys).into_iter().for_each(|slot| *counts.entry(slot).or_default() += 1);
        let total: u32 = rows.values().sum();
        for (slot, weight) in &rows {
            let due = keys as f64 * f64::from(*weight) / f64::from(total);
            // Five standard deviations; the keys are fixed.
            assert!((f64::from(counts[slot]) - due).abs() < 5.0 * due.sqrt(), "{slot}: {} for {due}", counts[slot]);
        }
    }
}

#[test]
fn the_first_steps_are_those_of_the_walk() {
    for rows in [even([0, 2, 3, 9, 17, 40]), even(0..10), (0..9).map(|n| (n * n, 1 + n)).collect()] {
        let group = group(&rows);
        let dx = DxHash::new(&group).unwrap();
        for key in (0..3000).map(hash::mix) {
            let due = dx.steps(key, |_| true);
            assert_eq!(dx.owner(key, |_| true), due);
            assert!(!dx.sparse || dx.first_owner(key) == due);
        }
    }
}

#[test]
fn doubled_weights_change_nothing() {
    let rows: BTreeMap<u32, u32> = (0..40).map(|n| (n * 2, 1 + n % 7)).collect();
    let doubled = rows.iter().map(|(slot, weight)| (*slot, weight * 16)).collect();
    assert_eq!(owners(&rows, 2000), owners(&doubled, 2000));
    let same = |weight| (0..40).map(|slot| (slot, weight)).collect();
    assert_eq!(owners(&same(1), 2000), owners(&same(64), 2000));
}

#[test]
fn who_is_left_out_leaves_its_keys_to_all() {
    let group = group(&even(0..20));
    let dx = DxHash::new(&group).unwrap();
    let mut counts = [0u32; 20];
    for key in 0..40_000 {
        let home = dx.owner(hash::mix(key), |_| true).unwrap();
        if home == 5 {
            counts[dx.owner(hash::mix(key), |position| position != 5).unwrap()] += 1;
        }
    }
    assert!(counts.iter().enumerate().all(|(at, count)| at == 5 || (60..160).contains(count)), "{counts:?}");
}
