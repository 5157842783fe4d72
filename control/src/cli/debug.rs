//! `debug`: what helps somebody else to understand an agent, in one archive, without a secret.
//!
//! What an agent does not answer is noted in the archive; the rest is there. Members whose names sound of secrets are
//! blanked before anything is written.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use callboard_proto::duration::GoDuration;
use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Ended;
use super::client::{Api, ClientFlags, PATIENCE, Target};
use super::failure::{Failure, Kind};
use super::progress::{Progress, Unit};
use super::talk::{complain, note, say};

/// The most bytes of a log that are kept.
const LOG_MAX: usize = 32 << 20;
/// The most rounds.
const ROUNDS_MAX: u32 = 1000;
/// Parts of the names of members that nobody else is to see.
const SECRETS: [&str; 6] = ["token", "secret", "password", "private", "encrypt", "credential"];

/// What is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Capture {
    /// The agent about itself
    Agent,
    /// The machine
    Host,
    /// The members of the cluster
    Members,
    /// The numbers, again and again
    Metrics,
    /// The log
    Logs,
}

/// Collects what helps to understand an agent.
#[derive(Debug, Args)]
pub(super) struct Debug {
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "2m")]
    duration: String,
    /// How often the numbers are taken
    #[arg(long, value_name = "TIME", default_value = "30s")]
    interval: String,
    /// The archive, without its ending [default: consul-debug-TIMESTAMP]
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Only this; several may be named
    #[arg(long, value_enum)]
    capture: Vec<Capture>,
    #[command(flatten)]
    client: ClientFlags,
}

/// A file of the archive.
type Piece = (String, Vec<u8>);

fn time(flag: &str, text: &str) -> Result<Duration, Failure> {
    let parsed = GoDuration::parse(text).ok().and_then(GoDuration::positive);
    parsed.ok_or_else(|| Failure::usage(format!("{flag} is {text:?}; a time as 30s is accepted")))
}

/// Collects, packs, and says where the archive is.
pub(super) async fn run(debug: Debug) -> Ended {
    let (duration, interval) = (time("-duration", &debug.duration)?, time("-interval", &debug.interval)?);
    let rounds = (duration.as_nanos() / interval.as_nanos()).max(1);
    let rounds = u32::try_from(rounds).ok().filter(|rounds| *rounds <= ROUNDS_MAX);
    let Some(rounds) = rounds else {
        return Err(Failure::usage(format!("-duration holds more than {ROUNDS_MAX} times -interval")));
    };
    let api = debug.client.api()?;
    let wants = |capture: Capture| debug.capture.is_empty() || debug.capture.contains(&capture);
    let began = SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default();
    let folder = format!("consul-debug-{began}");
    let path = debug.output.clone().unwrap_or_else(|| PathBuf::from(&folder));
    let path = PathBuf::from(format!("{}.tar.gz", path.display()));
    let mut pieces: Vec<Piece> = Vec::new();
    let mut lacks = Map::new();
    let single = [
        (Capture::Agent, "agent.json", "/v1/agent/self"),
        (Capture::Host, "host.json", "/v1/agent/host"),
        (Capture::Members, "members.json", "/v1/agent/members"),
    ];
    for (capture, name, target) in single.into_iter().filter(|(capture, ..)| wants(*capture)) {
        let _ = capture;
        take(&api, name, target, &mut pieces, &mut lacks).await?;
    }
    note(format!("capturing for {duration:?}"));
    let logs = async {
        match wants(Capture::Logs) {
            true => log(&api, duration).await,
            false => Ok(Vec::new()),
        }
    };
    let numbers = async {
        let mut progress = Progress::new("capturing", Some(u64::from(rounds)), Unit::Items);
        let (mut pieces, mut lacks) = (Vec::new(), Map::new());
        let start = Instant::now();
        for round in 0..rounds {
            if wants(Capture::Metrics) {
                let name = format!("metrics/{round:04}.json");
                take(&api, &name, "/v1/agent/metrics", &mut pieces, &mut lacks).await?;
            }
            tokio::time::sleep_until(start + interval * (round + 1)).await;
            progress.add(1);
        }
        progress.end();
        Ok::<_, Failure>((pieces, lacks))
    };
    let (log, numbers) = tokio::join!(logs, numbers);
    let (more, lacking) = numbers?;
    pieces.extend(more);
    lacks.extend(lacking);
    match log {
        Ok(bytes) if bytes.is_empty() => {}
        Ok(bytes) => pieces.push(("consul.log".to_owned(), bytes)),
        Err(failure) => {
            lacks.insert("consul.log".to_owned(), json!(failure.text));
            complain(&failure);
        }
    }
    let index = json!({"Began": began, "Duration": debug.duration, "Interval": debug.interval, "Lacks": lacks});
    pieces.push(("index.json".to_owned(), index.to_string().into_bytes()));
    pack(&path, &folder, &pieces)?;
    say(format!("Saved debug archive: {}", path.display()))?;
    Ok(0)
}

/// Takes one answer, or notes why there is none.
async fn take(
    api: &Api,
    name: &str,
    target: &str,
    pieces: &mut Vec<Piece>,
    lacks: &mut Map<String, Value>,
) -> Result<(), Failure> {
    match api.json::<Value>(&format!("Error capturing {name}"), Target::new(target)).await {
        Ok(mut value) => {
            blank(&mut value);
            pieces.push((name.to_owned(), value.to_string().into_bytes()));
            Ok(())
        }
        // Without an agent there is nothing to collect.
        Err(failure) if failure.kind == Kind::Unreachable => Err(failure),
        Err(failure) => {
            lacks.insert(name.to_owned(), json!(failure.text));
            complain(&failure);
            Ok(())
        }
    }
}

/// Reads the log for a time.
async fn log(api: &Api, duration: Duration) -> Result<Vec<u8>, Failure> {
    let target = api.full(Target::new("/v1/agent/monitor").pair("loglevel", "debug"), true);
    let mut answer = api.client.request_streamed(Method::GET, &target, Bytes::new(), PATIENCE).await?;
    if !answer.status.is_success() {
        return Err(Failure::answered("Error capturing the log", &answer.whole().await?));
    }
    let (end, mut bytes) = (Instant::now() + duration, Vec::new());
    while let Ok(piece) = tokio::time::timeout_at(end, answer.piece()).await {
        let Some(piece) = piece? else { break };
        bytes.extend_from_slice(&piece);
        if bytes.len() >= LOG_MAX {
            bytes.extend_from_slice(format!("\n(cut: the bound of {LOG_MAX} bytes was reached)\n").as_bytes());
            break;
        }
    }
    Ok(bytes)
}

/// Blanks every member whose name sounds of a secret.
fn blank(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.to_lowercase();
                let secret = SECRETS.iter().any(|part| name.contains(part)) || name.ends_with("key");
                match value {
                    Value::String(text) if secret && !text.is_empty() => *text = "<hidden>".to_owned(),
                    _ => blank(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(blank),
        _ => {}
    }
}

fn pack(path: &Path, folder: &str, pieces: &[Piece]) -> Result<(), Failure> {
    let failed = |error| Failure::because(Kind::Failed, format!("writing {}", path.display()), &error);
    let write = || -> std::io::Result<()> {
        let file = std::fs::File::create(path)?;
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::default()));
        for (name, bytes) in pieces {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            tar.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice())?;
        }
        tar.into_inner()?.finish()?.sync_all()
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blanked_wherever_they_are() {
        let mut value = json!({"Config": {"ACLToken": "t", "Name": "n", "EncryptKey": "e", "Encrypt": true},
            "List": [{"PrivateKeyPEM": "p", "Port": 1, "secret_id": ""}]});
        blank(&mut value);
        let expect = json!({"Config": {"ACLToken": "<hidden>", "Name": "n", "EncryptKey": "<hidden>", "Encrypt": true},
            "List": [{"PrivateKeyPEM": "<hidden>", "Port": 1, "secret_id": ""}]});
        assert_eq!(value, expect);
    }
}
