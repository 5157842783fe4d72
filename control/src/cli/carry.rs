//! `import` and `export`: moving house, from Consul or between registries of ours.
//!
//! What would be done is shown before anything is done; what is there only stays. Doing it twice is doing it once.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Args;

use super::Ended;
use super::client::{Api, ClientFlags, Secret};
use super::failure::{Failure, Kind};
use super::input::file_text;
use super::portable::{Change, Noun, Portable, Row};
use super::talk::{note, say};
use super::{carry_read, carry_write};

/// Copies services, keys, rules and rights into this registry: `import consul -from ADDRESS`, or `import FILE`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The agent that is read, HOST:PORT, http://…, unix:///PATH
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The token for that agent
    #[arg(long, value_name = "TOKEN")]
    from_token: Option<Secret>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Of the keys, only those that begin so
    #[arg(long, default_value = "")]
    prefix: String,
    /// Show every row, also those that are the same
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// `consul` for a live agent, else a file of `export`; `-` is standard input
    source: String,
}

/// Writes services, keys, rules and rights as one JSON document.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Of the keys, only those that begin so
    #[arg(long, default_value = "")]
    prefix: String,
    #[command(flatten)]
    client: ClientFlags,
    /// The file, which only its owner may read [default: standard output]
    file: Option<PathBuf>,
}

/// Reads, shows the difference, and writes it.
pub(super) async fn import(import: Import) -> Ended {
    let api = import.client.api()?;
    let source = match (import.source.as_str(), &import.from) {
        ("consul", Some(from)) => {
            let from = Api::at(from, import.from_token.clone())?;
            carry_read::read(&from, "reading", &import.prefix).await?
        }
        ("consul", None) => return Err(Failure::usage("import consul needs -from ADDRESS")),
        (_, Some(_)) => return Err(Failure::usage("-from goes with `import consul`")),
        (path, None) => {
            let wrong = |error| Failure::usage(format!("{path} is no document of `export`: {error}"));
            Portable::parse(&file_text(path)?).map_err(wrong)?
        }
    };
    let target = carry_read::read(&api, "comparing", &import.prefix).await?;
    let source = source.without_nodes(&target.agents);
    let changes = source.against(&target);
    show(&changes, import.all)?;
    for left in &source.left {
        note(format!("not carried: {left}"));
    }
    let pending = changes.iter().filter(|(change, _)| matches!(change, Change::Added | Change::Changed)).count();
    let secretless = |(change, row): &&(Change, Row)| {
        *change == Change::Added && row.noun == Noun::Token && row.value["SecretID"].is_null()
    };
    if let Some((_, row)) = changes.iter().find(secretless) {
        note(format!("token {}: it gets a new secret, since the old one is not shown", row.name));
    }
    if import.dry_run {
        note(format!("nothing was written: {pending} rows would be"));
        return Ok(0);
    }
    let written = carry_write::write(&api, &changes).await?;
    note(format!("{written} rows were written"));
    Ok(0)
}

/// Prints one line for each row that differs, and how many there are of each.
fn show(changes: &[(Change, Row)], all: bool) -> Result<(), Failure> {
    for (change, row) in changes {
        let sign = match change {
            Change::Added => '+',
            Change::Changed => '~',
            Change::Same if all => '=',
            Change::Extra if all => '-',
            Change::Same | Change::Extra => continue,
        };
        say(format!("{sign} {} {}", row.noun.as_str(), row.name))?;
    }
    for noun in Noun::ALL {
        let count =
            |wanted: Change| changes.iter().filter(|(change, row)| row.noun == noun && *change == wanted).count();
        let counts = [Change::Added, Change::Changed, Change::Same, Change::Extra].map(count);
        if counts.iter().sum::<usize>() > 0 {
            let [added, changed, same, extra] = counts;
            say(format!("{}: {added} added, {changed} changed, {same} same, {extra} extra", noun.as_str()))?;
        }
    }
    Ok(())
}

/// Writes the document.
pub(super) async fn export(export: Export) -> Ended {
    let api = export.client.api()?;
    let portable = carry_read::read(&api, "reading", &export.prefix).await?;
    let document = portable.document();
    let document = document.map_err(|error| Failure::because(Kind::Failed, "writing the document", &error))?;
    for left in &portable.left {
        note(format!("not carried: {left}"));
    }
    let Some(path) = &export.file else {
        say(document)?;
        return Ok(0);
    };
    let mut open = std::fs::OpenOptions::new();
    // It may hold the secrets of tokens.
    let written = open.write(true).create(true).truncate(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(document.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(|error| Failure::because(Kind::Failed, format!("writing {}", path.display()), &error))?;
    note(format!("{} rows were written to {}", portable.len(), path.display()));
    Ok(0)
}
