//! A fleet in virtual time: clients with balancers of their own call servers that queue.
//!
//! A client is a real `Balancer` over a snapshot of its own, so it knows what its process would know and no more;
//! a server reports by a real `LoadReporter`. Only time, the network and the work are made up: a request reaches its
//! server at once, a probe and its reply take a quarter of a millisecond each way, a server works on four requests at a
//! time and queues the rest. Everything follows from the seed: one clock, one source of random numbers, no threads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use callboard::balance::{Ask, Balancer, Local, Picked, Policy, Targets};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Clock, Ejection, Endpoint, Load, Outcome};
use callboard::load::{LoadReporter, Schedule, Serving};
use fastrand::Rng;

/// Requests that a server works on at a time.
pub(crate) const WORKERS: usize = 4;
/// The mean time of work on a fast server, in microseconds.
pub(crate) const WORK: f64 = 10_000.0;
/// One way of a probe, in microseconds.
const PROBE_WAY: u64 = 250;

/// Says what the fleet is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    pub(crate) servers: usize,
    /// How many servers are slow, and by what factor.
    pub(crate) slow: usize,
    pub(crate) factor: f64,
    /// Which servers are slow changes so often, in microseconds.
    pub(crate) shuffle: Option<u64>,
    /// The rate of requests, relative to what all servers together can do.
    pub(crate) utilisation: f64,
}

/// Who chooses.
#[derive(Clone, Debug)]
pub(crate) enum Chooser {
    /// The SDK, by a policy.
    Sdk(Policy),
    /// Somebody who sees every server's queue and speed: the least requests in flight, weighted by speed.
    Oracle,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Finish { server: usize, request: usize },
    Asked { client: usize, server: usize },
    Replied { client: usize, server: usize, in_flight: u32, latency: u32 },
    Shuffle,
}

struct Client {
    balancer: Balancer,
    local: Local,
    targets: Option<Targets>,
    schedule: Schedule,
    /// Which servers it has a probe out to.
    asking: Vec<bool>,
}

struct Server {
    reporter: LoadReporter,
    slow: bool,
    working: usize,
    queue: VecDeque<usize>,
}

struct Request {
    begun: u64,
    /// What it takes on a fast server, in microseconds.
    work: f64,
    client: usize,
    server: usize,
    held: Option<(Option<Picked>, Serving)>,
}

pub(crate) struct World {
    scenario: Scenario,
    oracle: bool,
    clock: Clock,
    now: u64,
    random: Rng,
    /// For arrivals and their work alone, so that they are the same whoever chooses.
    demand: Rng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    clients: Vec<Client>,
    servers: Vec<Server>,
    requests: Vec<Request>,
    free: Vec<usize>,
    latencies: Vec<u32>,
    pub(crate) probes: u64,
}

impl World {
    pub(crate) fn new(scenario: Scenario, chooser: &Chooser, seed: u64) -> Self {
        // A balancer draws the start of a worker's turns from this generator of the thread.
        fastrand::seed(seed);
        let clock = Clock::manual();
        let policy = match chooser {
            Chooser::Sdk(policy) => policy.clone(),
            Chooser::Oracle => Policy::Random,
        };
        let probes = if let Policy::Prequal { probes } = policy { probes } else { 0 };
        let rows: Vec<Endpoint> = (0..scenario.servers)
            .map(|n| Endpoint::new(&format!("web-{n:03}"), "10.0.0.1", 80).probed_on(4000))
            .collect();
        let clients = (0..scenario.clients)
            .map(|_| {
                let empty = Snapshot::empty_with("web", Ejection::default(), clock.clone());
                let snapshot = Arc::new(empty.next(rows.iter().cloned(), 1));
                let balancer = Balancer::with_seed(policy.clone(), snapshot, fastrand::u64(..));
                Client {
                    local: balancer.local(),
                    targets: balancer.targets(),
                    balancer,
                    schedule: Schedule::new(probes),
                    asking: vec![false; scenario.servers],
                }
            })
            .collect();
        let servers = (0..scenario.servers)
            .map(|_| Server {
                reporter: LoadReporter::with_clock(clock.clone()),
                slow: false,
                working: 0,
                queue: VecDeque::new(),
            })
            .collect();
        let mut world = Self {
            scenario,
            oracle: matches!(chooser, Chooser::Oracle),
            clock,
            now: 0,
            random: Rng::with_seed(seed),
            demand: Rng::with_seed(seed ^ 1),
            events: BinaryHeap::new(),
            count: 0,
            clients,
            servers,
            requests: Vec::new(),
            free: Vec::new(),
            latencies: Vec::new(),
            probes: 0,
        };
        world.shuffle();
        world
    }

    /// Sends so many requests, waits for all of them, and returns how long they took in microseconds, in order.
    pub(crate) fn run(&mut self, requests: usize) -> &[u32] {
        let per_worker = 1.0 / WORK;
        let fast = (self.scenario.servers - self.scenario.slow) as f64;
        let capacity = (fast + self.scenario.slow as f64 / self.scenario.factor) * WORKERS as f64 * per_worker;
        let gap = 1.0 / (capacity * self.scenario.utilisation);
        self.after(0, Event::Arrive);
        let mut left = requests;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.clock.advance(Duration::from_micros(at - self.now));
            self.now = at;
            match event {
                Event::Arrive => {
                    self.arrive();
                    left -= 1;
                    if left > 0 {
                        let next = exponential(&mut self.demand, gap);
                        self.after(next.round() as u64, Event::Arrive);
                    }
                }
                Event::Finish { server, request } => self.finish(server, request),
                Event::Asked { client, server } => {
                    let Load { in_flight, latency } = self.servers[server].reporter.load();
                    self.after(PROBE_WAY, Event::Replied { client, server, in_flight, latency });
                }
                Event::Replied { client, server, in_flight, latency } => {
                    self.replied(client, server, Load { in_flight, latency });
                }
                Event::Shuffle if left == 0 => {}
                Event::Shuffle => self.shuffle(),
            }
        }
        self.latencies.sort_unstable();
        &self.latencies
    }

    fn after(&mut self, micros: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((self.now + micros, self.count, event)));
    }

    fn shuffle(&mut self) {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        self.random.shuffle(&mut order);
        for (rank, server) in order.into_iter().enumerate() {
            self.servers[server].slow = rank < self.scenario.slow;
        }
        if let Some(every) = self.scenario.shuffle {
            self.after(every, Event::Shuffle);
        }
    }

    fn arrive(&mut self) {
        let client = self.demand.usize(..self.clients.len());
        let work = exponential(&mut self.demand, WORK);
        let (server, picked) = if self.oracle {
            (self.least_loaded(), None)
        } else {
            let picked = self.clients[client].local.pick(&Ask::any()).expect("there are servers");
            let server = picked.endpoint().id()["web-".len()..].parse().expect("ids are numbered");
            (server, Some(picked))
        };
        let serving = self.servers[server].reporter.begin();
        let request = Request { begun: self.now, work, client, server, held: Some((picked, serving)) };
        let number = match self.free.pop() {
            Some(number) => {
                self.requests[number] = request;
                number
            }
            None => {
                self.requests.push(request);
                self.requests.len() - 1
            }
        };
        if self.servers[server].working < WORKERS {
            self.work(server, number);
        } else {
            self.servers[server].queue.push_back(number);
        }
        self.probe(client);
    }

    fn work(&mut self, server: usize, request: usize) {
        let factor = if self.servers[server].slow { self.scenario.factor } else { 1.0 };
        self.servers[server].working += 1;
        let time = self.requests[request].work * factor;
        self.after(time.round() as u64, Event::Finish { server, request });
    }

    fn finish(&mut self, server: usize, request: usize) {
        self.servers[server].working -= 1;
        let done = &mut self.requests[request];
        debug_assert_eq!(done.server, server);
        self.latencies.push((self.now - done.begun) as u32);
        let client = done.client;
        if let Some((picked, serving)) = done.held.take() {
            drop(serving);
            if let Some(mut picked) = picked {
                picked.record(Outcome::Success);
                self.clients[client].balancer.note_load(&picked, self.servers[server].reporter.load());
            }
        }
        self.free.push(request);
        if let Some(next) = self.servers[server].queue.pop_front() {
            self.work(server, next);
        }
    }

    /// Sends the probes that are due after a pick, at most one at a time to each server.
    fn probe(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(targets) = &client.targets else { return };
        let (picks, replies) = (targets.snapshot().replies().picks(), targets.snapshot().replies().noted());
        let due = client.schedule.due(picks, replies);
        let mut sent = Vec::new();
        for _ in 0..due {
            if let Some((server, _)) = targets.draw(self.random.u64(..))
                && !client.asking[server]
            {
                client.asking[server] = true;
                sent.push(server);
            }
        }
        client.schedule.sent(due, picks, replies);
        self.probes += sent.len() as u64;
        for server in sent {
            self.after(PROBE_WAY, Event::Asked { client: number, server });
        }
    }

    fn replied(&mut self, client: usize, server: usize, load: Load) {
        let client = &mut self.clients[client];
        client.asking[server] = false;
        let snapshot = client.balancer.snapshot();
        // Positions are in the order in which the rows came, which is that of the ids.
        let stats = snapshot.stats(server).expect("nobody leaves");
        snapshot.replies().note(server, stats, load, self.clock.exact());
        client.schedule.replied();
    }

    /// Joins the shortest queue in time: what is in flight, and the one more, each worth a server's mean time of work.
    fn least_loaded(&mut self) -> usize {
        let start = self.random.usize(..self.servers.len());
        let cost = |server: &Server| {
            let factor = if server.slow { self.scenario.factor } else { 1.0 };
            (server.working + server.queue.len() + 1) as f64 * factor
        };
        let order = (start..self.servers.len()).chain(0..start);
        order.min_by(|a, b| cost(&self.servers[*a]).total_cmp(&cost(&self.servers[*b]))).expect("there are servers")
    }
}

/// Draws from the exponential distribution of a mean.
pub(crate) fn exponential(random: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - random.f64()).ln()
}

/// Reads a quantile off sorted numbers.
pub(crate) fn quantile(sorted: &[u32], share: f64) -> f64 {
    let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    f64::from(sorted[rank - 1])
}
