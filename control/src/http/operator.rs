//! `/v1/operator/raft/…` and `/v1/operator/keyring`: the members of the log, who leads it, and the keys of gossip.

use std::collections::BTreeMap;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::decode::{Unknown, from_slice};
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::*;
use super::reply::{self, Failure, Response};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, delete, get, now, post, put};
use crate::cluster::KeyAct;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/operator/raft/configuration",
        operations: &[
            get("The members of the log", |call| now(configuration(call))).gives(shaped::<BTreeMap<String, Value>>())
        ],
    },
    Route {
        path: "/v1/operator/raft/peer",
        operations: &[delete("Takes a server out of the log", |call| Box::pin(remove_peer(call)))
            .with(&[PEER])
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/operator/raft/transfer-leader",
        operations: &[post("Has another server lead", |call| Box::pin(transfer(call)))
            .with(&[HEIR])
            .takes(Body::Empty)
            .gives(shaped::<BTreeMap<String, Value>>())],
    },
    Route {
        path: "/v1/operator/keyring",
        operations: &[
            get("The keys of gossip, and on how many members each is", |call| Box::pin(list_keys(call)))
                .with(&[KEYRING])
                .gives(shaped::<Vec<BTreeMap<String, Value>>>()),
            post("Adds a key", |call| Box::pin(turn(call, KeyAct::Install)))
                .with(&[KEYRING])
                .takes(Body::Object(KEY))
                .gives(Body::Empty),
            put("Seals with an installed key", |call| Box::pin(turn(call, KeyAct::Use)))
                .with(&[KEYRING])
                .takes(Body::Object(KEY))
                .gives(Body::Empty),
            delete("Removes a key", |call| Box::pin(turn(call, KeyAct::Remove)))
                .with(&[KEYRING])
                .takes(Body::Object(KEY))
                .gives(Body::Empty),
        ],
    },
];

const KEY: &[Member] = &[("Key", Kind::Text)];

/// The server of the log with an id or an address, as clients name them.
fn server(call: &Call<'_>, what: &str, fits: impl Fn(&str, &str) -> bool) -> Result<u64, Failure> {
    let servers = call.api.cluster.servers();
    let found = servers.iter().find(|server| fits(&server.id, &server.address));
    let unknown = || Failure::Refused(format!("{what} was not found in the Raft configuration"));
    found.map(|server| server.raft_id).ok_or_else(unknown)
}

fn configuration(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Operator, "", Level::Read)?;
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let servers: Vec<Value> = call
        .api
        .cluster
        .servers()
        .into_iter()
        .map(|server| {
            json!({
                "ID": server.id, "Node": server.name, "Address": server.address, "Leader": server.leader,
                "ProtocolVersion": "3", "Voter": server.voter, "LastIndex": server.last_index,
            })
        })
        .collect();
    Ok(reply::json(&json!({"Servers": servers, "Index": 0}), call.pretty()))
}

async fn remove_peer(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Operator, "", Level::Write)?;
    let id = match (call.params.filled("id"), call.params.filled("address")) {
        (None, None) => {
            return Err(Failure::BadRequest(
                "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove".to_owned(),
            ));
        }
        (Some(_), Some(_)) => {
            return Err(Failure::BadRequest("Must specify only one of ?id or ?address".to_owned()));
        }
        (Some(id), None) => server(call, &format!("id {id:?}"), |known, _| known.eq_ignore_ascii_case(id))?,
        (None, Some(address)) => server(call, &format!("address {address:?}"), |_, known| known == address)?,
    };
    call.api.cluster.remove_server(id).await?;
    Ok(reply::empty())
}

async fn transfer(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Operator, "", Level::Write)?;
    let heir = match call.params.filled("id") {
        None => None,
        Some(id) => Some(server(call, &format!("id {id:?}"), |known, _| known.eq_ignore_ascii_case(id))?),
    };
    match call.api.cluster.transfer_leader(heir).await? {
        true => Ok(reply::json(&json!({"Success": true}), call.pretty())),
        false => Err(Failure::Refused("cannot find peer".to_owned())),
    }
}

/// The body of a change of keys.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyBody {
    #[serde(default)]
    key: String,
}

/// Refuses a relay factor that makes no sense; answers do not need to be relayed, so any other is as good as none.
fn check_relay(call: &Call<'_>) -> Result<(), Failure> {
    let Some(text) = call.params.filled("relay-factor") else { return Ok(()) };
    match text.parse::<u8>() {
        Ok(0..=5) => Ok(()),
        Ok(_) => Err(Failure::BadRequest("Relay factor must be in range [0, 5]".to_owned())),
        Err(_) => Err(Failure::BadRequest(format!("Error parsing relay factor: {text:?} is no number"))),
    }
}

async fn list_keys(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Keyring, "", Level::Read)?;
    check_relay(call)?;
    let only_here = call.params.get("local-only").is_some_and(|value| value.is_empty() || value == "true");
    let report = call.api.cluster.gossip().keys(KeyAct::List, "", only_here).await;
    if report.keys.is_empty() {
        let reason = report.failures.into_values().next().unwrap_or_default();
        return Err(Failure::Refused(format!("1/1 nodes reported failure: {reason}")));
    }
    let body = json!([{
        "WAN": false, "Datacenter": call.api.datacenter(), "Segment": "", "Messages": report.failures,
        "Keys": report.keys, "PrimaryKeys": report.primary, "NumNodes": report.members,
    }]);
    Ok(reply::json(&body, call.pretty()))
}

async fn turn(call: &mut Call<'_>, act: KeyAct) -> Result<Response, Failure> {
    call.permit(Resource::Keyring, "", Level::Write)?;
    check_relay(call)?;
    let body = call.body(BODY_MAX).await?;
    let request: KeyBody = from_slice(&body, Unknown::Ignore)?;
    let report = call.api.cluster.gossip().keys(act, &request.key, false).await;
    if let Some((member, reason)) = report.failures.iter().next() {
        let (failed, members) = (report.failures.len(), report.members);
        return Err(Failure::Refused(format!("{failed}/{members} nodes reported failure: {member}: {reason}")));
    }
    Ok(reply::empty())
}
