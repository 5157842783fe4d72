//! `watch`: news of the registry, printed once, or given to a program again and again.
//!
//! Each kind is a question that waits on the server, asked as Consul's clients do: the first without an index; one that goes
//! back begins anew; the same index, or the same answer, is no news. After failures it waits longer and longer; an answer
//! that says that the question is wrong ends it.

use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::kv::KvShown;
use callboard_proto::api::meta::INDEX;
use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::Ended;
use super::client::{Api, ClientFlags, Target, decode};
use super::failure::{Failure, Kind};
use super::flags::ShellFlag;
use super::talk::{complain, note, say_json};
use crate::program;

/// Longer than a server lets anybody wait who names no time: five minutes and a sixteenth.
const PATIENCE: Duration = Duration::from_secs(330);
/// The pause after the first failure; it grows with the square of their number.
const RETRY: Duration = Duration::from_secs(5);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(180);
/// The least time between two questions.
const ROUND_MIN: Duration = Duration::from_millis(50);

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Type {
    /// One key
    Key,
    /// Every key that begins so
    Keyprefix,
    /// The names of the services
    Services,
    /// The nodes
    Nodes,
    /// The instances of one service
    Service,
    /// Checks: of one service, or in one state
    Checks,
    /// Events
    Event,
    /// The roots of the certificate authority
    ConnectRoots,
    /// The certificate of one service
    ConnectLeaf,
}

/// Prints news, or gives it to a program.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// What is watched
    #[arg(long = "type", value_enum)]
    kind: Type,
    /// The key
    #[arg(long)]
    key: Option<String>,
    /// What the keys begin with
    #[arg(long)]
    prefix: Option<String>,
    /// The service
    #[arg(long)]
    service: Option<String>,
    /// Only instances with this tag; several must all be there
    #[arg(long)]
    tag: Vec<String>,
    /// Only instances that pass their checks
    #[arg(long)]
    passingonly: bool,
    /// Only checks in this state: passing, warning, critical, any
    #[arg(long)]
    state: Option<String>,
    /// Only events of this name
    #[arg(long)]
    name: Option<String>,
    /// Only what this holds for
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    #[command(flatten)]
    shell: ShellFlag,
    #[command(flatten)]
    client: ClientFlags,
    /// The program that is given the news as JSON on its standard input, with CONSUL_INDEX in its environment
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

fn needed<'a>(flag: &str, value: Option<&'a String>) -> Result<&'a str, Failure> {
    let value = value.map(String::as_str).filter(|text| !text.is_empty());
    value.ok_or_else(|| Failure::usage(format!("this type of watch needs {flag}")))
}

impl Watch {
    /// Returns the question, without its index.
    fn target(&self) -> Result<Target, Failure> {
        let filter = self.filter.as_deref();
        Ok(match self.kind {
            Type::Key => Target::of("/v1/kv/", needed("-key", self.key.as_ref())?),
            Type::Keyprefix => Target::of("/v1/kv/", needed("-prefix", self.prefix.as_ref())?).flag("recurse", true),
            Type::Services => Target::new("/v1/catalog/services").maybe("filter", filter),
            Type::Nodes => Target::new("/v1/catalog/nodes").maybe("filter", filter),
            Type::Service => {
                let target = Target::of("/v1/health/service/", needed("-service", self.service.as_ref())?);
                let target = self.tag.iter().fold(target, |target, tag| target.pair("tag", tag));
                target.pair_if("passing", "1", self.passingonly).maybe("filter", filter)
            }
            Type::Checks => match (&self.service, &self.state) {
                (Some(_), Some(_)) => return Err(Failure::usage("Cannot specify service and state")),
                (Some(service), None) => Target::of("/v1/health/checks/", service).maybe("filter", filter),
                (None, state) => {
                    Target::of("/v1/health/state/", state.as_deref().unwrap_or("any")).maybe("filter", filter)
                }
            },
            Type::Event => Target::new("/v1/event/list").maybe("name", self.name.as_deref()),
            Type::ConnectRoots => Target::new("/v1/agent/connect/ca/roots"),
            Type::ConnectLeaf => Target::of("/v1/agent/connect/ca/leaf/", needed("-service", self.service.as_ref())?),
        })
    }
}

/// What a round found: the index, and the value if it is there.
struct Found {
    index: u64,
    value: Value,
}

/// Remembers what is known, and says what is news. Pure.
#[derive(Debug, Default)]
struct Known {
    index: u64,
    value: Option<Value>,
}

impl Known {
    /// Takes what a round found; says whether it is news.
    fn takes(&mut self, found: &Found) -> bool {
        if found.index == self.index {
            return false;
        }
        // One that goes back belongs to another history: the next round begins anew.
        self.index = if found.index < self.index { 0 } else { found.index };
        if self.value.as_ref() == Some(&found.value) {
            return false;
        }
        self.value = Some(found.value.clone());
        true
    }
}

/// Returns the pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    RETRY.saturating_mul(failures.saturating_mul(failures)).min(RETRY_MAX)
}

/// Watches.
pub(super) async fn run(watch: Watch) -> Ended {
    let target = watch.target()?;
    let by_shell = watch.shell.by_shell()?;
    let api = watch.client.api()?;
    let (mut known, mut failures) = (Known::default(), 0);
    loop {
        let next = Instant::now() + ROUND_MIN;
        match round(&api, &watch, &target, known.index).await {
            Ok(found) => {
                failures = 0;
                if known.takes(&found) {
                    if watch.program.is_empty() {
                        say_json(&found.value)?;
                        return Ok(0);
                    }
                    tell(&watch.program, by_shell, &found).await?;
                }
                tokio::time::sleep_until(next).await;
            }
            Err(failure) if is_final(&failure) => return Err(failure),
            Err(failure) => {
                failures += 1;
                complain(&failure);
                note(format!("asking again in {:?}", pause(failures)));
                tokio::time::sleep(pause(failures)).await;
            }
        }
    }
}

/// A question that is wrong, or not allowed, stays so.
fn is_final(failure: &Failure) -> bool {
    matches!(failure.kind, Kind::Usage | Kind::Denied | Kind::NotFound)
}

async fn round(api: &Api, watch: &Watch, target: &Target, index: u64) -> Result<Found, Failure> {
    let target = target.clone().pair_if("index", &index.to_string(), index > 0);
    let answer = api.ask(Method::GET, target, Bytes::new(), PATIENCE).await?;
    let doing = "Error watching";
    let is_key = matches!(watch.kind, Type::Key | Type::Keyprefix);
    if answer.status == StatusCode::BAD_REQUEST {
        let mut failure = Failure::answered(doing, &answer);
        failure.kind = Kind::Usage;
        return Err(failure);
    }
    let absent = is_key && answer.status == StatusCode::NOT_FOUND;
    if !absent && !answer.status.is_success() {
        return Err(Failure::answered(doing, &answer));
    }
    let index = answer.header(INDEX).and_then(|text| text.parse().ok()).filter(|index| *index > 0);
    let index = index.ok_or_else(|| Failure::new(Kind::Failed, "Error watching: the answer has no index"))?;
    let value = match watch.kind {
        _ if absent => Value::Null,
        Type::Key => {
            let rows: Vec<KvShown> = decode(doing, &answer)?;
            rows.into_iter().next().map_or(Value::Null, |row| json!(row))
        }
        _ => decode(doing, &answer)?,
    };
    Ok(Found { index, value })
}

/// Runs the program with the news; one that fails ends the watch.
async fn tell(program: &[String], by_shell: bool, found: &Found) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::because(Kind::Failed, "Error executing handler", error);
    let mut command = program::command(program, by_shell)?;
    command.env("CONSUL_INDEX", found.index.to_string()).stdin(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let mut bytes = found.value.to_string().into_bytes();
    bytes.push(b'\n');
    if let Some(mut input) = child.stdin.take() {
        // One that reads nothing has seen what it wanted to see.
        let _ = input.write_all(&bytes).await;
    }
    let status = child.wait().await.map_err(|error| failed(&error))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(Kind::Failed, format!("Error executing handler: {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_what_is_new() {
        let mut known = Known::default();
        let mut takes = |index: u64, value: u64| (known.takes(&Found { index, value: json!(value) }), known.index);
        assert_eq!(takes(5, 1), (true, 5));
        assert_eq!(takes(5, 2), (false, 5), "the time was over");
        assert_eq!(takes(7, 1), (false, 7), "somebody else's change");
        assert_eq!(takes(8, 2), (true, 8));
        assert_eq!(takes(3, 3), (true, 0), "another history");
        assert_eq!(takes(3, 3), (false, 3));
    }

    #[test]
    fn pauses_grow_to_three_minutes() {
        let seconds: Vec<u64> = [1, 2, 3, 6, 7, 70_000].map(|failures| pause(failures).as_secs()).to_vec();
        assert_eq!(seconds, [5, 20, 45, 180, 180, 180]);
    }
}
