//! Tests of how a watch feeds its balancers.

use std::sync::OnceLock;

use super::*;
use crate::balance::{Ask, Follower, Group, Picker, Policy, Worker};
use crate::endpoint::Endpoint;

#[test]
fn picks_of_all_balancers_go_by_a_change_before_any_table_is_built() {
    let shared = Shared::new(Snapshot::empty("web"), None);
    let row = |n: u16| Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n);
    let next = |rows: std::ops::Range<u16>| shared.newest().next(rows.map(row), 1);
    assert!(!shared.publish(next(0..100), Origin::Registry), "nobody to tell");
    let balancers =
        [Policy::Maglev, Policy::RoundRobin, Policy::Maglev.bounded(125)].map(|p| shared.balancer(p.into()));
    assert!(shared.publish(next(1..101), Origin::Registry));
    let goes_by_it = |balancer: &Balancer| {
        let ports = (0..2000).map(|n| balancer.choose(&Ask::key(&[n as u8, (n >> 8) as u8]), |m| m.endpoint().port()));
        let ports: std::collections::BTreeSet<u16> = ports.map(Result::unwrap).collect();
        ports.contains(&1100) && !ports.contains(&1000)
    };
    assert!(balancers.iter().all(goes_by_it));
    assert_eq!([0, 1, 2].map(|n| balancers[n].is_owing()), [true, false, true]);
    assert!(!shared.publish(next(1..102), Origin::Registry), "one was told");
    shared.complete();
    assert!(balancers.iter().all(|balancer| goes_by_it(balancer) && !balancer.is_owing()));
    assert!(shared.publish(next(1..100), Origin::Registry), "and the next one is");
}

#[test]
fn who_may_have_to_wait_is_told_last() {
    struct First;
    impl Picker for First {
        fn pick(&self, group: &Group, _: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            Some(group.at(0))
        }
    }
    let row = |n: u16| Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n);
    let shared = Shared::new(Snapshot::empty("web").next((0..9).map(row), 1), None);
    let other: Arc<OnceLock<Balancer>> = Arc::default();
    let seen = Arc::clone(&other);
    // Asks while it is built what the other one goes by.
    let policy = Policy::custom("slow", move |group| {
        if let Some(other) = seen.get() {
            assert_eq!(other.snapshot().generation(), group.snapshot().generation());
        }
        First
    });
    let waits = shared.balancer(policy.into());
    other.set(shared.balancer(Policy::Maglev.into())).unwrap();
    assert!(shared.publish(shared.newest().next((0..10).map(row), 2), Origin::Registry), "the other one owes");
    assert_eq!(waits.snapshot().members().len(), 10);
    assert!(BalancerSettings::new(Policy::custom("first", |_| First).bounded(125)).may_wait());
    let zoned = |policy: Policy| BalancerSettings::new(policy).zone("a").may_wait();
    assert!(zoned(Policy::Maglev.bounded(125)) && !zoned(Policy::RoundRobin));
}

#[test]
fn a_builder_that_panics_harms_nobody_else() {
    struct First;
    impl Picker for First {
        fn pick(&self, group: &Group, _: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            Some(group.at(0))
        }

        fn follow(&self, _: &Group, now: &Group) -> Option<Follower> {
            (now.len() < 12).then(|| Follower::interim(Self))
        }
    }
    let row = |n: u16| Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n);
    let shared = Shared::new(Snapshot::empty("web").next((0..9).map(row), 1), None);
    let policy = Policy::custom("bad", |group| {
        assert_eq!(group.len(), 9, "it is built once");
        First
    });
    let bad = shared.balancer(policy.into());
    let good = shared.balancer(Policy::Maglev.into());
    let known = |balancer: &Balancer| balancer.snapshot().members().len();
    assert!(shared.publish(shared.newest().next((0..10).map(row), 2), Origin::Registry));
    shared.complete();
    assert!(bad.is_owing() && !good.is_owing());
    assert_eq!((known(&bad), known(&good)), (10, 10));
    // Nothing serves for it now.
    assert!(shared.publish(shared.newest().next((0..12).map(row), 3), Origin::Registry));
    assert_eq!((known(&bad), known(&good), shared.newest().members().len()), (10, 12, 12));
    assert_eq!(bad.pick(&Ask::any()).unwrap().endpoint().id(), "000");
}
