//! Where nodes are: members find it out by themselves, others are told of, and whoever asks gets the nearest first.

use std::thread;

use callboard_tests::http::Http;
use callboard_tests::node::Node;
use callboard_tests::wait;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::member::{LONG, Member, bootstrapped, text};

/// The body that says that a node is so many seconds along a line.
fn place(node: &str, seconds: f64) -> Value {
    let vec = [seconds, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    json!({"Node": node, "Segment": "", "Coord": {"Vec": vec, "Error": 0.5, "Adjustment": 0, "Height": 1e-5}})
}

fn tell(http: Http, node: &str, seconds: f64) {
    let reply = http.put_json("/v1/coordinate/update", &place(node, seconds)).ok();
    assert!(reply.body.is_empty(), "{}", reply.text());
}

/// The nodes of a list, in its order.
fn nodes(http: Http, path: &str, name: impl Fn(&Value) -> &Value) -> Vec<String> {
    http.get(path).ok().json().as_array().expect("a list").iter().map(|row| text(name(row))).collect()
}

/// Requires that a coordinate is not the one that nodes begin with.
fn moved(coordinate: &Value) {
    let point = coordinate["Vec"].as_array().expect("a list");
    assert_eq!(point.len(), 8, "{coordinate}");
    assert!(point.iter().any(|number| number.as_f64() != Some(0.0)), "{coordinate}");
}

#[test]
fn members_find_their_places_and_lose_them_when_they_leave() {
    let dir = tempfile::tempdir().expect("a folder");
    let one = bootstrapped("node1", dir.path());
    let (mut two, three) = (Member::start("node2", dir.path(), &[]), Member::start("node3", dir.path(), &["-server"]));
    two.join(&one);
    three.join(&one);
    let at = |member: &Member| member.get("/v1/coordinate/nodes").expect("a list");
    for member in [&one, &two, &three] {
        wait::until_true("the places of all", LONG, || at(member).as_array().is_some_and(|all| all.len() == 3));
        // How sure they are of it depends on how busy the machine is.
        let known = at(member);
        known.as_array().expect("a list").iter().for_each(|row| moved(&row["Coord"]));
        moved(&member.get("/v1/agent/self").expect("itself")["Coord"]);
    }
    let servers = one.get("/v1/coordinate/datacenters").expect("a list");
    let named: Vec<String> =
        servers[0]["Coordinates"].as_array().expect("a list").iter().map(|row| text(&row["Node"])).collect();
    assert_eq!(named, ["node1", "node3"], "{servers}");
    two.put("/v1/agent/leave", b"");
    assert!(two.process.wait(LONG).success(), "{}", two.process.stderr());
    wait::until_true("its place to be gone", LONG, || one.http.get("/v1/coordinate/node/node2").status == 404);
}

/// Three nodes in a row, and one whose place nobody knows; each with an instance that is well.
fn in_a_row() -> Node {
    let node = Node::dev();
    for (n, seconds) in [("a", Some(0.030)), ("b", Some(0.010)), ("c", Some(0.020)), ("d", None)] {
        let last = n.as_bytes()[0];
        let check = json!({"CheckID": format!("check-{n}"), "Name": "c", "Status": "passing", "ServiceID": "web"});
        let _ = node
            .http
            .put_json(
                "/v1/catalog/register",
                &json!({
                    "Node": n, "Address": format!("10.1.0.{last}"), "Check": check,
                    "Service": {"Service": "web", "ID": "web", "Port": 80, "Connect": {"Native": true}},
                }),
            )
            .ok();
        if let Some(seconds) = seconds {
            tell(node.http, n, seconds);
        }
    }
    node
}

#[test]
fn every_list_comes_in_the_order_of_distances() {
    let node = in_a_row();
    let http = node.http;
    let own = text(&http.get("/v1/agent/self").ok().json()["Config"]["NodeName"]);
    let of = |row: &Value| row["Node"].clone();
    let inner = |row: &Value| row["Node"]["Node"].clone();
    type Name<'a> = &'a dyn Fn(&Value) -> Value;
    let lists: [(&str, Name<'_>); 7] = [
        ("/v1/catalog/nodes", &of),
        ("/v1/catalog/service/web", &of),
        ("/v1/catalog/connect/web", &of),
        ("/v1/health/service/web", &inner),
        ("/v1/health/connect/web", &inner),
        ("/v1/health/checks/web", &of),
        ("/v1/health/state/passing", &of),
    ];
    for (path, name) in lists {
        let order = |near: &str| -> Vec<String> {
            let rows = http.get(&format!("{path}{near}")).ok().json();
            let named = rows.as_array().expect("a list").iter().map(|row| text(&name(row)));
            named.filter(|node| *node != own).collect()
        };
        assert_eq!(order("?near=b"), ["b", "c", "a", "d"], "{path}");
        assert_eq!(order("?near=A"), ["a", "c", "b", "d"], "{path}");
        // The place of the one is unknown, and the other is not there.
        for near in ["", "?near=d", "?near=nobody", "?near=_agent"] {
            assert_eq!(order(near), ["a", "b", "c", "d"], "{path}{near}");
        }
    }
    tell(http, &own, 0.021);
    assert_eq!(nodes(http, "/v1/catalog/service/web?near=_agent", |row| &row["Node"]), ["c", "a", "b", "d"]);
    // Another place is another order, though the service is as it was.
    tell(http, &own, 0.029);
    assert_eq!(nodes(http, "/v1/catalog/service/web?near=_agent", |row| &row["Node"]), ["a", "c", "b", "d"]);
}

#[test]
fn prepared_queries_answer_with_the_nearest() {
    let node = in_a_row();
    let http = node.http;
    for (name, near) in [("far", ""), ("near-a", "a"), ("mine", "_agent"), ("by-address", "_ip")] {
        let body = json!({"Name": name, "Service": {"Service": "web", "Near": near}});
        let made = http.request("POST", "/v1/query", body.to_string().as_bytes()).expect("an answer").ok();
        assert!(made.json()["ID"].is_string());
    }
    let order = |query: &str| -> Vec<String> {
        let found = http.get(&format!("/v1/query/{query}")).ok().json();
        found["Nodes"].as_array().expect("a list").iter().map(|row| text(&row["Node"]["Node"])).collect()
    };
    let own = text(&http.get("/v1/agent/self").ok().json()["Config"]["NodeName"]);
    tell(http, &own, 0.011);
    // Often enough, for a shuffle would be right now and then.
    for _ in 0..5 {
        assert_eq!(order("near-a/execute"), ["a", "c", "b", "d"]);
        assert_eq!(order("near-a/execute?near=b&limit=2"), ["b", "c"], "whoever asks decides");
        assert_eq!(order("mine/execute"), ["b", "c", "a", "d"]);
        assert_eq!(order("far/execute?near=_agent&limit=1"), ["b"]);
        // The node at this address is the agent's own.
        assert_eq!(order("by-address/execute"), ["b", "c", "a", "d"]);
        assert_eq!(order("far/execute?near=_ip"), ["b", "c", "a", "d"]);
        let dns = node.dns().ask("near-a.query.consul.", RecordType::A);
        let addresses: Vec<String> =
            dns.answers.iter().filter_map(|record| record.data.ip_addr()).map(|ip| ip.to_string()).collect();
        assert_eq!(addresses, ["a", "c", "b", "d"].map(|n| format!("10.1.0.{}", n.as_bytes()[0])));
    }
    assert_eq!(http.get("/v1/query/far/execute?limit=x").status, 400);
}

#[test]
fn a_reader_waits_for_a_place() {
    let node = in_a_row();
    let http = node.http;
    let one = http.get("/v1/coordinate/node/d");
    assert_eq!((one.status, one.body.len()), (404, 0));
    let index = one.index();
    assert_eq!(http.get("/v1/coordinate/nodes").ok().index(), index, "both are of one table");
    let (all, other) = ("/v1/coordinate/nodes", "/v1/coordinate/node/d");
    let waiting = [all, other].map(|path| {
        let path = format!("{path}?index={index}&wait=60s");
        thread::spawn(move || http.get(&path).ok())
    });
    node.until_waiters(2);
    // To who waits for one that is not there, another one is no news.
    let _ = http.put("/v1/kv/x", "y").ok();
    tell(http, "d", 0.5);
    for waiter in waiting {
        let reply = waiter.join().expect("the reader ended");
        assert!(reply.index() > index);
        assert!(reply.json().as_array().expect("a list").iter().any(|row| row["Node"] == "d"), "{}", reply.text());
    }
    assert_eq!(nodes(http, "/v1/coordinate/nodes?filter=Node+!%3D+a", |row| &row["Node"]), ["b", "c", "d"]);
    assert_eq!(nodes(http, "/v1/coordinate/nodes?segment=other", |row| &row["Node"]), [] as [String; 0]);
    // What says nothing new, or is of nobody, changes nothing.
    let index = http.get("/v1/coordinate/nodes").ok().index();
    tell(http, "d", 0.5);
    tell(http, "nobody", 0.5);
    assert_eq!(http.get("/v1/coordinate/nodes").ok().index(), index);
    let coordinate = &place("d", 0.0)["Coord"];
    let flat = json!({"Vec": [0, 0], "Error": 1, "Adjustment": 0, "Height": 0});
    for (body, part) in [
        (json!({"Node": "d", "Coord": flat}), "invalid coordinate"),
        (json!({"Node": "d"}), "Coord"),
        (json!({"Coord": coordinate}), "Node"),
    ] {
        let reply = http.request("PUT", "/v1/coordinate/update", body.to_string().as_bytes()).expect("an answer");
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().contains(part), "{body}: {}", reply.text());
    }
    assert_eq!(http.get("/v1/coordinate/node/").text(), "Missing node name");
    // With its node a place goes, and is gone for good.
    let _ = http.put_json("/v1/catalog/deregister", &json!({"Node": "d"})).ok();
    assert_eq!(http.get("/v1/coordinate/node/d").status, 404);
    assert!(http.get("/v1/coordinate/nodes").ok().index() > index);
}
