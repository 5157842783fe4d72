//! What a pick costs, per policy and size, beside other balancers: `cargo bench -p callboard --bench pick`.
//!
//! "pick" is the whole choice: the published snapshot, the policy, the hash of a key (16 bytes) where
//! the policy wants one. "local" is the same by a worker's own handle. "+guard" is "pick" and also counts the call
//! in flight, holds the endpoint, records a success (timed where the policy wants to know) and lets go.
//! Rounds of all policies are interleaved and the median round is printed, in time that the thread had a processor, so
//! that neighbours on the machine disturb little, and all alike. "build" is the first picker; "update" is one row that
//! leaves for its maintenance or comes back from it: snapshot, picker and publication, until all of it is done and the old
//! snapshot is gone. What other changes cost, and how soon picks go by them, is the part `changes`.
//!
//! Arguments: numbers replace the sizes 10, 1000 and 100000; words restrict the parts (`table`, `changes`, `bytes`, `bound`,
//! `threads`, `updates`, `pingora`). pingora's part is a package of its own, compiled when it is first asked for.

#![allow(clippy::print_stdout)]

mod changes;
mod load;
mod peers;
mod table;

use rustix::time::{ClockId, clock_gettime};

const PARTS: [&str; 7] = ["table", "changes", "bytes", "bound", "threads", "updates", "pingora"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes: Vec<usize> = arguments.iter().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10, 1000, 100_000] } else { sizes };
    let named: Vec<&str> = PARTS.into_iter().filter(|part| arguments.iter().any(|arg| arg == part)).collect();
    let wanted = |part: &str| named.is_empty() || named.contains(&part);
    if wanted("table") {
        table::print(&sizes);
    }
    if wanted("changes") {
        changes::print(&sizes);
    }
    if wanted("pingora") {
        peers::pingora(&sizes);
    }
    if wanted("bytes") {
        table::bytes(&sizes);
    }
    if wanted("bound") {
        load::bound();
    }
    if wanted("threads") {
        load::threads();
    }
    if wanted("updates") {
        load::updates(sizes.iter().copied().max().unwrap_or(1));
    }
}

/// Nanoseconds this thread has had a processor.
fn busy() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The time `work` takes of a processor, in nanoseconds.
fn nanos(work: impl FnOnce()) -> f64 {
    let began = busy();
    work();
    busy() - began
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
