//! Bounded loads over a fleet: what servers report limits what all clients together put on one of them.
//!
//! Fifty clients call a hundred servers by keys of a Zipf distribution. Each client is a real balancer that sees its own calls
//! and the loads that come with its responses; servers take any number of requests at once. Looked at every few milliseconds: the most requests in flight on a server, relative to the mean.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use callboard::balance::{Ask, Balancer, Local, Picked, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Clock, Ejection, Endpoint, Load, Outcome};
use fastrand::Rng;

use crate::world::exponential;

const SEED: u64 = 20_240_416;
const CLIENTS: usize = 50;
const SERVERS: usize = 100;
const KEYS: usize = 10_000;
/// The mean time of a request, and of the gap to the next of all clients, in microseconds: 20 in flight per server.
const WORK: f64 = 100_000.0;
const GAP: f64 = 50.0;
/// Requests in all, and those before anything is looked at.
const REQUESTS: usize = 60_000;
const WARM_UP: usize = 20_000;
/// Between two looks, in requests.
const LOOK: usize = 100;
struct Fleet {
    clock: Clock,
    clients: Vec<(Balancer, Local)>,
    in_flight: Vec<u32>,
    running: Vec<Option<(Picked, usize, usize)>>,
    events: BinaryHeap<Reverse<(u64, usize)>>,
    now: u64,
}

impl Fleet {
    fn new(policy: &Policy) -> Self {
        fastrand::seed(SEED);
        let clock = Clock::manual();
        let rows: Vec<Endpoint> = (0..SERVERS)
            .map(|n| Endpoint::new(&format!("web-{n:03}"), "10.0.0.1", 80).in_slot(n as u32).probed_on(4000))
            .collect();
        let clients = (0..CLIENTS)
            .map(|_| {
                let empty = Snapshot::empty_with("web", Ejection::default(), clock.clone());
                let balancer =
                    Balancer::with_seed(policy.clone(), Arc::new(empty.next(rows.clone(), 1)), fastrand::u64(..));
                let local = balancer.local();
                (balancer, local)
            })
            .collect();
        Self { clock, clients, in_flight: vec![0; SERVERS], running: Vec::new(), events: BinaryHeap::new(), now: 0 }
    }

    /// Lets everything happen that happens until `then`.
    fn pass(&mut self, then: u64) {
        while let Some(Reverse((at, number))) = self.events.peek().copied().filter(|Reverse((at, _))| *at <= then) {
            self.events.pop();
            self.clock.advance(Duration::from_micros(at - self.now));
            self.now = at;
            self.finish(number);
        }
        self.clock.advance(Duration::from_micros(then - self.now));
        self.now = then;
    }

    fn call(&mut self, client: usize, key: u64, work: f64) {
        let picked = self.clients[client].1.pick(&Ask::key(&key.to_le_bytes())).expect("there are servers");
        let server: usize = picked.endpoint().id()["web-".len()..].parse().expect("ids are numbered");
        self.in_flight[server] += 1;
        self.running.push(Some((picked, client, server)));
        self.events.push(Reverse((self.now + work.round() as u64, self.running.len() - 1)));
    }

    fn finish(&mut self, number: usize) {
        let Some((mut picked, client, server)) = self.running[number].take() else { return };
        self.in_flight[server] -= 1;
        picked.record(Outcome::Success);
        let load = Load { in_flight: self.in_flight[server], latency: WORK as u32 };
        self.clients[client].0.note_load(&picked, load);
    }

    fn ratio(&self) -> f64 {
        let most = self.in_flight.iter().max().copied().unwrap_or(0);
        f64::from(most) * SERVERS as f64 / f64::from(self.in_flight.iter().sum::<u32>().max(1))
    }
}

/// Runs the fleet; returns the mean and the 99th percentile of most to mean in flight.
fn run(policy: &Policy) -> (f64, f64) {
    let mut fleet = Fleet::new(policy);
    let mut random = Rng::with_seed(SEED);
    let mut sum = 0.0;
    let zipf: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut ratios = Vec::new();
    for number in 0..REQUESTS {
        let then = fleet.now + exponential(&mut random, GAP).round() as u64;
        fleet.pass(then);
        let draw = random.f64() * sum;
        let key = zipf.partition_point(|end| *end < draw) as u64;
        let (client, work) = (random.usize(..CLIENTS), exponential(&mut random, WORK));
        fleet.call(client, key, work);
        if number >= WARM_UP && number % LOOK == 0 {
            ratios.push(fleet.ratio());
        }
    }
    ratios.sort_unstable_by(f64::total_cmp);
    (ratios.iter().sum::<f64>() / ratios.len() as f64, ratios[ratios.len() * 99 / 100])
}

#[test]
fn reports_with_responses_keep_a_fleet_far_nearer_to_the_bound() {
    println!("most to mean in flight, {CLIENTS} clients, {SERVERS} servers, Zipf(1.0) keys, seed {SEED}");
    println!("{:<32}{:>8}{:>8}", "", "mean", "p99");
    let show = |name: &str, policy: &Policy| {
        let (mean, p99) = run(policy);
        println!("{name:<32}{mean:>8.2}{p99:>8.2}");
        mean
    };
    let without = show("without a bound", &Policy::DX_HASH);
    let bounded = show("bounded by 1.25, with reports", &Policy::DX_HASH.bounded(125));
    // A report is as old as the client's last response from that server, so the factor itself is not kept.
    assert!(bounded * 4.0 < without, "{bounded} of {without}");
}
