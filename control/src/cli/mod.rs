//! The command line: one file per noun.

mod agent;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::AgentFlags;
use crate::identity::VERSION;

/// Exit code of a wrong command line.
const USAGE: u8 = 2;

/// Service discovery and client-side load balancing: the control node.
#[derive(Debug, Parser)]
#[command(name = "callboard", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a control node
    Agent(Box<AgentFlags>),
    /// Prints the version of this program and of the interface that it speaks
    Version,
}

/// Runs the program.
#[must_use]
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments.map(double_dash)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and succeeds, a wrong command line to stderr.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            return if error.print().is_err() { ExitCode::FAILURE } else { code };
        }
    };
    match cli.command {
        Command::Agent(flags) => agent::run(&flags),
        Command::Version => {
            say(&format!("Callboard v{}\nConsul v{VERSION} interface", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

/// Flags may be written with one dash, as Consul's users do.
fn double_dash(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 && !is_number(text) => {
            format!("-{text}").into()
        }
        _ => argument,
    }
}

fn is_number(text: &str) -> bool {
    text[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[allow(clippy::print_stdout, reason = "what a command answers goes to standard output")]
fn say(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stderr, reason = "why a command failed goes to standard error")]
fn complain(error: &dyn std::error::Error) {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("cause: {cause}");
        source = cause.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dash_is_as_good_as_two() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ').map(OsString::from).map(double_dash));
        let cli = parse("callboard agent -dev -http-port=0 -dns-port -1 -node n1 --bind 127.0.0.1").unwrap();
        let Command::Agent(flags) = cli.command else { panic!("not an agent") };
        assert!(flags.dev);
        assert_eq!((flags.http_port, flags.dns_port), (Some(0), Some(-1)));
        assert_eq!(flags.node.as_deref(), Some("n1"));
        assert!(parse("callboard agent -nope").is_err());
    }
}
