//! `lock`: a program runs while a lock is held, or one of the places of a semaphore.
//!
//! The keys are those of Consul's clients, so that both can contend: `PREFIX/.lock` for one holder, and beside it a key for
//! each contender for several. When the lock is lost the program is told to end, with all it started, and ended after five
//! seconds.

use std::process::ExitStatus;
use std::time::Duration;

use callboard::Client;
use callboard::lock::{Locked, Lost, Permit, SessionSettings};
use clap::Args;
use tokio::signal::unix::SignalKind;

use super::Ended;
use super::client::ClientFlags;
use super::failure::{Failure, Kind};
use super::flags::{ShellFlag, listen, time};
use super::talk::note;
use crate::program::{self, Program};

/// What is answered when the program failed and the caller wants to know.
const CHILD_FAILED: u8 = 2;
/// Consul's own, and the least that leaves time for a renewal.
const TTL_DEFAULT: &str = "15s";

/// Runs a program while a lock is held.
#[derive(Debug, Args)]
pub(super) struct Lock {
    /// How many may hold it at once; all must mean the same number
    #[arg(long = "n", value_name = "HOLDERS", default_value_t = 1)]
    n: u32,
    /// What the session is called
    #[arg(long)]
    name: Option<String>,
    /// How long to wait for the lock; 0: for ever
    #[arg(long, value_name = "TIME", default_value = "0s", alias = "try")]
    timeout: String,
    /// How long others wait when this process dies without a word
    #[arg(long, value_name = "TIME", default_value = TTL_DEFAULT)]
    ttl: String,
    /// End with code 2 when the program fails
    #[arg(long)]
    child_exit_code: bool,
    /// How many reads in a row may fail, up to a second apart, before the lock is given up; the session's TTL counts as well
    #[arg(long, value_name = "TIMES", default_value_t = 3)]
    monitor_retry: u32,
    #[command(flatten)]
    shell: ShellFlag,
    /// Give the program our standard input
    #[arg(long)]
    pass_stdin: bool,
    /// Say what is done
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// Where the lock is, among the keys
    prefix: String,
    /// The program
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

/// What is held.
enum Held {
    Alone(Box<Locked>),
    Among(Box<Permit>),
}

impl Held {
    async fn lost(&self) -> Lost {
        match self {
            Held::Alone(locked) => locked.lost().await,
            Held::Among(permit) => permit.lost().await,
        }
    }

    async fn release(self) -> Result<bool, callboard::Error> {
        match self {
            Held::Alone(locked) => locked.release().await,
            Held::Among(permit) => permit.release().await,
        }
    }
}

/// Takes the lock, runs the program, gives the lock back.
pub(super) async fn run(lock: Lock) -> Ended {
    let (timeout, ttl) = (time("-timeout", &lock.timeout)?, time("-ttl", &lock.ttl)?);
    let by_shell = lock.shell.by_shell()?;
    if lock.n == 0 {
        return Err(Failure::usage("Lock holder limit must be positive"));
    }
    let mut command = program::command(&lock.program, by_shell)?;
    command.env("CONSUL_LOCK_HELD", "true");
    let client = lock.client.api()?.client;
    let talk = |text: &str| {
        if lock.verbose {
            note(text);
        }
    };
    talk(&format!("Setting up lock at path: {}", lock.prefix));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let name =
        lock.name.clone().unwrap_or_else(|| format!("Lock for {:?} at {:?}", lock.program.join(" "), lock.prefix));
    let taking = take(&client, &lock, name, ttl);
    let taken = tokio::select! {
        held = taking => held,
        () = pause(timeout) => Err(Failure::new(Kind::TimedOut, format!("Lock acquisition failed: not had within {timeout:?}"))),
        _ = terminate.recv() => Err(Failure::new(Kind::Failed, "Lock acquisition aborted")),
        _ = interrupt.recv() => Err(Failure::new(Kind::Failed, "Lock acquisition aborted")),
    };
    let held = match taken {
        Ok(held) => held,
        Err(failure) => {
            client.shutdown().await;
            return Err(failure);
        }
    };
    talk("Lock acquired; starting the program");
    // Whatever becomes of it, the lock is given back.
    let ended = async {
        let mut program = Program::start(command, lock.pass_stdin)?;
        let failure = tokio::select! {
            status = program.wait() => return finished(status?, lock.child_exit_code),
            lost = held.lost() => {
                note(format!("Lock lost ({lost:?}); ending the program"));
                Failure::new(Kind::Conflict, "Lock lost while the program ran")
            }
            _ = terminate.recv() => Failure::new(Kind::Failed, "told to end while the program ran"),
            _ = interrupt.recv() => Failure::new(Kind::Failed, "told to end while the program ran"),
        };
        program.end().await?;
        Err(failure)
    };
    let ended = ended.await;
    talk("Giving the lock back");
    let released = held.release().await;
    client.shutdown().await;
    match released {
        // What went wrong first is what is told.
        Err(error) if ended.is_ok() => Err(Failure::because(Kind::Failed, "Lock release failed", &error)),
        _ => ended,
    }
}

async fn take(client: &Client, lock: &Lock, name: String, ttl: Duration) -> Result<Held, Failure> {
    let prefix = lock.prefix.trim_matches('/');
    if lock.n == 1 {
        let settings = SessionSettings { name, ttl, ..SessionSettings::default() };
        let locked = client.lock(format!("{prefix}/.lock")).session(settings);
        let locked = locked.monitor_failures_max(lock.monitor_retry).acquire().await?;
        return Ok(Held::Alone(Box::new(locked)));
    }
    let permit = client.semaphore(prefix, lock.n).ttl(ttl).name(name);
    let permit = permit.monitor_failures_max(lock.monitor_retry).acquire().await?;
    Ok(Held::Among(Box::new(permit)))
}

/// Never ends for a time of zero.
async fn pause(time: Duration) {
    match time.is_zero() {
        true => std::future::pending().await,
        false => tokio::time::sleep(time).await,
    }
}

fn finished(status: ExitStatus, tells: bool) -> Ended {
    if !status.success() {
        note(format!("Error running handler: {status}"));
    }
    Ok(if tells && !status.success() { CHILD_FAILED } else { 0 })
}
