//! Every path × no token, a wrong one, a reader's, a writer's, and one of other names: exactly what the contract says.
//!
//! Rows run in order on one node, callers in the order of `Caller::ALL`. A refusal must name the right that the row
//! states; what is left out must leave no trace in body or headers but the one that says so.

use std::collections::BTreeSet;

use callboard_tests::conformance::Section;
use callboard_tests::description;
use callboard_tests::http::Reply;
use callboard_tests::node::MANAGEMENT;

use super::rows::Needs::{self, AnyToken, Nothing, Read, ReadPast, Refused, Shows, Tells, Write, WritePast};
use super::rows::{OPEN, TABLE};
use super::world::{Caller, WRONG, World};

/// The header that says that rows were left out.
const FILTERED_BY_ACLS: &str = "X-Consul-Results-Filtered-By-ACLs";

#[test]
fn every_path_asks_what_the_contract_says() {
    let world = World::with_rows();
    let sessions = world.root("GET", "/v1/session/node/n1", "").json();
    let session = sessions[0]["ID"].as_str().expect("a session has an id").to_owned();
    let intentions = world.root("GET", "/v1/connect/intentions", "").json();
    let intentions = intentions.as_array().expect("intentions are a list");
    let intention = intentions.iter().find_map(|row| row["ID"].as_str()).expect("one was made by id").to_owned();
    let paths = description::paths(&world.node.http, Some(MANAGEMENT));
    let mut page = Section::new(
        "rights",
        "Who may ask what",
        &["Operation", "Asked", "Needs", "No token", "Wrong token", "Other names", "May read", "May write"],
    );
    let mut wrong = Vec::new();
    for (method, asked, body, needs) in TABLE {
        let operation = description::template(&paths, asked).unwrap_or(asked);
        let mut row = vec![format!("{method} {operation}"), (*asked).to_owned(), needs.words()];
        let mut path = asked.replace("{session}", &session).replace("{intention}", &intention);
        if path.contains("{query}") {
            // A row above made it.
            let queries = world.root("GET", "/v1/query", "").json();
            path = path.replace("{query}", queries[0]["ID"].as_str().expect("there is a query"));
        }
        for caller in Caller::ALL {
            if matches!(needs, Refused(_)) && matches!(caller, Caller::Reader | Caller::Writer) {
                row.push("not asked".to_owned());
                continue;
            }
            let reply = world.ask(world.secret(caller), method, &path, body);
            if let Err(what) = judge(*needs, caller, &reply) {
                wrong.push(format!("{method} {path} by {caller:?}: {what}, got {} {}", reply.status, reply.text()));
            }
            assert_eq!(reply.header("X-Consul-Default-ACL-Policy"), Some("deny"), "{method} {path}");
            row.push(found(*needs, &reply));
        }
        page.row(row);
    }
    assert!(wrong.is_empty(), "{} answers are not the contract's:\n{}", wrong.len(), wrong.join("\n"));
    page.hold();
    let mut page = Section::new("rights", "What asks for no right", &["Operation", "Why"]);
    OPEN.iter().for_each(|(method, path, why)| page.row([format!("{method} {path}"), (*why).to_owned()]));
    page.hold();
}

/// What an answer comes to, in a word or two for the page.
fn found(needs: Needs, reply: &Reply) -> String {
    let what = match needs {
        _ if reply.status == 403 && reply.text() == "ACL not found" => ", unknown",
        Shows(shown, _) if shown != "[]" && reply.text().contains(shown) => ", shown",
        Shows(..) if reply.header(FILTERED_BY_ACLS) == Some("true") => ", left out and said so",
        Shows(..) => ", nothing",
        _ => "",
    };
    format!("{}{what}", reply.status)
}

fn judge(needs: Needs, caller: Caller, reply: &Reply) -> Result<(), String> {
    let text = reply.text();
    let told = reply.header(FILTERED_BY_ACLS) == Some("true");
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
        ReadPast(_) if caller == Caller::Reader || caller == Caller::Writer => past(reply),
        WritePast(_) if caller == Caller::Writer => past(reply),
        Tells(_) if caller == Caller::Writer && reply.status == 200 => Ok(()),
        Tells(right) => match reply.status == 409 && text.contains(right) && caller != Caller::Writer {
            true => Ok(()),
            false => Err(format!("expected 409 that names {right} to all but the writer")),
        },
        Read(right) | Write(right) | ReadPast(right) | WritePast(right) | Refused(right) => {
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

/// What the caller may do is not refused for want of a right, and fails for another reason.
fn past(reply: &Reply) -> Result<(), String> {
    match reply.status >= 400 && !reply.text().starts_with("Permission denied") {
        true => Ok(()),
        false => Err("expected that it fails, and not for want of a right".to_owned()),
    }
}

#[test]
fn every_operation_that_a_node_describes_has_a_row() {
    let world = World::new(serde_json::json!({}));
    let paths = description::paths(&world.node.http, Some(MANAGEMENT));
    let rows: BTreeSet<(&str, &str)> =
        TABLE.iter().filter_map(|(method, path, ..)| Some((*method, description::template(&paths, path)?))).collect();
    let open: BTreeSet<(&str, &str)> = OPEN.iter().map(|(method, path, _)| (*method, *path)).collect();
    let mut without = Vec::new();
    for (path, item) in &paths {
        for method in item.as_object().expect("a path has operations").keys().map(|verb| verb.to_uppercase()) {
            let operation = (method.as_str(), path.as_str());
            if !rows.contains(&operation) && !open.contains(&operation) {
                without.push(format!("{method} {path}"));
            }
        }
    }
    assert!(without.is_empty(), "nobody says what these need: {without:#?}");
    for operation @ (method, path) in &open {
        assert!(!rows.contains(operation), "{method} {path} is open, and has a row");
        assert!(
            paths.get(*path).is_some_and(|item| item[method.to_lowercase()].is_object()),
            "{method} {path} is gone"
        );
    }
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
