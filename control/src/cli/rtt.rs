//! `rtt`: how far two nodes are apart, by the coordinates that the registry keeps.

use callboard_proto::api::coordinate::{CoordinateShown, DatacenterMap};
use callboard_proto::coordinate::Coordinate;
use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target};
use super::failure::{Failure, Kind};
use super::talk::{say, text};

/// Estimates the round trip between two nodes.
#[derive(Debug, Args)]
pub(super) struct Rtt {
    /// The names are NODE.DATACENTER, of servers
    #[arg(long)]
    wan: bool,
    #[command(flatten)]
    client: ClientFlags,
    /// A node
    from: String,
    /// Another [default: the agent's own]
    to: Option<String>,
}

/// Prints the estimate.
pub(super) async fn run(rtt: Rtt) -> Ended {
    let api = rtt.client.api()?;
    let to = match (&rtt.to, rtt.wan) {
        (Some(to), _) => to.clone(),
        (None, wan) => {
            let found: Value = api.json("Error looking up agent info", Target::new("/v1/agent/self")).await?;
            let (node, datacenter) = (text(&found["Config"], "NodeName"), text(&found["Config"], "Datacenter"));
            if wan { format!("{node}.{datacenter}") } else { node }
        }
    };
    let doing = "Error getting coordinates";
    let mut known: Vec<(String, Coordinate)> = Vec::new();
    if rtt.wan {
        let areas: Vec<DatacenterMap> = api.json(doing, Target::new("/v1/coordinate/datacenters")).await?;
        for DatacenterMap { datacenter, coordinates, .. } in areas {
            known.extend(coordinates.into_iter().map(|row| (format!("{}.{datacenter}", row.node), row.coord)));
        }
    } else {
        let found: Vec<CoordinateShown> = api.json(doing, Target::new("/v1/coordinate/nodes")).await?;
        known.extend(found.into_iter().map(|row| (row.node.to_string(), row.coord)));
    }
    let of = |name: &str| {
        let found = known.iter().find(|(node, _)| node.eq_ignore_ascii_case(name)).map(|(_, coordinate)| coordinate);
        found.ok_or_else(|| Failure::new(Kind::NotFound, format!("Could not find a coordinate for node {name:?}")))
    };
    let seconds = of(&rtt.from)?.distance(of(&to)?);
    let source = if rtt.wan { "WAN" } else { "LAN" };
    say(format!("Estimated {} <-> {to} rtt: {:.3} ms (using {source} coordinates)", rtt.from, seconds * 1000.0))?;
    Ok(0)
}
