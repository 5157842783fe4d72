//! Flags that several commands have, and signals that several hear, in one way each.

use std::time::Duration;

use callboard_proto::api::query::parse_bool;
use callboard_proto::duration::GoDuration;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Failure, Kind};

/// How a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// In columns, for people
    #[value(alias = "pretty")]
    Table,
    /// As JSON, whole
    Json,
}

/// Says how a list is shown.
#[derive(Debug, Clone, Args)]
pub(super) struct ShapeFlag {
    /// How it is shown
    #[arg(long = "format", alias = "output", short = 'o', value_enum, default_value = "table")]
    pub(super) shape: Shape,
}

impl ShapeFlag {
    /// Says whether JSON is wanted.
    pub(super) fn json(&self) -> bool {
        self.shape == Shape::Json
    }
}

/// Says how words become a program.
#[derive(Debug, Clone, Args)]
pub(super) struct ShellFlag {
    /// Run the words as one line of a shell; -shell=false: as a program and its arguments
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true")]
    shell: String,
}

impl ShellFlag {
    /// Says whether a shell reads them.
    pub(super) fn by_shell(&self) -> Result<bool, Failure> {
        let wrong = || Failure::usage(format!("-shell is {:?}; true or false is accepted", self.shell));
        parse_bool(&self.shell).ok_or_else(wrong)
    }
}

/// Reads a time that is not negative.
pub(super) fn time(flag: &str, text: &str) -> Result<Duration, Failure> {
    let parsed = GoDuration::parse(text).ok().filter(|time| time.0 >= 0);
    parsed
        .map(GoDuration::to_std)
        .ok_or_else(|| Failure::usage(format!("{flag} is {text:?}; a time as 10s is accepted")))
}

/// Listens for a signal of the system from now on.
pub(super) fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::because(Kind::Failed, "listening for signals", &error))
}
