//! What one change costs, by its kind: from the new row until picks go by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use callboard::balance::{Balancer, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::Endpoint;

use crate::table::{policies, row, rows};
use crate::{median, nanos};

/// Rounds of all kinds; the medians are printed.
const ROUNDS: usize = 9;
/// Where a change takes so many milliseconds, one round has to do.
const SLOW_MS: f64 = 100.0;

const KINDS: [&str; 5] = ["ill", "well", "weight", "join", "leave"];

/// Takes the times at which another thread first sees what is published.
struct Watch {
    began: Instant,
    /// The index that was seen, and when, in nanoseconds since the beginning.
    seen: AtomicU64,
    at: AtomicU64,
    over: AtomicBool,
}

/// Prints for each kind microseconds until another thread sees a picker that knows of it (by the wall clock), and the time
/// the publishing thread takes of a processor for all of it, a new table and taking the old one apart included.
pub(crate) fn print(sizes: &[usize]) {
    println!("one change: us until picks go by it / us for all of it");
    let head: String = KINDS.iter().map(|kind| format!("{kind:>20}")).collect();
    println!("{:<20} {:>8}{head}", "policy", "n");
    for size in sizes {
        let ring = |points| Policy::RingHash { points };
        let more = [("bounded ring_hash", ring(160).bounded(125)), ("envoy_ring 1024", Policy::ENVOY_RING)];
        for (name, policy) in policies(*size).into_iter().chain(more) {
            let cells: String =
                kinds(name, policy, *size).iter().map(|(first, all)| format!("{first:>11.1}/{all:<8.1}")).collect();
            println!("{name:<20} {size:>8}{cells}");
        }
    }
}

fn kinds(name: &str, policy: Policy, size: usize) -> Vec<(f64, f64)> {
    let heavy = if name.contains("weighted") { 0 } else { usize::MAX };
    let balancer = Balancer::new(policy, Arc::new(Snapshot::empty("web").next(rows(size, heavy), 1)));
    let watch =
        Watch { began: Instant::now(), seen: AtomicU64::new(0), at: AtomicU64::new(0), over: AtomicBool::new(false) };
    let mut times: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); KINDS.len()];
    thread::scope(|scope| {
        scope.spawn(|| watch.run(&balancer));
        let mut index = 2;
        let mut change = |put: Option<Endpoint>, gone: Option<Endpoint>| {
            index += 2;
            let gone: Vec<_> = gone.iter().map(Endpoint::identity).collect();
            let put: Vec<_> = put.into_iter().collect();
            let before = watch.began.elapsed();
            let all = nanos(|| {
                let next = balancer.snapshot().changed(put, &gone, index);
                balancer.publish(Arc::new(next));
            });
            let first = watch.wait(index).saturating_sub(before.as_nanos() as u64);
            (first as f64 / 1e3, all / 1e3)
        };
        for round in 0..ROUNDS {
            let (one, new, old) = (size / 2 + round, size + round, size / 4 + round);
            let results = [
                change(Some(row(one, 0)), None),
                change(Some(row(one, 1)), None),
                change(Some(row(one, 2)), None),
                change(Some(row(new, 1)), None),
                change(None, Some(row(old, 1))),
            ];
            for ((firsts, alls), (first, all)) in times.iter_mut().zip(results) {
                firsts.push(first);
                alls.push(all);
            }
            if results.iter().any(|(_, all)| *all > SLOW_MS * 1e3) {
                break;
            }
        }
        watch.over.store(true, Relaxed);
    });
    times.iter_mut().map(|(firsts, alls)| (median(firsts), median(alls))).collect()
}

impl Watch {
    fn run(&self, balancer: &Balancer) {
        while !self.over.load(Relaxed) {
            let index = balancer.snapshot().index();
            if index != self.seen.load(Relaxed) {
                self.at.store(self.began.elapsed().as_nanos() as u64, Relaxed);
                self.seen.store(index, std::sync::atomic::Ordering::Release);
            }
            std::hint::spin_loop();
        }
    }

    fn wait(&self, index: u64) -> u64 {
        while self.seen.load(std::sync::atomic::Ordering::Acquire) != index {
            std::hint::spin_loop();
        }
        self.at.load(Relaxed)
    }
}
