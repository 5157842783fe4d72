//! Tests of `ring_hash`: golden rings, and a ring that serves on beside one that is laid out anew.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::balance::{Balancer, Policy};
use crate::catalog::Snapshot;
use crate::endpoint::{Endpoint, Outcome};

/// Ids are chosen so that their order is that of the list, as nginx's is that of its file.
fn group(authorities: &[&str], weight: impl Fn(usize) -> u32) -> Group {
    let rows = authorities.iter().enumerate().map(|(n, authority)| {
        let (host, port) = authority.rsplit_once(':').unwrap();
        Endpoint::new(&format!("{n:03}"), host, port.parse().unwrap()).weighted(weight(n), 1)
    });
    Group::whole(Arc::new(Snapshot::empty("web").next(rows, 1)))
}

fn nine(weight: impl Fn(usize) -> u32) -> Group {
    let nine: Vec<String> = (1..=9).map(|n| format!("10.0.0.{n}:443")).collect();
    group(&nine.iter().map(String::as_str).collect::<Vec<_>>(), weight)
}

fn ketama(group: &Group) -> RingHash {
    RingHash::ketama(group, 160).unwrap()
}

fn envoy(group: &Group) -> RingHash {
    RingHash::envoy(group, 1024, 8 << 20).unwrap()
}

/// How many points, and CRC-32 over all in order, each as hash (32 bits of a narrow one) and position, lowest byte first.
fn digest(ring: &RingHash) -> (usize, u32) {
    let width = if ring.shift == 0 { 8 } else { 4 };
    let bytes =
        |(hash, owner): (u64, u32)| [&(hash >> ring.shift).to_le_bytes()[..width], &owner.to_le_bytes()].concat();
    (ring.ring.all().count(), hash::crc32(&ring.ring.all().flat_map(bytes).collect::<Vec<u8>>()))
}

fn owner(ring: &RingHash, hash: u64) -> u32 {
    ring.ring.owner(hash << ring.shift)
}

// The vectors come from a second implementation (a few lines over a library's CRC-32, XXH3 and XXH64), which
// was first found equal to the answers of a real nginx and a real Envoy.
#[test]
fn golden_rings() {
    let nine = nine(|_| 1);
    let first: Vec<u64> = ketama(&nine).ring.all().take(4).map(|(hash, _)| hash >> 32).collect();
    assert_eq!(first, [0x0024_6D18, 0x00B3_01A2, 0x00B3_7748, 0x00C2_E48A]);
    assert_eq!(digest(&ketama(&nine)), (1440, 0xE190_7B92));
    assert_eq!(digest(&envoy(&nine)), (1026, 0xD080_2476));
    let mixed = ["[2001:db8::1]:80", "web-2.internal:65535", "10.0.0.3:1"];
    assert_eq!(digest(&ketama(&group(&mixed, |_| 2))), (960, 0xCEB7_E227));
    assert_eq!(digest(&envoy(&group(&mixed, |n| [2, 3, 7][n]))), (1026, 0xB466_27B0));
    assert_eq!(digest(&RingHash::by_id(&group(&mixed, |_| 5)).unwrap()), (480, 0x54ED_DDA7));
}

#[test]
fn golden_owners() {
    let nine = nine(|_| 1);
    let (ketama, envoy) = (ketama(&nine), envoy(&nine));
    // Key, owner as nginx chooses it (CRC-32 of the key), as an ask by key chooses it there, as Envoy chooses it.
    for (key, by_crc32, by_key, by_xx64) in [
        ("", 7, 2, 5),
        ("a", 9, 9, 5),
        ("user:42", 1, 8, 2),
        ("/index.html", 2, 6, 9),
        ("00000000-0000-0000-0000-000000000000", 3, 4, 4),
        ("éclair", 4, 9, 7),
        ("key-0", 6, 5, 2),
        ("key-1", 6, 7, 2),
        ("key-2", 6, 5, 1),
        ("key-3", 5, 8, 8),
        ("key-4", 1, 2, 6),
        ("key-5", 8, 4, 3),
    ] {
        let bytes = key.as_bytes();
        assert_eq!(owner(&ketama, hash::crc32(bytes).into()) + 1, by_crc32, "{key}");
        assert_eq!(owner(&ketama, hash::key(bytes)) + 1, by_key, "{key}");
        assert_eq!(owner(&envoy, hash::xx64(bytes)) + 1, by_xx64, "{key}");
    }
}

/// What may happen to an endpoint of a set, or to one that comes.
#[derive(Clone, Copy, Debug)]
enum Event {
    Weight(u32),
    Leave,
    Move,
}

fn event() -> impl Strategy<Value = (usize, Event)> {
    let event = prop_oneof![
        4 => Just(Event::Weight(0)),
        5 => Just(Event::Weight(1)),
        1 => Just(Event::Weight(2)),
        2 => Just(Event::Leave),
        1 => Just(Event::Move),
    ];
    (0usize..46, event)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_ring_that_serves_on_chooses_as_a_new_one(
        events in proptest::collection::vec(event(), 1..40),
        // Of the last the number of points changes for all, now and then.
        rule in prop_oneof![
            2 => Just(Rule::Ketama(20)),
            1 => Just(Rule::Envoy(700, 8000)),
            // Not everybody has a point.
            1 => Just(Rule::Envoy(700, 30)),
            1 => Just(Rule::ById),
        ],
        // In the larger set a change for all is one for more than are looked at one by one.
        len in prop_oneof![2 => Just(40), 1 => Just(OTHERS_MAX + 30)],
    ) {
        let row = |n: usize, weight| Endpoint::new(&format!("{n:02}"), &format!("10.0.0.{n}"), 80).weighted(weight, 1);
        let mut snapshot = Arc::new(Snapshot::empty("web").next((0..len).map(|n| row(n, 1)), 1));
        let mut before = Group::whole(Arc::clone(&snapshot));
        let mut current = RingHash::lay(&before, rule).unwrap();
        for (n, event) in events {
            let id = format!("{n:02}");
            snapshot = Arc::new(match event {
                Event::Weight(weight) => snapshot.changed([row(n, weight)], &[], 2),
                Event::Leave => snapshot.changed([], &[(&id, "")], 2),
                Event::Move => snapshot.changed([Endpoint::new(&id, "10.0.1.1", 8000 + n as u16)], &[], 2),
            });
            let group = Group::whole(Arc::clone(&snapshot));
            let Some(anew) = RingHash::lay(&group, rule) else { break };
            let (follower, lasts) = match current.changed(&before, &group) {
                Some(follower) => follower,
                None => (RingHash::lay(&group, rule).unwrap(), true),
            };
            let turns = AtomicU64::new(7);
            let tried = snapshot.members().iter().take(3).map(|member| member.stats().key()).collect::<Vec<_>>();
            for hash in (0..200u64).map(hash::mix) {
                for ask in [Ask::hash(hash), Ask::hash(hash).without(&tried)] {
                    let chosen = |picker: &RingHash| picker.pick(&group, &ask, &mut Worker::new(&turns, &group, &ask));
                    let chosen = [&follower, &anew].map(chosen);
                    if lasts {
                        prop_assert_eq!(chosen[0], chosen[1]);
                    }
                    prop_assert!(chosen[0].is_some_and(|position| snapshot.weights()[position] > 0));
                }
            }
            // The one that serves for the time being may do so for longer.
            current = if lasts || n % 2 == 0 { follower } else { anew };
            before = group;
        }
    }
}

#[test]
fn a_few_changes_cost_no_new_ring() {
    let row = |n: u32, weight| Endpoint::new(&format!("{n}"), "10.0.0.1", 1000 + n as u16).weighted(weight, 1);
    let all = Snapshot::empty("web").next((0..64).map(|n| row(n, 1)), 1);
    let first = Group::whole(Arc::new(all.next((0..64).map(|n| row(n, 1)), 1)));
    let ring = ketama(&first);
    let lasts = |snapshot: Snapshot| ring.changed(&first, &Group::whole(Arc::new(snapshot))).map(|(_, lasts)| lasts);
    assert_eq!(lasts(all.changed([row(3, 0)], &[("5", "")], 2)), Some(true));
    assert_eq!(lasts(all.changed((0..8).map(|n| row(n, 0)), &[], 2)), Some(true));
    assert_eq!(lasts(all.changed((0..9).map(|n| row(n, 0)), &[], 2)), Some(false), "more than one in eight");
    assert_eq!(lasts(all.changed((0..33).map(|n| row(n, 0)), &[], 2)), None, "more than half");
    assert_eq!(lasts(all.changed([row(99, 1), row(7, 2)], &[], 2)), Some(true));
    assert_eq!(lasts(all.changed((90..98).map(|n| row(n, 1)), &[], 2)), Some(true));
    assert_eq!(lasts(all.changed((90..99).map(|n| row(n, 1)), &[], 2)), Some(false), "more than one point in eight");
}

#[test]
fn a_balancer_knows_of_what_the_ring_does_not_follow() {
    let row = |n: u32| Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n as u16);
    for policy in [Policy::RING_HASH, Policy::ENVOY_RING] {
        let balancer = Balancer::new(policy.clone(), Arc::new(Snapshot::empty("web").next((0..30).map(row), 1)));
        for (put, gone) in [(60, "003"), (61, "004"), (62, "060")] {
            balancer.publish(Arc::new(balancer.snapshot().changed([row(put)], &[(gone, "")], 2)));
            let anew = Balancer::new(policy.clone(), Arc::clone(&balancer.snapshot()));
            for hash in (0..2000u64).map(hash::mix) {
                let owner = |balancer: &Balancer| balancer.choose(&Ask::hash(hash), |m| m.endpoint().id().to_owned());
                assert_eq!(owner(&balancer).unwrap(), owner(&anew).unwrap());
            }
        }
    }
}

#[test]
fn the_ring_that_slots_fall_back_to_gives_way_where_it_is_not_due() {
    let row = |n: u32| Endpoint::new(&format!("{n:03}"), "10.0.0.1", 1000 + n as u16);
    for policy in [Policy::DX_HASH, Policy::DX_HASH.bounded(200)] {
        let agrees = |balancer: &Balancer| {
            let anew = Balancer::new(policy.clone(), Arc::clone(&balancer.snapshot()));
            (0..2000u64).map(hash::mix).all(|hash| {
                let owner = |balancer: &Balancer| balancer.choose(&Ask::hash(hash), |m| m.endpoint().id().to_owned());
                owner(balancer).unwrap() == owner(&anew).unwrap()
            })
        };
        let start = |rows: Vec<Endpoint>| Balancer::new(policy.clone(), Arc::new(Snapshot::empty("web").next(rows, 1)));
        // Few enough to look at all of them.
        let balancer = start((0..33).map(row).collect());
        balancer.publish(Arc::new(balancer.snapshot().changed([], &[("003", "")], 2)));
        assert!(agrees(&balancer), "{policy:?}: 32 without slots");
        balancer.publish(Arc::new(balancer.snapshot().changed([row(40), row(41)], &[], 3)));
        assert!(agrees(&balancer), "{policy:?}: 34 without slots");
        // The last one gets its slot.
        let balancer = start((0..40).map(|n| if n == 7 { row(n) } else { row(n).in_slot(n) }).collect());
        balancer.publish(Arc::new(balancer.snapshot().changed([row(7).in_slot(7)], &[], 2)));
        assert!(agrees(&balancer), "{policy:?}: all with slots");
        balancer.publish(Arc::new(balancer.snapshot().changed([row(9)], &[], 3)));
        assert!(agrees(&balancer), "{policy:?}: one without");
    }
}

#[test]
fn who_left_while_aside_is_forgotten_though_the_ring_serves_on() {
    let rows = (0..40).map(|n| Endpoint::new(&format!("{n:02}"), "10.0.0.1", 1000 + n as u16));
    let balancer = Balancer::new(Policy::RING_HASH, Arc::new(Snapshot::empty("web").next(rows, 1)));
    let snapshot = balancer.snapshot();
    snapshot.find("07", "").unwrap().stats().record(Outcome::ConnectFailed);
    assert!(snapshot.aside().any());
    balancer.publish(Arc::new(snapshot.changed([], &[("07", "")], 2)));
    drop(snapshot);
    // What was published before is put away with the next one.
    balancer.publish(Arc::new(balancer.snapshot().changed([], &[], 3)));
    balancer.confirm();
    assert!(!balancer.snapshot().aside().any());
}

#[test]
fn the_order_of_the_answer_does_not_matter() {
    let rows = || (0..50).map(|n| Endpoint::new(&format!("{n}"), &format!("10.0.0.{n}"), 80));
    let ring = |snapshot| ketama(&Group::whole(Arc::new(snapshot)));
    let up = ring(Snapshot::empty("web").next(rows(), 1));
    let down = ring(Snapshot::empty("web").next(rows().rev(), 2));
    assert!(up.ring.all().eq(down.ring.all()));
}
