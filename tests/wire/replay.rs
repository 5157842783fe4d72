//! Replays a recording on a fresh node and compares each answer. A difference that is not listed fails;
//! so does a listed one that no longer occurs, so that the list stays true. Ids that a recorded answer gave are replaced
//! by the ones that ours gave, in everything that comes after.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_tests::description;
use callboard_tests::http::{Http, Reply};
use callboard_tests::node::MANAGEMENT;
use callboard_tests::wait;
use serde_json::Value;

use crate::compare::{self, is_uuid};
use crate::differences::Difference;
use crate::table::{Row, behaviour};

/// How long a read may take to become what was recorded.
const SETTLE: Duration = Duration::from_millis(500);

/// What a replay found.
pub(crate) struct Played {
    pub(crate) rows: Vec<Row>,
    /// Differences that nobody explains.
    surprises: Vec<String>,
    /// Differences that are listed and did not occur.
    unused: Vec<Difference>,
}

impl Played {
    /// # Panics
    /// When an answer is unlike the recorded one and nobody explains it, or a listed difference is gone.
    pub(crate) fn holds(&self) {
        assert!(
            self.surprises.is_empty(),
            "{} differences that the contract does not explain:\n{}",
            self.surprises.len(),
            self.surprises.join("\n")
        );
        assert!(self.unused.is_empty(), "listed, yet not there any more: {:#?}", self.unused);
    }
}

/// A secret that nobody has.
const WRONG: &str = "00000000-0000-4000-8000-0000000000ff";

/// Asks a node everything that was recorded, in order.
pub(crate) fn play(recording: &str, http: Http, listed: Vec<Difference>) -> Played {
    let paths = description::paths(&http, None);
    let mut used = BTreeSet::new();
    let (mut surprises, mut rows) = (Vec::new(), Vec::new());
    let mut ids: Vec<(String, String)> = Vec::new();
    // The secret of the token that is made with few rights.
    let mut limited = None;
    for line in recording.lines() {
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
        let request = format!("{method} {path}");
        let holder = exchange["request"]["token"].as_str();
        let token: Option<String> = match holder {
            None => None,
            Some("(management)") => Some(MANAGEMENT.to_owned()),
            Some("(limited)") => Some(limited.clone().expect("the limited token was made before")),
            Some(_) => Some(WRONG.to_owned()),
        };
        let explained = |place: &str| listed.iter().position(|difference| difference.explains(&request, &body, place));
        let ask = || {
            let reply = http.request_as(token.as_deref(), method, path, body.as_bytes());
            let reply = reply.unwrap_or_else(|error| panic!("{request}: {error}"));
            (unlike(&exchange, &reply), serde_json::from_slice::<Value>(&reply.body).unwrap_or_default())
        };
        let (mut found, given) = ask();
        // Of what was made, or the name of the mesh.
        for key in ["ID", "AccessorID", "TrustDomain"] {
            if let (Some(recorded), Some(ours)) = (exchange["json"][key].as_str(), given[key].as_str()) {
                ids.push((recorded.to_owned(), ours.to_owned()));
            }
        }
        if given["Description"] == "limited" && method == "PUT" {
            limited = given["SecretID"].as_str().map(str::to_owned);
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
        let mut lines = BTreeSet::new();
        for (place, what) in found {
            match explained(&place) {
                Some(at) => {
                    used.insert(at);
                    lines.insert(listed[at].contract);
                }
                None => surprises.push(format!("{request} {} {body}\n    {place}: {what}", holder.unwrap_or_default())),
            }
        }
        let status = exchange["status"].as_u64().expect("an answer has a status");
        rows.push(Row {
            endpoint: format!("{method} {}", description::template(&paths, path).unwrap_or("a path that is none")),
            behaviour: behaviour(path, holder, status),
            explained: lines,
        });
    }
    let unused =
        listed.into_iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(_, listed)| listed).collect();
    Played { rows, surprises, unused }
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
        // The machine's own figures: what they are called, and of which kind they are.
        path if path.starts_with("/v1/agent/host") => kinds(value),
        path if path.starts_with("/v1/operator/") => servers(value),
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

/// The value with the kind of each figure in its place, and one element of each list.
fn kinds(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(name, value)| (name.clone(), kinds(value))).collect()),
        Value::Array(list) => Value::Array(list.iter().take(1).map(kinds).collect()),
        Value::String(_) => Value::from("a text"),
        Value::Number(_) => Value::from("a number"),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

/// The value without what is a server's own: its address, version and place in the log, and ids used as names.
fn servers(value: &Value) -> Value {
    let own = |name: &str, value: &Value| match name {
        "Address" => is_address(value),
        "LastIndex" | "LastTerm" => Value::Bool(value.as_u64().is_some_and(|number| number > 0)),
        "StableSince" => Value::Bool(value.as_str().is_some_and(|time| time.ends_with('Z') && time.len() >= 20)),
        "Version" => kinds(value),
        "Leader" | "Voters" if !value.is_boolean() => kinds(value),
        _ => servers(value),
    };
    match value {
        Value::Object(map) => {
            let name = |name: &String| if is_uuid(name) { "an id".to_owned() } else { name.clone() };
            Value::Object(map.iter().map(|(key, value)| (name(key), own(key, value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(servers).collect()),
        _ => value.clone(),
    }
}

fn is_address(value: &Value) -> Value {
    Value::Bool(value.as_str().is_some_and(|text| text.parse::<std::net::SocketAddr>().is_ok()))
}
