//! `keyring`: the keys that seal what nodes say to one another.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::Ended;
use super::client::{Api, ClientFlags, Secret, Target, rows};
use super::failure::Failure;
use super::talk::{say, text};

/// Lists, adds, uses and removes the keys of gossip.
#[derive(Debug, Args)]
pub(super) struct Keyring {
    /// List the keys, and how many nodes know each
    #[arg(long)]
    list: bool,
    /// Let every node know a key
    #[arg(long, value_name = "KEY")]
    install: Option<Secret>,
    /// Let every node seal with a key that it knows
    #[arg(long = "use", value_name = "KEY")]
    used: Option<Secret>,
    /// Let every node forget a key
    #[arg(long, value_name = "KEY")]
    remove: Option<Secret>,
    /// With -list: the key that is sealed with only
    #[arg(long)]
    list_primary: bool,
    /// How many others pass an answer on, 0 to 5
    #[arg(long, value_name = "NODES")]
    relay_factor: Option<u8>,
    /// With -list: only what this agent knows
    #[arg(long)]
    local_only: bool,
    #[command(flatten)]
    client: ClientFlags,
}

/// Does the one thing that was asked for.
pub(super) async fn run(keyring: Keyring) -> Ended {
    let lists = keyring.list || keyring.list_primary;
    let writes = [
        (&keyring.install, Method::POST, "Installing new gossip encryption key..."),
        (&keyring.used, Method::PUT, "Changing primary gossip encryption key..."),
        (&keyring.remove, Method::DELETE, "Removing gossip encryption key..."),
    ];
    let wanted = writes.iter().filter(|(key, ..)| key.is_some()).count() + usize::from(lists);
    if wanted != 1 {
        return Err(Failure::usage("exactly one of -list, -list-primary, -install, -use and -remove"));
    }
    let api = keyring.client.api()?;
    let relay = keyring.relay_factor.map(|factor| factor.to_string());
    let target = Target::new("/v1/operator/keyring").maybe("relay-factor", relay.as_deref());
    if lists {
        return list(&api, target.flag("local-only", keyring.local_only), keyring.list_primary).await;
    }
    for (key, method, text) in writes {
        if let Some(key) = key {
            say(format!("==> {text}"))?;
            api.send("error", method, target.clone(), json!({"Key": key.0}).to_string()).await?;
        }
    }
    Ok(0)
}

async fn list(api: &Api, target: Target, primary: bool) -> Ended {
    say("==> Gathering installed encryption keys...")?;
    let found = rows(api.json("error", target).await?);
    for pool in &found {
        let kind = if pool["WAN"] == true { "WAN" } else { "LAN" };
        say(format!("\n{} ({kind}):", text(pool, "Datacenter")))?;
        for (node, message) in pool["Messages"].as_object().into_iter().flatten() {
            say(format!("  ===> {node}: {}", message.as_str().unwrap_or_default()))?;
        }
        let keys = if primary { &pool["PrimaryKeys"] } else { &pool["Keys"] };
        for (key, nodes) in keys.as_object().into_iter().flatten() {
            say(format!("  {key} [{}/{}]", nodes_of(nodes), text(pool, "NumNodes")))?;
        }
    }
    Ok(0)
}

fn nodes_of(count: &Value) -> u64 {
    count.as_u64().unwrap_or_default()
}
