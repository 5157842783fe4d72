//! The writes that histories are made of, and where each goes.

use callboard_tests::http::Http;
use serde_json::{Value, json};

/// A write that the histories are made of. Nodes, services and keys are told by small numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    Node {
        node: u8,
        address: u8,
    },
    DropNode {
        node: u8,
    },
    Instance {
        node: u8,
        service: u8,
        port: u8,
    },
    DropInstance {
        node: u8,
        service: u8,
    },
    Check {
        node: u8,
        of: Option<u8>,
        status: u8,
    },
    Key {
        key: u8,
        value: u8,
    },
    DropKey {
        key: u8,
    },
    Session {
        node: u8,
    },
    Query {
        name: u8,
        service: u8,
    },
    Defaults {
        service: u8,
        protocol: u8,
    },
    DropDefaults {
        service: u8,
    },
    Place {
        node: u8,
        x: u8,
    },
    /// Several keys at one index.
    Txn {
        value: u8,
    },
}

const STATUSES: [&str; 3] = ["passing", "warning", "critical"];
const PROTOCOLS: [&str; 2] = ["http", "grpc"];

pub(crate) fn random(dice: &mut fastrand::Rng) -> Write {
    let (node, service, key) = (dice.u8(0..2), dice.u8(0..2), dice.u8(0..3));
    match dice.u8(0..22) {
        0..2 => Write::Node { node, address: dice.u8(1..4) },
        2 => Write::DropNode { node },
        3..6 => Write::Instance { node, service, port: dice.u8(1..3) },
        6..8 => Write::DropInstance { node, service },
        8..11 => Write::Check { node, of: dice.bool().then_some(service), status: dice.u8(0..3) },
        11..14 => Write::Key { key, value: dice.u8(0..3) },
        14 => Write::DropKey { key },
        15 => Write::Session { node },
        16 => Write::Query { name: key, service },
        17 => Write::Defaults { service, protocol: dice.u8(0..2) },
        18 => Write::DropDefaults { service },
        19 | 20 => Write::Place { node, x: dice.u8(0..3) },
        _ => Write::Txn { value: dice.u8(0..3) },
    }
}

/// Where each write goes. Those that do not fit are refused by the server, and by the model.
pub(crate) fn write(http: &Http, write: Write) {
    let send =
        |method: &str, path: &str, body: &str| http.request(method, path, body.as_bytes()).expect("it is answered");
    let put_json = |path: &str, body: &Value| send("PUT", path, &body.to_string());
    let node_body = |node: u8| json!({"Node": format!("m{node}"), "SkipNodeUpdate": true});
    let reply = match write {
        Write::Node { node, address } => put_json(
            "/v1/catalog/register",
            &json!({"Node": format!("m{node}"), "Address": format!("10.0.0.{address}")}),
        ),
        Write::DropNode { node } => put_json("/v1/catalog/deregister", &json!({"Node": format!("m{node}")})),
        Write::Instance { node, service, port } => {
            let mut body = node_body(node);
            body["Service"] = json!({"Service": format!("s{service}"), "ID": format!("i{service}"), "Port": port});
            put_json("/v1/catalog/register", &body)
        }
        Write::DropInstance { node, service } => {
            put_json("/v1/catalog/deregister", &json!({"Node": format!("m{node}"), "ServiceID": format!("i{service}")}))
        }
        Write::Check { node, of, status } => {
            let mut body = node_body(node);
            let of_whom = of.map_or_else(String::new, |service| format!("i{service}"));
            let id = format!("c{}", of.map_or(9, u8::from));
            body["Check"] =
                json!({"CheckID": id, "Name": id, "ServiceID": of_whom, "Status": STATUSES[usize::from(status)]});
            put_json("/v1/catalog/register", &body)
        }
        Write::Key { key, value } => send("PUT", &format!("/v1/kv/k/{key}"), &value.to_string()),
        Write::DropKey { key } => send("DELETE", &format!("/v1/kv/k/{key}"), ""),
        Write::Session { node } => put_json("/v1/session/create", &json!({"Node": format!("m{node}"), "Checks": []})),
        Write::Query { name, service } => {
            let body = json!({"Name": format!("q{name}"), "Service": {"Service": format!("s{service}")}}).to_string();
            send("POST", "/v1/query", &body)
        }
        Write::Defaults { service, protocol } => put_json(
            "/v1/config",
            &json!({
                "Kind": "service-defaults", "Name": format!("s{service}"),
                "Protocol": PROTOCOLS[usize::from(protocol)],
            }),
        ),
        Write::DropDefaults { service } => send("DELETE", &format!("/v1/config/service-defaults/s{service}"), ""),
        Write::Place { node, x } => {
            let coordinate = json!({"Vec": [x, 0, 0, 0, 0, 0, 0, 0], "Error": 1, "Adjustment": 0, "Height": 0.001});
            put_json("/v1/coordinate/update", &json!({"Node": format!("m{node}"), "Coord": coordinate}))
        }
        Write::Txn { value } => {
            let set = |key: u8| json!({"KV": {"Verb": "set", "Key": format!("k/{key}"), "Value": LETTERS[usize::from(value)]}});
            put_json("/v1/txn", &json!([set(0), set(1)]))
        }
    };
    assert!(matches!(reply.status, 200 | 500), "{write:?}: {} {}", reply.status, reply.text());
}

/// The digits 0, 1 and 2 in base64.
const LETTERS: [&str; 3] = ["MA==", "MQ==", "Mg=="];
