//! What a pick costs, per policy and size: `cargo bench -p callboard --bench pick`.
//!
//! "pick" is the whole choice: the published snapshot, the policy, the hash of a key (16 bytes) where
//! the policy wants one. "local" is the same by a worker's own handle. "+guard" is "pick" and also counts the call
//! in flight, holds the endpoint, records a success and lets go.
//! Rounds of all policies are interleaved and the median round is printed, so that a neighbour on the
//! machine disturbs all alike. "build" is the first picker; "update" is one changed row: snapshot,
//! picker and publication. Arguments that are numbers replace the sizes 10, 1000 and 100000.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use callboard::balance::{Ask, Balancer, Local, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Endpoint, Outcome};

const ROUNDS: usize = 21;
const PICKS: u64 = 100_000;

struct Case {
    name: &'static str,
    balancer: Balancer,
    local: Local,
    keyed: bool,
    build_ms: f64,
    update_ms: f64,
    allocations: u64,
    picks: Vec<f64>,
    locals: Vec<f64>,
    guards: Vec<f64>,
}

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10, 1000, 100_000] } else { sizes };
    let mut floors: Vec<f64> = (0..ROUNDS).map(|_| floor()).collect();
    println!("floor: one fetch_add {:.1} ns", median(&mut floors));
    let mut hashes: Vec<f64> = (0..ROUNDS).map(|_| hashes()).collect();
    println!("floor: XXH3 of a 16-byte key {:.1} ns", median(&mut hashes));
    println!(
        "{:<16} {:>8} {:>9} {:>9} {:>9} {:>7} {:>11} {:>11}",
        "policy", "n", "local ns", "pick ns", "+guard ns", "allocs", "build ms", "update ms"
    );
    for size in sizes {
        let mut cases = cases(size);
        for _ in 0..ROUNDS {
            for case in &mut cases {
                case.round();
            }
        }
        for mut case in cases {
            println!(
                "{:<16} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>7} {:>11.3} {:>11.3}",
                case.name,
                size,
                median(&mut case.locals),
                median(&mut case.picks),
                median(&mut case.guards),
                case.allocations,
                case.build_ms,
                case.update_ms,
            );
        }
    }
}

fn rows(size: usize, heavy: usize) -> impl Iterator<Item = Endpoint> {
    (0..size).map(move |n| {
        let host = format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
        let weight = if n == heavy { 2 } else { 1 };
        Endpoint::new(&format!("web-{n:06}"), &host, 8080).weighted(weight, 1)
    })
}

fn cases(size: usize) -> Vec<Case> {
    let policies = [
        ("round_robin", Policy::RoundRobin),
        ("smooth_weighted", Policy::SmoothWeighted),
        ("random", Policy::Random),
        ("weighted_random", Policy::WeightedRandom),
        ("p2c", Policy::LeastRequest { scan_max: 0 }),
        ("least_request", Policy::LEAST_REQUEST),
        ("ring_hash", Policy::RING_HASH),
    ];
    policies
        .into_iter()
        .map(|(name, policy)| {
            let keyed = matches!(policy, Policy::RingHash { .. });
            // p2c is measured with equal weights, its usual case; the weighted have one that differs.
            let heavy = if name.contains("weighted") { 0 } else { usize::MAX };
            let snapshot = Arc::new(Snapshot::empty("web").next(rows(size, heavy), 1));
            let began = Instant::now();
            let balancer = Balancer::new(policy, snapshot);
            let build_ms = began.elapsed().as_secs_f64() * 1e3;
            let changed: Vec<Endpoint> = rows(size, size / 2).collect();
            let began = Instant::now();
            let next = balancer.snapshot().next(changed, 2);
            balancer.publish(Arc::new(next));
            let update_ms = began.elapsed().as_secs_f64() * 1e3;
            balancer.publish(Arc::new(balancer.snapshot().next(rows(size, heavy), 3)));
            let counted = allocation_counter::measure(|| pick(&balancer, keyed, 1000));
            Case {
                name,
                local: balancer.local(),
                balancer,
                keyed,
                build_ms,
                update_ms,
                allocations: counted.count_total / 1000,
                picks: Vec::new(),
                locals: Vec::new(),
                guards: Vec::new(),
            }
        })
        .collect()
}

impl Case {
    fn round(&mut self) {
        let began = Instant::now();
        pick(&self.balancer, self.keyed, PICKS);
        self.picks.push(nanos(began));
        let began = Instant::now();
        for number in 0..PICKS {
            let ask = ask(self.keyed, number);
            let chosen = self.local.choose(&ask, |m| std::ptr::from_ref(m) as usize);
            let _ = black_box(chosen);
        }
        self.locals.push(nanos(began));
        let began = Instant::now();
        for number in 0..PICKS {
            let ask = ask(self.keyed, number);
            if let Ok(picked) = black_box(self.balancer.pick(&ask)) {
                picked.finish(Outcome::Success);
            }
        }
        self.guards.push(nanos(began));
    }
}

fn pick(balancer: &Balancer, keyed: bool, picks: u64) {
    for number in 0..picks {
        let ask = ask(keyed, number);
        let _ = black_box(balancer.choose(&ask, |member| std::ptr::from_ref(member) as usize));
    }
}

#[inline]
fn ask(keyed: bool, number: u64) -> Ask<'static> {
    if !keyed {
        return Ask::any();
    }
    let key = black_box(u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    Ask::key(&key.to_le_bytes())
}

fn floor() -> f64 {
    let counter = AtomicU64::new(0);
    let began = Instant::now();
    for _ in 0..PICKS {
        black_box(&counter).fetch_add(1, Relaxed);
    }
    nanos(began)
}

fn hashes() -> f64 {
    let began = Instant::now();
    for number in 0..PICKS {
        black_box(ask(true, number));
    }
    nanos(began)
}

fn nanos(began: Instant) -> f64 {
    began.elapsed().as_nanos() as f64 / PICKS as f64
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
