//! Six fleets, all policies: Prequal is near to an oracle, and nowhere worse than the power of two choices.
//!
//! The scenarios are those under which policies that know only their own calls break down: many clients of few calls
//! each, servers of different speed, speeds that change. Prints the table (`cargo test -p callboard-tests --test sim --
//! --nocapture`, best with `--release`, where more requests are sent).

use std::collections::BTreeMap;
use std::thread;

use callboard::balance::Policy;

use crate::world::{Chooser, Scenario, World, quantile};

const SEED: u64 = 20_240_416;
/// Requests per scenario and policy, at least; and per client, so that how it is in the long run counts.
const REQUESTS: usize = if cfg!(debug_assertions) { 60_000 } else { 400_000 };
const PER_CLIENT: usize = 300;
/// What Prequal's p99 may be, relative to the oracle's.
const ORACLE_RATIO: f64 = 1.25;

const EQUAL: Scenario =
    Scenario { name: "", clients: 1, servers: 100, slow: 0, factor: 3.0, shuffle: None, utilisation: 0.75 };
const MIXED: Scenario = Scenario { slow: 20, ..EQUAL };

const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "1 client, equal servers, 75 %", ..EQUAL },
    Scenario { name: "50 clients, equal, 75 %", clients: 50, ..EQUAL },
    Scenario { name: "50 clients, 20 % of servers 3x slow, 75 %", clients: 50, ..MIXED },
    Scenario { name: "the same, others slow every 500 ms", clients: 50, shuffle: Some(500_000), ..MIXED },
    Scenario { name: "500 clients, 20 % 3x slow, 85 %", clients: 500, utilisation: 0.85, ..MIXED },
    Scenario { name: "5 clients, equal, 90 %", clients: 5, utilisation: 0.9, ..EQUAL },
];

fn choosers() -> Vec<(&'static str, Chooser)> {
    vec![
        ("random", Chooser::Sdk(Policy::Random)),
        ("rr", Chooser::Sdk(Policy::RoundRobin)),
        ("p2c", Chooser::Sdk(Policy::LeastRequest { scan_max: 0 })),
        ("peak ewma", Chooser::Sdk(Policy::PeakEwma)),
        ("prequal", Chooser::Sdk(Policy::PREQUAL)),
        ("oracle", Chooser::Oracle),
    ]
}

/// Runs all choosers at once, each in a thread of its own; returns p99 in milliseconds and probes per request.
fn compare(scenario: Scenario) -> BTreeMap<&'static str, (f64, f64)> {
    let run = |chooser: &Chooser| {
        let mut world = World::new(scenario, chooser, SEED);
        let requests = REQUESTS.max(scenario.clients * PER_CLIENT);
        let p99 = quantile(world.run(requests), 0.99) / 1000.0;
        (p99, world.probes as f64 / requests as f64)
    };
    thread::scope(|scope| {
        let running: Vec<_> =
            choosers().into_iter().map(|(name, chooser)| (name, scope.spawn(move || run(&chooser)))).collect();
        running.into_iter().map(|(name, thread)| (name, thread.join().expect("a world ends"))).collect()
    })
}

#[test]
fn prequal_is_near_the_oracle_and_never_worse_than_two_choices() {
    println!("p99 in ms, {REQUESTS} requests or {PER_CLIENT} a client, seed {SEED}");
    print!("{:<44}", "scenario");
    choosers().iter().for_each(|(name, _)| print!("{name:>10}"));
    println!("{:>8} {:>12}", "ratio", "probes/call");
    let mut missed = Vec::new();
    for scenario in SCENARIOS {
        let results = compare(scenario);
        let figures: String = choosers().iter().map(|(name, _)| format!("{:>10.1}", results[name].0)).collect();
        let ((prequal, probes), oracle, p2c) = (results["prequal"], results["oracle"].0, results["p2c"].0);
        println!("{:<44}{figures}{:>8.2} {probes:>12.2}", scenario.name, prequal / oracle);
        if prequal > oracle * ORACLE_RATIO || prequal > p2c {
            missed.push((scenario.name, prequal, oracle, p2c));
        }
    }
    assert!(missed.is_empty(), "scenario, Prequal, oracle, P2C: {missed:?}");
}
