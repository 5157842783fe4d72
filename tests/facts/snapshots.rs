//! Facts of snapshots, over the API: what is restored is what was saved, everyone who waits is woken, and what is damaged
//! changes nothing.

use std::thread;

use callboard_tests::http::Http;
use callboard_tests::node::Node;
use serde_json::json;

fn value(http: &Http, key: &str) -> Option<String> {
    let reply = http.get(&format!("/v1/kv/{key}?raw"));
    (reply.status == 200).then(|| reply.text())
}

#[test]
fn restore_wakes_all() {
    let node = Node::dev();
    let http = node.http;
    let _ = http.put("/v1/kv/a", "then").ok();
    let _ = http.put_json("/v1/session/create", &json!({"Name": "kept"})).ok();
    let saved = http.get("/v1/snapshot").ok();
    assert_eq!(saved.header("content-type"), Some("application/x-gzip"));
    assert_eq!(saved.body[..2], [0x1f, 0x8b]);
    for n in 0..20 {
        let _ = http.put(&format!("/v1/kv/later/{n}"), "x").ok();
    }
    let now = http.put("/v1/kv/a", "now");
    assert_eq!(now.status, 200);
    let (key, nodes) = (http.get("/v1/kv/a").index(), http.get("/v1/catalog/nodes").index());
    let (woken, listed) = thread::scope(|scope| {
        let key = scope.spawn(move || http.get(&format!("/v1/kv/a?index={key}&wait=25s")));
        let nodes = scope.spawn(move || http.get(&format!("/v1/catalog/nodes?index={nodes}&wait=25s")));
        node.until_waiters(2);
        let mut damaged = saved.body.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        for broken in [&damaged[..], &saved.body[..middle], b"junk"] {
            let refused = http.request("PUT", "/v1/snapshot", broken).expect("it is answered");
            assert_eq!(refused.status, 500, "{}", refused.text());
            assert_eq!(value(&http, "a").as_deref(), Some("now"), "nothing was replaced");
        }
        let restored = http.request("PUT", "/v1/snapshot", &saved.body).expect("it is answered");
        assert_eq!((restored.status, restored.text().as_str()), (200, ""));
        assert_eq!(value(&http, "a").as_deref(), Some("then"));
        assert_eq!(value(&http, "later/0"), None);
        (key.join().expect("it ends well"), nodes.join().expect("it ends well"))
    });
    assert!(woken.index() < key, "the index went back: {} after {key}", woken.index());
    assert_eq!(woken.json()[0]["Value"], "dGhlbg==");
    assert_eq!(listed.status, 200);
    assert_eq!(http.get("/v1/session/list").ok().json()[0]["Name"], "kept");
    // It goes on from there, and onto another node.
    let _ = http.put("/v1/kv/a", "after").ok();
    assert!(http.get("/v1/kv/a").index() > woken.index());
    let other = Node::dev();
    let _ = other.http.request("PUT", "/v1/snapshot", &saved.body).expect("it is answered").ok();
    assert_eq!(value(&other.http, "a").as_deref(), Some("then"));
}
