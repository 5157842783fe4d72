//! The table: every policy at every size, with tower's balancers in between, and what each keeps per endpoint.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use callboard::balance::{Ask, Balancer, Group, Local, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Endpoint, Outcome};

use crate::peers::Tower;
use crate::{median, nanos};

const ROUNDS: usize = 21;
const PICKS: usize = 50_000;
/// Updates measured; the median is printed.
const UPDATES: usize = 7;

struct Case {
    name: &'static str,
    balancer: Balancer,
    local: Local,
    keyed: bool,
    build_ms: f64,
    update_us: f64,
    allocations: u64,
    picks: Vec<f64>,
    locals: Vec<f64>,
    guards: Vec<f64>,
}

pub(crate) fn policies(size: usize) -> Vec<(&'static str, Policy)> {
    let mut policies = vec![
        ("round_robin", Policy::RoundRobin),
        ("smooth_weighted", Policy::SmoothWeighted),
        ("random", Policy::Random),
        ("weighted_random", Policy::WeightedRandom),
        ("p2c", Policy::LeastRequest { scan_max: 0 }),
        ("least_request", Policy::LEAST_REQUEST),
        ("peak_ewma", Policy::PeakEwma),
        ("dx_hash", Policy::DX_HASH),
        ("ring_hash", Policy::RING_HASH),
        ("envoy_ring", Policy::EnvoyRing { points_min: (size as u32 * 160).max(1024), points_max: u32::MAX }),
        ("bounded dx_hash", Policy::DX_HASH.bounded(125)),
    ];
    if size <= 10_000 {
        policies.push(("maglev", Policy::Maglev));
        policies.push(("rendezvous", Policy::Rendezvous));
    }
    policies
}

pub(crate) fn rows(size: usize, heavy: usize) -> impl Iterator<Item = Endpoint> {
    (0..size).map(move |n| row(n, if n == heavy { 2 } else { 1 }))
}

pub(crate) fn row(n: usize, weight: u32) -> Endpoint {
    let host = format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
    Endpoint::new(&format!("web-{n:06}"), &host, 8080).weighted(weight, 1).in_slot(n as u32)
}

pub(crate) fn print(sizes: &[usize]) {
    let mut floors: Vec<f64> = (0..ROUNDS).map(|_| floor()).collect();
    println!("floor: one fetch_add {:.1} ns", median(&mut floors));
    let mut keys = Keys::new();
    let mut hashes: Vec<f64> = (0..ROUNDS).map(|_| hashes(keys.take())).collect();
    println!("floor: XXH3 of a 16-byte key {:.1} ns", median(&mut hashes));
    let misses = Misses::new();
    let [apart, chained] = [false, true].map(|chained| {
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| misses.round(chained)).collect();
        median(&mut rounds)
    });
    println!("floor: a load anywhere in 128 MB {apart:.1} ns, where the next hangs on it {chained:.1} ns");
    drop(misses);
    println!(
        "{:<20} {:>8} {:>9} {:>9} {:>9} {:>7} {:>10} {:>10}",
        "policy", "n", "local ns", "pick ns", "+guard ns", "allocs", "build ms", "update us"
    );
    for size in sizes {
        let mut cases: Vec<Case> =
            policies(*size).into_iter().map(|(name, policy)| case(name, policy, *size)).collect();
        let mut tower = Tower::new(*size);
        for _ in 0..ROUNDS {
            for case in &mut cases {
                case.round(&mut keys);
            }
            tower.round();
        }
        for mut case in cases {
            println!(
                "{:<20} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>7} {:>10.3} {:>10.1}",
                case.name,
                size,
                median(&mut case.locals),
                median(&mut case.picks),
                median(&mut case.guards),
                case.allocations,
                case.build_ms,
                case.update_us,
            );
        }
        tower.print();
    }
}

fn case(name: &'static str, policy: Policy, size: usize) -> Case {
    let keyed = ["ring", "hash", "maglev", "rendezvous"].iter().any(|word| name.contains(word));
    // Others are measured with equal weights, their usual case; the weighted have one that differs.
    let heavy = if name.contains("weighted") { 0 } else { usize::MAX };
    let snapshot = Arc::new(Snapshot::empty("web").next(rows(size, heavy), 1));
    let mut balancer = None;
    let build_ms = nanos(|| balancer = Some(Balancer::new(policy, snapshot))) / 1e6;
    let balancer = balancer.expect("it was built");
    let updates = if build_ms > 100.0 { 1 } else { UPDATES };
    let mut updates: Vec<f64> = (0..updates * 2)
        .map(|number| {
            // One row leaves the registry's set for its maintenance, and is back the next time.
            let changed = row(size / 2, u32::from(number % 2 == 1));
            nanos(|| {
                let next = balancer.snapshot().changed([changed], &[], 2);
                balancer.publish(Arc::new(next));
            }) / 1e3
        })
        .collect();
    let counted = allocation_counter::measure(|| pick(&balancer, keyed, &[[7; 16]; 1000]));
    Case {
        name,
        local: balancer.local(),
        keyed,
        build_ms,
        update_us: median(&mut updates),
        allocations: counted.count_total / 1000,
        picks: Vec::new(),
        locals: Vec::new(),
        guards: Vec::new(),
        balancer,
    }
}

impl Case {
    fn round(&mut self, source: &mut Keys) {
        let Self { balancer, local, keyed, picks, locals, guards, .. } = self;
        let keys = source.take();
        picks.push(nanos(|| pick(balancer, *keyed, keys)) / PICKS as f64);
        let keys = source.take();
        let local = nanos(|| {
            for key in keys {
                let place = local.choose(&ask(*keyed, key), |m| std::ptr::from_ref(m) as usize);
                black_box(place.expect("somebody is there"));
            }
        });
        locals.push(local / PICKS as f64);
        let keys = source.take();
        let guard = nanos(|| {
            for key in keys {
                if let Ok(picked) = black_box(balancer.pick(&ask(*keyed, key))) {
                    picked.finish(Outcome::Success);
                }
            }
        });
        guards.push(guard / PICKS as f64);
    }
}

fn pick(balancer: &Balancer, keyed: bool, keys: &[[u8; 16]]) {
    for key in keys {
        let place = balancer.choose(&ask(keyed, key), |member| std::ptr::from_ref(member) as usize);
        black_box(place.expect("somebody is there"));
    }
}

/// Keys as they come from requests: bytes in memory. Each round takes the next ones, so that caches know none of them.
struct Keys {
    keys: Vec<[u8; 16]>,
    next: usize,
}

impl Keys {
    fn new() -> Self {
        let key = |number: u64| u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes();
        Self { keys: (0..1 << 20).map(key).collect(), next: 0 }
    }

    fn take(&mut self) -> &[[u8; 16]] {
        if self.next + PICKS > self.keys.len() {
            self.next = 0;
        }
        self.next += PICKS;
        &self.keys[self.next - PICKS..self.next]
    }
}

#[inline]
fn ask(keyed: bool, key: &[u8; 16]) -> Ask<'static> {
    if keyed { Ask::key(key) } else { Ask::any() }
}

fn floor() -> f64 {
    let counter = AtomicU64::new(0);
    nanos(|| {
        for _ in 0..PICKS {
            black_box(black_box(&counter).fetch_add(1, Relaxed));
        }
    }) / PICKS as f64
}

/// As much memory as the ring of 100,000 endpoints takes.
struct Misses(Vec<u64>);

impl Misses {
    fn new() -> Self {
        // Numbers, so that every page is there; not in order, so that nothing is fetched ahead.
        Self((0..16u64 << 20).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect())
    }

    fn round(&self, chained: bool) -> f64 {
        let (mut place, mut sum) = (1u64, 0u64);
        nanos(|| {
            for _ in 0..PICKS {
                place = place.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(if chained { sum } else { 1 });
                sum = sum.wrapping_add(self.0[(place >> 40) as usize % self.0.len()]);
            }
            black_box(sum);
        }) / PICKS as f64
    }
}

fn hashes(keys: &[[u8; 16]]) -> f64 {
    nanos(|| {
        for key in keys {
            black_box(ask(true, key));
        }
    }) / PICKS as f64
}

/// Prints what is allocated and kept per endpoint, in bytes as they were asked for.
pub(crate) fn bytes(sizes: &[usize]) {
    println!("bytes per endpoint: what choosing keeps, without the rows themselves (address, tags, meta)");
    let row = size_of::<Endpoint>() + 2 * size_of::<usize>();
    for size in sizes {
        let rows: Vec<Endpoint> = rows(*size, usize::MAX).collect();
        let mut snapshot = None;
        let mut build = 0.0;
        let held = allocation_counter::measure(|| {
            build = nanos(|| snapshot = Some(Snapshot::empty("web").next(rows, 1)));
        });
        let snapshot = Arc::new(snapshot.expect("it was built"));
        // The list of rows came from outside and is gone; the rows themselves have moved in.
        let given = (size * size_of::<Endpoint>()) as i64;
        let of_set = (held.bytes_current + given) as f64 / *size as f64 - row as f64;
        println!(
            "{:<20} {size:>8} {of_set:>9.1} (positions, weights, slots, order, statistics; {:.1} ms from rows)",
            "snapshot",
            build / 1e6
        );
        for (name, policy) in policies(*size) {
            let mut picker = None;
            let held = allocation_counter::measure(|| picker = policy.build(&Group::whole(Arc::clone(&snapshot)), 1));
            println!("{name:<20} {size:>8} {:>9.1}", held.bytes_current as f64 / *size as f64);
            drop(picker);
        }
    }
}
