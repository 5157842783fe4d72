//! What a pick by replies costs, and what a reply costs: `cargo bench -p callboard --bench replies`.
//!
//! The pool is filled between blocks of picks, outside the time that is taken, as a prober fills it beside the calls. Each
//! block uses half of what the pool is good for, so that every pick finds replies. "local" is by a worker's own handle, "pick"
//! by the balancer's. "3 + pick" is a pick by a worker's own handle together with the three replies that come in per call while
//! there is no lack of them, each good for one pick then. "threads" is "local" by several threads at once, beside one
//! atomic counter that they share. Medians of rounds, in time that the thread had a processor.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use callboard::balance::{Ask, Balancer, Local, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Endpoint, Load};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 2000;
const BLOCK: u64 = 400;
const THREADS: usize = 8;

fn main() {
    println!("{:>8} {:>9} {:>9} {:>10} {:>10}", "n", "local ns", "pick ns", "reply ns", "3 + pick");
    for size in [10, 1000, 100_000] {
        let balancer = balancer(size);
        let mut local = balancer.local();
        let (mut locals, mut picks, mut replies, mut calls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            replies.push(fill(&balancer, round));
            locals.push(per(BLOCK, || block(&mut local)));
            fill(&balancer, round);
            picks.push(per(BLOCK, || {
                for _ in 0..BLOCK {
                    let _ = black_box(balancer.choose(&Ask::any(), |member| std::ptr::from_ref(member) as usize));
                }
            }));
        }
        for round in 0..ROUNDS {
            calls.push(per(BLOCK, || call(&balancer, &mut local, round)));
        }
        let (locals, picks) = (median(&mut locals), median(&mut picks));
        println!("{size:>8} {locals:>9.1} {picks:>9.1} {:>10.1} {:>10.1}", median(&mut replies), median(&mut calls));
    }
    let balancer = balancer(1000);
    let counter = AtomicU64::new(0);
    let picks = together(|| {
        let mut local = balancer.local();
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|round| {
                fill(&balancer, round);
                per(BLOCK, || block(&mut local))
            })
            .collect();
        median(&mut times)
    });
    let counts = together(|| {
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                per(BLOCK, || {
                    for _ in 0..BLOCK {
                        black_box(&counter).fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        median(&mut times)
    });
    println!("{THREADS} threads: local {picks:.1} ns, an atomic counter {counts:.1} ns");
}

fn balancer(size: usize) -> Balancer {
    let rows = (0..size).map(|n| {
        let host = format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
        Endpoint::new(&format!("web-{n:06}"), &host, 8080).probed_on(4000)
    });
    Balancer::new(Policy::PREQUAL, Arc::new(Snapshot::empty("web").next(rows, 1)))
}

/// Fills the pool with replies of endpoints all over the set; nanoseconds per reply.
fn fill(balancer: &Balancer, round: usize) -> f64 {
    let snapshot = balancer.snapshot();
    let size = snapshot.members().len();
    let now = snapshot.aside().clock().exact();
    per(16, || {
        for nth in 0..16 {
            note(&snapshot, (round * 7919 + nth * size / 16) % size, nth as u32, now);
        }
    })
}

fn note(snapshot: &Snapshot, position: usize, nth: u32, now: u64) {
    let load = Load { in_flight: nth, latency: 1_000 * (nth + 1) };
    if let Some(stats) = snapshot.stats(position) {
        snapshot.replies().note(position, stats, load, now);
    }
}

fn block(local: &mut Local) {
    for _ in 0..BLOCK {
        let _ = black_box(local.choose(&Ask::any(), |member| std::ptr::from_ref(member) as usize));
    }
}

/// As many calls as a block has, and three replies each.
fn call(balancer: &Balancer, local: &mut Local, round: usize) {
    let snapshot = balancer.snapshot();
    let size = snapshot.members().len();
    let now = snapshot.aside().clock().exact();
    for number in 0..BLOCK as usize {
        for nth in 0..3 {
            note(&snapshot, (round * 7919 + (number * 3 + nth) * 31) % size, (number * 7 + nth) as u32 % 16, now);
        }
        let _ = black_box(local.choose(&Ask::any(), |member| std::ptr::from_ref(member) as usize));
    }
}

/// The mean over threads that all run `measure` at once.
fn together(measure: impl Fn() -> f64 + Sync) -> f64 {
    let sum: f64 = thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(&measure)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN)).sum()
    });
    sum / THREADS as f64
}

fn per(count: u64, run: impl FnOnce()) -> f64 {
    let began = busy();
    run();
    (busy() - began) / count as f64
}

/// Nanoseconds this thread has had a processor.
fn busy() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
