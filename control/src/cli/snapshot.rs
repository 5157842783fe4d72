//! `snapshot`: the whole registry as a file, saved, looked at, and put back.
//!
//! A file is there only when it is whole and its checksums are true: what is being saved has another name until then.
//! Nothing is sent that does not verify.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::meta::INDEX;
use clap::{Args, Subcommand};
use http::Method;
use http::header::CONTENT_LENGTH;

use super::Ended;
use super::client::{ClientFlags, PATIENCE, Target, success};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::progress::{Progress, Unit};
use super::talk::{cells, say, say_json, table, write};
use crate::snapshot::{ARCHIVE_MAX, SnapshotMeta, read};

/// How long a server may take to put a snapshot back.
const RESTORE_PATIENCE: Duration = Duration::from_secs(600);

/// Saves the registry to a file, and puts it back.
#[derive(Debug, Args)]
pub(super) struct Snapshot {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Saves the registry to a file
    Save(Saved),
    /// Replaces everything in the registry by what a file holds
    Restore(Saved),
    /// Shows what a file holds, once it is verified
    Inspect(Inspect),
}

#[derive(Debug, Args)]
struct Saved {
    #[command(flatten)]
    client: ClientFlags,
    /// The file
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Inspect {
    #[command(flatten)]
    shape: ShapeFlag,
    /// The file
    file: PathBuf,
}

/// Runs one of them.
pub(super) async fn run(snapshot: Snapshot) -> Ended {
    match snapshot.command {
        SnapshotCommand::Save(flags) => save(flags).await,
        SnapshotCommand::Restore(flags) => restore(flags).await,
        SnapshotCommand::Inspect(flags) => inspect(&flags),
    }
}

fn failed<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Failure + 'a {
    move |error| Failure::because(Kind::Failed, format!("{doing} {}", path.display()), &error)
}

/// An archive that may be believed, as it is in its file.
struct Verified {
    meta: SnapshotMeta,
    bytes: Vec<u8>,
}

/// Reads an archive as a server does that is to restore it, up to what one takes.
fn verified(path: &Path) -> Result<Verified, Failure> {
    let file = File::open(path).map_err(failed("reading", path))?;
    let mut bytes = Vec::new();
    file.take(ARCHIVE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed("reading", path))?;
    if bytes.len() > ARCHIVE_MAX {
        return Err(Failure::usage(format!("{} is longer than {ARCHIVE_MAX} bytes", path.display())));
    }
    let unpacked = read(&bytes).map_err(|error| {
        Failure::because(Kind::Failed, format!("Error verifying snapshot file {}", path.display()), &error)
    })?;
    Ok(Verified { meta: unpacked.meta, bytes })
}

async fn save(flags: Saved) -> Ended {
    let api = flags.client.api()?;
    let target = api.full(Target::new("/v1/snapshot"), true);
    let doing = "Error saving snapshot";
    let mut answer = api.client.request_streamed(Method::GET, &target, Bytes::new(), PATIENCE).await?;
    if !answer.status.is_success() {
        return Err(Failure::answered(doing, &answer.whole().await?));
    }
    let index = answer.headers.get(INDEX).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let total = answer.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut name = flags.file.clone().into_os_string();
    name.push(".unverified");
    let unverified = PathBuf::from(name);
    let mut file = File::create(&unverified).map_err(failed("creating", &unverified))?;
    let mut progress = Progress::new("saving", total, Unit::Bytes);
    let fetched = async {
        while let Some(piece) = answer.piece().await? {
            file.write_all(&piece).map_err(failed("writing", &unverified))?;
            progress.add(piece.len() as u64);
        }
        file.sync_all().map_err(failed("writing", &unverified))?;
        let archive = verified(&unverified)?;
        std::fs::rename(&unverified, &flags.file).map_err(failed("writing", &flags.file))?;
        Ok(archive)
    };
    let archive: Result<Verified, Failure> = fetched.await;
    progress.end();
    if archive.is_err() {
        // Half a snapshot is none; that it cannot be removed changes nothing about why it is.
        let _ = std::fs::remove_file(&unverified);
    }
    let archive = archive?;
    let index = index.unwrap_or_else(|| archive.meta.index.to_string());
    say(format!("Saved and verified snapshot to index {index}"))?;
    Ok(0)
}

async fn restore(flags: Saved) -> Ended {
    let Verified { bytes, .. } = verified(&flags.file)?;
    let api = flags.client.api()?;
    let length = bytes.len() as u64;
    let mut progress = Progress::new("restoring", None, Unit::Bytes);
    progress.add(length);
    let answer = api.ask(Method::PUT, Target::new("/v1/snapshot"), bytes, RESTORE_PATIENCE).await;
    progress.end();
    success("Error restoring snapshot", answer?)?;
    say("Restored snapshot")?;
    Ok(0)
}

fn inspect(flags: &Inspect) -> Ended {
    let Verified { meta, bytes } = verified(&flags.file)?;
    if flags.shape.json() {
        say_json(&serde_json::json!({"Meta": meta, "Size": bytes.len()}))?;
        return Ok(0);
    }
    let rows = [
        cells(["ID".to_owned(), meta.id]),
        cells(["Index".to_owned(), meta.index.to_string()]),
        cells(["Format".to_owned(), meta.format.to_string()]),
        cells(["Version".to_owned(), meta.version]),
        cells(["Size".to_owned(), bytes.len().to_string()]),
        cells(["State".to_owned(), meta.size.to_string()]),
    ];
    write(table(&rows).as_bytes())?;
    Ok(0)
}
