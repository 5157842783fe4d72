//! `kv`: one key or many, read and deleted; writing is `kv_put`'s, whole trees are `kv_bulk`'s.

use callboard_proto::api::kv::KvShown;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Ended;
use super::client::{Api, ClientFlags, Target, decode};
use super::failure::{Failure, Kind};
use super::talk::{say, write};
use super::{kv_bulk, kv_put};

/// Reads and writes keys.
#[derive(Debug, Args)]
pub(super) struct Kv {
    #[command(subcommand)]
    command: KvCommand,
}

#[derive(Debug, Subcommand)]
enum KvCommand {
    /// Prints the value of a key, or of many
    Get(Get),
    /// Writes a key
    Put(kv_put::Put),
    /// Deletes a key, or many
    Delete(Delete),
    /// Prints keys as JSON, for `kv import`
    Export(kv_bulk::Export),
    /// Writes the keys of a `kv export`
    Import(kv_bulk::Import),
}

#[derive(Debug, Args)]
struct Get {
    /// Every key that begins so
    #[arg(long)]
    recurse: bool,
    /// The keys only
    #[arg(long)]
    keys: bool,
    /// With -keys: no further than the next of these
    #[arg(long, default_value = "/")]
    separator: String,
    /// With all that is known of the key
    #[arg(long)]
    detailed: bool,
    /// The value in base64
    #[arg(long)]
    base64: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// The key
    key: Option<String>,
}

#[derive(Debug, Args)]
struct Delete {
    /// Every key that begins so
    #[arg(long)]
    recurse: bool,
    /// Only if it was last changed at -modify-index
    #[arg(long)]
    cas: bool,
    /// When it was last changed
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    modify_index: u64,
    #[command(flatten)]
    client: ClientFlags,
    /// The key
    key: Option<String>,
}

/// Runs one of them.
pub(super) async fn run(kv: Kv) -> Ended {
    match kv.command {
        KvCommand::Get(get) => read(get).await,
        KvCommand::Put(put) => kv_put::run(put).await,
        KvCommand::Delete(delete) => remove(delete).await,
        KvCommand::Export(export) => kv_bulk::export(export).await,
        KvCommand::Import(import) => kv_bulk::import(import).await,
    }
}

/// Returns a key as it is stored: none begins with a slash, though people write one.
pub(super) fn bare(key: &str) -> &str {
    key.strip_prefix('/').unwrap_or(key)
}

/// Reads every key that begins so.
pub(super) async fn tree(api: &Api, prefix: &str) -> Result<Vec<KvShown>, Failure> {
    let target = Target::of("/v1/kv/", prefix).flag("recurse", true);
    Ok(api.json_if("Error querying Consul agent", target).await?.unwrap_or_default())
}

/// Returns the value of a row.
pub(super) fn value(row: &KvShown) -> Result<Vec<u8>, Failure> {
    row.bytes()
        .map_err(|error| Failure::because(Kind::Failed, format!("the value of {} is not base64", row.key), &error))
}

async fn read(get: Get) -> Ended {
    let api = get.client.api()?;
    let key = bare(get.key.as_deref().unwrap_or_default());
    if key.is_empty() && !get.keys && !get.recurse {
        return Err(Failure::usage("Error! Missing KEY argument"));
    }
    if get.keys {
        let target = Target::of("/v1/kv/", key).flag("keys", true).maybe("separator", Some(&get.separator));
        let found: Option<Vec<String>> = api.json_if("Error querying Consul agent", target).await?;
        for key in found.unwrap_or_default() {
            say(key)?;
        }
        return Ok(0);
    }
    if get.recurse {
        for (place, row) in tree(&api, key).await?.iter().enumerate() {
            match get.detailed {
                true if place > 0 => write(format!("\n{}", details(row, get.base64)?).as_bytes())?,
                true => write(details(row, get.base64)?.as_bytes())?,
                false => {
                    let mut line = format!("{}:", row.key).into_bytes();
                    line.extend(shown(row, get.base64)?);
                    line.push(b'\n');
                    write(&line)?;
                }
            }
        }
        return Ok(0);
    }
    let found: Option<Vec<KvShown>> = api.json_if("Error querying Consul agent", Target::of("/v1/kv/", key)).await?;
    let Some(row) = found.unwrap_or_default().into_iter().next() else {
        return Err(Failure::new(Kind::NotFound, format!("Error! No key exists at: {key}")));
    };
    if get.detailed {
        write(details(&row, get.base64)?.as_bytes())?;
    } else {
        let mut bytes = shown(&row, get.base64)?;
        bytes.push(b'\n');
        write(&bytes)?;
    }
    Ok(0)
}

fn shown(row: &KvShown, base64: bool) -> Result<Vec<u8>, Failure> {
    match base64 {
        true => Ok(row.value.as_deref().unwrap_or_default().as_bytes().to_vec()),
        false => value(row),
    }
}

/// Returns everything that is known of a row, one line each.
fn details(row: &KvShown, base64: bool) -> Result<String, Failure> {
    let session = if row.session.is_empty() { "-" } else { &*row.session };
    let rows = [
        ("CreateIndex", row.create_index.to_string()),
        ("Flags", row.flags.to_string()),
        ("Key", row.key.to_string()),
        ("LockIndex", row.lock_index.to_string()),
        ("ModifyIndex", row.modify_index.to_string()),
        ("Session", session.to_owned()),
        ("Value", String::from_utf8_lossy(&shown(row, base64)?).into_owned()),
    ];
    // The values begin at one place, whatever they are.
    Ok(rows.iter().map(|(name, value)| format!("{name:<17}{value}\n")).collect())
}

async fn remove(delete: Delete) -> Ended {
    let key = bare(delete.key.as_deref().unwrap_or_default());
    match (delete.recurse, delete.cas, delete.modify_index) {
        (true, true, _) => return Err(Failure::usage("Cannot specify both -recurse and -cas!")),
        (_, true, 0) => return Err(Failure::usage("Must specify -modify-index with -cas!")),
        (_, false, 1..) => return Err(Failure::usage("Cannot specify -modify-index without -cas!")),
        (false, ..) if key.is_empty() => return Err(Failure::usage("Error! Missing KEY argument")),
        _ => {}
    }
    let api = delete.client.api()?;
    let target = Target::of("/v1/kv/", key).flag("recurse", delete.recurse);
    let target = if delete.cas { target.pair("cas", delete.modify_index) } else { target };
    let doing = if delete.cas {
        format!("Error! Did not delete key {key}")
    } else {
        format!("Error! Could not delete key {key}")
    };
    let done: Value = decode(&doing, &api.delete(&doing, target).await?)?;
    if done != Value::Bool(true) {
        return Err(Failure::new(Kind::Conflict, format!("Error! Did not delete key {key}: CAS failed")));
    }
    match delete.recurse {
        true => say(format!("Success! Deleted keys with prefix: {key}"))?,
        false => say(format!("Success! Deleted key: {key}"))?,
    }
    Ok(0)
}
