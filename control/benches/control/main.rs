//! What the control node does per second, and what it holds: `cargo bench -p callboard-control --bench control`.
//!
//! Parts can be chosen by name after `--`: `kv health get watch dns memory restart`; `--rounds N` and
//! `--seconds N` set how often and how long (3 and 3). Load and server share the machine. Rounds of what is
//! compared are interleaved, and the median round is printed, so that a neighbour disturbs all alike. The
//! programs compared with or used as load generators (`etcd`, `wrk`, `dnsperf`) are installed by their Debian
//! package when they are missing; everything stays on loopback.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod client;
mod etcd;
mod memory;
mod needs;
mod node;
mod puts;
mod reads;
mod restart;
mod table;
mod watchers;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use table::Table;

/// How often and how long each figure is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    time: Duration,
}

const PARTS: [&str; 7] = ["kv", "health", "get", "watch", "dns", "memory", "restart"];

fn main() -> Result<()> {
    let mut effort = Effort { rounds: 3, time: Duration::from_secs(3) };
    let mut chosen = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            let text = arguments.next().with_context(|| format!("{argument} takes a number"))?;
            text.parse().with_context(|| format!("{argument} {text}"))
        };
        match argument.as_str() {
            // Cargo says so to every benchmark.
            "--bench" => {}
            "--rounds" => effort.rounds = number()?.max(1) as usize,
            "--seconds" => effort.time = Duration::from_secs(number()?.max(1)),
            part if PARTS.contains(&part) => chosen.push(argument),
            other => bail!("{other:?} is none of {PARTS:?}, --rounds N, --seconds N"),
        }
    }
    let wants = |part: &str| chosen.is_empty() || chosen.iter().any(|one| one == part);
    // One thread of load, as with wrk -t1: the other core is the server's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut table = Table::default();
    if wants("kv") {
        runtime.block_on(puts::measure(&mut table, effort))?;
    }
    if wants("health") || wants("get") {
        runtime.block_on(reads::http(&mut table, effort, wants("health"), wants("get")))?;
    }
    if wants("watch") {
        runtime.block_on(watchers::measure(&mut table, effort))?;
    }
    if wants("dns") {
        runtime.block_on(reads::dns(&mut table, effort))?;
    }
    if wants("memory") {
        runtime.block_on(memory::measure(&mut table))?;
    }
    if wants("restart") {
        runtime.block_on(restart::measure(&mut table, effort))?;
    }
    println!("{table}");
    Ok(())
}
