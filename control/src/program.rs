//! A program that is run for somebody: started by a shell or directly, in a process group of its own, told to end, and
//! ended when it will not, with all of its group. What it leaves in the background when it ends by itself is left alone, as
//! Consul leaves it.
//!
//! One way for the command line's `lock` and for what is asked for from afar (`exec`). `watch` takes only the words from here:
//! its handler stays in the group of the command, so that the signals of a terminal meet both. Health checks have a way of
//! their own in the SDK, which runs them in applications, too.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a program and all that it started may take to end after they were asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How long the killed may take to be gone: only what hangs in the system takes any time at all.
const KILLED_MAX: Duration = Duration::from_secs(1);
/// The pause between two looks at who of a group is left. Nobody tells of the end of somebody else's children.
const LOOK: Duration = Duration::from_millis(20);

/// Why a program was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// No words were given. Nothing was started.
    #[error("there is nothing to run")]
    Nothing,
    /// The system does not start it.
    #[error("starting the program")]
    Start(#[source] io::Error),
    /// What it says cannot be read.
    #[error("reading what the program says")]
    Read(#[source] io::Error),
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
    /// The number of its group, for as long as the group is to end with it.
    group: Option<Pid>,
}

impl Program {
    /// Starts a command; what it says goes where our own words go. `input` gives it our standard input.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(crate) fn start(mut command: Command, input: bool) -> Result<Program, ProgramError> {
        command.stdin(if input { Stdio::inherit() } else { Stdio::null() });
        Program::spawn(command).map_err(ProgramError::Start)
    }

    /// Starts a command without input; its output and its errors come in one pipe, so that they stay in order.
    ///
    /// # Errors
    /// When the system does not start it.
    pub(crate) fn piped(mut command: Command) -> Result<(Program, Output), ProgramError> {
        let start = || {
            let (reader, writer) = io::pipe()?;
            // Before the start: nothing may fail while something runs that nobody watches.
            let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
            command.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null());
            // With the command go our copies of the writing end: the pipe ends only when they are gone.
            Ok((Program::spawn(command)?, Output { pipe, is_open: true }))
        };
        start().map_err(ProgramError::Start)
    }

    fn spawn(mut command: Command) -> io::Result<Program> {
        let child = command.process_group(0).spawn()?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Program { child, group })
    }

    /// Waits for its end. What it leaves in the background is left alone then. May be dropped, and called again.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, ProgramError> {
        let status = self.child.wait().await.map_err(ProgramError::Wait)?;
        self.group = None;
        Ok(status)
    }

    /// Asks it and all that it started to end, and kills after five seconds whoever has not. Returns when all are gone, or
    /// a second after they were killed. After its end by itself nobody is asked.
    ///
    /// # Errors
    /// When the system does not tell that it ended; all of it was killed.
    pub(crate) async fn end(&mut self) -> Result<ExitStatus, ProgramError> {
        self.end_within(GRACE).await
    }

    async fn end_within(&mut self, grace: Duration) -> Result<ExitStatus, ProgramError> {
        let grace = Instant::now() + grace;
        self.signal(Signal::TERM);
        let told = timeout_at(grace, self.child.wait()).await;
        // Whoever it started may take longer than itself.
        if !(told.is_ok() && self.is_empty_by(grace).await) {
            self.signal(Signal::KILL);
        }
        let status = match told {
            Ok(status) => status,
            Err(_) => self.child.wait().await,
        };
        self.is_empty_by(Instant::now() + KILLED_MAX).await;
        self.group = None;
        status.map_err(ProgramError::Wait)
    }

    /// Waits until nobody is left in the group of a program that was waited for; says whether that was in time.
    ///
    /// The system gives a group's number to nobody else while anybody is in the group, living or dead and not waited for. So
    /// from its first look, right after the leader was waited for, to its last it sees this group, unless all numbers are used
    /// up between two looks.
    async fn is_empty_by(&mut self, deadline: Instant) -> bool {
        while let Some(group) = self.group {
            // As the first process of a container we are given the orphans, and nobody else waits for them.
            let _ = waitid(WaitId::Pgid(Some(group)), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
            if test_kill_process_group(group) == Err(Errno::SRCH) {
                self.group = None;
            } else if Instant::now() >= deadline {
                return false;
            } else {
                sleep(LOOK).await;
            }
        }
        true
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Gone already is as good as told.
            let _ = kill_process_group(group, signal);
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
    use std::os::unix::process::ExitStatusExt as _;

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

    /// Starts a line for a shell, and waits until it said so many lines.
    async fn started(line: &str, lines: usize) -> (Program, Output, String) {
        let line = words(&["/bin/sh", "-c", line]);
        let (program, mut output) = Program::piped(command(&line, false).unwrap()).unwrap();
        let (mut said, mut buffer) = (String::new(), [0; 64]);
        while said.lines().count() < lines || !said.ends_with('\n') {
            let read = output.next(&mut buffer).await.unwrap();
            said.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        (program, output, said)
    }

    /// Reads until nobody holds the writing end any more, which is when all are gone.
    async fn last_words(mut output: Output) -> String {
        let mut said = String::new();
        output.pipe.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn what_a_program_started_ends_with_it() {
        let (mut program, output, _) = started("sleep 300 & echo in; wait", 1).await;
        program.end().await.unwrap();
        assert_eq!(last_words(output).await, "");
    }

    #[tokio::test]
    async fn who_takes_longer_than_the_program_itself_is_waited_for() {
        let drains = "trap 'sleep 0.5; echo drained; exit' TERM; echo in; while :; do sleep 0.05; done";
        let (mut program, output, _) = started(&format!("({drains}) & wait"), 1).await;
        assert_eq!(program.end().await.unwrap().signal(), Some(Signal::TERM.as_raw()), "the shell itself ends at once");
        let mut buffer = [0; 64];
        let read = output.left(&mut buffer);
        // Some shells say before what became of the `sleep`.
        assert!(buffer[..read].ends_with(b"drained\n"), "before the program counts as ended");
        assert_eq!(last_words(output).await, "");
    }

    #[tokio::test]
    async fn who_does_not_want_to_end_is_killed() {
        for line in ["(trap '' TERM; echo in; sleep 300) & wait", "trap '' TERM; echo in; while :; do sleep 300; done"]
        {
            let (mut program, output, _) = started(line, 1).await;
            program.end_within(Duration::from_millis(300)).await.unwrap();
            assert_eq!(last_words(output).await, "", "{line}");
            let (program, output, _) = started(line, 1).await;
            drop(program);
            assert_eq!(last_words(output).await, "", "{line}");
        }
    }

    #[tokio::test]
    async fn what_a_program_leaves_when_it_ends_by_itself_is_left_alone() {
        let (mut program, output, said) = started("sleep 300 & echo $!", 1).await;
        assert!(program.wait().await.unwrap().success());
        assert!(program.end().await.unwrap().success());
        drop(program);
        let left = Pid::from_raw(said.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(left, Signal::KILL).expect("it runs");
        assert_eq!(last_words(output).await, "");
    }
}
