//! A node that denies by default, with rows of two owners, and a caller of each kind.

use callboard_tests::http::Reply;
use callboard_tests::node::{MANAGEMENT, Node};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A secret that nobody has.
pub(crate) const WRONG: &str = "00000000-0000-4000-8000-0000000000ff";

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Gives no token.
    Nobody,
    /// Gives a token that nobody has.
    Wrong,
    /// May read what the test is about.
    Reader,
    /// May write it.
    Writer,
    /// May write everything of the same kinds under other names.
    Other,
}

impl Caller {
    /// In the order in which they try: whoever may change something comes last.
    pub(crate) const ALL: [Caller; 5] = [Caller::Nobody, Caller::Wrong, Caller::Other, Caller::Reader, Caller::Writer];
}

/// The node and the secrets of its callers.
pub(crate) struct World {
    pub(crate) node: Node,
    secrets: [String; 3],
    _folder: TempDir,
}

/// Rules over everything that belongs to `web`, to the node `n1`, or has no name.
fn ours(policy: &str) -> String {
    let named = ["service", "node", "session", "agent", "event", "query"].map(|kind| {
        let name = if ["node", "session", "agent"].contains(&kind) { "n1" } else { "web" };
        let more = if kind == "service" { format!(" intentions = \"{policy}\"") } else { String::new() };
        format!("{kind} \"{name}\" {{ policy = \"{policy}\"{more} }}\n")
    });
    let plain = ["operator", "acl", "keyring", "mesh", "peering"].map(|kind| format!("{kind} = \"{policy}\"\n"));
    let keys = if policy == "read" { "list" } else { policy };
    format!(
        "{}{}key_prefix \"a/\" {{ policy = \"{keys}\" }}\n\
         service \"web-gone\" {{ policy = \"{policy}\" }}\n\
         node \"gone\" {{ policy = \"{policy}\" }}\n",
        named.concat(),
        plain.concat()
    )
}

/// The widest rules that reach none of it.
const THEIRS: &str = r#"
    service "db" { policy = "write" }
    node "n2" { policy = "write" }
    session "n2" { policy = "write" }
    agent "n2" { policy = "write" }
    event "other" { policy = "write" }
    query "other" { policy = "write" }
    key_prefix "b/" { policy = "write" }
    key_prefix "a" { policy = "deny" }
"#;

impl World {
    pub(crate) fn new(settings: Value) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut acl = json!({"default_policy": "deny"});
        for (name, value) in settings.as_object().into_iter().flatten() {
            acl[name] = value.clone();
        }
        let node = Node::guarded(folder.path(), acl);
        let mut world = World { node, secrets: Default::default(), _folder: folder };
        world.secrets = [ours("read"), ours("write"), THEIRS.to_owned()].map(|rules| world.token(&rules));
        world
    }

    /// The same with rows: `web` and `web-gone` on the node itself, `db` on `n2`, a node `gone`, keys, entries, sessions.
    pub(crate) fn with_rows() -> World {
        let world = World::new(json!({}));
        let put = |path: &str, body: Value| {
            world.root("PUT", path, &body.to_string());
        };
        put(
            "/v1/agent/service/register",
            json!({"Name": "web", "Port": 80, "Check": {"TTL": "1h", "CheckID": "web-ttl"}}),
        );
        put("/v1/agent/service/register", json!({"ID": "web-2", "Name": "web", "Port": 81}));
        put("/v1/agent/check/register", json!({"Name": "disk", "TTL": "1h"}));
        put("/v1/agent/check/register", json!({"Name": "old", "TTL": "1h"}));
        put(
            "/v1/catalog/register",
            json!({
                "Node": "n2", "Address": "10.0.0.2", "Service": {"Service": "db", "Port": 5432},
                "Check": {"CheckID": "db-check", "Name": "db", "ServiceID": "db", "Status": "passing"},
            }),
        );
        put("/v1/catalog/register", json!({"Node": "gone", "Address": "10.0.0.3", "Service": {"Service": "web-gone"}}));
        put("/v1/config", json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http"}));
        put("/v1/config", json!({"Kind": "service-defaults", "Name": "db", "Protocol": "tcp"}));
        put(
            "/v1/config",
            json!({"Kind": "terminating-gateway", "Name": "web-gone", "Services": [{"Name": "web"}, {"Name": "db"}]}),
        );
        let intention = json!({"SourceName": "a", "DestinationName": "web", "Action": "allow"});
        world.root("POST", "/v1/connect/intentions", &intention.to_string());
        put("/v1/connect/intentions/exact?source=b&destination=db", json!({"Action": "allow"}));
        for key in ["a/1", "a/2", "b/1"] {
            world.root("PUT", &format!("/v1/kv/{key}"), "hidden-value");
        }
        world.root("PUT", "/v1/session/create", r#"{"Name": "session-n1"}"#);
        let place = r#"{"Vec": [0, 0, 0, 0, 0, 0, 0, 1], "Error": 1, "Adjustment": 0, "Height": 1e-5}"#;
        world.root("PUT", "/v1/coordinate/update", &format!(r#"{{"Node": "n2", "Coord": {place}}}"#));
        world.root("PUT", "/v1/session/create", r#"{"Name": "session-n2", "Node": "n2", "Checks": []}"#);
        world.root("PUT", "/v1/event/fire/web", "");
        world.root("PUT", "/v1/event/fire/other", "");
        world
    }

    /// Makes a policy and a token with it; its secret.
    pub(crate) fn token(&self, rules: &str) -> String {
        let name = format!("p{}", fastrand::u64(..));
        self.root("PUT", "/v1/acl/policy", &json!({"Name": name, "Rules": rules}).to_string());
        let token = self.root("PUT", "/v1/acl/token", &json!({"Policies": [{"Name": name}]}).to_string());
        token.json()["SecretID"].as_str().expect("a new token shows its secret").to_owned()
    }

    /// Asks with every right; it must be answered 200.
    pub(crate) fn root(&self, method: &str, path: &str, body: &str) -> Reply {
        let reply = self.ask(Some(MANAGEMENT), method, path, body);
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text());
        reply
    }

    pub(crate) fn ask(&self, token: Option<&str>, method: &str, path: &str, body: &str) -> Reply {
        let reply = self.node.http.request_as(token, method, path, body.as_bytes());
        reply.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(crate) fn secret(&self, caller: Caller) -> Option<&str> {
        match caller {
            Caller::Nobody => None,
            Caller::Wrong => Some(WRONG),
            Caller::Reader => Some(&self.secrets[0]),
            Caller::Writer => Some(&self.secrets[1]),
            Caller::Other => Some(&self.secrets[2]),
        }
    }
}
