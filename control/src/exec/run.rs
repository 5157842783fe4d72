//! Runs one program and tells what it says, piece by piece, until it ends.
//!
//! It runs as the node does, without input. When whoever asked is gone, nobody can be told any more, or the node stops, it is
//! asked to end, with all that it started, and killed after a while.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::desk::{Desk, DeskError};
use super::output::{OUTPUT_MAX, PIECE_MAX, Pending};
use super::words::{Job, Part, Place};
use crate::program::{self, Output, Program, ProgramError};

/// For how long a piece that is not full waits for more.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// After so long in silence it is told that the program still runs: as whoever asked says, within these bounds.
const SILENCE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3600));
/// How much of what is in the pipe at the end is still read: a leftover child may write for ever.
const LEFT_IN_PIPE_MAX: usize = OUTPUT_MAX;
/// What is told in place of an exit code when there is none.
pub(super) const NO_CODE: i32 = 255;
/// How often a script is started whose file is still open in a program that is just being started.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Why a program was not followed to its end.
enum Halt {
    /// The node stops.
    Stopping,
    /// Nobody is there to be told, or can be told.
    Desk(DeskError),
    /// The system does not tell what became of it.
    Program(ProgramError),
}

impl From<DeskError> for Halt {
    fn from(error: DeskError) -> Halt {
        Halt::Desk(error)
    }
}

/// Runs a job to its end, and tells it.
///
/// # Errors
/// When nobody could be told; the program has ended.
pub(super) async fn run(desk: &Desk, job: Job, stop: &CancellationToken) -> Result<i32, DeskError> {
    let silence = Duration::from_nanos(job.wait.max(0).unsigned_abs()).clamp(SILENCE.0, SILENCE.1);
    let mut teller = Teller { desk, number: 0, told: Instant::now(), sign: None };
    let code = match start(job).await {
        Ok((mut program, mut output, _script)) => {
            let ended = tokio::select! {
                ended = follow(&mut program, &mut output, &mut teller, silence) => ended,
                () = desk.gone() => Err(Halt::Desk(DeskError::Gone)),
                () = stop.cancelled() => Err(Halt::Stopping),
            };
            match ended {
                Ok(status) => code(status),
                Err(halt) => {
                    let status = program.end().await;
                    match halt {
                        Halt::Desk(error) => return Err(error),
                        Halt::Stopping => teller.say(b"\ncallboard: this node stops\n").await?,
                        Halt::Program(error) => teller.complain(&error).await?,
                    }
                    status.map_or(NO_CODE, code)
                }
            }
        }
        Err(error) => {
            teller.complain(&error).await?;
            NO_CODE
        }
    };
    desk.write(Part::Exit, code.to_string().as_bytes()).await?;
    Ok(code)
}

/// The exit code; for a signal what a shell would say.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(NO_CODE)
}

/// Tells what a program says until it ends.
async fn follow(
    program: &mut Program,
    output: &mut Output,
    teller: &mut Teller<'_>,
    silence: Duration,
) -> Result<ExitStatus, Halt> {
    let mut pending = Pending::new(OUTPUT_MAX);
    let mut buffer = [0; PIECE_MAX];
    let mut flush = None;
    let status = loop {
        let due = due(flush, teller.told + silence);
        tokio::select! {
            status = program.wait() => break status.map_err(Halt::Program)?,
            read = output.next(&mut buffer) => {
                let read = read.map_err(|error| Halt::Program(ProgramError::Read(error)))?;
                pending.push(&buffer[..read]);
                while let Some(piece) = pending.whole() {
                    teller.say(&piece).await?;
                    flush = None;
                }
                flush = flush.or_else(|| (!pending.is_empty()).then(|| Instant::now() + FLUSH_AFTER));
            }
            () = sleep_until(due) => {
                // Nothing at all tells that the program still runs.
                teller.say(&pending.rest().unwrap_or_default()).await?;
                flush = None;
            }
        }
    };
    let mut taken = 0;
    while taken < LEFT_IN_PIPE_MAX {
        let read = output.left(&mut buffer);
        if read == 0 {
            break;
        }
        taken += read;
        pending.push(&buffer[..read]);
    }
    while let Some(piece) = pending.rest() {
        teller.say(&piece).await?;
    }
    Ok(status)
}

/// When something is to be told: what waits to be flushed is not waited for longer than silence is borne.
fn due(flush: Option<Instant>, silent: Instant) -> Instant {
    flush.map_or(silent, |flush| flush.min(silent))
}

/// Tells piece after piece.
struct Teller<'a> {
    desk: &'a Desk,
    number: u32,
    told: Instant,
    /// The last piece without anything in it.
    sign: Option<u32>,
}

impl Teller<'_> {
    async fn say(&mut self, piece: &[u8]) -> Result<(), DeskError> {
        // Beyond these pieces cannot be told apart; how the program ended is still told.
        if self.number < Place::PIECES {
            self.desk.write(Part::Out(self.number), piece).await?;
            if piece.is_empty() {
                self.forget_sign().await;
                self.sign = Some(self.number);
            }
            self.number += 1;
        }
        self.told = Instant::now();
        Ok(())
    }

    /// Removes the last sign that the program still runs: whoever asked had all the time since to see it, and a program that
    /// runs for days would fill the registry.
    async fn forget_sign(&mut self) {
        let Some(sign) = self.sign.take() else { return };
        if let Err(error) = self.desk.remove(Part::Out(sign)).await {
            // It goes with the session all the same.
            debug!(session = self.desk.session(), error = &error as &dyn std::error::Error, "an old sign stays");
        }
    }

    /// Tells whoever asked why there is no more to tell.
    async fn complain(&mut self, error: &ProgramError) -> Result<(), DeskError> {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        self.say(format!("callboard: {error}{cause}\n").as_bytes()).await
    }
}

/// A script in a file, for as long as it runs.
struct Script {
    path: PathBuf,
}

impl Script {
    /// Writes a file that only its owner can read, change and run.
    fn write(bytes: &[u8]) -> io::Result<Script> {
        let path = std::env::temp_dir().join(format!("callboard-exec-{}", uuid::Uuid::new_v4()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?;
        let script = Script { path };
        file.write_all(bytes)?;
        Ok(script)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), error = &error as &dyn std::error::Error, "a script stays behind");
        }
    }
}

async fn start(job: Job) -> Result<(Program, Output, Option<Script>), ProgramError> {
    if !job.args.is_empty() || job.script.is_empty() {
        let by_shell = job.args.is_empty();
        let words = if by_shell { vec![job.command] } else { job.args };
        let (program, output) = Program::piped(program::command(&words, by_shell)?)?;
        return Ok((program, output, None));
    }
    let bytes = job.script.0;
    // A file that names its interpreter is run as it is; others are read by the shell.
    let names_its_own = bytes.starts_with(b"#!");
    let written = tokio::task::spawn_blocking(move || Script::write(&bytes)).await;
    let script = written.map_err(io::Error::other).flatten().map_err(ProgramError::Start)?;
    let mut tries = 1;
    loop {
        let mut command = if names_its_own { Command::new(&script.path) } else { Command::new(program::shell()) };
        if !names_its_own {
            command.arg(&script.path);
        }
        match Program::piped(command) {
            // Another program that was being started while the file was written holds it open until it runs.
            Err(ProgramError::Start(error))
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            started => return started.map(|(program, output)| (program, output, Some(script))),
        }
    }
}

#[cfg(test)]
mod tests {
    use callboard_proto::api::kv::Base64;

    use super::*;

    async fn said(job: Job) -> (Option<i32>, String) {
        let (mut program, output, _script) = start(job).await.unwrap();
        let status = program.wait().await.unwrap();
        let mut buffer = [0; 256];
        let read = output.left(&mut buffer);
        (status.code(), String::from_utf8_lossy(&buffer[..read]).into_owned())
    }

    #[tokio::test]
    async fn a_job_is_words_or_a_script_or_a_line() {
        let script = |text: &str| Base64(text.as_bytes().to_vec());
        let line = Job { command: "echo \"a  b\"; exit 3".to_owned(), ..Job::default() };
        assert_eq!(said(line).await, (Some(3), "a  b\n".to_owned()));
        let words = ["echo", "a  b;", "$x"].map(str::to_owned).to_vec();
        let all = Job { args: words, command: "echo no".to_owned(), script: script("echo no"), wait: 0 };
        assert_eq!(said(all).await, (Some(0), "a  b; $x\n".to_owned()));
        let plain = Job { script: script("echo one\necho two"), command: "echo no".to_owned(), ..Job::default() };
        assert_eq!(said(plain).await, (Some(0), "one\ntwo\n".to_owned()));
        let own = Job { script: script("#!/bin/cat\nitself"), ..Job::default() };
        assert_eq!(said(own).await, (Some(0), "#!/bin/cat\nitself".to_owned()));
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_so_and_leaves_no_file() {
        let job = Job { args: vec!["no-such-program-anywhere".to_owned()], ..Job::default() };
        assert!(matches!(start(job).await, Err(ProgramError::Start(_))));
        let script = Script::write(b"#!/no/such/interpreter\n").unwrap();
        let path = script.path.clone();
        assert!(path.exists());
        drop(script);
        assert!(!path.exists());
    }

    #[test]
    fn what_waits_to_be_flushed_delays_no_sign_of_life() {
        let now = Instant::now();
        let (sooner, later) = (now + Duration::from_millis(200), now + FLUSH_AFTER);
        assert_eq!(due(None, later), later);
        assert_eq!(due(Some(sooner), later), sooner);
        assert_eq!(due(Some(later), sooner), sooner);
    }

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}
