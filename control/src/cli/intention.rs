//! `intention`: who may call whom.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ended;
use super::client::{ClientFlags, PATIENCE, Target, rows};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::input::file_text;
use super::talk::{cells, pairs, say, say_json, table, text, write};

/// What `check` ends with when the call is denied.
const DENIED: u8 = 2;

/// Says who may call whom.
#[derive(Debug, Args)]
pub(super) struct Intention {
    #[command(subcommand)]
    command: IntentionCommand,
}

#[derive(Debug, Subcommand)]
enum IntentionCommand {
    /// Allows or denies calls of one service to another
    Create(Create),
    /// Says whether one service may call another; ends with 2 when not
    Check(Pair),
    /// Shows one intention
    Get(Pair),
    /// Deletes one intention
    Delete(Pair),
    /// Lists all intentions, in the order in which they count
    List(List),
    /// Lists those that are about a service
    Match(Match),
}

#[derive(Debug, Args)]
struct Create {
    /// Calls are allowed; the default
    #[arg(long)]
    allow: bool,
    /// Calls are denied
    #[arg(long)]
    deny: bool,
    /// Replace what is there
    #[arg(long)]
    replace: bool,
    /// Read whole intentions from the files that are named, JSON
    #[arg(long)]
    file: bool,
    /// Free metadata; several may be given
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    #[command(flatten)]
    client: ClientFlags,
    /// SOURCE and DESTINATION, or files
    #[arg(required = true)]
    words: Vec<String>,
}

#[derive(Debug, Args)]
struct Pair {
    #[command(flatten)]
    client: ClientFlags,
    /// Who calls
    source: String,
    /// Who is called
    destination: String,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Match {
    /// Those whose source it is
    #[arg(long)]
    source: bool,
    /// Those whose destination it is; the default
    #[arg(long, conflicts_with = "source")]
    destination: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// The service
    service: String,
}

/// Runs one of them.
pub(super) async fn run(intention: Intention) -> Ended {
    match intention.command {
        IntentionCommand::Create(create) => put(create).await,
        IntentionCommand::Check(pair) => check(pair).await,
        IntentionCommand::Get(pair) => get(pair).await,
        IntentionCommand::Delete(pair) => {
            pair.client.api()?.delete("Error deleting the intention", exact(&pair.source, &pair.destination)).await?;
            say("Intention deleted.")?;
            Ok(0)
        }
        IntentionCommand::List(list) => show(list).await,
        IntentionCommand::Match(about) => matching(about).await,
    }
}

fn exact(source: &str, destination: &str) -> Target {
    Target::new("/v1/connect/intentions/exact").pair("source", source).pair("destination", destination)
}

/// Returns an intention as one line.
fn line(row: &Value) -> String {
    let action = match text(row, "Action") {
        action if action.is_empty() => format!("{} permissions", rows(row["Permissions"].clone()).len()),
        action => action,
    };
    format!("{} => {} ({action})", text(row, "SourceName"), text(row, "DestinationName"))
}

async fn put(create: Create) -> Ended {
    if create.allow && create.deny {
        return Err(Failure::usage("Only one of -allow, -deny, or -file may be specified."));
    }
    let mut wanted: Vec<Value> = Vec::new();
    if create.file {
        for path in &create.words {
            let value = serde_json::from_str(&file_text(path)?);
            wanted.push(value.map_err(|error| Failure::because(Kind::Usage, format!("reading {path}"), &error))?);
        }
    } else {
        let [source, destination] = create.words.as_slice() else {
            return Err(Failure::usage("Must specify two arguments: source and destination"));
        };
        let mut meta = json!({});
        for pair in &create.meta {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("-meta is {pair:?}; KEY=VALUE is accepted")))?;
            meta[key] = json!(value);
        }
        let action = if create.deny { "deny" } else { "allow" };
        wanted.push(json!({"SourceName": source, "DestinationName": destination, "SourceType": "consul",
            "Action": action, "Meta": meta}));
    }
    let api = create.client.api()?;
    for row in &wanted {
        let (source, destination) = (text(row, "SourceName"), text(row, "DestinationName"));
        let doing = format!("Error creating intention {:?}", line(row));
        if !create.replace {
            let found: Option<Value> = api.json_if(&doing, exact(&source, &destination)).await?;
            if found.is_some() {
                let there = format!("{doing}: it exists already");
                return Err(Failure::new(Kind::Conflict, there).hint("-replace replaces it"));
            }
        }
        api.put_json(&doing, exact(&source, &destination), row).await?;
        say(format!("Created: {}", line(row)))?;
    }
    Ok(0)
}

async fn check(pair: Pair) -> Ended {
    let target =
        Target::new("/v1/connect/intentions/check").pair("source", &pair.source).pair("destination", &pair.destination);
    let found: Value = pair.client.api()?.json("Error checking the connection", target).await?;
    let allowed = found["Allowed"] == true;
    say(if allowed { "Allowed" } else { "Denied" })?;
    Ok(if allowed { 0 } else { DENIED })
}

async fn get(pair: Pair) -> Ended {
    let found: Value =
        pair.client.api()?.json("Error reading the intention", exact(&pair.source, &pair.destination)).await?;
    let mut lines = Vec::new();
    for (title, member) in [
        ("Source:", "SourceName"),
        ("Destination:", "DestinationName"),
        ("Action:", "Action"),
        ("ID:", "ID"),
        ("Description:", "Description"),
        ("Precedence:", "Precedence"),
        ("Created At:", "CreatedAt"),
    ] {
        let value = text(&found, member);
        if !value.is_empty() {
            lines.push(cells([title.to_owned(), value]));
        }
    }
    let meta = pairs(&found["Meta"]);
    if !meta.is_empty() {
        lines.push(cells(["Meta:".to_owned(), meta]));
    }
    write(table(&lines).as_bytes())?;
    if found["Permissions"].is_array() {
        say_json(&found["Permissions"])?;
    }
    Ok(0)
}

async fn show(list: List) -> Ended {
    let found = rows(list.client.api()?.json("Error listing intentions", Target::new("/v1/connect/intentions")).await?);
    if list.shape.json() {
        say_json(&found)?;
        return Ok(0);
    }
    if found.is_empty() {
        say("There are no intentions.")?;
        return Ok(0);
    }
    let members = ["ID", "SourceName", "Action", "DestinationName", "Precedence"];
    let mut lines = vec![cells(["ID", "Source", "Action", "Destination", "Precedence"])];
    lines.extend(found.iter().map(|row| cells(members.map(|member| text(row, member)))));
    write(table(&lines).as_bytes())?;
    Ok(0)
}

async fn matching(about: Match) -> Ended {
    let by = if about.source { "source" } else { "destination" };
    let target = Target::new("/v1/connect/intentions/match").pair("by", by).pair("name", &about.service);
    let api = about.client.api()?;
    let answer = api.ask(http::Method::GET, target, "", PATIENCE).await?;
    let doing = "Error matching the connection";
    let found: Value = super::client::decode(doing, &super::client::success(doing, answer)?)?;
    for row in found.as_object().into_iter().flat_map(|lists| lists.values()).flat_map(|list| rows(list.clone())) {
        say(line(&row))?;
    }
    Ok(0)
}
