//! `config`: the entries that say how services are called.

use callboard_proto::hcl;
use clap::{Args, Subcommand};
use http::StatusCode;
use serde_json::Value;

use super::Ended;
use super::client::{Api, ClientFlags, Target, decode, rows};
use super::failure::{Failure, Kind};
use super::input::file_text;
use super::talk::{say, say_json, text};

/// Reads and writes config entries.
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Shows an entry
    Read(One),
    /// Writes an entry from a file
    Write(Write),
    /// Lists the names of the entries of a kind
    List(List),
    /// Deletes an entry
    Delete(Delete),
}

#[derive(Debug, Args)]
struct One {
    /// Its kind
    #[arg(long)]
    kind: String,
    /// Its name
    #[arg(long)]
    name: String,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Write {
    /// Only if it was last changed at -modify-index
    #[arg(long)]
    cas: bool,
    /// When it was last changed; 0: it does not exist
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    modify_index: u64,
    #[command(flatten)]
    client: ClientFlags,
    /// The entry, HCL or JSON; `-` is standard input
    file: String,
}

#[derive(Debug, Args)]
struct List {
    /// Their kind
    #[arg(long)]
    kind: String,
    /// Only those for which this holds
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Delete {
    /// Its kind
    #[arg(long)]
    kind: Option<String>,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// A file that holds the entry
    #[arg(long, value_name = "FILE")]
    filename: Option<String>,
    /// Only if it was last changed at -modify-index
    #[arg(long)]
    cas: bool,
    /// When it was last changed
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    modify_index: u64,
    #[command(flatten)]
    client: ClientFlags,
}

/// Runs one of them.
pub(super) async fn run(config: Config) -> Ended {
    match config.command {
        ConfigCommand::Read(one) => read(one).await,
        ConfigCommand::Write(write) => put(write).await,
        ConfigCommand::List(list) => names(list).await,
        ConfigCommand::Delete(delete) => remove(delete).await,
    }
}

/// Returns the path of an entry.
pub(super) fn entry_path(kind: &str, name: &str) -> Target {
    Target::of(&format!("/v1/config/{kind}/"), name)
}

async fn read(one: One) -> Ended {
    let doing = format!("Error reading config entry {}/{}", one.kind, one.name);
    let found: Value = one.client.api()?.json(&doing, entry_path(&one.kind, &one.name)).await?;
    say_json(&found)?;
    Ok(0)
}

/// Reads the entry in a file; returns its kind and name as well.
fn entry(path: &str) -> Result<(Value, String, String), Failure> {
    let value = hcl::parse(&file_text(path)?);
    let value = value.map_err(|error| Failure::usage(format!("Failed to decode config entry input: {error}")))?;
    let member = |name: &str| {
        let map = value.as_object()?;
        map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_str().map(str::to_owned)
    };
    match (member("kind"), member("name")) {
        (Some(kind), name) => {
            // Some kinds have one entry, whose name nobody writes.
            let name = name.unwrap_or_else(|| if kind == "mesh" { "mesh".into() } else { String::new() });
            Ok((value, kind, name))
        }
        _ => Err(Failure::usage(
            "Failed to decode config entry input: payload does not contain a kind/Kind key at the top level",
        )),
    }
}

async fn put(write: Write) -> Ended {
    if write.modify_index > 0 && !write.cas {
        return Err(Failure::usage("Cannot specify -modify-index without -cas"));
    }
    let (value, kind, name) = entry(&write.file)?;
    let doing = format!("Error writing config entry {kind}/{name}");
    let api = write.client.api()?;
    let target = Target::new("/v1/config");
    let target = if write.cas { target.pair("cas", write.modify_index) } else { target };
    written(&api, &doing, target, &value).await?;
    say(format!("Config entry written: {kind}/{name}"))?;
    Ok(0)
}

async fn written(api: &Api, doing: &str, target: Target, value: &Value) -> Result<(), Failure> {
    match decode(doing, &api.put_json(doing, target, value).await?)? {
        Value::Bool(true) => Ok(()),
        _ => Err(Failure::new(Kind::Conflict, format!("{doing}: CAS failed"))),
    }
}

async fn names(list: List) -> Ended {
    let doing = format!("Error listing config entries for kind {:?}", list.kind);
    let target = Target::of("/v1/config/", &list.kind).maybe("filter", list.filter.as_deref());
    for row in rows(list.client.api()?.json(&doing, target).await?) {
        say(text(&row, "Name"))?;
    }
    Ok(0)
}

async fn remove(delete: Delete) -> Ended {
    let (kind, name) = match (&delete.filename, &delete.kind, &delete.name) {
        (Some(path), None, None) => entry(path).map(|(_, kind, name)| (kind, name))?,
        (None, Some(kind), Some(name)) => (kind.clone(), name.clone()),
        _ => return Err(Failure::usage("either -filename, or -kind and -name")),
    };
    if delete.modify_index > 0 && !delete.cas {
        return Err(Failure::usage("Cannot specify -modify-index without -cas"));
    }
    let doing = format!("Error deleting config entry {kind}/{name}");
    let target = entry_path(&kind, &name);
    let target = if delete.cas { target.pair("cas", delete.modify_index) } else { target };
    let answer = delete.client.api()?.delete(&doing, target).await?;
    let refused = delete.cas && answer.status == StatusCode::OK && answer.body.starts_with(b"false");
    if refused {
        return Err(Failure::new(Kind::Conflict, format!("{doing}: CAS failed")));
    }
    say(format!("Config entry deleted: {kind}/{name}"))?;
    Ok(0)
}
