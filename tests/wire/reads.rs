//! What the contract says of reads beyond the recording: filters of lists, rows of other clusters, cached reads.

use callboard_tests::http::Connection;
use callboard_tests::node::Node;
use serde_json::{Value, json};

#[test]
fn lists_of_every_family_take_a_filter() {
    let node = Node::dev();
    let names = |path: &str| -> Vec<Value> {
        let found = node.http.get(path).ok().json();
        found.as_array().expect("a list").iter().map(|row| row["Name"].clone()).collect()
    };
    for name in ["web", "db"] {
        let entry = json!({"Kind": "service-defaults", "Name": name, "Meta": {"of": name}});
        assert_eq!(node.http.put_json("/v1/config", &entry).ok().json(), true);
    }
    assert_eq!(names("/v1/config/service-defaults"), ["db", "web"]);
    assert_eq!(names("/v1/config/service-defaults?filter=Meta.of%20==%20web"), ["web"]);
    assert_eq!(names("/v1/agent/members?filter=Name%20==%20nobody"), [] as [&str; 0]);
    assert_eq!(names("/v1/agent/members?filter=Tags.dc%20==%20dc1").len(), 1);
    for path in ["/v1/config/service-defaults?filter=Nope%20==%201", "/v1/agent/members?filter=not%20a%20filter(("] {
        let refused = node.http.get(path);
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text().starts_with("Failed to create boolean expression evaluator:"), "{}", refused.text());
    }
}

#[test]
fn another_cluster_shares_nothing() {
    let node = Node::dev();
    let check = |path: &str, expect: Value| {
        assert_eq!(node.http.get(&format!("{path}?peer=elsewhere")).ok().json(), expect, "{path}");
        assert_ne!(node.http.get(path).ok().json(), expect, "{path} without a peer");
    };
    check("/v1/catalog/nodes", json!([]));
    check("/v1/catalog/services", json!({}));
    check("/v1/catalog/service/consul", json!([]));
    check("/v1/health/service/consul", json!([]));
    check("/v1/health/state/any", json!([]));
    check("/v1/catalog/node-services/n1", json!({"Node": null, "Services": []}));
}

#[test]
fn cached_reads_say_that_no_cache_answered() {
    let node = Node::dev();
    for path in ["/v1/health/service/consul", "/v1/catalog/services", "/v1/catalog/datacenters"] {
        assert_eq!(node.http.get(path).header("X-Cache"), None, "{path}");
        let cached = node.http.get(&format!("{path}?cached"));
        assert_eq!(cached.header("X-Cache"), Some("MISS"), "{path}");
        assert_eq!(cached.header("Age"), None, "{path}: only a hit has an age");
    }
    assert_eq!(node.http.get("/v1/kv/x?cached").header("X-Cache"), None, "keys are never cached");
    let mut connection = Connection::open(node.http.address).expect("the node listens");
    let mut ask = |path: &str, asked: &str| {
        let reply = connection.request_with(&[("Cache-Control", asked)], "GET", path, b"").expect("it is answered");
        (reply.status, reply.status == 400 && reply.text() == "Invalid Cache-Control header.")
    };
    let path = "/v1/health/service/consul?cached";
    assert_eq!(ask(path, "max-age=3, stale-if-error=60, must-revalidate"), (200, false));
    assert_eq!(ask(path, "max-age=soon"), (400, true));
    assert_eq!(ask("/v1/health/service/consul", "max-age=soon"), (200, false), "only cached reads look at it");
}
