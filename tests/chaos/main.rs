//! Chaos: real processes under a steady load while everything that can go wrong does, one thing after the other.
//!
//! `cargo test -p callboard-tests --test chaos -- --nocapture` runs a short round, as `cargo verify` does;
//! `CALLBOARD_CHAOS=10m` in the environment makes it ten minutes. It prints one row per fault: calls, failures, latency,
//! and how long after the end of the fault every registration was back. It fails when an idempotent call failed, when any
//! call failed during the rolling restart, or when a registration did not come back.
//!
//! The program is also the instances: started again with an instance's id in the environment it serves and signs in.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is what this suite is for")]

mod faults;
mod instance;
mod load;
mod report;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use callboard_tests::network::Network;
use callboard_tests::{length, needs};

/// How long a round lasts, as `40s` or `10m`.
const LENGTH_VARIABLE: &str = "CALLBOARD_CHAOS";
/// Long enough for every fault to show.
const LENGTH_SHORT: Duration = Duration::from_secs(60);

/// What may end the round.
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    if let Some(id) = std::env::var_os(instance::ID_VARIABLE) {
        return match runtime.block_on(instance::run(&id.to_string_lossy())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    // The harness of cargo asks every suite what tests it has; and a filter may want others.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        println!("chaos: test");
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| !word.starts_with('-') && !"chaos".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    let length = match length::given(LENGTH_VARIABLE, LENGTH_SHORT) {
        Ok(length) => length,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match runtime.block_on(round(length)) {
        Ok(true) => {
            println!("\n1 passed, 0 failed");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("the round broke off: {error}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Runs every fault once; says whether all held.
async fn round(length: Duration) -> Result<bool, Error> {
    let network = match Network::make("chaos") {
        Ok(network) => Some(network),
        Err(problem) if needs::strict() => return Err(format!("a network namespace: {problem}").into()),
        Err(problem) => {
            println!("passed over: the fault \"no network\", since no network namespace can be made: {problem}");
            None
        }
    };
    let mut stage = stage::Stage::open(network).await?;
    let load = load::Load::start(&stage)?;
    let faults = faults::all(stage.has_network());
    let each = length / (faults.len() as u32 + 1);
    let mut rows = Vec::new();
    for fault in faults {
        rows.push(faults::suffer(fault, each, &mut stage, &load).await?);
        report::progress(rows.last());
    }
    load.stop().await;
    let held = report::table(&rows, stage::BEAT_MAX);
    if !held {
        stage.show_logs();
    }
    stage.close().await;
    Ok(held)
}
