//! Tests of `bounded`: bounds are kept and told, and the sums are right through changes.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::balance::{Balancer, Picked, Policy};
use crate::catalog::Snapshot;
use crate::endpoint::{Clock, Ejection, Endpoint, Load};

fn balancer(policy: Policy, rows: impl IntoIterator<Item = Endpoint>) -> (Clock, Balancer) {
    let clock = Clock::manual();
    let snapshot = Snapshot::empty_with("web", Ejection::default(), clock.clone()).next(rows, 1);
    (clock, Balancer::with_seed(policy, Arc::new(snapshot), 1))
}

fn rows(len: usize) -> impl Iterator<Item = Endpoint> {
    (0..len).map(|n| Endpoint::new(&format!("{n:03}"), &format!("10.0.0.{n}"), 80).in_slot(n as u32))
}

fn in_flight(balancer: &Balancer) -> Vec<u64> {
    balancer.snapshot().members().iter().map(|member| member.stats().in_flight()).collect()
}

fn hashes() -> Vec<Policy> {
    vec![Policy::DX_HASH, Policy::RING_HASH, Policy::ENVOY_RING, Policy::Maglev, Policy::Rendezvous]
}

#[test]
fn nobody_has_more_than_the_bound() {
    for policy in hashes() {
        let (_clock, balancer) = balancer(policy.bounded(125), rows(20));
        // Half of all calls have one key.
        let key = |n: u64| if n.is_multiple_of(2) { 0 } else { n };
        let mut held: Vec<Picked> = (0..1000).map(|n| balancer.pick(&Ask::hash(hash::mix(key(n)))).unwrap()).collect();
        let most = |balancer: &Balancer| in_flight(balancer).into_iter().max().unwrap();
        assert!(most(&balancer) <= 63, "{:?}: {:?}", balancer.policy(), in_flight(&balancer));
        // As calls end, the bound comes down with the total.
        for n in 0..20_000 {
            drop(held.swap_remove((hash::mix(n) % held.len() as u64) as usize));
            if !n.is_multiple_of(25) || held.len() < 200 {
                held.push(balancer.pick(&Ask::hash(hash::mix(key(n)))).unwrap());
            }
        }
        let mean = held.len() as f64 / 20.0;
        assert!(most(&balancer) as f64 <= (mean * 1.25).ceil() * 1.1, "{mean}: {:?}", in_flight(&balancer));
    }
}

#[test]
fn a_key_stays_at_home_while_there_is_room_and_comes_back() {
    let (_clock, bounded) = balancer(Policy::DX_HASH.bounded(200), rows(10));
    let (_clock, plain) = balancer(Policy::DX_HASH, rows(10));
    let who = |balancer: &Balancer, n| balancer.pick(&Ask::hash(hash::mix(n))).unwrap();
    let home = |n| who(&plain, n).endpoint().id().to_owned();
    assert!((0..500).all(|n| who(&bounded, n).endpoint().id() == home(n)), "one call at a time is within every bound");
    let held: Vec<Picked> = (0..100).map(|_| who(&bounded, 7)).collect();
    let at_home = held.iter().filter(|picked| picked.endpoint().id() == home(7)).count();
    assert_eq!(at_home, 20, "twice the fair share");
    drop(held);
    assert_eq!(who(&bounded, 7).endpoint().id(), home(7));
}

#[test]
fn a_server_that_reports_more_is_full_for_this_client_too() {
    let (clock, balancer) = balancer(Policy::DX_HASH.bounded(125), rows(10));
    let home = || balancer.pick(&Ask::hash(7)).unwrap().endpoint().id().to_owned();
    let first = home();
    let snapshot = balancer.snapshot();
    let stats = snapshot.find(&first, "").unwrap().stats();
    stats.note_report(Load { in_flight: 100, latency: 1000 }, clock.exact());
    assert_ne!(home(), first);
    clock.advance(Duration::from_millis(1001));
    assert_eq!(home(), first, "what is old does not count");
}

#[test]
fn the_bound_that_servers_are_told_is_of_what_they_report() {
    let weighted = rows(4).zip([1, 1, 2, 4]).map(|(row, weight)| row.weighted(weight, 1));
    let (clock, balancer) = balancer(Policy::DX_HASH.bounded(125), weighted);
    let told = || {
        // Each pick visits one more endpoint.
        (0..3 * 4).for_each(|n| drop(balancer.pick(&Ask::hash(hash::mix(n))).unwrap()));
        let snapshot = balancer.snapshot();
        let members = snapshot.members().iter().cloned();
        members.map(|member| balancer.bound_of(&balancer.hold(member))).collect::<Vec<_>>()
    };
    assert_eq!(told(), [None; 4], "nobody has reported");
    let snapshot = balancer.snapshot();
    let report = |id: &str, in_flight| {
        let stats = snapshot.find(id, "").unwrap().stats();
        stats.note_report(Load { in_flight, latency: 1000 }, clock.exact());
    };
    report("002", 20);
    assert_eq!(told(), [None; 4], "a quarter of the weight is too little to go by");
    report("000", 9);
    report("001", 11);
    // 40 in flight on half of the weight: 80 in all, and the call itself.
    assert_eq!(told(), [13, 13, 26, 51].map(Some));
    report("003", 60);
    assert_eq!(told(), [16, 16, 32, 64].map(Some));
    clock.advance(Duration::from_millis(9_000));
    assert_eq!(told(), [16, 16, 32, 64].map(Some), "the total is slower to change than its parts");
    clock.advance(Duration::from_millis(1_001));
    assert_eq!(told(), [None; 4]);
}

#[test]
fn who_has_no_bound_tells_none() {
    let (clock, balancer) = balancer(Policy::DX_HASH, rows(1));
    let picked = balancer.pick(&Ask::hash(1)).unwrap();
    picked.stats().note_report(Load { in_flight: 5, latency: 1000 }, clock.exact());
    assert_eq!(balancer.bound_of(&picked), None);
}

#[test]
fn shares_follow_weights() {
    let rows = rows(4).zip([1, 1, 2, 4]).map(|(row, weight)| row.weighted(weight, 1));
    let (_clock, balancer) = balancer(Policy::DX_HASH.bounded(100), rows);
    let _held: Vec<Picked> = (0..800).map(|n| balancer.pick(&Ask::hash(hash::mix(n % 3))).unwrap()).collect();
    let got = in_flight(&balancer);
    assert!(got.iter().zip([100, 100, 200, 400]).all(|(got, due)| got.abs_diff(due) <= due / 8), "{got:?}");
}

/// Looks at an endpoint as picks do, which come only to those who are among the group.
fn look(bounded: &Bounded, group: &Group, position: usize) {
    let now = group.snapshot().aside().clock().coarse();
    if group.weight_at(position) > 0
        && let Some(correction) = bounded.look(group, position, now).1
    {
        bounded.correct(correction);
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Weighs(usize, u32),
    Leaves(usize),
    Begins(usize),
    Reports(usize, u32),
    /// Somebody who still has the picker before looks.
    LooksBehind(usize),
    Looks(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let who = || 0usize..24;
    prop_oneof![
        (who(), 0u32..4).prop_map(|(n, weight)| Event::Weighs(n, weight)),
        who().prop_map(Event::Leaves),
        who().prop_map(Event::Begins),
        (who(), 0u32..50).prop_map(|(n, load)| Event::Reports(n, load)),
        who().prop_map(Event::LooksBehind),
        who().prop_map(Event::Looks),
    ]
}

proptest! {
    /// Whatever changes and whoever counts in between, the sums are those of what was counted, and once everybody was looked at
    /// those of one that is built anew.
    #[test]
    fn sums_are_right_through_any_history(
        weights in proptest::collection::vec(0u32..3, 1..20),
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let picker = || Box::new(crate::balance::random::Draw::Uniform);
        let clock = Clock::manual();
        let first = rows(weights.len()).zip(&weights).map(|(row, weight)| row.weighted(*weight, 1));
        let snapshot = Snapshot::empty_with("web", Ejection::default(), clock.clone()).next(first, 1);
        let mut group = Group::whole(Arc::new(snapshot));
        let mut bounded = Bounded::new(&group, picker(), 125);
        let mut behind = (bounded.followed(picker(), &group, &group), group.clone());
        for event in events {
            let change = |put: Vec<Endpoint>, gone: &[(&str, &str)]| {
                Group::whole(Arc::new(group.snapshot().changed(put, gone, 2)))
            };
            let now = match event {
                Event::Weighs(n, weight) => change(rows(n + 1).skip(n).map(|row| row.weighted(weight, 1)).collect(), &[]),
                Event::Leaves(n) => change(Vec::new(), &[(&format!("{n:03}"), "")]),
                Event::Begins(n) => {
                    group.gauge(n).into_iter().for_each(Gauge::begin);
                    continue;
                }
                Event::Reports(n, in_flight) => {
                    let report = Load { in_flight, latency: 1000 };
                    group.stats(n).into_iter().for_each(|stats| stats.note_report(report, clock.exact()));
                    continue;
                }
                Event::LooksBehind(n) => {
                    look(&behind.0, &behind.1, n);
                    continue;
                }
                Event::Looks(n) => {
                    look(&bounded, &group, n);
                    continue;
                }
            };
            let next = bounded.followed(picker(), &group, &now);
            let mut due = Sums::default();
            for (position, seen) in next.seen.iter().enumerate() {
                due += Sums::of(seen.load(Relaxed), next.shares.of(position));
            }
            prop_assert_eq!(next.sums(), due);
            behind = (std::mem::replace(&mut bounded, next), std::mem::replace(&mut group, now));
        }
        (0..group.weights().len()).for_each(|position| look(&bounded, &group, position));
        let anew = Bounded::new(&group, picker(), 125);
        prop_assert_eq!(bounded.sums(), anew.sums());
        prop_assert_eq!(bounded.all_share, anew.all_share);
    }
}
