//! `operator`: the servers that hold the registry, how they are kept, and how much is registered.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Ended;
use super::client::{Api, ClientFlags, PATIENCE, Target, decode, rows, success};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::talk::{cells, say, say_json, table, text, write};

/// Looks after the servers.
#[derive(Debug, Args)]
pub(super) struct Operator {
    #[command(subcommand)]
    command: OperatorCommand,
}

#[derive(Debug, Subcommand)]
enum OperatorCommand {
    /// The servers that agree on what is written
    Raft(Raft),
    /// How servers are added and removed by themselves
    Autopilot(Autopilot),
    /// How much is registered
    Usage(Usage),
}

#[derive(Debug, Args)]
struct Raft {
    #[command(subcommand)]
    command: RaftCommand,
}

#[derive(Debug, Subcommand)]
enum RaftCommand {
    /// Lists the servers
    ListPeers(Listed),
    /// Removes a server that does not come back
    RemovePeer(RemovePeer),
    /// Lets another server lead
    TransferLeader(TransferLeader),
}

#[derive(Debug, Args)]
struct Listed {
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct RemovePeer {
    /// Its address, HOST:PORT
    #[arg(long)]
    address: Option<String>,
    /// Its id
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct TransferLeader {
    /// The id of the one that is to lead
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Autopilot {
    #[command(subcommand)]
    command: AutopilotCommand,
}

#[derive(Debug, Subcommand)]
enum AutopilotCommand {
    /// Shows the settings
    GetConfig(Listed),
    /// Changes settings
    SetConfig(Box<SetConfig>),
    /// Shows how each server is
    State(Listed),
}

#[derive(Debug, Args)]
struct SetConfig {
    /// Remove dead servers when a new one comes
    #[arg(long, value_name = "BOOL")]
    cleanup_dead_servers: Option<bool>,
    /// How long a healthy server may hear nothing of the leader
    #[arg(long, value_name = "TIME")]
    last_contact_threshold: Option<String>,
    /// How far a healthy server may be behind
    #[arg(long, value_name = "ENTRIES")]
    max_trailing_logs: Option<u64>,
    /// Never remove servers below this number
    #[arg(long, value_name = "SERVERS")]
    min_quorum: Option<u64>,
    /// How long a new server must be healthy before it votes
    #[arg(long, value_name = "TIME")]
    server_stabilization_time: Option<String>,
    /// The node metadata that names a zone
    #[arg(long, value_name = "KEY")]
    redundancy_zone_tag: Option<String>,
    /// Do not wait with new versions
    #[arg(long, value_name = "BOOL")]
    disable_upgrade_migration: Option<bool>,
    /// The node metadata that names a version
    #[arg(long, value_name = "KEY")]
    upgrade_version_tag: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct Usage {
    #[command(subcommand)]
    command: UsageCommand,
}

#[derive(Debug, Subcommand)]
enum UsageCommand {
    /// Counts nodes, services and instances
    Instances(Listed),
}

/// Runs one of them.
pub(super) async fn run(operator: Operator) -> Ended {
    match operator.command {
        OperatorCommand::Raft(Raft { command: RaftCommand::ListPeers(flags) }) => list_peers(flags).await,
        OperatorCommand::Raft(Raft { command: RaftCommand::RemovePeer(flags) }) => remove_peer(flags).await,
        OperatorCommand::Raft(Raft { command: RaftCommand::TransferLeader(flags) }) => transfer(flags).await,
        OperatorCommand::Autopilot(Autopilot { command: AutopilotCommand::GetConfig(flags) }) => {
            show(flags, "Error querying Autopilot configuration", "/v1/operator/autopilot/configuration").await
        }
        OperatorCommand::Autopilot(Autopilot { command: AutopilotCommand::SetConfig(flags) }) => {
            set_config(*flags).await
        }
        OperatorCommand::Autopilot(Autopilot { command: AutopilotCommand::State(flags) }) => {
            show(flags, "Error querying Autopilot state", "/v1/operator/autopilot/state").await
        }
        OperatorCommand::Usage(Usage { command: UsageCommand::Instances(flags) }) => usage(flags).await,
    }
}

async fn list_peers(flags: Listed) -> Ended {
    let doing = "Error getting peers";
    let found: Value = flags.client.api()?.json(doing, Target::new("/v1/operator/raft/configuration")).await?;
    if flags.shape.json() {
        say_json(&found)?;
        return Ok(0);
    }
    let servers = rows(found["Servers"].clone());
    let leads = servers.iter().find(|server| server["Leader"] == true).and_then(|server| server["LastIndex"].as_u64());
    let head = ["Node", "ID", "Address", "State", "Voter", "RaftProtocol", "Commit Index", "Trails Leader By"];
    let line = |server: &Value| {
        let leader = server["Leader"] == true;
        let behind = match (leads, server["LastIndex"].as_u64()) {
            (_, _) if leader => "-".to_owned(),
            (Some(leads), Some(at)) => format!("{} commits", leads.saturating_sub(at)),
            _ => "unknown".to_owned(),
        };
        let state = if leader { "leader" } else { "follower" };
        let [node, id, address, voter, protocol, index] =
            ["Node", "ID", "Address", "Voter", "ProtocolVersion", "LastIndex"].map(|member| text(server, member));
        vec![node, id, address, state.to_owned(), voter, protocol, index, behind]
    };
    write(table(&[vec![cells(head)], servers.iter().map(line).collect()].concat()).as_bytes())?;
    Ok(0)
}

async fn remove_peer(flags: RemovePeer) -> Ended {
    let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let (name, value) = match (given(&flags.address), given(&flags.id)) {
        (Some(address), None) => ("address", address),
        (None, Some(id)) => ("id", id),
        (Some(_), Some(_)) => return Err(Failure::usage("either -address or -id, not both")),
        (None, None) => return Err(Failure::usage("an address or id is required for the peer to remove")),
    };
    let target = Target::new("/v1/operator/raft/peer").pair(name, &value);
    flags.client.api()?.delete("Error removing peer", target).await?;
    say(format!("Removed peer with {name} {value:?}"))?;
    Ok(0)
}

async fn transfer(flags: TransferLeader) -> Ended {
    let target = Target::new("/v1/operator/raft/transfer-leader").maybe("id", flags.id.as_deref());
    flags.client.api()?.send("Error transferring leadership", Method::POST, target, "").await?;
    say("Success")?;
    Ok(0)
}

/// Shows an object of settings, or nested states, one line each.
async fn show(flags: Listed, doing: &str, path: &str) -> Ended {
    let found: Value = flags.client.api()?.json(doing, Target::new(path)).await?;
    if flags.shape.json() {
        say_json(&found)?;
        return Ok(0);
    }
    lines(&found, 0)?;
    Ok(0)
}

fn lines(object: &Value, depth: usize) -> Result<(), Failure> {
    let indent = " ".repeat(depth * 3);
    for (name, value) in object.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                say(format!("{indent}{name}:"))?;
                lines(value, depth + 1)?;
            }
            Value::Array(list) => {
                say(format!("{indent}{name}:"))?;
                for item in list {
                    say(format!("{indent}   {}", item.as_str().map_or_else(|| item.to_string(), str::to_owned)))?;
                }
            }
            Value::Object(_) | Value::Null => {}
            _ => say(format!("{indent}{name} = {}", text(object, name)))?,
        }
    }
    Ok(())
}

/// Changes what is named and leaves the rest, unless somebody changes it at the same moment.
async fn set_config(flags: SetConfig) -> Ended {
    let api = flags.client.api()?;
    let path = "/v1/operator/autopilot/configuration";
    let mut config: Value = api.json("Error querying Autopilot configuration", Target::new(path)).await?;
    let changes = [
        ("CleanupDeadServers", flags.cleanup_dead_servers.map(|on| json!(on))),
        ("LastContactThreshold", flags.last_contact_threshold.map(|time| json!(time))),
        ("MaxTrailingLogs", flags.max_trailing_logs.map(|max| json!(max))),
        ("MinQuorum", flags.min_quorum.map(|min| json!(min))),
        ("ServerStabilizationTime", flags.server_stabilization_time.map(|time| json!(time))),
        ("RedundancyZoneTag", flags.redundancy_zone_tag.map(|tag| json!(tag))),
        ("DisableUpgradeMigration", flags.disable_upgrade_migration.map(|on| json!(on))),
        ("UpgradeVersionTag", flags.upgrade_version_tag.map(|tag| json!(tag))),
    ];
    let index = text(&config, "ModifyIndex");
    for (member, value) in changes {
        if let Some(value) = value {
            config[member] = value;
        }
    }
    write_config(&api, path, &index, &config).await?;
    say("Configuration updated!")?;
    Ok(0)
}

async fn write_config(api: &Api, path: &str, index: &str, config: &Value) -> Result<(), Failure> {
    let doing = "Error updating Autopilot configuration";
    let answer =
        api.ask(Method::PUT, Target::new(path).maybe("cas", Some(index)), config.to_string(), PATIENCE).await?;
    match decode(doing, &success(doing, answer)?)? {
        Value::Bool(true) => Ok(()),
        _ => Err(Failure::new(Kind::Conflict, "Configuration could not be atomically updated, please try again")),
    }
}

async fn usage(flags: Listed) -> Ended {
    let doing = "Error fetching usage";
    let found: Value = flags.client.api()?.json(doing, Target::new("/v1/operator/usage")).await?;
    if flags.shape.json() {
        say_json(&found)?;
        return Ok(0);
    }
    let mut lines = vec![cells(["Datacenter", "Nodes", "Services", "Service Instances", "Billable Service Instances"])];
    for (datacenter, counts) in found["Usage"].as_object().into_iter().flatten() {
        let counts =
            ["Nodes", "Services", "ServiceInstances", "BillableServiceInstances"].map(|name| text(counts, name));
        lines.push([vec![datacenter.clone()], counts.to_vec()].concat());
    }
    write(table(&lines).as_bytes())?;
    Ok(0)
}
