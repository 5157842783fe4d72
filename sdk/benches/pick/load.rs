//! Picks under load: bounded hashing of a Zipf load, many threads at once, and picks while the set changes.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use callboard::balance::{Ask, Balancer, Picked, Policy};
use callboard::catalog::Snapshot;

use crate::table::{policies, row, rows};
use crate::{busy, median, nanos};

const ROUNDS: usize = 11;

fn balancer(policy: Policy, size: usize) -> Balancer {
    Balancer::new(policy, Arc::new(Snapshot::empty("web").next(rows(size, usize::MAX), 1)))
}

/// Bounded loads over 100 endpoints with 20 calls each in flight, keys by Zipf's law (exponent 1, a million keys).
pub(crate) fn bound() {
    const SIZE: usize = 100;
    const HELD: usize = 20 * SIZE;
    const KEYS: usize = 1_000_000;
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            total += 1.0 / rank as f64;
            total
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut keys = |len: usize| -> Vec<u64> {
        (0..len).map(|_| sums.partition_point(|sum| *sum < random.f64() * total) as u64).collect()
    };
    println!("bounded loads, n = {SIZE}, {HELD} calls in flight, Zipf keys: ns per choice, and the most on one / mean");
    for (name, policy) in [("dx_hash", Policy::DX_HASH), ("bounded 125 %", Policy::DX_HASH.bounded(125))] {
        let balancer = balancer(policy, SIZE);
        let mut held: Vec<Picked> = Vec::new();
        let mut most: f64 = 0.0;
        let mut rounds = Vec::new();
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..ROUNDS {
            let keys = keys(20_000);
            let (mut spent, mut empty) = (0.0, 0.0);
            for key in &keys {
                let ask = Ask::key(&key.to_le_bytes());
                let began = busy();
                let _ = black_box(balancer.choose(&ask, |member| std::ptr::from_ref(member) as usize));
                let between = busy();
                empty += busy() - between;
                spent += between - began;
                held.extend(balancer.pick(&ask));
                if held.len() > HELD {
                    drop(held.swap_remove(random.usize(..held.len())));
                }
            }
            rounds.push((spent - empty) / keys.len() as f64);
            let loads = balancer.snapshot().members().iter().map(|m| m.stats().in_flight()).max().unwrap_or(0);
            most = most.max(loads as f64 / (held.len() as f64 / SIZE as f64));
        }
        println!("{name:<20} {SIZE:>8} {:>9.1} {most:>9.3}", median(&mut rounds));
    }
}

/// Eight threads that pick from one balancer, beside eight that count by one atomic counter.
pub(crate) fn threads() {
    const THREADS: usize = 8;
    const PICKS: u64 = 200_000;
    let together = |work: &(dyn Fn() + Sync)| -> f64 {
        let spent: Vec<f64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| nanos(work))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it only picks")).collect()
        });
        spent.iter().sum::<f64>() / (THREADS as f64 * PICKS as f64)
    };
    // In a thread of its own too: the main one has its stack and its thread-locals elsewhere.
    let alone = |work: &(dyn Fn() + Sync)| -> f64 {
        thread::scope(|scope| scope.spawn(|| nanos(work)).join().expect("it only picks")) / PICKS as f64
    };
    println!("threads: ns of a processor per operation, by one thread alone and by {THREADS} at once");
    let counter = AtomicU64::new(0);
    let count = || {
        for _ in 0..PICKS {
            black_box(counter.fetch_add(1, Relaxed));
        }
    };
    report("atomic counter", || alone(&count), || together(&count));
    for (name, policy) in policies(1000) {
        let balancer = balancer(policy, 1000);
        let pick = || {
            for number in 0..PICKS {
                let ask = Ask::hash(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let _ = black_box(balancer.choose(&ask, |member| std::ptr::from_ref(member) as usize));
            }
        };
        report(name, || alone(&pick), || together(&pick));
    }
}

fn report(name: &str, alone: impl Fn() -> f64, together: impl Fn() -> f64) {
    let (mut one, mut many): (Vec<f64>, Vec<f64>) = (0..5).map(|_| (alone(), together())).unzip();
    let (one, many) = (median(&mut one), median(&mut many));
    println!("{name:<20} {one:>9.1} {many:>9.1}  {:+.1}", many - one);
}

/// Times single picks while another thread changes one row a hundred times a second: somebody falls ill, somebody gets
/// well or weighs as usual, somebody weighs twice as much.
pub(crate) fn updates(size: usize) {
    println!("picks while 100 rows a second change, n = {size}: ns by the wall clock, without what reading it takes");
    println!("{:<20} {:>9} {:>9} {:>9} {:>9} {:>9}", "policy", "p50", "p99", "p99.9", "p99.99", "updates");
    for (name, policy) in policies(size) {
        if name.contains("ring") && size > 10_000 {
            // Seconds a ring: it cannot follow a hundred changes a second.
            continue;
        }
        let balancer = balancer(policy, size);
        let over = AtomicBool::new(false);
        let (mut times, updates) = thread::scope(|scope| {
            let changes = scope.spawn(|| change(&balancer, size, &over));
            let times = picks(&balancer);
            over.store(true, Relaxed);
            (times, changes.join().expect("it only publishes"))
        });
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("{name:<20} {:>9} {:>9} {:>9} {:>9} {updates:>9}", at(0.5), at(0.99), at(0.999), at(0.9999));
    }
}

fn change(balancer: &Balancer, size: usize, over: &AtomicBool) -> u64 {
    let mut updates = 0;
    while !over.load(Relaxed) {
        let changed = row(fastrand::usize(..size), [2, 0, 1][updates as usize % 3]);
        balancer.publish(Arc::new(balancer.snapshot().changed([changed], &[], updates)));
        updates += 1;
        thread::sleep(Duration::from_millis(10));
    }
    updates
}

fn picks(balancer: &Balancer) -> Vec<u64> {
    let empty = (0..1000).map(|_| Instant::now().elapsed().as_nanos() as u64).min().unwrap_or(0);
    let mut times = Vec::with_capacity(1 << 22);
    let began = Instant::now();
    let mut number = 0u64;
    while times.len() < times.capacity() && began.elapsed() < Duration::from_secs(2) {
        for _ in 0..1000 {
            number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let ask = Ask::hash(number);
            let before = Instant::now();
            let _ = black_box(balancer.choose(&ask, |member| std::ptr::from_ref(member) as usize));
            times.push((before.elapsed().as_nanos() as u64).saturating_sub(empty));
        }
    }
    times
}
