//! Snapshots by example and by random histories: what a successor keeps, and what it changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::endpoint::Health;

fn row(id: &str) -> Endpoint {
    Endpoint::new(id, "10.0.0.1", 80)
}

#[test]
fn all_clients_agree_on_the_order() {
    let first = Snapshot::empty("web").next([row("b"), row("a"), row("c")], 1);
    let second = Snapshot::empty("web").next([row("c"), row("b"), row("a")], 1);
    let ids = |s: &Snapshot| -> Vec<String> { s.members().iter().map(|m| m.endpoint().id().to_owned()).collect() };
    assert_eq!(ids(&first), ["a", "b", "c"]);
    assert_eq!(ids(&first), ids(&second));
}

#[test]
fn statistics_follow_the_instance_and_not_the_position() {
    let old = Snapshot::empty("web").next([row("b"), row("c")], 1);
    old.find("b", "").unwrap().stats().gauge().begin();
    let new = old.next([row("a"), row("b").weighted(7, 1), row("c")], 2);
    assert_eq!(new.find("b", "").unwrap().stats().in_flight(), 1);
    assert_eq!(new.find("b", "").unwrap().endpoint().weight_effective(), 7, "the row is new");
    assert!(Arc::ptr_eq(old.find("c", "").unwrap(), new.find("c", "").unwrap()), "an equal row is not copied");
    let moved = new.next([Endpoint::new("b", "10.0.0.9", 80)], 3);
    assert_eq!(moved.find("b", "").unwrap().stats().in_flight(), 0);
    assert_eq!(moved.generation(), 3);
}

#[test]
fn one_identity_appears_once_and_the_later_row_wins() {
    let rows = [row("a"), row("a").weighted(5, 1), row("a").on_node("n2"), row("a").weighted(9, 1)];
    let snapshot = Snapshot::empty("web").next(rows, 1);
    assert_eq!(snapshot.members().len(), 2);
    assert_eq!(snapshot.find("a", "").unwrap().endpoint().weight_effective(), 9);
}

#[test]
fn the_critical_and_the_drained_are_known_but_not_eligible() {
    let rows = [
        row("a"),
        row("b").with_health(Health::Critical),
        row("c").with_health(Health::Warning),
        row("d").weighted(0, 1),
        row("e"),
    ];
    let snapshot = Snapshot::empty("web").next(rows, 1);
    assert_eq!(snapshot.members().len(), 5);
    let eligible: Vec<u32> = snapshot.eligible().map(|(position, _)| position).collect();
    assert_eq!(eligible, [0, 2, 4]);
}

#[test]
fn a_position_stays_with_its_endpoint() {
    let first = Snapshot::empty("web").next([row("b"), row("d"), row("f")], 1);
    let at = |snapshot: &Snapshot, id: &str| snapshot.position((id, "")).unwrap();
    let second = first.next([row("a"), row("d"), row("f"), row("g")], 2);
    assert_eq!((at(&first, "d"), at(&first, "f")), (at(&second, "d"), at(&second, "f")));
    let ids: Vec<&str> = second.members().iter().map(|member| member.endpoint().id()).collect();
    assert_eq!(ids, ["a", "d", "f", "g"]);
}

#[test]
fn a_slot_is_what_the_registry_says() {
    let snapshot = Snapshot::empty("web").next([row("a"), row("b").in_slot(7)], 1);
    assert_eq!((snapshot.slot(0), snapshot.slot(1), snapshot.slot(9)), (None, Some(7), None));
}

proptest! {
    /// Whatever comes and goes, by whole answers or by changes: the successor is what a snapshot built of
    /// the same rows is, and whoever stayed kept statistics and position, unless all were numbered anew.
    #[test]
    fn changes_add_up(steps in proptest::collection::vec((any::<bool>(), proptest::collection::btree_map(0u16..300, 0u32..3, 0..250)), 1..8)) {
        let mut rows: BTreeMap<u16, u32> = BTreeMap::new();
        let mut snapshot = Snapshot::empty("web");
        let endpoint = |(id, weight): (&u16, &u32)| row(&format!("{id:05}")).weighted(*weight, 1).in_slot(u32::from(*id) * 2);
        for (index, (whole, new)) in (1..).zip(steps) {
            let before = snapshot;
            let ids: Vec<String> = rows.keys().filter(|id| !new.contains_key(id)).map(|id| format!("{id:05}")).collect();
            snapshot = if whole {
                before.next(new.iter().map(endpoint), index)
            } else {
                let gone: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "")).collect();
                let differs = new.iter().filter(|(id, weight)| rows.get(id) != Some(weight));
                before.changed(differs.map(endpoint), &gone, index)
            };
            rows = new;
            let shown: Vec<(String, u32)> = snapshot.members().iter().map(|m| (m.endpoint().id().to_owned(), m.endpoint().weight_effective())).collect();
            let wanted: Vec<(String, u32)> = rows.iter().map(|(id, weight)| (format!("{id:05}"), *weight)).collect();
            prop_assert_eq!(shown, wanted);
            let eligible: Vec<u32> = snapshot.eligible().map(|(at, _)| at).collect();
            prop_assert_eq!(eligible.len(), rows.values().filter(|weight| **weight > 0).count());
            prop_assert!(eligible.windows(2).all(|pair| pair[0] < pair[1]));
            for at in snapshot.order() {
                let member = snapshot.member(*at as usize).unwrap();
                prop_assert_eq!(snapshot.weights()[*at as usize], member.endpoint().weight_effective());
                prop_assert_eq!(snapshot.slot(*at as usize), member.endpoint().slot());
                prop_assert!(std::ptr::eq(snapshot.stats(*at as usize).unwrap(), &**member.stats()));
                if let Some(old) = before.find(member.endpoint().id(), "") {
                    prop_assert!(Arc::ptr_eq(old.stats(), member.stats()));
                }
            }
        }
    }
}
