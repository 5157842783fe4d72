//! The neighbours: tower's P2C over peak EWMA in this process, pingora's selections by a package of their own.
//!
//! tower's "p2c + 2 loads" is two random numbers and two `PeakEwma::load`, which is what its choice comes to at least; its
//! "balance" is the whole of `Balance` with services that are always ready: `poll_ready`, `call`, and the end of the call.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma};

use crate::{median, nanos};

const PICKS: u64 = 20_000;
const RTT: Duration = Duration::from_millis(30);
const DECAY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Always;

impl Service<u64> for Always {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
    }
}

type Timed = PeakEwma<Always, CompleteOnResponse>;

/// tower's balancer over so many endpoints.
pub(crate) struct Tower {
    size: usize,
    services: Vec<Timed>,
    balance: Balance<ServiceList<Vec<Timed>>, u64>,
    build_ms: f64,
    loads: Vec<f64>,
    calls: Vec<f64>,
}

impl Tower {
    pub(crate) fn new(size: usize) -> Self {
        let services = || -> Vec<Timed> {
            let decay = DECAY.as_nanos() as f64;
            (0..size).map(|_| PeakEwma::new(Always, RTT, decay, CompleteOnResponse::default())).collect()
        };
        let mut balance = Balance::new(ServiceList::new(services()));
        let mut context = Context::from_waker(Waker::noop());
        // The first time it takes all services in.
        let build_ms = nanos(|| assert!(balance.poll_ready(&mut context).is_ready(), "all are ready")) / 1e6;
        Self { size, services: services(), balance, build_ms, loads: Vec::new(), calls: Vec::new() }
    }

    pub(crate) fn round(&mut self) {
        let Self { size, services, balance, .. } = self;
        let loads = nanos(|| {
            for _ in 0..PICKS {
                let (first, second) = (fastrand::usize(..*size), fastrand::usize(..*size));
                black_box(services[first].load() < services[second].load());
            }
        });
        self.loads.push(loads / PICKS as f64);
        let mut context = Context::from_waker(Waker::noop());
        let calls = nanos(|| {
            for number in 0..PICKS {
                let ready = balance.poll_ready(&mut context).is_ready();
                assert!(ready, "all are ready");
                let call = pin!(balance.call(number));
                assert!(black_box(call.poll(&mut context)).is_ready(), "answers are there at once");
            }
        });
        self.calls.push(calls / PICKS as f64);
    }

    pub(crate) fn print(mut self) {
        let (size, build) = (self.size, self.build_ms);
        println!("{:<20} {size:>8} {:>9} {:>9.1}", "tower p2c + 2 loads", "", median(&mut self.loads));
        let calls = median(&mut self.calls);
        println!("{:<20} {size:>8} {:>9} {:>9} {calls:>9.1} {:>7} {build:>10.3}", "tower balance", "", "", "");
    }
}

/// Prints pingora's lines, or why there are none.
pub(crate) fn pingora(sizes: &[usize]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut run = Command::new(cargo);
    run.current_dir(folder).args(["run", "--quiet", "--release", "--locked", "--target-dir"]).arg(target);
    run.arg("--").args(sizes.iter().map(ToString::to_string));
    match run.status() {
        Ok(status) if status.success() => {}
        Ok(status) => println!("pingora: no figures, {status}"),
        Err(error) => println!("pingora: no figures, {error}"),
    }
}
