//! What a caller may not see does not reach them: not by waiting, not by an answer that others share, not by DNS.

use std::thread;
use std::time::Duration;

use callboard_tests::dns::{RecordType, ResponseCode};
use callboard_tests::http::{Connection, Reply};
use serde_json::json;

use super::world::{Caller, World};

/// Longest wait of a read here.
const WAIT: &str = "wait=20s";

/// A read that waits, in a thread of its own.
fn waiting(world: &World, token: Option<&str>, path: String) -> thread::JoinHandle<Reply> {
    let (address, token) = (world.node.http.address, token.map(str::to_owned));
    let before = world.node.metric("callboard_watch_waiters").unwrap_or_default();
    let read = thread::spawn(move || {
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("X-Consul-Token", token.as_str())).collect();
        let connection = Connection::open(address).expect("the node is there");
        let mut connection = connection.patience(Duration::from_secs(60)).expect("a time can be set");
        connection.request_with(&headers, "GET", &path, b"").expect("a waiting read is answered")
    });
    world.node.until_waiters(before as u32 + 1);
    read
}

#[test]
fn a_waiting_read_wakes_for_what_is_hidden_and_does_not_show_it() {
    let world = World::with_rows();
    let token = world.secret(Caller::Reader);
    let first = world.ask(token, "GET", "/v1/kv/?recurse", "");
    assert!(first.text().contains("a/1") && !first.text().contains("b/"));
    let read = waiting(&world, token, format!("/v1/kv/?recurse&index={}&{WAIT}", first.index()));
    world.root("PUT", "/v1/kv/b/2", "hidden");
    let woken = read.join().expect("the thread lives");
    assert!(woken.index() > first.index());
    assert!(woken.text().contains("a/1") && !woken.text().contains("b/"), "{}", woken.text());
    assert_eq!(woken.header("X-Consul-Results-Filtered-By-ACLs"), Some("true"));
}

#[test]
fn a_waiting_read_of_one_hidden_thing_is_refused_at_once() {
    let world = World::with_rows();
    let index = world.root("GET", "/v1/kv/b/1", "").index();
    let refused = world.ask(world.secret(Caller::Reader), "GET", &format!("/v1/kv/b/1?index={index}&{WAIT}"), "");
    assert_eq!(refused.status, 403);
    let wrong = world.ask(world.secret(Caller::Wrong), "GET", &format!("/v1/catalog/nodes?index=999999&{WAIT}"), "");
    assert_eq!((wrong.status, wrong.text().as_str()), (403, "ACL not found"));
}

#[test]
fn a_token_that_is_gone_meanwhile_gets_nothing() {
    let world = World::with_rows();
    let secret = world.token(r#"key_prefix "a/" { policy = "read" }"#);
    let accessor = world.ask(Some(&secret), "GET", "/v1/acl/token/self", "").json()["AccessorID"].clone();
    let index = world.ask(Some(&secret), "GET", "/v1/kv/a/1", "").index();
    let read = waiting(&world, Some(&secret), format!("/v1/kv/a/1?index={index}&{WAIT}"));
    world.root("DELETE", &format!("/v1/acl/token/{}", accessor.as_str().expect("an id")), "");
    world.root("PUT", "/v1/kv/a/1", "news");
    let woken = read.join().expect("the thread lives");
    assert_eq!((woken.status, woken.text().as_str()), (403, "ACL not found"));
}

#[test]
fn rights_that_are_lost_meanwhile_do_not_count() {
    let world = World::with_rows();
    let policy =
        json!({"Name": "shrinks", "Rules": r#"service "web" { policy = "read" } node "n1" { policy = "read" }"#});
    let id = world.root("PUT", "/v1/acl/policy", &policy.to_string()).json()["ID"].clone();
    let token = world.root("PUT", "/v1/acl/token", r#"{"Policies": [{"Name": "shrinks"}]}"#).json();
    let secret = token["SecretID"].as_str().expect("a secret").to_owned();
    let path = "/v1/health/service/web";
    let first = world.ask(Some(&secret), "GET", path, "");
    assert!(first.text().contains("web-2"));
    // The same question at the same index: only the rights are others now.
    let id = id.as_str().expect("an id");
    world.root("PUT", &format!("/v1/acl/policy/{id}"), r#"{"Name": "shrinks", "Rules": ""}"#);
    let second = world.ask(Some(&secret), "GET", path, "");
    assert_eq!((second.index(), second.text().as_str()), (first.index(), "[]"));
    let read = waiting(&world, Some(&secret), format!("{path}?index={}&{WAIT}", first.index()));
    world.root("PUT", "/v1/agent/service/register", r#"{"ID": "web-9", "Name": "web", "Port": 99}"#);
    let woken = read.join().expect("the thread lives");
    assert_eq!(woken.text(), "[]");
}

#[test]
fn a_shared_answer_is_shared_among_equal_rights_only() {
    let world = World::with_rows();
    let path = "/v1/health/service/web";
    // Whoever asks first must not decide what the next one sees.
    for _ in 0..2 {
        assert!(world.root("GET", path, "").text().contains("web-2"));
        let hidden = world.ask(world.secret(Caller::Other), "GET", path, "");
        assert_eq!(hidden.text(), "[]");
        assert_eq!(hidden.header("X-Consul-Results-Filtered-By-ACLs"), Some("true"));
        let shown = world.ask(world.secret(Caller::Reader), "GET", path, "");
        assert!(shown.text().contains("web-2"));
        assert_eq!(shown.header("X-Consul-Results-Filtered-By-ACLs"), None);
    }
}

#[test]
fn names_that_may_not_be_told_are_names_that_are_not_there() {
    let world = World::with_rows();
    // Only what is well has addresses.
    for check in ["disk", "old", "web-ttl"] {
        world.root("PUT", &format!("/v1/agent/check/pass/{check}"), "");
    }
    let dns = world.node.dns();
    let ask = |name: &str, kind| dns.ask(name, kind).metadata.response_code;
    for (name, kind) in [
        ("web.service.consul", RecordType::A),
        ("web.service.consul", RecordType::SRV),
        ("n1.node.consul", RecordType::A),
        ("n2.node.consul", RecordType::A),
    ] {
        assert_eq!(ask(name, kind), ResponseCode::NXDomain, "{name}");
        assert_eq!(ask(name, kind), ask(&name.replace("web", "nothing").replace("n1", "n9").replace("n2", "n9"), kind));
    }
    let token = world.token(r#"service_prefix "web" { policy = "read" } node "n1" { policy = "read" }"#);
    world.root("PUT", "/v1/agent/token/dns", &json!({"Token": token}).to_string());
    assert_eq!(ask("web.service.consul", RecordType::A), ResponseCode::NoError);
    assert_eq!(ask("n1.node.consul", RecordType::A), ResponseCode::NoError);
    assert_eq!(ask("n2.node.consul", RecordType::A), ResponseCode::NXDomain);
    assert_eq!(ask("db.service.consul", RecordType::A), ResponseCode::NXDomain);
    // Its service is shown, its node is not.
    assert_eq!(ask("web-gone.service.consul", RecordType::A), ResponseCode::NXDomain);
    world.root("PUT", "/v1/agent/token/dns", &json!({"Token": "nobody's"}).to_string());
    assert_eq!(ask("web.service.consul", RecordType::A), ResponseCode::NXDomain);
}
