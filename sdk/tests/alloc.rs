//! A pick allocates nothing: counted by an allocator, for every policy, on every path.
//!
//! The counts are per thread, so tests running beside this one do not disturb it.

use std::sync::Arc;

use callboard::balance::{Ask, Balancer, BalancerSettings, Policy, SlowStart};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Endpoint, Load, Outcome};

fn policies() -> Vec<Policy> {
    vec![
        Policy::RoundRobin,
        Policy::SmoothWeighted,
        Policy::Random,
        Policy::WeightedRandom,
        Policy::LeastRequest { scan_max: 0 },
        Policy::LeastRequest { scan_max: 1000 },
        Policy::PeakEwma,
        Policy::PREQUAL,
        Policy::DX_HASH,
        Policy::Rendezvous,
        Policy::Maglev,
        Policy::ENVOY_RING,
        Policy::RING_HASH,
        Policy::DX_HASH.bounded(125),
        Policy::RING_HASH.bounded(100),
    ]
}

fn balancer(policy: Policy) -> Balancer {
    let rows = (0..100)
        .map(|n| Endpoint::new(&format!("web-{n}"), &format!("10.0.0.{n}"), 80).weighted(n % 7, 1).in_slot(n * 3));
    Balancer::new(policy, Arc::new(Snapshot::empty("web").next(rows, 1)))
}

fn allocations(balancer: &Balancer, ask: &Ask<'_>) -> u64 {
    // The first pick of a thread may set up what belongs to the thread.
    drop(balancer.pick(ask));
    let counted = allocation_counter::measure(|| {
        for _ in 0..1000 {
            drop(std::hint::black_box(balancer.pick(ask)));
        }
    });
    counted.count_total
}

#[test]
fn a_pick_allocates_nothing() {
    for policy in policies() {
        let balancer = balancer(policy);
        assert_eq!(allocations(&balancer, &Ask::any()), 0, "{balancer:?}");
        assert_eq!(allocations(&balancer, &Ask::key(b"user:42")), 0, "{balancer:?}");
    }
}

#[test]
fn a_pick_around_tried_and_aside_endpoints_allocates_nothing() {
    for policy in policies() {
        let balancer = balancer(policy);
        let snapshot = balancer.snapshot();
        for member in snapshot.members().iter().take(50) {
            member.stats().record(Outcome::ConnectFailed);
        }
        let tried: Vec<_> = snapshot.members().iter().skip(60).map(|m| m.stats().key()).collect();
        assert_eq!(allocations(&balancer, &Ask::any().without(&tried)), 0, "{balancer:?}");
    }
}

#[test]
fn a_pick_over_the_bound_allocates_nothing() {
    let balancer = balancer(Policy::DX_HASH.bounded(100));
    let ask = Ask::key(b"user:42");
    let held: Vec<_> = (0..1000).map(|_| balancer.pick(&ask)).collect();
    assert_eq!(allocations(&balancer, &ask), 0);
    drop(held);
}

#[test]
fn a_pick_of_many_allocates_nothing() {
    // Beyond 256 round robin keeps no list, beyond 32 hashing without slots is a ring.
    let rows = || (0..300).map(|n| Endpoint::new(&format!("web-{n}"), &format!("10.0.0.{n}"), 80));
    for policy in policies() {
        let balancer = Balancer::new(policy, Arc::new(Snapshot::empty("web").next(rows(), 1)));
        assert_eq!(allocations(&balancer, &Ask::key(b"user:42")), 0, "{balancer:?}");
    }
}

#[test]
fn a_pick_in_vain_allocates_nothing() {
    for policy in policies() {
        let balancer = balancer(policy);
        let snapshot = balancer.snapshot();
        let tried: Vec<_> = snapshot.members().iter().map(|m| m.stats().key()).collect();
        assert_eq!(allocations(&balancer, &Ask::any().without(&tried)), 0, "{balancer:?}");
    }
}

#[test]
fn a_pick_with_everything_on_allocates_nothing() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for policy in policies() {
        let rows = (0..100).map(|n| {
            let row = Endpoint::new(&format!("web-{n}"), &format!("10.0.0.{n}"), 80).weighted(1 + n % 7, 1);
            row.in_zone(["a", "b", "c"][n as usize % 3]).started_at(if n % 10 == 0 { now } else { 1 })
        });
        let settings = BalancerSettings::new(policy).zone("a").slow_start(SlowStart::default()).subset(40);
        let balancer = Balancer::new(settings, Arc::new(Snapshot::empty("web").next(rows, 1)));
        assert_eq!(allocations(&balancer, &Ask::any()), 0, "{balancer:?}");
        for member in balancer.snapshot().members().iter().take(70) {
            member.stats().record(Outcome::ConnectFailed);
        }
        assert_eq!(allocations(&balancer, &Ask::key(b"user:42")), 0, "{balancer:?}");
    }
}

#[test]
fn a_pick_by_replies_allocates_nothing_nor_does_a_reply() {
    let rows = (0..100).map(|n| Endpoint::new(&format!("web-{n}"), &format!("10.0.0.{n}"), 80).probed_on(4000));
    let balancer = Balancer::new(Policy::PREQUAL, Arc::new(Snapshot::empty("web").next(rows, 1)));
    let snapshot = balancer.snapshot();
    let replies = snapshot.replies();
    let mut chosen = 0;
    let mut round = || {
        for position in 0..16 {
            let stats = snapshot.stats(position).unwrap();
            replies.note(position, stats, Load { in_flight: 3, latency: 1_000 }, stats.clock().exact());
        }
        for _ in 0..10 {
            let picked = balancer.pick(&Ask::any()).unwrap();
            chosen += usize::from(snapshot.position_of(picked.endpoint()).is_some_and(|position| position < 16));
        }
    };
    // The first note starts the thread that ticks.
    round();
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| round()));
    assert_eq!(counted.count_total, 0);
    assert!(chosen > 500, "{chosen}: replies were what chose");
}
