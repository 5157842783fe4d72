//! `exec`: a program is run on the nodes that allow it, and what it says there is printed here.
//!
//! The protocol is Consul's (see `crate::exec`): a job under a session, an event that calls, and keys that answer, which are
//! followed by reads that wait. The session, and with it the program wherever it runs, ends with this command.

use std::time::Duration;

use callboard::client::{KvPut, KvRemove};
use callboard::lock::{Session, SessionSettings};
use callboard_proto::api::event::{self, UserEvent};
use callboard_proto::api::kv::Base64;
use callboard_proto::api::query::ReadOptions;
use callboard_proto::session::SessionBehavior;
use clap::Args;
use tokio::signal::unix::SignalKind;
use tokio::time::{Instant, sleep_until};

use super::Ended;
use super::client::{Api, ClientFlags, Target};
use super::exec_tally::{Lines, News, Tally, Tree};
use super::failure::{Failure, Kind};
use super::flags::{ShellFlag, listen, time};
use super::input::data;
use super::talk::{note, write_if_read};
use crate::event::Audience;
use crate::exec::{Call, Job, PREFIX, Part, Place};

/// What is answered when the program failed somewhere, or did not end.
const FAILED_THERE: u8 = 2;
/// How long the session outlives this command, and the programs with it.
const TTL: Duration = Duration::from_secs(15);

/// Runs a program on other nodes.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Only on nodes whose name this expression finds
    #[arg(long, default_value = "")]
    node: String,
    /// Only on nodes with such a service
    #[arg(long, default_value = "")]
    service: String,
    /// Only on nodes with such a tag on the service
    #[arg(long, default_value = "")]
    tag: String,
    /// What the keys begin with that the job and the answers are written to
    #[arg(long, default_value = PREFIX)]
    prefix: String,
    #[command(flatten)]
    shell: ShellFlag,
    /// How long nobody may say anything before this ends
    #[arg(long, value_name = "TIME", default_value = "1s")]
    wait: String,
    /// How long the job is given to reach all servers before the nodes are called
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    wait_repl: String,
    /// Say what is done
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// The program; `-` alone: a script on our standard input
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

impl Exec {
    /// Returns what is to be run.
    fn job(&self) -> Result<Job, Failure> {
        let by_shell = self.shell.by_shell()?;
        let wait = i64::try_from(time("-wait", &self.wait)?.as_nanos()).unwrap_or(i64::MAX);
        let job = Job { wait, ..Job::default() };
        if self.program == ["-"] {
            let script = data("-")?;
            return match script.is_empty() {
                true => Err(Failure::usage("there is nothing to run: standard input is empty")),
                false => Ok(Job { script: Base64(script), ..job }),
            };
        }
        Ok(match by_shell {
            true => Job { command: self.program.join(" "), ..job },
            false => Job { args: self.program.clone(), ..job },
        })
    }

    /// Refuses filters that no node could use.
    fn sound(&self) -> Result<(), Failure> {
        let (node_filter, service_filter, tag_filter) = (self.node.clone(), self.service.clone(), self.tag.clone());
        let event = UserEvent { node_filter, service_filter, tag_filter, ..UserEvent::default() };
        Audience::of(&event).map(drop).map_err(|error| Failure::usage(error.to_string()))
    }
}

/// Runs the program there, prints what it says, and takes everything away again.
pub(super) async fn run(exec: Exec) -> Ended {
    exec.sound()?;
    let job = exec.job()?;
    let (wait, replication) = (time("-wait", &exec.wait)?, time("-wait-repl", &exec.wait_repl)?);
    let api = exec.client.api()?;
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let settings = SessionSettings {
        name: "Remote Exec".to_owned(),
        ttl: TTL,
        lock_delay: Duration::ZERO,
        behavior: SessionBehavior::Delete,
        ..SessionSettings::default()
    };
    let session = api.client.session(&settings).await?;
    let call = Call { prefix: exec.prefix.clone(), session: session.id().to_owned(), ..Call::default() };
    let asked = Asked { api: &api, call: &call, place: call.place(), verbose: exec.verbose };
    asked.talk(&format!("Session: {}", session.id()));
    let ended = tokio::select! {
        ended = asked.ask(&exec, &job, wait, replication) => ended,
        lost = session.lost() => Err(Failure::new(Kind::Conflict, format!("Session lost ({lost:?}) while the program ran"))),
        _ = terminate.recv() => Err(Failure::new(Kind::Failed, "told to end while the program ran")),
        _ = interrupt.recv() => Err(Failure::new(Kind::Failed, "told to end while the program ran")),
    };
    let cleared = asked.clear(session).await;
    api.client.shutdown().await;
    match cleared {
        // What went wrong first is what is told.
        Err(failure) if ended.is_ok() => Err(failure),
        _ => ended,
    }
}

/// What was asked for.
struct Asked<'a> {
    api: &'a Api,
    call: &'a Call,
    place: Place,
    verbose: bool,
}

impl Asked<'_> {
    fn talk(&self, text: &str) {
        if self.verbose {
            note(text);
        }
    }

    /// Writes the job, calls, and follows the answers until nobody says anything.
    async fn ask(&self, exec: &Exec, job: &Job, wait: Duration, replication: Duration) -> Ended {
        let json = |error| Failure::because(Kind::Failed, "writing JSON", &error);
        let how = KvPut { acquire: Some(self.call.session.clone()), ..KvPut::default() };
        let job = serde_json::to_vec(job).map_err(json)?;
        let call = serde_json::to_vec(&self.call.clone().naming(&job)).map_err(json)?;
        if !self.api.client.kv_put(&self.place.job(), job, &how).await? {
            return Err(Failure::new(Kind::Conflict, format!("somebody else holds {}", self.place.job())));
        }
        tokio::time::sleep(replication).await;
        let target = Target::of("/v1/event/fire/", event::EXEC)
            .maybe("node", Some(&exec.node))
            .maybe("service", Some(&exec.service))
            .maybe("tag", Some(&exec.tag));
        self.api.put("Error firing event", target, call).await?;
        self.talk("Event fired; waiting for nodes");
        let (tally, mut lines) = (&mut Tally::default(), Lines::default());
        let begun = Instant::now();
        let followed = self.follow(wait, tally, &mut lines).await;
        if !write_if_read(&lines.rests())? || !followed? {
            return Ok(0);
        }
        note(tally.to_string());
        self.talk(&format!("Completed in {:.2} seconds", begun.elapsed().as_secs_f64()));
        Ok(if tally.is_well() { 0 } else { FAILED_THERE })
    }

    /// Prints what comes until nobody says anything; says whether anybody still reads it.
    async fn follow(&self, wait: Duration, tally: &mut Tally, lines: &mut Lines) -> Result<bool, Failure> {
        let (client, folder) = (&self.api.client, self.place.folder());
        let mut tree = Tree::new(self.place.clone());
        let mut options = ReadOptions::default();
        let mut quiet = Instant::now() + wait;
        loop {
            let read = tokio::select! {
                read = client.kv_keys(folder, None, &options) => read?,
                () = sleep_until(quiet) => return Ok(true),
            };
            // One that goes back belongs to another history: the next read begins anew.
            let went_back = options.index.is_some_and(|index| read.meta.index < index);
            options.index = (!went_back).then_some(read.meta.index);
            let news = tree.news(&read.value);
            for news in &news {
                if !write_if_read(&self.take(news, tally, lines).await?)? {
                    return Ok(false);
                }
            }
            if !news.is_empty() {
                quiet = Instant::now() + tally.patience(wait);
            }
        }
    }

    /// Takes what a node says, and returns what is to be printed of it.
    async fn take(&self, news: &News, tally: &mut Tally, lines: &mut Lines) -> Result<Vec<u8>, Failure> {
        let node = &news.node;
        if news.part == Part::Ack {
            tally.acked();
            self.talk(&format!("==> {node}: acknowledged event"));
            return Ok(Vec::new());
        }
        let key = self.place.key(node, news.part);
        let Some(row) = self.api.client.kv_get(&key, &ReadOptions::default()).await?.value else {
            // It goes only with the session, whose end is told elsewhere.
            return Ok(Vec::new());
        };
        let unusable = |error: &dyn std::error::Error| {
            Failure::because(Kind::Failed, format!("{key} cannot be understood"), error)
        };
        let value = row.bytes().map_err(|error| unusable(&error))?;
        if news.part != Part::Exit {
            if value.is_empty() {
                self.talk(&format!("==> {node}: heartbeat received"));
            }
            return Ok(lines.push(node, &value));
        }
        let text = String::from_utf8_lossy(&value);
        let code = text.trim().parse().map_err(|error: std::num::ParseIntError| unusable(&error))?;
        tally.ended(code);
        note(format!("==> {node}: finished with exit code {code}"));
        Ok(lines.rest(node))
    }

    /// Ends the session, which takes its keys along, and removes whatever else is there.
    async fn clear(&self, session: Session) -> Result<(), Failure> {
        session.end().await;
        self.api.client.kv_delete(self.place.folder(), KvRemove::Prefix).await?;
        Ok(())
    }
}
