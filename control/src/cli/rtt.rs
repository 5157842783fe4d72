//! `rtt`: how far two nodes are apart, by the coordinates that the registry keeps.
//!
//! The estimate is that of Vivaldi with heights and adjustments (Dabek et al. 2004; Ledlie et al. 2007).

use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target, rows};
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
    let mut known = Vec::new();
    if rtt.wan {
        for area in rows(api.json(doing, Target::new("/v1/coordinate/datacenters")).await?) {
            let datacenter = text(&area, "Datacenter");
            let named = rows(area["Coordinates"].clone()).into_iter();
            known.extend(named.map(|row| (format!("{}.{datacenter}", text(&row, "Node")), row["Coord"].clone())));
        }
    } else {
        let found = rows(api.json(doing, Target::new("/v1/coordinate/nodes")).await?);
        known.extend(found.into_iter().map(|row| (text(&row, "Node"), row["Coord"].clone())));
    }
    let of = |name: &str| {
        let found = known.iter().find(|(node, _)| node == name).map(|(_, coordinate)| coordinate);
        found.ok_or_else(|| Failure::new(Kind::NotFound, format!("Could not find a coordinate for node {name:?}")))
    };
    let seconds = distance(of(&rtt.from)?, of(&to)?);
    let source = if rtt.wan { "WAN" } else { "LAN" };
    say(format!("Estimated {} <-> {to} rtt: {:.3} ms (using {source} coordinates)", rtt.from, seconds * 1000.0))?;
    Ok(0)
}

/// Returns the estimate in seconds.
fn distance(a: &Value, b: &Value) -> f64 {
    let number = |of: &Value, member: &str| of[member].as_f64().unwrap_or_default();
    let vec = |of: &Value| -> Vec<f64> { rows(of["Vec"].clone()).iter().filter_map(Value::as_f64).collect() };
    let apart: f64 = vec(a).iter().zip(vec(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let raw = apart + number(a, "Height") + number(b, "Height");
    let adjusted = raw + number(a, "Adjustment") + number(b, "Adjustment");
    if adjusted > 0.0 { adjusted } else { raw }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn heights_and_adjustments_count() {
        let a = json!({"Vec": [0.003, 0.0], "Height": 0.001, "Adjustment": 0.0});
        let b = json!({"Vec": [0.0, 0.004], "Height": 0.002, "Adjustment": 0.002});
        assert!((distance(&a, &b) - 0.010).abs() < 1e-9);
        let b = json!({"Vec": [0.0, 0.004], "Height": 0.002, "Adjustment": -1.0});
        assert!((distance(&a, &b) - 0.008).abs() < 1e-9, "an estimate is never negative");
    }
}
