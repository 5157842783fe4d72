//! The life of tokens: bootstrapping, copies, secrets that are told once, and what survives a restart.

use std::os::unix::fs::PermissionsExt as _;

use callboard_tests::node::Node;
use serde_json::{Value, json};

use super::world::World;

/// A node with access control and no management token yet.
fn unclaimed(folder: &std::path::Path) -> Node {
    let file = folder.join("acl.json");
    let acl = json!({"acl": {"enabled": true, "default_policy": "allow", "enable_token_persistence": true}});
    std::fs::write(&file, acl.to_string()).expect("the settings can be written");
    Node::durable_with(&folder.join("data"), &["-config-file", file.to_str().expect("a name of text")])
}

fn as_token(node: &Node, token: &str, method: &str, path: &str, body: &str) -> callboard_tests::http::Reply {
    node.http.request_as(Some(token), method, path, body.as_bytes()).expect("it is answered")
}

#[test]
fn the_first_token_is_made_once_and_again_after_a_reset() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = unclaimed(folder.path());
    let first = node.http.put("/v1/acl/bootstrap", "").ok().json();
    assert_eq!(first["Description"], "Bootstrap Token (Global Management)");
    assert_eq!(first["ID"], first["SecretID"]);
    assert_eq!(first["Policies"][0]["Name"], "global-management");
    let refused = node.http.put("/v1/acl/bootstrap", "");
    assert_eq!(refused.status, 403);
    let text = refused.text();
    let number = text.strip_prefix("Permission denied: ACL bootstrap no longer allowed (reset index: ");
    let number = number.and_then(|rest| rest.strip_suffix(')')).unwrap_or_else(|| panic!("{text}")).to_owned();
    let reset = folder.path().join("data/acl-bootstrap-reset");
    std::fs::write(&reset, "1").expect("the folder is there");
    assert_eq!(node.http.put("/v1/acl/bootstrap", "").status, 403, "another number resets nothing");
    std::fs::write(&reset, &number).expect("the folder is there");
    let wanted = "00000000-0000-4000-8000-00000000abcd";
    let second = node.http.put("/v1/acl/bootstrap", json!({"BootstrapSecret": wanted}).to_string()).ok().json();
    assert_eq!(second["SecretID"], wanted);
    assert!(!reset.exists(), "a number counts once");
    assert_eq!(node.http.put("/v1/acl/bootstrap", "").status, 403);
    assert_eq!(as_token(&node, wanted, "GET", "/v1/acl/tokens", "").status, 200);
}

#[test]
fn a_secret_is_told_once_and_to_its_holder() {
    let world = World::new(json!({}));
    let made =
        world.root("PUT", "/v1/acl/token", r#"{"Description": "d", "ServiceIdentities": [{"ServiceName": "web"}]}"#);
    let made = made.json();
    let (accessor, secret) =
        (made["AccessorID"].as_str().unwrap().to_owned(), made["SecretID"].as_str().unwrap().to_owned());
    let hidden = |value: &Value| value["SecretID"] == "<hidden>";
    let one = world.root("GET", &format!("/v1/acl/token/{accessor}"), "").json();
    assert!(hidden(&one), "{one}");
    let list = world.root("GET", "/v1/acl/tokens", "").json();
    assert!(list.as_array().unwrap().iter().all(hidden), "{list}");
    let own = world.ask(Some(&secret), "GET", "/v1/acl/token/self", "").ok().json();
    assert_eq!(own["SecretID"], secret.as_str());
    // Written back as it was read, it still is what it was.
    let mut changed = one;
    changed["Description"] = "e".into();
    let path = format!("/v1/acl/token/{accessor}");
    let updated = world.root("PUT", &path, &changed.to_string()).json();
    assert_eq!((updated["Description"].as_str(), hidden(&updated)), (Some("e"), true));
    changed["SecretID"] = "00000000-0000-4000-8000-000000000007".into();
    assert_eq!(world.ask(Some("root"), "PUT", &path, &changed.to_string()).status, 500);
    assert_eq!(world.ask(Some(&secret), "GET", "/v1/acl/token/self", "").status, 200);
    // A copy has a secret of its own.
    let copy = world.root("PUT", &format!("{path}/clone"), r#"{"Description": "copy"}"#).json();
    assert_ne!(copy["SecretID"], secret.as_str());
    assert_eq!(copy["ServiceIdentities"], made["ServiceIdentities"]);
    // No answer, no log line and no file has it.
    let logged = world.node.process.stderr();
    assert!(!logged.contains(&secret) && !logged.contains(copy["SecretID"].as_str().unwrap()));
}

#[test]
fn names_in_rows_follow_what_they_link_to() {
    let world = World::new(json!({}));
    let policy = world.root("PUT", "/v1/acl/policy", r#"{"Name": "one", "Rules": ""}"#).json();
    let id = policy["ID"].as_str().unwrap();
    let role = world.root("PUT", "/v1/acl/role", &json!({"Name": "r", "Policies": [{"ID": id}]}).to_string()).json();
    let role_path = format!("/v1/acl/role/{}", role["ID"].as_str().unwrap());
    world.root("PUT", &format!("/v1/acl/policy/{id}"), r#"{"Name": "two"}"#);
    assert_eq!(world.root("GET", &role_path, "").json()["Policies"][0]["Name"], "two");
    world.root("DELETE", &format!("/v1/acl/policy/{id}"), "");
    assert!(world.root("GET", &role_path, "").json().get("Policies").is_none());
    let builtin = world.ask(Some("root"), "DELETE", "/v1/acl/policy/00000000-0000-0000-0000-000000000001", "");
    assert_eq!(builtin.status, 500);
    assert!(builtin.text().contains("global-management"), "{}", builtin.text());
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let world = World::new(json!({}));
    let check = |path: &str, body: &str, status: u16, part: &str| {
        let reply = world.ask(Some("root"), "PUT", path, body);
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
        assert!(reply.text().contains(part), "{path} {body}: {}", reply.text());
    };
    check("/v1/acl/token", r#"{"Wings": 1}"#, 400, "Token decoding failed: json: unknown field \"Wings\"");
    check("/v1/acl/token", r#"{"AccessorID": "bad"}"#, 500, "AccessorID \"bad\"");
    check("/v1/acl/token", r#"{"SecretID": "swordfish"}"#, 500, "SecretID: a UUID is expected");
    check("/v1/acl/token", r#"{"ExpirationTTL": "1s"}"#, 500, "less than 1m0s");
    check("/v1/acl/token", r#"{"ExpirationTTL": "25h"}"#, 500, "more than 24h0m0s");
    check("/v1/acl/token", r#"{"Policies": [{"Name": "none"}]}"#, 500, "No such ACL policy with name \"none\"");
    check("/v1/acl/token", r#"{"NodeIdentities": [{"NodeName": "n"}]}"#, 500, "datacenter");
    check("/v1/acl/token", r#"{"ServiceIdentities": [{"ServiceName": "A B"}]}"#, 500, "\"A B\"");
    check("/v1/acl/token", r#"{"TemplatedPolicies": [{"TemplateName": "builtin/none"}]}"#, 500, "builtin/none");
    check("/v1/acl/policy", r#"{"ID": "x", "Name": "p"}"#, 400, "Cannot specify the ID when creating a new policy");
    check("/v1/acl/policy", r#"{"Name": "p", "Rules": "key \"a\" { policy = \"fly\" }"}"#, 500, "\"fly\" on \"a\"");
    check("/v1/acl/auth-method", r#"{"Name": "m", "Type": "wings"}"#, 500, "\"wings\"");
    check("/v1/acl/auth-method", r#"{"Name": "m", "Type": "jwt"}"#, 500, "JWTValidationPubKeys");
    check("/v1/acl/binding-rule", r#"{"AuthMethod": "none", "BindType": "role", "BindName": "r"}"#, 500, "\"none\"");
    check("/v1/agent/token/wings", r#"{"Token": "x"}"#, 404, "Token \"wings\" is unknown");
    check("/v1/agent/token/dns", "{", 400, "Request decode failed");
}

#[test]
fn without_access_control_nothing_is_told_of_it() {
    let node = Node::dev();
    for (method, path) in [
        ("PUT", "/v1/acl/bootstrap"),
        ("GET", "/v1/acl/tokens"),
        ("PUT", "/v1/acl/token"),
        ("GET", "/v1/acl/token/self"),
        ("GET", "/v1/acl/policies"),
        ("GET", "/v1/acl/roles"),
        ("POST", "/v1/acl/login"),
        ("POST", "/v1/acl/logout"),
        ("GET", "/v1/acl/replication"),
        ("GET", "/v1/acl/templated-policies"),
        ("GET", "/v1/acl/auth-methods"),
        ("GET", "/v1/acl/binding-rules"),
        ("PUT", "/v1/agent/token/default"),
        ("POST", "/v1/internal/acl/authorize"),
    ] {
        let reply = node.http.request_as(Some("anything"), method, path, b"").expect("it is answered");
        assert_eq!((reply.status, reply.text().as_str()), (401, "ACL support disabled"), "{method} {path}");
    }
    assert_eq!(as_token(&node, "anything", "PUT", "/v1/kv/x", "y").status, 200);
}

#[test]
fn tokens_and_the_nodes_own_ones_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = unclaimed(folder.path());
    let root = node.http.put("/v1/acl/bootstrap", "").ok().json()["SecretID"].as_str().unwrap().to_owned();
    let rules = json!({"Name": "p", "Rules": r#"key "k" { policy = "deny" }"#});
    assert_eq!(as_token(&node, &root, "PUT", "/v1/acl/policy", &rules.to_string()).status, 200);
    let token = as_token(&node, &root, "PUT", "/v1/acl/token", r#"{"Policies": [{"Name": "p"}]}"#).json();
    let secret = token["SecretID"].as_str().unwrap().to_owned();
    let body = json!({"Token": secret}).to_string();
    assert_eq!(as_token(&node, &root, "PUT", "/v1/agent/token/default", &body).status, 200);
    let file = folder.path().join("data/acl-tokens.json");
    assert_eq!(std::fs::metadata(&file).expect("the tokens are kept").permissions().mode() & 0o777, 0o600);
    assert_eq!(node.http.get("/v1/kv/k").status, 403, "the default token stands in");
    let node = node.killed_and_started();
    assert_eq!(node.http.get("/v1/kv/k").status, 403);
    assert_eq!(as_token(&node, &root, "GET", "/v1/acl/token/self", "").status, 200);
    let database = std::fs::read_dir(folder.path().join("data")).expect("the folder is there");
    for entry in database.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file() && *path != file) {
        let bytes = std::fs::read(&entry).expect("a file can be read");
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{} holds a secret", entry.display());
    }
}
