//! Every path × no token, a wrong one, a reader's, a writer's, and one of other names: exactly what the contract says.
//!
//! Rows run in order on one node, callers in the order of `Caller::ALL`. A refusal must name the right that the row
//! states; what is left out must leave no trace in body or headers but the one that says so.

use callboard_tests::http::Reply;

use super::world::{Caller, WRONG, World};

/// What a path asks of its caller.
#[derive(Debug, Clone, Copy)]
enum Needs {
    /// Nothing, and no token is looked at.
    Nothing,
    /// Any token that is one, or none.
    AnyToken,
    /// A right to read, or else 403 that names it.
    Read(&'static str),
    /// A right to write, or else 403 that names it.
    Write(&'static str),
    /// The answer shows the first text to readers and writers, and the second to nobody who may not.
    Shows(&'static str, &'static str),
}

use Needs::{AnyToken, Nothing, Read, Shows, Write};

const WEB: &str = r#"{"Name": "web", "Port": 80, "Check": {"TTL": "1h", "CheckID": "web-ttl"}}"#;

const PLACE: &str =
    r#"{"Node": "n1", "Coord": {"Vec": [0, 0, 0, 0, 0, 0, 0, 0], "Error": 1, "Adjustment": 0, "Height": 1e-5}}"#;

/// Method, path, body, what it needs.
const TABLE: &[(&str, &str, &str, Needs)] = &[
    // Keys.
    ("GET", "/v1/kv/a/1", "", Read(r#"'key:read' on "a/1""#)),
    ("GET", "/v1/kv/a/1?raw", "", Read(r#"'key:read' on "a/1""#)),
    ("GET", "/v1/kv/?recurse", "", Shows("a/1", "b/1")),
    ("GET", "/v1/kv/?keys", "", Shows("a/1", "b/1")),
    ("GET", "/v1/kv/a/?keys&separator=/", "", Shows("a/1", "b/1")),
    ("PUT", "/v1/kv/a/3", "x", Write(r#"'key:write' on "a/3""#)),
    ("PUT", "/v1/kv/a/3?cas=0", "x", Write(r#"'key:write' on "a/3""#)),
    ("DELETE", "/v1/kv/a/3", "", Write(r#"'key:write' on "a/3""#)),
    ("DELETE", "/v1/kv/a/x?recurse", "", Write(r#"'key:write' on "a/x""#)),
    // Catalog and health: rows are left out.
    ("GET", "/v1/catalog/datacenters", "", Nothing),
    ("GET", "/v1/catalog/nodes", "", Shows(r#""n1""#, r#""n2""#)),
    ("GET", "/v1/catalog/services", "", Shows(r#""web""#, r#""db""#)),
    ("GET", "/v1/catalog/service/web", "", Shows(r#""web-2""#, r#""db""#)),
    ("GET", "/v1/catalog/service/db", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/catalog/connect/web", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/catalog/node/n1", "", Shows(r#""web-2""#, r#""consul""#)),
    ("GET", "/v1/catalog/node-services/n1", "", Shows(r#""web-2""#, r#""consul""#)),
    ("GET", "/v1/health/service/web", "", Shows(r#""web-2""#, r#""db""#)),
    ("GET", "/v1/health/service/db", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/health/connect/web", "", Shows("[]", r#""db""#)),
    ("GET", "/v1/health/node/n1", "", Shows("serfHealth", "db-check")),
    ("GET", "/v1/health/checks/web", "", Shows("web-ttl", "db-check")),
    ("GET", "/v1/health/state/any", "", Shows("web-ttl", "db-check")),
    ("PUT", "/v1/catalog/register", r#"{"Node": "gone", "Address": "10.0.0.4"}"#, Write(r#"'node:write' on "gone""#)),
    (
        "PUT",
        "/v1/catalog/register",
        r#"{"Node": "n1", "SkipNodeUpdate": true, "Service": {"Service": "web", "ID": "web-3"}}"#,
        Write(r#"'service:write' on "web""#),
    ),
    ("PUT", "/v1/catalog/deregister", r#"{"Node": "gone", "ServiceID": "web-gone"}"#, Write(r#"on "web-gone""#)),
    ("PUT", "/v1/catalog/deregister", r#"{"Node": "gone", "CheckID": "none"}"#, Write(r#"'node:write' on "gone""#)),
    ("PUT", "/v1/catalog/deregister", r#"{"Node": "gone"}"#, Write(r#"'node:write' on "gone""#)),
    // Where nodes are.
    ("GET", "/v1/coordinate/datacenters", "", Nothing),
    ("PUT", "/v1/coordinate/update", PLACE, Write(r#"'node:write' on "n1""#)),
    ("GET", "/v1/coordinate/nodes", "", Shows(r#""n1""#, r#""n2""#)),
    ("GET", "/v1/coordinate/node/n1", "", Read(r#"'node:read' on "n1""#)),
    // The agent.
    ("GET", "/v1/agent/self", "", Read(r#"'agent:read' on "n1""#)),
    ("GET", "/metrics", "", Read(r#"'agent:read' on "n1""#)),
    ("GET", "/v1/agent/members", "", Shows(r#""n1""#, r#""n2""#)),
    ("GET", "/v1/agent/services", "", Shows(r#""web-2""#, r#""db""#)),
    ("GET", "/v1/agent/checks", "", Shows("disk", "db-check")),
    ("GET", "/v1/agent/service/web", "", Read(r#"'service:read' on "web""#)),
    ("GET", "/v1/agent/health/service/id/web-2", "", Read(r#"'service:read' on "web""#)),
    ("GET", "/v1/agent/health/service/name/web", "", Read(r#"'service:read' on "web""#)),
    ("PUT", "/v1/agent/service/register", WEB, Write(r#"'service:write' on "web""#)),
    // An instance of another service must not be taken over.
    ("PUT", "/v1/agent/service/register", r#"{"Name": "db", "ID": "web-2"}"#, Write("on \"")),
    ("PUT", "/v1/agent/service/maintenance/web-2?enable=true", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/service/maintenance/web-2?enable=false", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/maintenance?enable=true", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/maintenance?enable=false", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/check/register", r#"{"Name": "n", "TTL": "1h"}"#, Write(r#"'node:write' on "n1""#)),
    (
        "PUT",
        "/v1/agent/check/register",
        r#"{"Name": "w", "TTL": "1h", "ServiceID": "web"}"#,
        Write(r#"'service:write' on "web""#),
    ),
    ("PUT", "/v1/agent/check/pass/web-ttl", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/check/warn/web-ttl", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/check/fail/disk", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/check/update/web-ttl", r#"{"Status": "passing"}"#, Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/check/deregister/old", "", Write(r#"'node:write' on "n1""#)),
    ("PUT", "/v1/agent/service/deregister/web-3", "", Write(r#"'service:write' on "web""#)),
    ("PUT", "/v1/agent/token/replication", r#"{"Token": ""}"#, Write(r#"'agent:write' on "n1""#)),
    // Sessions and events.
    ("GET", "/v1/session/list", "", Shows("session-n1", "session-n2")),
    ("GET", "/v1/session/node/n1", "", Shows("session-n1", "session-n2")),
    ("GET", "/v1/session/info/00000000-0000-4000-8000-000000000000", "", AnyToken),
    ("PUT", "/v1/session/create", "", Write(r#"'session:write' on "n1""#)),
    ("PUT", "/v1/session/renew/{session}", "", Write(r#"'session:write' on "n1""#)),
    ("PUT", "/v1/session/destroy/{session}", "", Write(r#"'session:write' on "n1""#)),
    ("GET", "/v1/event/list", "", Shows(r#""web""#, r#""other""#)),
    ("PUT", "/v1/event/fire/web", "", Write(r#"'event:write' on "web""#)),
    // Config entries.
    ("GET", "/v1/config/service-defaults", "", Shows(r#""web""#, r#""db""#)),
    ("GET", "/v1/config/service-defaults/web", "", Read(r#"'service:read' on "web""#)),
    (
        "PUT",
        "/v1/config",
        r#"{"Kind": "service-defaults", "Name": "web", "Protocol": "grpc"}"#,
        Write(r#"'service:write' on "web""#),
    ),
    ("PUT", "/v1/config", r#"{"Kind": "proxy-defaults", "Name": "global"}"#, Write("'mesh:write'")),
    ("GET", "/v1/config/proxy-defaults/global", "", AnyToken),
    ("DELETE", "/v1/config/service-defaults/web", "", Write(r#"'service:write' on "web""#)),
    // The mesh, transactions and queries.
    ("GET", "/v1/connect/ca/configuration", "", Read("'operator:read'")),
    ("GET", "/v1/agent/connect/ca/leaf/web", "", Write(r#"'service:write' on "web""#)),
    ("GET", "/v1/connect/intentions/match?by=destination&name=web", "", Read(r#"'intention:read' on "web""#)),
    ("GET", "/v1/query", "", AnyToken),
    ("POST", "/v1/query", r#"{"Name": "web", "Service": {"Service": "web"}}"#, Write(r#"'query:write' on "web""#)),
    ("GET", "/v1/query/web/execute", "", AnyToken),
    // How servers are kept.
    ("GET", "/v1/operator/autopilot/configuration", "", Read("'operator:read'")),
    ("GET", "/v1/operator/autopilot/health", "", Read("'operator:read'")),
    ("GET", "/v1/operator/autopilot/state", "", Read("'operator:read'")),
    ("PUT", "/v1/operator/autopilot/configuration", r#"{"CleanupDeadServers": true}"#, Write("'operator:write'")),
    // Access control itself.
    ("GET", "/v1/acl/tokens", "", Read("'acl:read'")),
    ("GET", "/v1/acl/token/00000000-0000-0000-0000-000000000002", "", Read("'acl:read'")),
    ("GET", "/v1/acl/policies", "", Read("'acl:read'")),
    ("GET", "/v1/acl/policy/00000000-0000-0000-0000-000000000001", "", Read("'acl:read'")),
    ("GET", "/v1/acl/policy/name/global-management", "", Read("'acl:read'")),
    ("GET", "/v1/acl/roles", "", Read("'acl:read'")),
    ("GET", "/v1/acl/auth-methods", "", Read("'acl:read'")),
    ("GET", "/v1/acl/binding-rules", "", Read("'acl:read'")),
    ("GET", "/v1/acl/templated-policies", "", Read("'acl:read'")),
    ("GET", "/v1/acl/templated-policy/name/builtin/service", "", Read("'acl:read'")),
    ("POST", "/v1/acl/templated-policy/preview/builtin/service", r#"{"Name": "x"}"#, Read("'acl:read'")),
    ("GET", "/v1/acl/replication", "", Nothing),
    ("POST", "/v1/internal/acl/authorize", "[]", AnyToken),
    ("PUT", "/v1/acl/token", "{}", Write("'acl:write'")),
    ("PUT", "/v1/acl/policy", r#"{"Name": "made"}"#, Write("'acl:write'")),
    ("PUT", "/v1/acl/role", r#"{"Name": "made"}"#, Write("'acl:write'")),
    ("PUT", "/v1/acl/auth-method", r#"{"Name": "made", "Type": "oidc"}"#, Write("'acl:write'")),
    ("PUT", "/v1/acl/auth-method/made", r#"{"Type": "oidc", "Description": "d"}"#, Write("'acl:write'")),
    (
        "PUT",
        "/v1/acl/binding-rule",
        r#"{"AuthMethod": "made", "BindType": "service", "BindName": "x"}"#,
        Write("'acl:write'"),
    ),
    ("DELETE", "/v1/acl/auth-method/made", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/token/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/policy/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/role/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    ("DELETE", "/v1/acl/binding-rule/00000000-0000-4000-8000-000000000001", "", Write("'acl:write'")),
    // Nothing to hide.
    ("GET", "/v1/status/leader", "", Nothing),
    ("GET", "/v1/status/peers", "", Nothing),
    ("GET", "/v1/openapi.json", "", Nothing),
    ("GET", "/ui/", "", Nothing),
];

#[test]
fn every_path_asks_what_the_contract_says() {
    let world = World::with_rows();
    let sessions = world.root("GET", "/v1/session/node/n1", "").json();
    let session = sessions[0]["ID"].as_str().expect("a session has an id").to_owned();
    let mut wrong = Vec::new();
    for (method, path, body, needs) in TABLE {
        let path = path.replace("{session}", &session);
        for caller in Caller::ALL {
            let reply = world.ask(world.secret(caller), method, &path, body);
            if let Err(what) = judge(*needs, caller, &reply) {
                wrong.push(format!("{method} {path} by {caller:?}: {what}, got {} {}", reply.status, reply.text()));
            }
            assert_eq!(reply.header("X-Consul-Default-ACL-Policy"), Some("deny"), "{method} {path}");
        }
    }
    assert!(wrong.is_empty(), "{} answers are not the contract's:\n{}", wrong.len(), wrong.join("\n"));
}

fn judge(needs: Needs, caller: Caller, reply: &Reply) -> Result<(), String> {
    let text = reply.text();
    let told = reply.header("X-Consul-Results-Filtered-By-ACLs") == Some("true");
    if text.contains(WRONG) {
        return Err("a secret came back".to_owned());
    }
    if caller == Caller::Wrong && !matches!(needs, Nothing) {
        return match (reply.status, text.as_str()) {
            (403, "ACL not found") => Ok(()),
            _ => Err("expected 403 ACL not found".to_owned()),
        };
    }
    match needs {
        Nothing | AnyToken if reply.status == 200 => Ok(()),
        Nothing | AnyToken => Err("expected 200".to_owned()),
        Read(right) if caller == Caller::Reader || caller == Caller::Writer => allowed(right, reply),
        Write(right) if caller == Caller::Writer => allowed(right, reply),
        Read(right) | Write(right) => {
            let begins = match caller {
                Caller::Nobody => "Permission denied: anonymous token lacks permission '",
                _ => "Permission denied: token with AccessorID '",
            };
            match reply.status == 403 && text.starts_with(begins) && text.contains(right) {
                true => Ok(()),
                false => Err(format!("expected 403 that names {right}")),
            }
        }
        Shows(shown, hidden) => {
            let sees = caller == Caller::Reader || caller == Caller::Writer;
            if reply.status != 200 && reply.status != 404 {
                return Err("expected an answer".to_owned());
            }
            if sees && (!text.contains(shown) || text.contains(hidden)) {
                return Err(format!("expected {shown} and not {hidden}"));
            }
            if caller == Caller::Nobody && (text.contains(shown) && shown != "[]" || text.contains(hidden)) {
                return Err(format!("expected neither {shown} nor {hidden}"));
            }
            // The other caller sees what is theirs at most.
            if caller == Caller::Other && shown != "[]" && text.contains(shown) {
                return Err(format!("expected no {shown}"));
            }
            let left_out = caller == Caller::Nobody && shown != "[]";
            match left_out && !told {
                true => Err("expected X-Consul-Results-Filtered-By-ACLs".to_owned()),
                false => Ok(()),
            }
        }
    }
}

/// What the caller may do is done; or refused for another reason than rights, where the row is about taking over.
fn allowed(right: &str, reply: &Reply) -> Result<(), String> {
    // `agent/health` tells health by its status.
    let done = reply.status == 200 || reply.status == 429 || reply.status == 503;
    let other = right == "on \"" && reply.status == 403;
    if done || other { Ok(()) } else { Err("expected that it is done".to_owned()) }
}

#[test]
fn listing_keys_needs_its_own_right_if_that_is_wanted() {
    let world = World::new(serde_json::json!({"enable_key_list_policy": true}));
    world.root("PUT", "/v1/kv/a/1", "x");
    let reads = world.token(r#"key_prefix "a/" { policy = "read" }"#);
    let lists = world.token(r#"key_prefix "a/" { policy = "list" }"#);
    for path in ["/v1/kv/a/?keys", "/v1/kv/a/?recurse"] {
        let refused = world.ask(Some(&reads), "GET", path, "");
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains(r#"'key:list' on "a/""#), "{}", refused.text());
        assert_eq!(world.ask(Some(&lists), "GET", path, "").status, 200);
    }
    assert_eq!(world.ask(Some(&reads), "GET", "/v1/kv/a/1", "").status, 200);
}

#[test]
fn a_default_of_allow_does_not_reach_access_control() {
    let world = World::new(serde_json::json!({"default_policy": "allow"}));
    assert_eq!(world.ask(None, "PUT", "/v1/kv/x", "y").status, 200);
    assert_eq!(world.ask(None, "GET", "/v1/acl/tokens", "").status, 403);
    assert_eq!(world.ask(None, "PUT", "/v1/acl/token", "{}").status, 403);
    assert_eq!(world.ask(None, "GET", "/v1/kv/x", "").header("X-Consul-Default-ACL-Policy"), Some("allow"));
}

#[test]
fn tokens_are_taken_from_where_consul_takes_them() {
    let world = World::new(serde_json::json!({}));
    let path = |token: &str| format!("/v1/agent/self?token={token}");
    assert_eq!(world.ask(Some(WRONG), "GET", &path("root"), "").status, 200, "the parameter counts first");
    assert_eq!(world.ask(Some("root"), "GET", &path(WRONG), "").status, 403);
    let mut connection = callboard_tests::http::Connection::open(world.node.http.address).unwrap();
    let mut ask = |headers: &[(&str, &str)]| {
        connection.request_with(headers, "GET", "/v1/agent/self", b"").expect("it is answered").status
    };
    assert_eq!(ask(&[("Authorization", "Bearer root")]), 200);
    assert_eq!(ask(&[("authorization", "bearer root")]), 200);
    assert_eq!(ask(&[("X-Consul-Token", WRONG), ("Authorization", "Bearer root")]), 403);
    assert_eq!(ask(&[]), 403);
}

#[test]
fn an_instance_cannot_be_taken_over() {
    let world = World::with_rows();
    let token = world.secret(Caller::Other);
    let reply = world.ask(token, "PUT", "/v1/agent/service/register", r#"{"Name": "db", "ID": "web-2"}"#);
    assert_eq!(reply.status, 403);
    assert!(reply.text().contains(r#"'service:write' on "web""#), "{}", reply.text());
    let shown = world.root("GET", "/v1/agent/service/web-2", "").json();
    assert_eq!(shown["Service"], "web");
}
