//! `completion`: what lets a shell complete the command line.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::failure::Manner;
use super::talk::write;
use super::{Cli, Ended};

/// Prints what lets a shell complete the command line.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints it, for the name that the program was called by.
pub(super) fn run(completion: &Completion, manner: Manner) -> Ended {
    let name = if manner == Manner::Consul { "consul" } else { "callboard" };
    let mut script = Vec::new();
    clap_complete::generate(completion.shell, &mut Cli::command(), name, &mut script);
    write(&script)?;
    Ok(0)
}
