//! `session`: what locks are held by; listed, opened, renewed and ended.

use clap::{Args, Subcommand};
use http::StatusCode;
use serde_json::{Value, json};

use super::Ended;
use super::client::{ClientFlags, PATIENCE, Target, decode, rows, success};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::talk::{cells, say, say_json, table, text, write};

/// Opens, renews and ends sessions.
#[derive(Debug, Args)]
pub(super) struct Sessions {
    #[command(subcommand)]
    command: SessionCommand,
}

#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// Lists sessions
    List(List),
    /// Opens a session and prints its id
    Create(Box<Create>),
    /// Renews a session for another TTL
    Renew(One),
    /// Ends a session; what it locks is free
    Destroy(One),
}

#[derive(Debug, Args)]
struct List {
    /// Only those on a node
    #[arg(long)]
    node: Option<String>,
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Create {
    /// What it is called
    #[arg(long)]
    name: Option<String>,
    /// The node it is on [default: the agent's]
    #[arg(long)]
    node: Option<String>,
    /// How long it outlives a renewal, 10s to 24h [default: it needs none]
    #[arg(long)]
    ttl: Option<String>,
    /// How long nobody can lock its keys after it was lost, at most 60s [default: 15s]
    #[arg(long, value_name = "TIME")]
    lock_delay: Option<String>,
    /// What becomes of its keys: release or delete
    #[arg(long)]
    behavior: Option<String>,
    /// A check of the node that it depends on; several may be named [default: serfHealth]
    #[arg(long, value_name = "ID")]
    check: Vec<String>,
    /// Depend on no check
    #[arg(long, conflicts_with = "check")]
    no_checks: bool,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct One {
    #[command(flatten)]
    client: ClientFlags,
    /// The id of the session
    id: String,
}

/// Runs one of them.
pub(super) async fn run(sessions: Sessions) -> Ended {
    match sessions.command {
        SessionCommand::List(list) => show(list).await,
        SessionCommand::Create(create) => open(*create).await,
        SessionCommand::Renew(one) => renew(one).await,
        SessionCommand::Destroy(one) => {
            one.client.api()?.put("Error ending session", Target::of("/v1/session/destroy/", &one.id), "").await?;
            say(format!("Destroyed session: {}", one.id))?;
            Ok(0)
        }
    }
}

async fn show(list: List) -> Ended {
    let target = match &list.node {
        Some(node) => Target::of("/v1/session/node/", node),
        None => Target::new("/v1/session/list"),
    };
    let found = rows(list.client.api()?.json("Error listing sessions", target).await?);
    if list.shape.json() {
        say_json(&found)?;
        return Ok(0);
    }
    let mut lines = vec![cells(["ID", "Name", "Node", "TTL", "Behavior"])];
    lines.extend(found.iter().map(|row| cells(["ID", "Name", "Node", "TTL", "Behavior"].map(|key| text(row, key)))));
    write(table(&lines).as_bytes())?;
    Ok(0)
}

async fn open(create: Create) -> Ended {
    let mut body = json!({});
    let given = [
        ("Name", create.name),
        ("Node", create.node),
        ("TTL", create.ttl),
        ("LockDelay", create.lock_delay),
        ("Behavior", create.behavior),
    ];
    for (member, value) in given {
        if let Some(value) = value {
            body[member] = json!(value);
        }
    }
    if create.no_checks || !create.check.is_empty() {
        body["NodeChecks"] = json!(create.check);
    }
    let doing = "Error opening session";
    let answer = create.client.api()?.put_json(doing, Target::new("/v1/session/create"), &body).await?;
    let session: Value = decode(doing, &answer)?;
    say(text(&session, "ID"))?;
    Ok(0)
}

async fn renew(one: One) -> Ended {
    let target = Target::of("/v1/session/renew/", &one.id);
    let answer = one.client.api()?.ask(http::Method::PUT, target, "", PATIENCE).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Failure::new(Kind::NotFound, format!("Error! No session exists with id: {}", one.id)));
    }
    let doing = "Error renewing session";
    let sessions = rows(decode(doing, &success(doing, answer)?)?);
    let ttl = sessions.first().map(|session| text(session, "TTL")).unwrap_or_default();
    say(format!("Renewed session: {} for {ttl}", one.id))?;
    Ok(0)
}
