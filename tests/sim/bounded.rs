//! Bounded loads over a fleet: no server has more in flight, of all clients together, than the factor allows.
//!
//! Fifty clients call a hundred servers by keys of a Zipf distribution. Each client is a real balancer that sees its own calls
//! and the loads that come with its responses. A server takes what a client sends as long as its exact count is within the
//! bound that comes along, by the rule of the server's layer ([`admits`]); a client goes on as the call path does.
//! Looked at every few milliseconds: the most requests in flight on a server, relative to the mean.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use callboard::balance::{Ask, Balancer, Local, Picked, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Clock, Ejection, Endpoint, EndpointKey, Load, Outcome};
use callboard::load::admits;
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
/// Refusals of one call, after which the least loaded of those that refused has to take it, as in the call path.
const REFUSALS_MAX: usize = 6;
/// What is asked for: 125 %, and a tenth of that for what is not known in time.
const RATIO_MAX: f64 = 1.25 * 1.10;

struct Fleet {
    /// Whether clients tell servers the bound.
    tells: bool,
    refusals: usize,
    /// Calls that went beyond a bound after all.
    forced: usize,
    clock: Clock,
    clients: Vec<(Balancer, Local)>,
    in_flight: Vec<u32>,
    running: Vec<Option<(Picked, usize, usize)>>,
    events: BinaryHeap<Reverse<(u64, usize)>>,
    now: u64,
}

impl Fleet {
    fn new(policy: &Policy, tells: bool) -> Self {
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
        let (running, events) = (Vec::new(), BinaryHeap::new());
        Self { tells, refusals: 0, forced: 0, clock, clients, in_flight: vec![0; SERVERS], running, events, now: 0 }
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
        let (picked, server) = self.place(client, key);
        self.in_flight[server] += 1;
        self.running.push(Some((picked, client, server)));
        self.events.push(Reverse((self.now + work.round() as u64, self.running.len() - 1)));
    }

    /// Goes on until a server takes the call.
    fn place(&mut self, client: usize, key: u64) -> (Picked, usize) {
        let key = key.to_le_bytes();
        let mut tried: Vec<EndpointKey> = Vec::new();
        let mut least: Option<(Picked, usize)> = None;
        while tried.len() < REFUSALS_MAX {
            let (balancer, local) = &mut self.clients[client];
            let picked = local.pick(&Ask::key(&key).without(&tried)).expect("there are servers");
            let server: usize = picked.endpoint().id()["web-".len()..].parse().expect("ids are numbered");
            let in_flight = self.in_flight[server];
            let bound = balancer.bound_of(&picked).filter(|_| self.tells);
            if bound.is_none_or(|bound| admits(in_flight, bound)) {
                if let Some((refused, _)) = least {
                    refused.release();
                }
                return (picked, server);
            }
            self.refusals += 1;
            balancer.note_load(&picked, Load { in_flight, latency: WORK as u32 });
            tried.push(picked.key());
            let released = match least {
                Some((_, known)) if self.in_flight[known] <= in_flight => Some(picked),
                _ => least.replace((picked, server)).map(|(before, _)| before),
            };
            released.into_iter().for_each(Picked::release);
        }
        self.forced += 1;
        least.expect("whoever refused")
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

/// What a run comes to.
struct Figures {
    /// Most to mean in flight: the mean over time, and the 99th percentile.
    mean: f64,
    p99: f64,
    /// The mean number in flight per server.
    in_flight: f64,
    /// Refusals per call, and the share of calls that went beyond a bound.
    refusals: f64,
    forced: f64,
}

fn run(policy: &Policy, tells: bool) -> Figures {
    let mut fleet = Fleet::new(policy, tells);
    let mut random = Rng::with_seed(SEED);
    let mut sum = 0.0;
    let zipf: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut ratios = Vec::new();
    let mut in_flight = 0;
    for number in 0..REQUESTS {
        let then = fleet.now + exponential(&mut random, GAP).round() as u64;
        fleet.pass(then);
        let draw = random.f64() * sum;
        let key = zipf.partition_point(|end| *end < draw) as u64;
        let (client, work) = (random.usize(..CLIENTS), exponential(&mut random, WORK));
        if number == WARM_UP {
            (fleet.refusals, fleet.forced) = (0, 0);
        }
        fleet.call(client, key, work);
        if number >= WARM_UP && number % LOOK == 0 {
            ratios.push(fleet.ratio());
            in_flight += fleet.in_flight.iter().sum::<u32>();
        }
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let (looks, calls) = (ratios.len() as f64, (REQUESTS - WARM_UP) as f64);
    Figures {
        mean: ratios.iter().sum::<f64>() / looks,
        p99: ratios[ratios.len() * 99 / 100],
        in_flight: f64::from(in_flight) / looks / SERVERS as f64,
        refusals: fleet.refusals as f64 / calls,
        forced: fleet.forced as f64 / calls,
    }
}

#[test]
fn a_bound_holds_for_the_whole_fleet_where_servers_decide() {
    println!("most to mean in flight, {CLIENTS} clients, {SERVERS} servers, Zipf(1.0) keys, seed {SEED}");
    println!("{:<40}{:>8}{:>8}{:>12}{:>12}{:>10}", "", "mean", "p99", "in flight", "refusals", "forced");
    let show = |name: &str, policy: &Policy, tells: bool| {
        let Figures { mean, p99, in_flight, refusals, forced } = run(policy, tells);
        println!("{name:<40}{mean:>8.2}{p99:>8.2}{in_flight:>12.1}{refusals:>12.3}{forced:>10.4}");
        mean
    };
    let bounded = Policy::DX_HASH.bounded(125);
    let without = show("without a bound", &Policy::DX_HASH, false);
    let reports = show("bounded by 1.25, by reports alone", &bounded, false);
    let told = show("bounded by 1.25, and servers decide", &bounded, true);
    println!("figure: bounded_fleet_max_to_mean {told:.3} (at most {RATIO_MAX:.3}), by reports alone {reports:.3}");
    assert!(told <= RATIO_MAX, "{told}");
    // Reports alone are as old as the client's last response from that server: they help, and do not keep the factor.
    assert!(reports * 4.0 < without && reports > RATIO_MAX, "{reports} of {without}");
}
