//! Probe: a program. Exit 0 passes, 1 warns, anything else is critical.
//!
//! Decides how it is started (without a shell, in a process group of its own, its output and errors in
//! one pipe so that they stay in order) and how it is ended: when the time is over or nobody waits any
//! more, the whole group is killed. What it leaves running when it exits by itself is left alone.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use callboard_proto::CheckStatus;
use callboard_proto::duration::GoDuration;
use callboard_proto::text::Text;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::dial::{Fault, words};
use super::output::Tail;
use super::probe::Answer;

/// How much of what is in the pipe at the end is still read: a leftover child may write for ever.
const LEFT_IN_PIPE_MAX: usize = 1 << 20;

pub(crate) async fn run(args: &[Text], output_max: usize, limit: Duration) -> Result<Answer, Fault> {
    let Some((program, _)) = args.split_first() else { return Err(Fault::new("the script has no program")) };
    let failed = |error: io::Error| Fault(format!("running {program}: {}", words(&error)));
    let (mut group, mut pipe) = start(args).map_err(failed)?;
    let mut tail = Tail::new(output_max);
    let Ok(status) = timeout(limit, group.end(&mut pipe, &mut tail)).await else {
        group.kill();
        // Killed processes do not linger; this only collects it, so that the next run starts after its end.
        group.child.wait().await.map_err(failed)?;
        return Err(Fault(format!("Timed out ({}) running check", GoDuration::from(limit))));
    };
    let status = status.map_err(failed)?;
    drain(&pipe, &mut tail);
    Ok(Answer::new(grade(status), tail.into_text()))
}

fn grade(status: ExitStatus) -> CheckStatus {
    match status.code() {
        Some(0) => CheckStatus::Passing,
        Some(1) => CheckStatus::Warning,
        // Other codes, and the end by a signal, which has none.
        _ => CheckStatus::Critical,
    }
}

fn start(args: &[Text]) -> io::Result<(Group, Receiver)> {
    let (reader, writer) = io::pipe()?;
    // Before the start: nothing may fail while something runs that nobody watches.
    let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let args: Vec<&str> = args.iter().map(|arg| &**arg).collect();
    let mut command = Command::new(args[0]);
    command.args(&args[1..]).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let child = command.spawn()?;
    // With `command` go our copies of the writing end: the pipe ends only when they are gone.
    Ok((Group { child }, pipe))
}

/// A running script with all it has started.
struct Group {
    child: Child,
}

impl Group {
    /// Reads until the script exits.
    async fn end(&mut self, pipe: &mut Receiver, tail: &mut Tail) -> io::Result<ExitStatus> {
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                read = pipe.read(&mut buffer) => match read? {
                    // It closed its output; it may well go on.
                    0 => return self.child.wait().await,
                    read => tail.push(&buffer[..read]),
                },
            }
        }
    }

    /// Kills the script and all of its group. Does nothing once it was waited for: then its number may
    /// already be somebody else's.
    fn kill(&self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // The only failure left is that there is nobody to kill.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Takes what the script had written when it exited, without waiting for anybody who still could write.
fn drain(pipe: &Receiver, tail: &mut Tail) {
    let mut buffer = [0; 4096];
    let mut taken = 0;
    // Straight from the descriptor, which never blocks: tokio may not yet know that there is something.
    while taken < LEFT_IN_PIPE_MAX {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(read) if read > 0 => {
                tail.push(&buffer[..read]);
                taken += read;
            }
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
