//! Replays the recording on a fresh durable node and compares each answer. A difference that is not listed fails;
//! so does a listed one that no longer occurs, so that the list stays true. Ids that a recorded answer gave are replaced
//! by the ones that ours gave, in everything that comes after.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_tests::http::Reply;
use callboard_tests::node::Node;
use callboard_tests::wait;
use serde_json::Value;

use crate::compare;
use crate::differences::{self, Difference};

/// How long a read may take to become what was recorded.
const SETTLE: Duration = Duration::from_millis(500);

const RECORDING: &str = include_str!("data/http.jsonl");

#[test]
fn recorded_exchanges_are_answered_alike() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = Node::durable(folder.path());
    let listed = differences::all();
    let mut used = BTreeSet::new();
    let mut surprises = Vec::new();
    let mut count = 0;
    let mut ids: Vec<(String, String)> = Vec::new();
    for line in RECORDING.lines() {
        let line = ids.iter().fold(line.to_owned(), |line, (recorded, ours)| line.replace(recorded, ours));
        let exchange: Value = serde_json::from_str(&line).expect("the recording is JSON");
        let method = exchange["request"]["method"].as_str().expect("a request has a method");
        let path = exchange["request"]["path"].as_str().expect("a request has a path");
        // The recorded checks were read before they ran. Here they are told to run so seldom that they do not either.
        let body = exchange["request"]["body"].as_str().unwrap_or_default();
        let body = ["10s", "5s"].iter().fold(body.to_owned(), |body, time| {
            ["\"Interval\": ", "\"interval\": "]
                .iter()
                .fold(body, |body, key| body.replace(&format!("{key}\"{time}\""), &format!("{key}\"1000h\"")))
        });
        count += 1;
        let request = format!("{method} {path}");
        let explained = |place: &str| listed.iter().position(|difference| difference.explains(&request, place));
        let ask = || {
            let reply = node.http.request(method, path, body.as_bytes());
            let reply = reply.unwrap_or_else(|error| panic!("{request}: {error}"));
            (unlike(&exchange, &reply), serde_json::from_slice(&reply.body).ok().as_ref().and_then(given_id))
        };
        let (mut found, given) = ask();
        if let (Some(recorded), Some(ours)) = (given_id(&exchange["json"]), given) {
            ids.push((recorded, ours));
        }
        if method == "GET" {
            // Alias checks follow what they stand for a moment later: a read that is unlike is asked again.
            let _ = wait::within(SETTLE, || {
                if found.iter().any(|(place, _)| explained(place).is_none()) {
                    found = ask().0;
                    return None;
                }
                Some(())
            });
        }
        for (place, what) in found {
            match explained(&place) {
                Some(at) => {
                    used.insert(at);
                }
                None => surprises.push(format!("{request} {body}\n    {place}: {what}")),
            }
        }
    }
    let unused: Vec<&Difference> =
        listed.iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, difference)| difference).collect();
    assert!(count > 150, "the recording is whole");
    assert!(unused.is_empty(), "listed, yet not there any more: {unused:#?}");
    assert!(
        surprises.is_empty(),
        "{} differences that the contract does not explain:\n{}",
        surprises.len(),
        surprises.join("\n")
    );
}

/// The id in an answer to a write that made something, or the name of the mesh.
fn given_id(value: &Value) -> Option<String> {
    value["ID"].as_str().or_else(|| value["TrustDomain"].as_str()).map(str::to_owned)
}

/// Every place in which an answer is unlike the recorded one: `status`, `header X`, `text` or a place in the JSON.
fn unlike(exchange: &Value, reply: &Reply) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let status = exchange["status"].as_u64().expect("an answer has a status");
    if status != u64::from(reply.status) {
        found.insert(("status".to_owned(), format!("recorded {status}, ours {} {}", reply.status, reply.text())));
    }
    headers(&exchange["headers"], reply, &mut found);
    if let Some(text) = exchange.get("text").and_then(Value::as_str) {
        if text != reply.text() {
            found.insert(("text".to_owned(), format!("recorded {text:?}, ours {:?}", reply.text())));
        }
    } else if let Some(recorded) = exchange.get("json") {
        match serde_json::from_slice::<Value>(&reply.body) {
            Ok(ours) => {
                let path = exchange["request"]["path"].as_str().unwrap_or_default();
                found.extend(compare::differences(&plain(path, recorded), &plain(path, &ours)));
            }
            Err(error) => {
                found.insert(("json".to_owned(), format!("{error} in ours: {}", reply.text())));
            }
        }
    }
    found
}

/// The header set, and the values that do not vary.
fn headers(recorded: &Value, reply: &Reply, found: &mut BTreeSet<(String, String)>) {
    // How the length of a body is told is the server's own affair.
    let counts = |name: &str| !["content-length", "transfer-encoding", "date", "connection"].contains(&name);
    let recorded: Vec<(String, String)> = recorded
        .as_object()
        .expect("headers are an object")
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap_or_default().to_owned()))
        .filter(|(name, _)| counts(name))
        .collect();
    for (name, value) in &recorded {
        let place = format!("header {name}");
        match reply.header(name) {
            None => {
                found.insert((place, format!("recorded {value}, ours lacks it")));
            }
            Some(ours) if name == "x-consul-index" => {
                if !ours.parse().is_ok_and(|index: u64| index > 0) {
                    found.insert((place, format!("ours {ours}")));
                }
            }
            Some(ours) if name == "x-consul-contenthash" => {
                if ours.is_empty() {
                    found.insert((place, "ours is empty".to_owned()));
                }
            }
            Some(ours) if ours != value => {
                found.insert((place, format!("recorded {value}, ours {ours}")));
            }
            Some(_) => {}
        }
    }
    for (name, value) in &reply.headers {
        let name = name.to_lowercase();
        if counts(&name) && !recorded.iter().any(|(other, _)| *other == name) {
            found.insert((format!("header {name}"), format!("ours adds {value}")));
        }
    }
}

/// The value without what is another process's own: addresses with ports, and the innards of `agent/self`.
fn plain(path: &str, value: &Value) -> Value {
    match path {
        "/v1/status/leader" => is_address(value),
        "/v1/status/peers" => Value::Array(value.as_array().into_iter().flatten().map(is_address).collect()),
        "/v1/agent/self" => {
            let mut kept = value.clone();
            for part in ["Coord", "Stats", "Member", "DebugConfig"] {
                if let Some(inside) = kept.get_mut(part) {
                    *inside = Value::String(if inside.is_object() { "an object" } else { "no object" }.to_owned());
                }
            }
            for name in ["NodeID", "Version", "Revision"] {
                if let Some(inside) = kept["Config"].get_mut(name) {
                    *inside = Value::Bool(inside.is_string());
                }
            }
            kept
        }
        // The only partition stands in ids since there are partitions (contract, 20.3).
        path if path.starts_with("/v1/discovery-chain/") => {
            let text = value.to_string().replace(".default.default.dc1\"", ".default.dc1\"");
            serde_json::from_str(&text).expect("it was JSON before")
        }
        // In the order of their ids, which are random: brought into the order in which they were made.
        path if path.starts_with("/v1/session/") => {
            sorted(value, &|value| format!("{:020}", value["CreateIndex"].as_u64().unwrap_or_default()))
        }
        path if path.starts_with("/v1/catalog/services") => sorted(value, &|value| value.to_string()),
        _ => sorted(value, &|value| format!("{}{}", value["ServiceID"], value["CheckID"])),
    }
}

/// The value with every list of checks (or, under another key, of texts) in one order: the contract says that
/// upstream's orders of checks and tags are not guaranteed.
fn sorted(value: &Value, key: &dyn Fn(&Value) -> String) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, value)| (name.clone(), sorted(value, key))).collect())
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(|value| sorted(value, key)).collect();
            list.sort_by_key(|value| key(value));
            Value::Array(list)
        }
        _ => value.clone(),
    }
}

fn is_address(value: &Value) -> Value {
    Value::Bool(value.as_str().is_some_and(|text| text.parse::<std::net::SocketAddr>().is_ok()))
}
