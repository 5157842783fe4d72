//! What holds of every policy behind a balancer, and what each policy promises.
//!
//! Properties over random sets first, then stories. Time is a manual clock throughout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::endpoint::{Ejection, Endpoint, Health, Outcome};

pub(super) fn policies() -> Vec<Policy> {
    vec![
        Policy::RoundRobin,
        Policy::SmoothWeighted,
        Policy::Random,
        Policy::WeightedRandom,
        Policy::LEAST_REQUEST,
        Policy::LeastRequest { scan_max: 0 },
        Policy::PeakEwma,
        Policy::DX_HASH,
        Policy::Rendezvous,
        Policy::Maglev,
        Policy::ENVOY_RING,
        Policy::DX_HASH.bounded(125),
        Policy::RingHash { points: 40 },
    ]
}

pub(super) fn row(number: usize) -> Endpoint {
    Endpoint::new(&format!("web-{number:03}"), &format!("10.0.0.{number}"), 80)
}

pub(super) fn snapshot(rows: impl IntoIterator<Item = Endpoint>) -> (Clock, Arc<Snapshot>) {
    let clock = Clock::manual();
    let empty = Snapshot::empty_with("web", Ejection::default(), clock.clone());
    (clock, Arc::new(empty.next(rows, 1)))
}

pub(super) fn rows(len: usize) -> Vec<Endpoint> {
    (0..len).map(row).collect()
}

pub(super) fn counts(balancer: &Balancer, picks: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for number in 0..picks as u64 {
        let id = balancer.choose(&Ask::hash(hash::mix(number)), |m| m.endpoint().id().to_owned()).unwrap();
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn any_row() -> impl Strategy<Value = (u8, u32, Health)> {
    let health = prop_oneof![
        4 => Just(Health::Passing),
        1 => Just(Health::Warning),
        1 => Just(Health::Critical)
    ];
    (0u8..40, 0u32..9, health)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every pick is an eligible member of the snapshot that was published last, was not tried by the
    /// call, and is not aside unless everybody left is; and a pick fails only when nobody is left.
    #[test]
    fn pick_is_a_member(
        sets in proptest::collection::vec(proptest::collection::vec(any_row(), 0..25), 1..4),
        failed in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        tried in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        seed: u64,
        hashes in proptest::collection::vec(any::<u64>(), 20),
    ) {
        for policy in policies() {
            let clock = Clock::manual();
            let empty = Snapshot::empty_with("web", Ejection::default(), clock.clone());
            let settings = BalancerSettings::new(policy.clone()).panic_threshold(0);
            let balancer = Balancer::with_seed(settings, Arc::new(empty), seed);
            for set in &sets {
                let rows = set.iter().map(|(n, weight, health)| {
                    row(usize::from(*n)).weighted(*weight, weight / 3).with_health(*health)
                });
                balancer.publish(Arc::new(balancer.snapshot().next(rows, 1)));
            }
            let snapshot = balancer.snapshot();
            let members: Vec<_> = snapshot.members().iter().collect();
            if !members.is_empty() {
                for index in &failed {
                    index.get(&members).stats().record(Outcome::ConnectFailed);
                }
            }
            let tried: Vec<_> = if members.is_empty() { vec![] } else {
                tried.iter().map(|i| i.get(&members).stats().key()).collect()
            };
            let left: Vec<_> = snapshot.eligible().map(|(_, m)| m)
                .filter(|m| !tried.contains(&m.stats().key())).collect();
            let sound = left.iter().filter(|m| !m.stats().is_aside(clock.coarse())).count();
            for hash in &hashes {
                match balancer.pick(&Ask::hash(*hash).without(&tried)) {
                    Ok(picked) => {
                        prop_assert!(left.iter().any(|m| Arc::ptr_eq(m, picked.member())), "{:?}", policy);
                        prop_assert!(sound == 0 || !picked.stats().is_aside(clock.coarse()), "{:?}", policy);
                    }
                    Err(error) => {
                        prop_assert!(left.is_empty(), "{:?}: {}", policy, error);
                        prop_assert_eq!(error.known as usize, snapshot.members().len());
                    }
                }
            }
            prop_assert!(snapshot.members().iter().all(|m| m.stats().in_flight() == 0));
        }
    }

    /// Over one round of its schedule smooth weighted gives everybody the share due to 1/4096.
    #[test]
    fn smooth_weighted_spread_is_exact(
        weights in proptest::collection::vec(1u32..2000, 1..12), seed: u64,
    ) {
        let rows = weights.iter().enumerate().map(|(n, weight)| row(n).weighted(*weight, 1));
        let (_clock, snapshot) = snapshot(rows);
        let balancer = Balancer::with_seed(Policy::SmoothWeighted, snapshot, seed);
        // 65,536 picks are whole rounds of an inexact schedule; of an exact one at most one is cut.
        let picks = 65_536;
        let counts = counts(&balancer, picks);
        let total: u32 = weights.iter().sum();
        for (n, weight) in weights.iter().enumerate() {
            let got = counts.get(row(n).id()).copied().unwrap_or(0) as f64 / picks as f64;
            let due = f64::from(*weight) / f64::from(total);
            prop_assert!((got - due).abs() <= 2.0 / 4096.0, "{got} for {due}");
        }
    }

    /// Removing one endpoint moves its own keys and no others; its return moves them all back.
    #[test]
    fn ring_moves_only_the_keys_of_who_left(len in 2usize..30, gone: prop::sample::Index) {
        let gone = gone.index(len);
        let (_clock, whole) = snapshot(rows(len));
        let (_clock, less) = snapshot(rows(len).into_iter().filter(|r| *r != row(gone)));
        let before = Balancer::new(Policy::RING_HASH, whole);
        let after = Balancer::new(Policy::RING_HASH, less);
        for number in 0..2000u64 {
            let ask = Ask::key(&number.to_le_bytes());
            let owner = |b: &Balancer| b.choose(&ask, |m| m.endpoint().id().to_owned()).unwrap();
            let (old, new) = (owner(&before), owner(&after));
            prop_assert!(old == new || old == row(gone).id());
        }
    }
}

#[test]
fn round_robin_gives_everyone_their_turn_and_keeps_its_place() {
    let (_clock, first) = snapshot(rows(7));
    let balancer = Balancer::new(Policy::RoundRobin, first);
    assert!(counts(&balancer, 70).values().all(|count| *count == 10));
    // Each update in between, with the same set, must not start the round again.
    let mut seen = BTreeSet::new();
    for _ in 0..7 {
        balancer.publish(Arc::new(balancer.snapshot().next(rows(7), 2)));
        seen.insert(balancer.pick(&Ask::any()).unwrap().key());
    }
    assert_eq!(seen.len(), 7);
}

#[test]
fn round_robin_does_not_double_the_neighbour_of_the_dead() {
    let (_clock, snapshot) = snapshot(rows(4));
    let balancer = Balancer::new(Policy::RoundRobin, snapshot);
    balancer.pick(&Ask::any()).unwrap().finish(Outcome::ConnectFailed);
    let counts = counts(&balancer, 300);
    assert_eq!(counts.len(), 3);
    assert!(counts.values().all(|count| *count == 100), "{counts:?}");
}

#[test]
fn clients_walk_in_different_orders() {
    let (_clock, snapshot) = snapshot(rows(10));
    let walks: BTreeSet<Vec<EndpointPlace>> = (0..50)
        .map(|seed| {
            let balancer = Balancer::with_seed(Policy::RoundRobin, Arc::clone(&snapshot), seed);
            (0..10).map(|_| balancer.pick(&Ask::any()).unwrap().key()).collect()
        })
        .collect();
    assert_eq!(walks.len(), 50);
}

type EndpointPlace = crate::endpoint::EndpointKey;

#[test]
fn random_and_weighted_random_meet_their_shares() {
    let weighted = (0..10).map(|n| row(n).weighted(1 + n as u32, 1));
    let (_clock, snapshot) = snapshot(weighted);
    let picks = 100_000;
    let uniform = counts(&Balancer::with_seed(Policy::Random, Arc::clone(&snapshot), 1), picks);
    let alias = counts(&Balancer::with_seed(Policy::WeightedRandom, snapshot, 1), picks);
    for n in 0..10 {
        // Six standard deviations; the seed is fixed, so this passes always or never.
        let near = |got: usize, share: f64| {
            let due = share * picks as f64;
            (got as f64 - due).abs() < 6.0 * due.sqrt()
        };
        assert!(near(uniform[row(n).id()], 0.1));
        assert!(near(alias[row(n).id()], (1 + n) as f64 / 55.0));
    }
}

#[test]
fn least_request_goes_where_the_fewest_are() {
    for scan_max in [0, 12] {
        let (_clock, snapshot) = snapshot(rows(8));
        let balancer = Balancer::new(Policy::LeastRequest { scan_max }, snapshot);
        let held: Vec<Picked> = (0..800).map(|_| balancer.pick(&Ask::any()).unwrap()).collect();
        let most = |b: &Balancer| {
            let loads = b.snapshot().members().iter().map(|m| m.stats().in_flight()).max();
            loads.unwrap()
        };
        let bound = if scan_max == 0 { 106 } else { 100 };
        assert!(most(&balancer) <= bound, "{}", most(&balancer));
        drop(held);
        assert_eq!(most(&balancer), 0);
    }
}

#[test]
fn least_request_counts_by_weight() {
    for scan_max in [0, 12] {
        let rows = [row(1).weighted(1, 1), row(2).weighted(3, 1)];
        let (_clock, snapshot) = snapshot(rows);
        let balancer = Balancer::new(Policy::LeastRequest { scan_max }, Arc::clone(&snapshot));
        let _held: Vec<Picked> = (0..400).map(|_| balancer.pick(&Ask::any()).unwrap()).collect();
        let loads: Vec<u64> = snapshot.members().iter().map(|m| m.stats().in_flight()).collect();
        assert!(loads[0].abs_diff(100) <= 2 && loads[1].abs_diff(300) <= 2, "{loads:?}");
    }
}

#[test]
fn ties_do_not_all_go_to_the_first() {
    let (_clock, snapshot) = snapshot(rows(5));
    let balancer = Balancer::with_seed(Policy::LEAST_REQUEST, snapshot, 3);
    let counts = counts(&balancer, 5000);
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
}

#[test]
fn one_failed_connection_sets_aside_and_a_trial_brings_back() {
    for policy in policies() {
        let (clock, snapshot) = snapshot(rows(3));
        let balancer = Balancer::new(policy, Arc::clone(&snapshot));
        let bad = snapshot.members().get(1).unwrap();
        bad.stats().record(Outcome::ConnectFailed);
        let calls = |picks| counts(&balancer, picks).get(row(1).id()).copied().unwrap_or(0);
        assert_eq!(calls(300), 0, "{:?}", balancer.policy());
        clock.advance(Duration::from_secs(1));
        assert_eq!(calls(300), 1, "one trial: {:?}", balancer.policy());
        bad.stats().record(Outcome::Success);
        assert!(calls(300) > 20, "{:?}", balancer.policy());
    }
}

#[test]
fn when_everybody_is_aside_it_does_not_count() {
    for policy in policies() {
        let (_clock, snapshot) = snapshot(rows(3));
        let balancer = Balancer::new(policy, Arc::clone(&snapshot));
        for member in snapshot.members() {
            member.stats().record(Outcome::ConnectFailed);
        }
        assert_eq!(counts(&balancer, 300).len(), 3, "{:?}", balancer.policy());
        let tried: Vec<_> = snapshot.members().iter().map(|m| m.stats().key()).collect();
        let error = balancer.pick(&Ask::any().without(&tried)).unwrap_err();
        assert_eq!((error.known, error.healthy, error.aside, error.tried), (3, 3, 3, 3));
    }
}

#[test]
fn the_guard_lets_go_in_a_panic_and_says_nothing_of_the_endpoint() {
    let (_clock, snapshot) = snapshot(rows(1));
    let balancer = Balancer::new(Policy::RoundRobin, Arc::clone(&snapshot));
    let caller = balancer;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _picked = caller.pick(&Ask::any()).unwrap();
        std::panic::resume_unwind(Box::new("the caller fell"));
    }));
    assert!(outcome.is_err());
    let stats = snapshot.members().first().unwrap().stats();
    assert_eq!((stats.in_flight(), stats.calls(), stats.abandoned()), (0, 1, 1));
    assert_eq!(stats.failures(), 0);
}

#[test]
fn an_older_snapshot_is_not_taken() {
    let (_clock, first) = snapshot(rows(1));
    let second = Arc::new(first.next(rows(2), 9));
    let balancer = Balancer::new(Policy::RoundRobin, second);
    assert!(!balancer.publish(first));
    assert_eq!(balancer.snapshot().index(), 9);
}

#[test]
fn every_thread_walks_whole_rounds() {
    let (_clock, snapshot) = snapshot(rows(7));
    let balancer = Balancer::new(Policy::RoundRobin, Arc::clone(&snapshot));
    // No counter loses a turn to another thread, so whole rounds in each thread are whole rounds in all.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..7_000).for_each(|_| drop(balancer.pick(&Ask::any()))));
        }
    });
    let calls = |m: &Arc<Member>| m.stats().calls();
    assert!(snapshot.members().iter().all(|m| calls(m) == 4_000));
}

#[test]
fn a_local_handle_picks_alike_and_sees_the_newest() {
    let (_clock, first) = snapshot(rows(3));
    let balancer = Balancer::new(Policy::RoundRobin, Arc::clone(&first));
    let mut local = balancer.local();
    let seen: BTreeSet<_> = (0..3).map(|_| local.pick(&Ask::any()).unwrap().key()).collect();
    assert_eq!(seen.len(), 3);
    balancer.publish(Arc::new(first.next([row(9)], 2)));
    assert_eq!(local.pick(&Ask::any()).unwrap().endpoint().id(), "web-009");
    balancer.publish(Arc::new(balancer.snapshot().next([], 3)));
    assert_eq!(local.pick(&Ask::any()).unwrap_err().index, 3);
}

#[test]
fn a_user_brings_a_picker() {
    struct Last;
    impl Picker for Last {
        fn pick(&self, group: &Group, _: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            group.len().checked_sub(1).map(|last| group.at(last))
        }
    }
    let (_clock, snapshot) = snapshot(rows(3));
    let balancer = Balancer::new(Policy::custom("last", |_| Last), snapshot);
    assert_eq!(balancer.pick(&Ask::any()).unwrap().endpoint().id(), "web-002");
}

#[test]
fn a_users_picker_sees_all_of_the_ask() {
    struct Tells;
    impl Picker for Tells {
        fn pick(&self, group: &Group, ask: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            let seen = u32::from(ask.is_abroad()) + 2 * ask.hashed().unwrap_or(0) as u32 + 4 * ask.tried().len() as u32;
            Some(group.at(seen))
        }
    }
    let (_clock, snapshot) = snapshot(rows(8));
    let balancer = Balancer::new(Policy::custom("tells", |_| Tells), snapshot);
    let seen = |ask: Ask<'_>| balancer.choose(&ask, |member| member.endpoint().id().to_owned()).unwrap();
    let tried = [balancer.pick(&Ask::any()).unwrap().key()];
    assert_eq!(seen(Ask::hash(1)), "web-002");
    assert_eq!(seen(Ask::hash(1).abroad()), "web-003");
    assert_eq!(seen(Ask::any().without(&tried).abroad()), "web-005");
}

#[test]
fn a_snapshot_that_did_not_come_from_the_one_before_is_as_good() {
    let policies = [
        Policy::RoundRobin,
        Policy::SmoothWeighted,
        Policy::WeightedRandom,
        Policy::LEAST_REQUEST,
        Policy::PeakEwma,
        Policy::DX_HASH,
        Policy::RING_HASH,
        Policy::ENVOY_RING,
        Policy::Maglev,
        Policy::Rendezvous,
        Policy::DX_HASH.bounded(125),
        Policy::RING_HASH.bounded(125),
    ];
    let row = |number: usize| row(number).in_slot(number as u32);
    let (_clock, large) = snapshot((0..190).map(row));
    let larger = Arc::new(large.changed((190..195).map(row), &[], 2));
    let (_clock, mut small) = snapshot((0..3).map(row));
    while small.generation() < larger.generation() {
        small = Arc::new(small.changed([row(0)], &[], 3));
    }
    for policy in policies {
        let balancer = Balancer::new(policy, Arc::clone(&large));
        assert!(balancer.publish(Arc::clone(&larger)) && balancer.publish(Arc::clone(&small)));
        let seen: BTreeSet<_> =
            (0..100).map(|n| balancer.pick(&Ask::hash(hash::mix(n))).unwrap().endpoint().id().to_owned()).collect();
        assert!(!seen.is_empty() && seen.iter().all(|id| &**id < "web-003"), "{:?} {seen:?}", balancer.policy());
    }
}

#[test]
fn a_position_out_of_range_is_no_endpoint() {
    struct Beyond;
    impl Picker for Beyond {
        fn pick(&self, _: &Group, _: &Ask<'_>, _: &mut Worker<'_>) -> Option<usize> {
            Some(usize::MAX)
        }
    }
    let (_clock, snapshot) = snapshot(rows(3));
    let balancer = Balancer::new(Policy::custom("beyond", |_| Beyond), snapshot);
    assert_eq!(balancer.pick(&Ask::any()).unwrap_err().policy, "beyond");
}

#[test]
fn picks_replay_from_a_counter() {
    let (_clock, snapshot) = snapshot(rows(50));
    let group = Group::whole(snapshot);
    let walk = |start: u64| -> Vec<usize> {
        let picker = Policy::LeastRequest { scan_max: 0 }.build(&group, 1).unwrap();
        let turns = AtomicU64::new(start);
        (0..100)
            .map(|_| {
                let mut worker = Worker::new(&turns, &group, &Ask::any());
                picker.pick(&group, &Ask::any(), &mut worker).unwrap()
            })
            .collect()
    };
    assert_eq!(walk(7), walk(7));
    assert_ne!(walk(7), walk(8));
}
