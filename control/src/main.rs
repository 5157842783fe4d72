//! The program `callboard`: the control node, and the operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    callboard_control::cli::run(std::env::args_os())
}
