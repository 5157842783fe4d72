//! Facts of what clients follow: a config entry is seen when it changes and refused when it breaks another, a slot stays
//! with its instance, and events are heard.

use std::collections::BTreeMap;
use std::thread;

use callboard_tests::http::{Http, Reply};
use callboard_tests::node::Node;
use serde_json::{Value, json};

fn put(http: &Http, entry: &Value) -> Reply {
    http.put("/v1/config", entry.to_string())
}

/// Whoever waits for an entry wakes when it is written and when it goes, and for no other entry.
#[test]
fn an_entry_wakes_whoever_waits_for_it() {
    let node = Node::dev();
    let http = node.http;
    let missing = http.get("/v1/config/service-resolver/web");
    assert_eq!(
        (missing.status, missing.text().as_str()),
        (404, "Config entry not found for \"service-resolver\" / \"web\"")
    );
    let index = missing.index();
    let wait = |index| {
        let waiter =
            thread::spawn(move || http.get(&format!("/v1/config/service-resolver/web?index={index}&wait=60s")));
        node.until_waiters(1);
        waiter
    };
    let waiter = wait(index);
    let other = json!({"kind": "service-resolver", "name": "other", "connect_timeout": "5s"});
    assert_eq!(put(&http, &other).ok().json(), json!(true));
    let resolver =
        json!({"Kind": "service-resolver", "Name": "web", "Subsets": {"v2": {"Filter": "Service.Meta.v == 2"}}});
    assert_eq!(put(&http, &resolver).ok().json(), json!(true));
    let seen = waiter.join().expect("the waiter is answered").ok();
    assert_eq!(seen.json()["Subsets"], resolver["Subsets"]);
    assert_eq!(seen.json()["ModifyIndex"], json!(seen.index()));
    let waiter = wait(seen.index());
    assert_eq!(put(&http, &json!({"Kind": "service-resolver", "Name": "other"})).ok().json(), json!(true));
    assert_eq!(http.delete("/v1/config/service-resolver/web").ok().json(), json!({}));
    assert_eq!(waiter.join().expect("the waiter is answered").status, 404);
}

/// What an operator gets wrong is named, and changes nothing.
#[test]
fn a_wrong_entry_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = Node::durable(folder.path());
    let http = node.http;
    let check = |entry: Value, status: u16, part: &str| {
        let reply = put(&http, &entry);
        assert!(reply.status == status && reply.text().contains(part), "{} {}", reply.status, reply.text());
    };
    check(json!({"Kind": "odd", "Name": "x"}), 400, "Request decoding failed: invalid config entry kind: odd");
    check(json!({"Kind": "service-resolver", "Name": "x", "Nope": 1}), 400, "unknown field \"Nope\"");
    let split = json!({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 95}, {"Weight": 5, "Service": "canary"}]});
    check(split.clone(), 500, "discovery chain \"web\" uses a protocol \"tcp\"");
    let defaults = |name: &str| json!({"Kind": "service-defaults", "Name": name, "Protocol": "http"});
    let _ = put(&http, &defaults("web")).ok();
    check(split.clone(), 500, "service \"canary\" has \"tcp\" which is not \"http\"");
    let _ = put(&http, &defaults("canary")).ok();
    assert_eq!(put(&http, &split).ok().json(), json!(true));
    let refused = http.delete("/v1/config/service-defaults/canary");
    assert!(refused.status == 500 && refused.text().contains("\"canary\""), "{}", refused.text());
    let stale = http.put("/v1/config?cas=1", defaults("web").to_string()).ok();
    assert_eq!(stale.json(), json!(false));
    let entries = http.get("/v1/config/service-splitter").ok().json();
    let node = node.killed_and_started();
    assert_eq!(node.http.get("/v1/config/service-splitter").ok().json(), entries, "entries survive a crash");
}

/// The slots of a service, by instance.
fn slots(http: &Http) -> BTreeMap<String, u64> {
    let rows = http.get("/v1/health/service/web?slots").ok().json();
    let slot = |row: &Value| {
        (row["Service"]["ID"].as_str().expect("an id").to_owned(), row["Service"]["Slot"].as_u64().expect("a slot"))
    };
    rows.as_array().expect("a list").iter().map(slot).collect()
}

/// A slot is shown only to who asks for it, stays with its instance whoever comes and goes, and comes back with it, even
/// over a crash.
#[test]
fn a_slot_stays_with_its_instance() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = Node::durable(folder.path());
    let http = node.http;
    let register =
        |http: &Http, id: &str| http.put_json("/v1/agent/service/register", &json!({"ID": id, "Name": "web"})).ok();
    for id in ["a", "b", "c"] {
        let _ = register(&http, id);
    }
    let first = slots(&http);
    assert_eq!(first.values().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let plain = http.get("/v1/health/service/web").ok();
    assert!(!plain.text().contains("Slot"), "{}", plain.text());
    assert_eq!(slots(&http), first, "the two answers are kept apart");
    let _ = http.put("/v1/agent/service/deregister/b", "").ok();
    let _ = register(&http, "d");
    let others = slots(&http);
    assert_eq!((others["a"], others["c"], others["d"]), (0, 2, 3));
    let node = node.killed_and_started();
    assert_eq!(slots(&node.http), others);
    let _ = register(&node.http, "b");
    assert_eq!(slots(&node.http)["b"], 1, "it is remembered over the crash");
}

/// An event is in the list at once, wakes who waits by the pseudo index, and is kept only where its filters fit.
#[test]
fn an_event_is_heard() {
    let node = Node::dev();
    let http = node.http;
    let empty = http.get("/v1/event/list").ok();
    assert_eq!((empty.json(), empty.index()), (json!([]), 1));
    let waiter = thread::spawn(move || http.get("/v1/event/list?name=deploy&index=1&wait=60s"));
    node.until_waiters(1);
    let _ = http.put("/v1/event/fire/other", "").ok();
    let fired = http.put("/v1/event/fire/deploy?node=n.%2A", "now").ok().json();
    assert_eq!((&fired["LTime"], &fired["Version"]), (&json!(0), &json!(1)));
    let heard = waiter.join().expect("the waiter is answered").ok();
    assert_eq!((&heard.json()[0]["ID"], heard.json().as_array().map(Vec::len)), (&fired["ID"], Some(1)));
    let all = http.get("/v1/event/list").ok();
    assert_eq!(all.index(), heard.index(), "the index is of the last event");
    http.put_json("/v1/agent/service/register", &json!({"Name": "web", "Tags": ["blue"]}));
    for (query, kept) in [
        ("node=else", false),
        ("service=nope", false),
        ("service=web", true),
        ("service=web&tag=green", false),
        ("service=w.b&tag=bl", true),
    ] {
        let before = http.get("/v1/event/list?name=f").ok().json().as_array().map(Vec::len);
        let _ = http.put(&format!("/v1/event/fire/f?{query}"), "").ok();
        let after = http.get("/v1/event/list?name=f").ok().json().as_array().map(Vec::len);
        assert_eq!(after > before, kept, "{query}");
    }
    let refused = http.put("/v1/event/fire/f?tag=x", "");
    assert_eq!((refused.status, refused.text().as_str()), (500, "Cannot provide tag filter without service filter"));
    assert_eq!(http.put("/v1/event/fire/f", vec![b'x'; 600]).status, 500);
}

/// A proxy is shown with what the entries say of it to whoever asks for that, and a change of the entries is news to them.
#[test]
fn proxies_are_shown_as_they_are_to_be() {
    let node = Node::dev();
    let http = node.http;
    let proxy = json!({"Name": "web-proxy", "Kind": "connect-proxy", "Port": 20000, "Proxy": {
        "DestinationServiceName": "web", "Config": {"own": 1}}});
    let _ = http.put_json("/v1/agent/service/register", &proxy).ok();
    let all =
        json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"own": 0, "other": 2}, "Mode": "transparent"});
    assert_eq!(put(&http, &all).ok().json(), json!(true));
    let paths = [
        ("/v1/health/service/web-proxy", "/0/Service/Proxy"),
        ("/v1/health/connect/web", "/0/Service/Proxy"),
        ("/v1/catalog/service/web-proxy", "/0/ServiceProxy"),
        ("/v1/catalog/connect/web", "/0/ServiceProxy"),
        ("/v1/catalog/node-services/n1", "/Services/1/Proxy"),
    ];
    let shown = |path: &str, place: &str| http.get(path).ok().json().pointer(place).expect("a proxy").clone();
    for (path, place) in paths {
        let apart = shown(path, place);
        assert_eq!((&apart["Config"], &apart["Mode"]), (&json!({"own": 1}), &json!("")), "{path}");
        let merged = shown(&format!("{path}?merge-central-config"), place);
        let expect = (&json!({"own": 1, "other": 2}), &json!("transparent"));
        assert_eq!((&merged["Config"], &merged["Mode"]), expect, "{path}");
    }
    let waiters: Vec<_> = paths
        .iter()
        .map(|(path, place)| {
            let asked = format!("{path}?merge-central-config");
            let index = http.get(&asked).ok().index();
            let waiter = thread::spawn(move || http.get(&format!("{asked}&index={index}&wait=60s")).ok().json());
            (waiter, *place)
        })
        .collect();
    node.until_waiters(5);
    let defaults = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http"});
    assert_eq!(put(&http, &defaults).ok().json(), json!(true));
    for (waiter, place) in waiters {
        let news = waiter.join().expect("the waiter is answered");
        let config = news.pointer(place).map(|proxy| proxy["Config"].clone());
        assert_eq!(config, Some(json!({"own": 1, "other": 2, "protocol": "http"})));
    }
}
