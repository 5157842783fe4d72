//! The whole line in one command: a control node, three instances, a sidecar, constant calls both ways, one instance
//! killed, another joining, and the count of what went wrong.
//!
//! This file reads the command line and decides the order; `stage` holds the processes, `load` makes the calls,
//! `tally` counts them, `dead` looks after the killed instance, `screen` writes. Run by `cargo demo`.

mod dead;
mod instance;
mod load;
mod play;
mod programs;
mod screen;
mod stage;
mod tally;

use std::process::ExitCode;
use std::time::Duration;

use callboard_proto::duration::GoDuration;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::stage::Stage;

/// What every part of the demo answers with when it cannot go on.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Runs a control node, three instances of a service and a sidecar, calls the service through the SDK and through the
/// sidecar, kills one instance after a third of the time and lets another join after two thirds.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Flags {
    /// How long to make calls, such as 30s; until Ctrl-C when unset
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    run_for: Option<Duration>,
    /// How many callers there are each way
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    callers: u32,
    /// The time from one call of a caller to its next
    #[arg(long, value_name = "TIME", default_value = "25ms", value_parser = time)]
    every: Duration,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// What this program is when it is one of the instances
    #[command(hide = true)]
    Instance {
        /// The instance's id
        id: String,
    },
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let outcome = match &flags.role {
        Some(Role::Instance { id }) => runtime.block_on(instance::run(id)).map(|()| true),
        None => runtime.block_on(demo(&flags)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

/// Runs the demo; says whether no call failed.
async fn demo(flags: &Flags) -> Result<bool, Error> {
    let programs = programs::build()?;
    let mut stage = Stage::new(programs)?;
    let opened = tokio::select! {
        opened = stage.open() => opened,
        () = told() => Err("ended before the first call".into()),
    };
    let outcome = match opened {
        Ok(()) => play::run(&mut stage, flags, told()).await,
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        stage.show_logs();
    }
    stage.close().await;
    outcome
}

/// Waits until a signal says that it is enough.
async fn told() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn failed(error: &Error) -> ExitCode {
    screen::complain(&format!("error: {error}"));
    ExitCode::FAILURE
}

/// Reads a time that is more than nothing, in the notation of the settings.
fn time(text: &str) -> Result<Duration, String> {
    let time = GoDuration::parse(text).map_err(|error| error.to_string())?;
    time.positive().ok_or_else(|| "must be more than 0".to_owned())
}
