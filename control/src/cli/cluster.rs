//! `join`, `leave`, `force-leave`, `reload`: what an agent is told to do.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Method;

use super::Ended;
use super::client::{ClientFlags, Target, success};
use super::failure::{Failure, Kind};
use super::talk::{complain, say};

/// How long an agent may take to leave: it waits until others have seen it.
const LEAVE_PATIENCE: Duration = Duration::from_secs(120);

/// Lets an agent join others.
#[derive(Debug, Args)]
pub(super) struct Join {
    /// Join servers of other datacenters
    #[arg(long)]
    wan: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// Where others are: HOST or HOST:PORT
    #[arg(required = true)]
    addresses: Vec<String>,
}

/// Lets an agent leave the others and end.
#[derive(Debug, Args)]
pub(super) struct Leave {
    #[command(flatten)]
    client: ClientFlags,
}

/// Makes a node leave whose process is gone.
#[derive(Debug, Args)]
pub(super) struct ForceLeave {
    /// Forget it at once
    #[arg(long)]
    prune: bool,
    /// A server of another datacenter
    #[arg(long)]
    wan: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// The name of the node
    node: String,
}

/// Lets an agent read its configuration again.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    client: ClientFlags,
}

/// Joins each address; some may fail as long as one does not.
pub(super) async fn join(join: Join) -> Ended {
    let api = join.client.api()?;
    let (mut joined, mut last) = (0, None);
    for address in &join.addresses {
        let target = Target::of("/v1/agent/join/", address).pair_if("wan", "1", join.wan);
        match api.put(&format!("Error joining address '{address}'"), target, "").await {
            Ok(_) => joined += 1,
            Err(failure) => {
                complain(&failure);
                last = Some(failure.kind);
            }
        }
    }
    if joined == 0 {
        return Err(Failure::new(last.unwrap_or(Kind::Failed), "Failed to join any nodes."));
    }
    say(format!("Successfully joined cluster by contacting {joined} nodes."))?;
    Ok(0)
}

/// Leaves.
pub(super) async fn leave(leave: Leave) -> Ended {
    let target = Target::new("/v1/agent/leave");
    let answer = leave.client.api()?.ask(Method::PUT, target, Bytes::new(), LEAVE_PATIENCE).await?;
    success("Error leaving", answer)?;
    say("Graceful leave complete")?;
    Ok(0)
}

/// Makes another leave.
pub(super) async fn force_leave(leave: ForceLeave) -> Ended {
    let target =
        Target::of("/v1/agent/force-leave/", &leave.node).flag("prune", leave.prune).pair_if("wan", "1", leave.wan);
    leave.client.api()?.put("Error force leaving", target, "").await?;
    Ok(0)
}

/// Reads again.
pub(super) async fn reload(reload: Reload) -> Ended {
    reload.client.api()?.put("Error reloading", Target::new("/v1/agent/reload"), "").await?;
    say("Configuration reload triggered")?;
    Ok(0)
}
