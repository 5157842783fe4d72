//! The contract's test vectors that one node can show, by their numbers: first the ones that are a request and an
//! answer, as a table, then the ones that are a small story. Each test tells its part of the page of vectors.

use std::thread;
use std::time::{Duration, Instant};

use callboard_tests::conformance::Section;
use callboard_tests::dns::{RData, RecordType, ResponseCode};
use callboard_tests::node::Node;
use serde_json::{Value, json};

/// What the body of an answer must be.
enum Body {
    Any,
    Empty,
    Text(&'static str),
    Starts(&'static str),
    Json(&'static str),
}

/// A part of the page of vectors.
struct Part(Section);

impl Part {
    fn new(title: &str) -> Self {
        Self(Section::new("vectors", title, &["Vector", "Asked", "Answered"]))
    }

    /// Tells a vector that holds: its test has just claimed it.
    fn shown(&mut self, number: u8, asked: &str, answered: &str) {
        self.0.row([&number.to_string(), asked, answered]);
    }

    fn hold(self) {
        self.0.hold();
    }
}

use Body::{Any, Empty, Json, Starts, Text};

/// Number, method, path, body, status, answer. They run in order on one fresh node.
const TABLE: &[(u8, &str, &str, &str, u16, Body)] = &[
    (40, "GET", "/v1/agent/services", "", 200, Json("{}")),
    (2, "GET", "/v1/kv/foo", "", 404, Empty),
    (9, "GET", "/v1/kv/?keys", "", 200, Json("[]")),
    (9, "GET", "/v1/kv/x?keys", "", 404, Empty),
    (3, "PUT", "/v1/kv/foo", "bar", 200, Json("true")),
    (5, "PUT", "/v1/kv/foo", "bar", 200, Json("true")),
    (6, "PUT", "/v1/kv/foo?cas=0", "bar", 200, Json("false")),
    (8, "PUT", "/v1/kv/foo?cas=1&acquire=x", "bar", 400, Starts("Conflicting flags: ")),
    (10, "GET", "/v1/kv/", "", 400, Text("Missing key name")),
    (21, "PUT", "/v1/agent/service/register", r#"{"name":"web","port":80,"check":{"ttl":"10s"}}"#, 200, Empty),
    (23, "GET", "/v1/health/service/web?passing", "", 200, Json("[]")),
    (28, "GET", "/v1/catalog/node/nope", "", 200, Json("null")),
    (29, "GET", "/v1/catalog/services?dc=dc2", "", 500, Text("No path to datacenter")),
    (
        30,
        "PUT",
        "/v1/agent/service/deregister/nope",
        "",
        404,
        Text("Unknown service ID \"nope\". Ensure that the service ID is passed, not the service name."),
    ),
    (
        31,
        "PUT",
        "/v1/agent/check/register",
        r#"{"name":"c","ttl":"1s","service_id":"nope"}"#,
        404,
        Text("ServiceID \"nope\" does not exist"),
    ),
    (32, "POST", "/v1/agent/service/register", "", 405, Text("method POST not allowed")),
    (33, "GET", "/v1/nope", "", 404, Starts("Invalid URL path: not a recognized HTTP API endpoint")),
    (34, "GET", "/v1/kv/foo?index=abc", "", 400, Text("Invalid index")),
    (
        35,
        "GET",
        "/v1/catalog/nodes?stale&consistent",
        "",
        400,
        Text("Cannot specify ?stale with ?consistent, conflicting semantics."),
    ),
    (36, "GET", "/v1/acl/tokens", "", 401, Text("ACL support disabled")),
    (
        37,
        "PUT",
        "/v1/txn",
        r#"[{"KV": {"Verb": "cas", "Key": "foo", "Value": "", "Index": 1}}]"#,
        409,
        Json(r#"{"Results": null, "Errors": [{"OpIndex": 0, "What": "failed to set key \"foo\", index is stale"}]}"#),
    ),
    (39, "PUT", "/v1/event/fire/e", "x", 200, Any),
    (46, "PUT", "/v1/kv/a?flags=18446744073709551615", "x", 200, Json("true")),
    (47, "OPTIONS", "/v1/kv/x", "", 200, Any),
];

#[test]
fn requests_are_answered_as_the_table_says() {
    let node = Node::dev();
    let mut part = Part::new("Requests and answers");
    for (number, method, path, body, status, expected) in TABLE {
        let reply = node
            .http
            .request(method, path, body.as_bytes())
            .unwrap_or_else(|error| panic!("vector {number}: {method} {path}: {error}"));
        let said = format!("vector {number}: {method} {path} answered {} {}", reply.status, reply.text());
        assert_eq!(reply.status, *status, "{said}");
        match expected {
            Any => {}
            Empty => assert!(reply.body.is_empty(), "{said}"),
            Text(text) => assert_eq!(reply.text(), *text, "{said}"),
            Starts(text) => assert!(reply.text().starts_with(text), "{said}"),
            Json(text) => assert_eq!(reply.json(), serde_json::from_str::<Value>(text).expect("JSON"), "{said}"),
        }
        let asked = if body.is_empty() { format!("{method} {path}") } else { format!("{method} {path} with `{body}`") };
        let answered = match expected {
            Any => status.to_string(),
            Empty => format!("{status}, empty"),
            Starts(text) => format!("{status}, begins with `{text}`"),
            Text(text) | Json(text) => format!("{status} `{text}`"),
        };
        part.shown(*number, &asked, &answered);
    }
    assert_eq!(node.http.get("/v1/kv/a").json()[0]["Flags"], json!(u64::MAX), "vector 46: flags survive whole");
    let events = node.http.get("/v1/event/list?name=e").ok().json();
    assert_eq!(events[0]["Payload"], json!("eA=="), "vector 39: {events}");
    let options = node.http.request("OPTIONS", "/v1/kv/x", b"").expect("OPTIONS is answered");
    assert_eq!(options.header("Allow"), Some("OPTIONS,GET,PUT,DELETE"), "vector 47");
    let refused = node.http.request("POST", "/v1/agent/service/register", b"").expect("POST is answered");
    assert_eq!(refused.header("Allow"), Some("OPTIONS,PUT"), "vector 32");
    part.shown(32, "its header Allow", "`OPTIONS,PUT`");
    part.shown(39, "GET /v1/event/list?name=e", "Payload `eA==`");
    part.shown(46, "GET /v1/kv/a", "Flags 18446744073709551615");
    part.shown(47, "its header Allow", "`OPTIONS,GET,PUT,DELETE`");
    part.hold();
}

/// Vectors 1, 48 and 50.
#[test]
fn a_fresh_node_shows_itself() {
    let node = Node::dev();
    let leader = node.http.get("/v1/status/leader").ok().json();
    assert!(leader.as_str().is_some_and(|text| text.starts_with("127.0.0.1:")), "vector 1: {leader}");
    let myself = node.http.get("/v1/agent/self").ok().json();
    for (key, value) in myself.as_object().expect("an object") {
        assert!(value.is_object(), "vector 48: {key} is {value}");
    }
    let checks = node.http.get("/v1/health/state/any").ok().json();
    assert_eq!(checks.as_array().map(Vec::len), Some(1), "vector 50: {checks}");
    assert_eq!((&checks[0]["CheckID"], &checks[0]["Status"]), (&json!("serfHealth"), &json!("passing")), "vector 50");
    let mut part = Part::new("A fresh node");
    part.shown(1, "GET /v1/status/leader", "its address");
    part.shown(48, "GET /v1/agent/self", "every value is an object");
    part.shown(50, "GET /v1/health/state/any", "`serfHealth`, passing, and nothing else");
    part.hold();
}

/// Vectors 2, 4, 5, 7 and 38.
#[test]
fn a_key_keeps_its_indexes() {
    let node = Node::dev();
    assert!(node.http.get("/v1/kv/foo").index() >= 1, "vector 2");
    let _ = node.http.put("/v1/kv/foo", "bar").ok();
    let reply = node.http.get("/v1/kv/foo").ok();
    let entry = reply.json()[0].clone();
    let created = entry["CreateIndex"].as_u64().expect("a number");
    let expected = json!({"LockIndex": 0, "Key": "foo", "Flags": 0, "Value": "YmFy", "CreateIndex": created, "ModifyIndex": created});
    assert_eq!(entry, expected, "vector 4");
    assert_eq!(reply.index(), created, "vector 4");
    let _ = node.http.put("/v1/kv/foo", "bar").ok();
    assert_eq!(node.http.get("/v1/kv/foo").json()[0], expected, "vector 5");
    let swapped = node.http.put(&format!("/v1/kv/foo?cas={created}"), "baz").ok();
    assert_eq!(swapped.json(), json!(true), "vector 7");
    let entry = node.http.get("/v1/kv/foo").json()[0].clone();
    assert!(
        entry["ModifyIndex"].as_u64() > Some(created) && entry["CreateIndex"] == json!(created),
        "vector 7: {entry}"
    );
    assert_eq!(node.http.put("/v1/kv/big", vec![b'x'; 524_289]).status, 413, "vector 38");
    let mut part = Part::new("Keys and their indexes");
    part.shown(2, "GET /v1/kv/foo before it is there", "has an index");
    part.shown(4, "PUT and GET /v1/kv/foo", "the entry, whose ModifyIndex is the answer's index; no Session");
    part.shown(5, "PUT /v1/kv/foo with the same", "the entry with the same indexes");
    part.shown(7, "PUT /v1/kv/foo?cas= with the right index", "`true`, and a higher ModifyIndex");
    part.shown(38, "PUT /v1/kv/big with 524289 bytes", "413");
    part.hold();
}

/// Vectors 11, 12 and 13.
#[test]
fn a_read_of_a_key_waits() {
    let node = Node::dev();
    let _ = node.http.put("/v1/kv/foo", "bar").ok();
    let before = node.http.get("/v1/kv/foo").ok();
    let begun = Instant::now();
    let after = node.http.get(&format!("/v1/kv/foo?index={}&wait=50ms", before.index())).ok();
    assert!(begun.elapsed() >= Duration::from_millis(50), "vector 11: the wait is not cut short");
    assert_eq!((after.index(), after.body), (before.index(), before.body), "vector 11");

    let http = node.http;
    let missing = http.get("/v1/kv/zzz").index();
    let begun = Instant::now();
    let waiter = thread::spawn(move || http.get(&format!("/v1/kv/zzz?index={missing}&wait=2s")));
    node.until_waiters(1);
    let _ = http.put("/v1/kv/other", "1").ok();
    assert_eq!(waiter.join().expect("the waiter is answered").status, 404, "vector 12");
    assert!(begun.elapsed() >= Duration::from_secs(2), "vector 12: another key does not wake it");

    let missing = node.http.get("/v1/kv/zzz").index();
    let begun = Instant::now();
    let waiter = thread::spawn(move || http.get(&format!("/v1/kv/zzz?index={missing}&wait=20s")));
    node.until_waiters(1);
    let _ = node.http.put("/v1/kv/zzz", "1").ok();
    assert_eq!(waiter.join().expect("the waiter is answered").status, 200, "vector 13");
    assert!(begun.elapsed() < Duration::from_secs(10), "vector 13: it is answered at once");
    let mut part = Part::new("Reads that wait");
    part.shown(11, "GET /v1/kv/foo?index=…&wait=50ms", "the same body and index after 50 ms");
    part.shown(12, "GET /v1/kv/zzz?index=…&wait=2s, and meanwhile a PUT of another key", "404 after 2 s");
    part.shown(13, "GET /v1/kv/zzz?index=…&wait=20s, and meanwhile a PUT of it", "200 at once");
    part.hold();
}

/// Vectors 14 to 20.
#[test]
fn a_lock_has_a_session() {
    let node = Node::dev();
    let http = node.http;
    let refused = http.put("/v1/session/create", r#"{"TTL":"5s"}"#);
    assert_eq!(refused.status, 500, "vector 14");
    let expected = "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]";
    assert!(refused.text().starts_with(expected), "vector 14: {}", refused.text());
    let create = || http.put("/v1/session/create", "").ok().json()["ID"].as_str().expect("vector 15: an id").to_owned();
    let (one, two) = (create(), create());
    assert_eq!(one.len(), 36, "vector 15");
    assert_eq!(http.put(&format!("/v1/kv/l?acquire={one}"), "me").json(), json!(true), "vector 16");
    let entry = http.get("/v1/kv/l").ok().json()[0].clone();
    assert_eq!((&entry["Session"], &entry["LockIndex"]), (&json!(one), &json!(1)), "vector 16: {entry}");
    assert_eq!(http.put(&format!("/v1/kv/l?acquire={two}"), "me").json(), json!(false), "vector 17");
    let refused = http.put("/v1/kv/l?acquire=nope", "me");
    assert!(refused.status == 500 && refused.text().contains("invalid session"), "vector 18: {}", refused.text());
    assert_eq!(http.put(&format!("/v1/session/destroy/{one}"), "").ok().json(), json!(true), "vector 19");
    assert_eq!(http.put(&format!("/v1/kv/l?acquire={two}"), "me").json(), json!(false), "vector 19: the lock delay");
    let entry = http.get("/v1/kv/l").ok().json()[0].clone();
    assert_eq!((entry.get("Session"), &entry["Value"]), (None, &json!("bWU=")), "vector 19: {entry}");
    let unknown = "11111111-1111-1111-1111-111111111111";
    let refused = http.put(&format!("/v1/session/renew/{unknown}"), "");
    let expected = (404, format!("Session id '{unknown}' not found"));
    assert_eq!((refused.status, refused.text()), expected, "vector 20");
    let mut part = Part::new("Locks and sessions");
    part.shown(14, "PUT /v1/session/create with a TTL of 5s", "500, says what a TTL must be between");
    part.shown(15, "PUT /v1/session/create", "an id of 36 letters");
    part.shown(16, "PUT /v1/kv/l?acquire=one", "`true`; Session one, LockIndex 1");
    part.shown(17, "PUT /v1/kv/l?acquire=two", "`false`");
    part.shown(18, "PUT /v1/kv/l?acquire=nope", "500 `invalid session`");
    part.shown(
        19,
        "PUT /v1/session/destroy/one, and at once PUT /v1/kv/l?acquire=two",
        "`false`; the key stays, without Session",
    );
    part.shown(20, "PUT /v1/session/renew/ of an id that nobody has", "404 `Session id … not found`");
    part.hold();
}

/// Vectors 22, 24, 25, 26, 27 and 45.
#[test]
fn a_service_and_its_index() {
    let node = Node::dev();
    let http = node.http;
    let register = json!({"name": "web", "port": 80, "check": {"ttl": "10m"}});
    http.put_json("/v1/agent/service/register", &register);
    let found = http.get("/v1/health/service/web").ok().json();
    let mut checks: Vec<(&str, &str)> = found[0]["Checks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|check| (check["CheckID"].as_str().unwrap_or_default(), check["Status"].as_str().unwrap_or_default()))
        .collect();
    checks.sort_unstable();
    assert_eq!(checks, [("serfHealth", "passing"), ("service:web", "critical")], "vector 22");

    let _ = http.put("/v1/agent/check/pass/service:web?note=ok", "").ok();
    let passing = http.get("/v1/health/service/web?passing").ok().json();
    let noted = passing[0]["Checks"].as_array().expect("a list").iter().any(|check| check["Output"] == "ok");
    assert!(noted, "vector 24: {passing}");
    let index = http.get("/v1/health/service/web").index();
    let _ = http.put("/v1/agent/check/pass/service:web?note=ok", "").ok();
    assert_eq!(http.get("/v1/health/service/web").index(), index, "vector 25");
    http.put_json("/v1/agent/service/register", &json!({"name": "db"}));
    assert_eq!(http.get("/v1/health/service/web").index(), index, "vector 26");

    let waiter = thread::spawn(move || http.get(&format!("/v1/health/service/web?index={index}&wait=20s")));
    node.until_waiters(1);
    let _ = http.put("/v1/agent/service/deregister/web", "").ok();
    let gone = waiter.join().expect("the waiter is answered").ok();
    assert_eq!(gone.json(), json!([]), "vector 27");
    assert!(gone.index() > index, "vector 27");

    let external = json!({"Node": "e1", "Address": "1.2.3.4", "Service": {"Service": "x"}});
    assert_eq!(http.put_json("/v1/catalog/register", &external).json(), json!(true), "vector 45");
    let before = (http.get("/v1/catalog/nodes").index(), http.get("/v1/health/service/x").index());
    assert_eq!(http.put_json("/v1/catalog/register", &external).json(), json!(true), "vector 45");
    let after = (http.get("/v1/catalog/nodes").index(), http.get("/v1/health/service/x").index());
    assert_eq!(before, after, "vector 45: the second write changes nothing");
    let mut part = Part::new("A service and its index");
    part.shown(22, "GET /v1/health/service/web", "`serfHealth` passing and `service:web` critical");
    part.shown(24, "PUT /v1/agent/check/pass/service:web?note=ok, GET /v1/health/service/web?passing", "Output `ok`");
    part.shown(25, "the same once more", "the same index");
    part.shown(26, "PUT /v1/agent/service/register of db", "the same index of web");
    part.shown(27, "a GET of web that waits while web is deregistered", "`[]` and a higher index");
    part.shown(45, "PUT /v1/catalog/register twice", "`true` twice; the second moves no index");
    part.hold();
}

/// Vectors 41 to 44.
#[test]
fn names_are_resolved() {
    let node = Node::dev();
    let http = node.http;
    let dns = node.dns();
    http.put_json("/v1/agent/service/register", &json!({"name": "web", "port": 80, "check": {"ttl": "10m"}}));
    let critical = dns.ask("web.service.consul", RecordType::SRV);
    assert_eq!(critical.metadata.response_code, ResponseCode::NXDomain, "vector 42");
    assert!(critical.authorities.iter().any(|record| record.record_type() == RecordType::SOA), "vector 42");

    let _ = http.put("/v1/agent/check/pass/service:web", "").ok();
    for answer in [dns.ask("web.service.consul", RecordType::SRV), dns.ask_tcp("web.service.consul", RecordType::SRV)] {
        let RData::SRV(service) = &answer.answers.first().expect("vector 41: one answer").data else {
            panic!("vector 41: {answer:?}");
        };
        let found = (service.priority, service.weight, service.port, service.target.to_utf8());
        assert_eq!(found, (1, 1, 80, "n1.node.dc1.consul.".to_owned()), "vector 41");
        let address = answer.additionals.iter().any(|record| record.record_type() == RecordType::A);
        assert!(address, "vector 41: {answer:?}");
    }

    let mail = dns.ask("n1.node.consul", RecordType::MX);
    assert_eq!(mail.metadata.response_code, ResponseCode::NoError, "vector 43");
    assert!(mail.answers.is_empty(), "vector 43");
    assert!(mail.authorities.iter().any(|record| record.record_type() == RecordType::SOA), "vector 43");
    let loopback = dns.addresses("7f000001.addr.dc1.consul");
    assert_eq!(loopback, [std::net::IpAddr::from([127, 0, 0, 1])], "vector 44");
    let mut part = Part::new("Names");
    part.shown(41, "web.service.consul SRV, by UDP and TCP", "`1 1 80 n1.node.dc1.consul.`, with its address beside");
    part.shown(42, "the same when its check is critical", "NXDOMAIN with SOA");
    part.shown(43, "n1.node.consul MX", "NOERROR, empty, with SOA");
    part.shown(44, "7f000001.addr.dc1.consul A", "127.0.0.1");
    part.hold();
}

/// Vector 49.
#[test]
fn an_interval_below_a_second_is_raised() {
    let node = Node::dev_with(&["-enable-script-checks"]);
    let check = json!({"name": "s", "args": ["sh", "-c", "/bin/true"], "interval": 10});
    let reply = node.http.put_json("/v1/agent/check/register", &check);
    assert!(reply.body.is_empty(), "vector 49");
    let mut part = Part::new("Checks");
    part.shown(49, "PUT /v1/agent/check/register with an interval of 10 nanoseconds", "200, empty");
    part.hold();
}
