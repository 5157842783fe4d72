//! `maint`: a node or an instance out of service, and back; without a flag, what is out of service now.

use callboard_proto::check::{NODE_MAINTENANCE, SERVICE_MAINTENANCE};
use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target};
use super::failure::Failure;
use super::talk::{say, text};

/// Takes a node or an instance out of service, and back.
#[derive(Debug, Args)]
pub(super) struct Maint {
    /// Take it out of service
    #[arg(long)]
    enable: bool,
    /// Put it back
    #[arg(long)]
    disable: bool,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// The id of an instance; without it the node is meant
    #[arg(long)]
    service: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

/// Takes out, puts back, or lists.
pub(super) async fn run(maint: Maint) -> Ended {
    let api = maint.client.api()?;
    let service = maint.service.as_deref().filter(|id| !id.is_empty());
    match (maint.enable, maint.disable) {
        (true, true) => return Err(Failure::usage("Only one of -enable or -disable may be provided")),
        (false, false) if maint.reason.is_some() || service.is_some() => {
            return Err(Failure::usage("-reason and -service need -enable or -disable"));
        }
        (false, true) if maint.reason.is_some() => {
            return Err(Failure::usage("Reason may only be provided with -enable"));
        }
        (false, false) => {
            let checks: Value = api.json("Error getting checks", Target::new("/v1/agent/checks")).await?;
            return list(&checks);
        }
        _ => {}
    }
    let target = match service {
        Some(id) => Target::of("/v1/agent/service/maintenance/", id),
        None => Target::new("/v1/agent/maintenance"),
    };
    let target = target.pair("enable", maint.enable).maybe("reason", maint.reason.as_deref());
    let state = if maint.enable { "enabled" } else { "disabled" };
    api.put(&format!("Error setting maintenance to {state}"), target, "").await?;
    match service {
        Some(id) => say(format!("Service maintenance is now {state} for {id:?}"))?,
        None => say(format!("Node maintenance is now {state}"))?,
    }
    Ok(0)
}

fn list(checks: &Value) -> Ended {
    for check in checks.as_object().into_iter().flat_map(|checks| checks.values()) {
        let id = text(check, "CheckID");
        if id == NODE_MAINTENANCE {
            say(format!("Node:\n  Name:   {}\n  Reason: {}\n", text(check, "Node"), text(check, "Notes")))?;
        } else if let Some(instance) = id.strip_prefix(SERVICE_MAINTENANCE) {
            say(format!("Service:\n  ID:     {instance}\n  Reason: {}\n", text(check, "Notes")))?;
        }
    }
    Ok(0)
}
