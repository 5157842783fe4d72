//! A program that a command runs for its user: started by a shell or directly, told to end, and ended when it will not.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::failure::{Failure, Kind};

/// How long a program may take to end after it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Returns the command of some words: as one line for a shell, or the program and its arguments.
pub(super) fn command(words: &[String], shell: bool) -> Result<Command, Failure> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::usage("there is nothing to run"));
    };
    if !shell {
        let mut command = Command::new(program);
        command.args(arguments);
        return Ok(command);
    }
    let shell = std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".to_owned());
    let mut command = Command::new(shell);
    command.arg("-c").arg(words.join(" "));
    Ok(command)
}

/// Starts a command in a process group of its own, so that it can be ended with all that it starts.
pub(super) fn start(mut command: Command, input: bool) -> Result<Child, Failure> {
    let input = if input { Stdio::inherit() } else { Stdio::null() };
    let started = command.stdin(input).process_group(0).spawn();
    started.map_err(|error| Failure::because(Kind::Failed, "Error running handler", &error))
}

/// Asks a program and all that it started to end, and ends them after [`GRACE`].
pub(super) async fn end(child: &mut Child) -> Result<(), Failure> {
    signal(child, Signal::TERM);
    let waiting = |waited: std::io::Result<ExitStatus>| {
        waited.map(drop).map_err(|error| Failure::because(Kind::Failed, "waiting for the end of the program", &error))
    };
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(waited) => waiting(waited),
        Err(_) => {
            signal(child, Signal::KILL);
            waiting(child.wait().await)
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // Gone already is as good as told.
        let _ = kill_process_group(pid, signal);
    }
}
