//! The writes that the histories are made of, and where each goes.

use callboard_tests::http::{Http, Reply};
use callboard_tests::node::MANAGEMENT;
use serde_json::{Value, json};

/// A write that the histories are made of. Nodes, services and keys are told by small numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Write {
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
    /// Where a node is, on a line.
    Place {
        node: u8,
        x: u8,
    },
    /// Several keys at one index.
    Txn {
        value: u8,
    },
    /// Whether a service may call `s1`.
    Intention {
        source: u8,
        action: u8,
    },
    DropIntention {
        source: u8,
    },
    /// What the gateway `g` carries.
    Gateway {
        service: u8,
    },
    /// The authority's keys; other ones are other roots.
    Authority {
        keys: u8,
    },
    Policy {
        rules: u8,
    },
    Role {
        description: u8,
    },
    DropRole,
    Token,
    Method {
        description: u8,
    },
    /// A binding rule of the method.
    Rule {
        description: u8,
    },
}

impl Write {
    /// Whether only a node with access control takes it.
    pub(super) fn is_of_access(self) -> bool {
        use Write::{DropRole, Method, Policy, Role, Rule, Token};
        matches!(self, Policy { .. } | Role { .. } | DropRole | Token | Method { .. } | Rule { .. })
    }
}

const STATUSES: [&str; 3] = ["passing", "warning", "critical"];
const PROTOCOLS: [&str; 2] = ["http", "grpc"];
const ACTIONS: [&str; 2] = ["allow", "deny"];

/// Sends a request as whoever may do everything.
pub(super) fn ask(http: &Http, method: &str, path: &str, body: &str) -> Reply {
    http.request_as(Some(MANAGEMENT), method, path, body.as_bytes()).expect("it is answered")
}

/// Any write that the node takes.
pub(super) fn random(dice: &mut fastrand::Rng, guarded: bool) -> Write {
    loop {
        let write = any(dice);
        if guarded || !write.is_of_access() {
            return write;
        }
    }
}

fn any(dice: &mut fastrand::Rng) -> Write {
    let (node, service, key) = (dice.u8(0..2), dice.u8(0..2), dice.u8(0..3));
    match dice.u8(0..32) {
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
        19 => Write::Txn { value: dice.u8(0..3) },
        20..22 => Write::Intention { source: service, action: dice.u8(0..2) },
        22 => Write::DropIntention { source: service },
        23 => Write::Gateway { service },
        24 => Write::Authority { keys: dice.u8(0..2) },
        25 => Write::Policy { rules: dice.u8(0..2) },
        26 => Write::Role { description: dice.u8(0..2) },
        27 => {
            if dice.bool() {
                Write::DropRole
            } else {
                Write::Token
            }
        }
        28 | 29 => Write::Place { node, x: dice.u8(0..3) },
        30 => Write::Method { description: dice.u8(0..2) },
        _ => Write::Rule { description: dice.u8(0..2) },
    }
}

/// Where each write goes. Those that do not fit are refused by the server, and by the model.
pub(super) fn write(http: &Http, write: Write) {
    let send = |method: &str, path: &str, body: &str| ask(http, method, path, body);
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
        Write::Intention { source, action } => put_json(
            &format!("/v1/connect/intentions/exact?source=s{source}&destination=s1"),
            &json!({"Action": ACTIONS[usize::from(action)]}),
        ),
        Write::DropIntention { source } => {
            send("DELETE", &format!("/v1/connect/intentions/exact?source=s{source}&destination=s1"), "")
        }
        Write::Gateway { service } => put_json(
            "/v1/config",
            &json!({"Kind": "terminating-gateway", "Name": "g", "Services": [{"Name": format!("s{service}")}]}),
        ),
        Write::Authority { keys } => put_json(
            "/v1/connect/ca/configuration",
            &json!({"Provider": "consul", "Config": {"PrivateKeyType": "ec", "PrivateKeyBits": BITS[usize::from(keys)]}}),
        ),
        Write::Policy { rules } => {
            let rules = format!("key_prefix \"{rules}\" {{ policy = \"read\" }}");
            put_named(http, "policy", &json!({"Name": "p", "Rules": rules}))
        }
        Write::Role { description } => {
            put_named(http, "role", &json!({"Name": "r", "Description": description.to_string()}))
        }
        Write::DropRole => match named(http, "role", "r") {
            Some(id) => send("DELETE", &format!("/v1/acl/role/{id}"), ""),
            None => return,
        },
        Write::Token => put_json("/v1/acl/token", &json!({"Description": "one more"})),
        Write::Method { description } => {
            let body = json!({
                "Name": "m", "Type": "jwt", "Description": description.to_string(),
                "Config": {"JWTValidationPubKeys": [PUBLIC_KEY], "BoundIssuer": "x"},
            });
            match ask(http, "GET", "/v1/acl/auth-method/m", "").status {
                404 => put_json("/v1/acl/auth-method", &body),
                _ => put_json("/v1/acl/auth-method/m", &body),
            }
        }
        Write::Rule { description } => {
            let body = json!({
                "AuthMethod": "m", "BindType": "service", "BindName": "b", "Description": description.to_string(),
            });
            match rule(http) {
                Some(id) => put_json(&format!("/v1/acl/binding-rule/{id}"), &body),
                None => put_json("/v1/acl/binding-rule", &body),
            }
        }
    };
    // Of what has an id, another writer may have taken it away, or made one of the same name.
    let overtaken = write.is_of_access() && matches!(reply.status, 403 | 404);
    assert!(overtaken || matches!(reply.status, 200 | 500), "{write:?}: {} {}", reply.status, reply.text());
}

/// The digits 0, 1 and 2 in base64.
const LETTERS: [&str; 3] = ["MA==", "MQ==", "Mg=="];

const BITS: [u16; 2] = [256, 384];

/// By which a login would be believed. Nobody has its other half.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEHRsIapBMytZT5OlA9B5b6x8qC4l\n\
    atYOwbTnkL6p8egy8kuJpdEoxZkT8X5QbyibSayDi6R/XkuHQtPxmQE84g==\n\
    -----END PUBLIC KEY-----\n";

/// Makes or changes what has a name and an id.
fn put_named(http: &Http, kind: &str, body: &Value) -> Reply {
    let path = match named(http, kind, body["Name"].as_str().expect("it has a name")) {
        Some(id) => format!("/v1/acl/{kind}/{id}"),
        None => format!("/v1/acl/{kind}"),
    };
    ask(http, "PUT", &path, &body.to_string())
}

/// The id of what has a name.
pub(super) fn named(http: &Http, kind: &str, name: &str) -> Option<String> {
    let reply = ask(http, "GET", &format!("/v1/acl/{kind}/name/{name}"), "");
    (reply.status == 200).then(|| reply.json()["ID"].as_str().expect("it has an id").to_owned())
}

/// The id of the only binding rule.
pub(super) fn rule(http: &Http) -> Option<String> {
    ask(http, "GET", "/v1/acl/binding-rules", "").json()[0]["ID"].as_str().map(str::to_owned)
}

/// Changes every endpoint once more.
pub(super) fn end(http: &Http, guarded: bool) {
    for node in 0..2 {
        let last = [
            Write::Node { node, address: 9 },
            Write::Instance { node, service: node, port: 9 },
            Write::Check { node, of: Some(node), status: 1 },
            Write::Check { node, of: Some(node), status: 2 },
            Write::Session { node },
            Write::Place { node, x: 9 },
            Write::Defaults { service: node, protocol: 0 },
            Write::Defaults { service: node, protocol: 1 },
            Write::Key { key: node, value: 8 },
            Write::Intention { source: node, action: 0 },
            Write::Intention { source: node, action: 1 },
            Write::Gateway { service: node },
            Write::Authority { keys: node },
            Write::Policy { rules: node },
            Write::Role { description: node },
            Write::Token,
            Write::Method { description: node },
            Write::Rule { description: node },
        ];
        last.into_iter().filter(|last| guarded || !last.is_of_access()).for_each(|last| write(http, last));
    }
    write(http, Write::Query { name: 9, service: 0 });
    for (path, body) in [
        ("/v1/kv/other/x", json!("end")),
        ("/v1/config", json!({"Kind": "service-resolver", "Name": "end"})),
        ("/v1/event/fire/end", json!("end")),
    ] {
        let _ = ask(http, "PUT", path, &body.to_string()).ok();
    }
}
