//! A program that is run for somebody: started by a shell or directly, in a process group of its own, told to end, and
//! ended when it will not.
//!
//! One way for the command line (`lock`, `watch`) and for what is asked for from afar (`exec`). Health checks have a way of
//! their own in the SDK, which runs them in applications, too.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Why a program was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// No words were given. Nothing was started.
    #[error("there is nothing to run")]
    Nothing,
    /// The system does not start it.
    #[error("starting the program")]
    Start(#[source] io::Error),
    /// Its end cannot be waited for.
    #[error("waiting for the end of the program")]
    Wait(#[source] io::Error),
}

/// Returns the shell of the environment.
pub(crate) fn shell() -> String {
    std::env::var("SHELL").ok().filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".to_owned())
}

/// Returns the command of some words: as one line for a shell, or the program and its arguments.
///
/// # Errors
/// When there are no words.
pub(crate) fn command(words: &[String], by_shell: bool) -> Result<Command, ProgramError> {
    let Some((program, arguments)) = words.split_first() else { return Err(ProgramError::Nothing) };
    let mut command;
    if by_shell {
        command = Command::new(shell());
        command.arg("-c").arg(words.join(" "));
    } else {
        command = Command::new(program);
        command.args(arguments);
    }
    Ok(command)
}

/// A running program with all that it has started; dropped before its end, all of it is killed.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts a command; what it says goes where our own words go. `input` gives it our standard input.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(crate) fn start(mut command: Command, input: bool) -> Result<Program, ProgramError> {
        let input = if input { Stdio::inherit() } else { Stdio::null() };
        let child = command.stdin(input).process_group(0).spawn().map_err(ProgramError::Start)?;
        Ok(Program { child })
    }

    /// Starts a command without input; its output and its errors come in one pipe, so that they stay in order.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(crate) fn piped(mut command: Command) -> Result<(Program, Output), ProgramError> {
        let start = || {
            let (reader, writer) = io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null()).process_group(0);
            let child = command.spawn()?;
            // `command` holds our copies of the writing end: the pipe ends only when they are gone.
            drop(command);
            let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
            Ok((Program { child }, Output { pipe, is_open: true }))
        };
        start().map_err(ProgramError::Start)
    }

    /// Waits for its end. May be dropped, and called again.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, ProgramError> {
        self.child.wait().await.map_err(ProgramError::Wait)
    }

    /// Asks it and all that it started to end, and kills them after five seconds.
    ///
    /// # Errors
    /// When the system does not tell that it ended.
    pub(crate) async fn end(&mut self) -> Result<ExitStatus, ProgramError> {
        self.signal(Signal::TERM);
        if let Ok(waited) = tokio::time::timeout(GRACE, self.child.wait()).await {
            return waited.map_err(ProgramError::Wait);
        }
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// Does nothing once it was waited for: then its number may already be somebody else's.
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // Gone already is as good as told.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// What a program says.
#[derive(Debug)]
pub(crate) struct Output {
    pipe: Receiver,
    is_open: bool,
}

impl Output {
    /// Reads what comes next; waits for ever once there can be no more. May be dropped, and called again.
    ///
    /// # Errors
    /// When the pipe cannot be read.
    pub(crate) async fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.is_open {
            let read = self.pipe.read(buffer).await?;
            if read > 0 {
                return Ok(read);
            }
            self.is_open = false;
        }
        std::future::pending().await
    }

    /// Takes what was said before the end, without waiting for anybody who still could say something.
    pub(crate) fn left(&self, buffer: &mut [u8]) -> usize {
        loop {
            // Straight from the descriptor, which never blocks: tokio may not yet know that there is something.
            match rustix::io::read(&self.pipe, &mut *buffer) {
                Ok(read) => return read,
                Err(rustix::io::Errno::INTR) => {}
                // There is nothing now, or never again.
                Err(_) => return 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_are_a_line_of_a_shell_or_a_program() {
        let arguments = |by_shell| {
            let command = command(&words(&["echo", "a b", "$HOME"]), by_shell).unwrap();
            command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(arguments(true), ["-c", "echo a b $HOME"]);
        assert_eq!(arguments(false), ["a b", "$HOME"]);
        assert!(matches!(command(&[], true), Err(ProgramError::Nothing)));
    }

    #[tokio::test]
    async fn output_and_errors_come_in_order_and_the_end_tells_how() {
        let line = words(&["/bin/sh", "-c", "echo one; echo two >&2; echo three; exit 3"]);
        let (mut program, output) = Program::piped(command(&line, false).unwrap()).unwrap();
        assert_eq!(program.wait().await.unwrap().code(), Some(3));
        let mut buffer = [0; 64];
        let read = output.left(&mut buffer);
        assert_eq!(&buffer[..read], b"one\ntwo\nthree\n");
        assert_eq!(output.left(&mut buffer), 0);
    }

    #[tokio::test]
    async fn what_a_program_started_ends_with_it() {
        let line = words(&["/bin/sh", "-c", "sleep 300 & echo $!; wait"]);
        let (mut program, mut output) = Program::piped(command(&line, false).unwrap()).unwrap();
        let mut buffer = [0; 64];
        let read = output.next(&mut buffer).await.unwrap();
        let pid: u32 = std::str::from_utf8(&buffer[..read]).unwrap().trim().parse().unwrap();
        program.end().await.unwrap();
        // Nobody holds the writing end any more: both are gone.
        assert_eq!(output.pipe.read(&mut buffer).await.unwrap(), 0, "{pid} has ended");
    }
}
