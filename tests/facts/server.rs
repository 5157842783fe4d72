//! Facts of the control node: `index_only_grows`, `no_change_no_index`, `removal_wakes`, `acked_is_visible`,
//! `waiter_always_answers`, `dns_within_health`.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callboard_tests::dns::{RecordType, ResponseCode};
use callboard_tests::http::{Connection, Http};
use callboard_tests::node::Node;
use serde_json::json;

/// Reads that carry an index, between them one of each kind.
const READS: [&str; 12] = [
    "/v1/catalog/nodes",
    "/v1/catalog/services",
    "/v1/catalog/service/web",
    "/v1/catalog/node/n1",
    "/v1/health/service/web",
    "/v1/health/node/n1",
    "/v1/health/checks/web",
    "/v1/health/state/any",
    "/v1/kv/a/?recurse",
    "/v1/session/list",
    "/v1/config/service-defaults",
    "/v1/health/service/web?slots",
];

fn register(http: &Http, id: &str, port: u16) {
    http.put_json(
        "/v1/agent/service/register",
        &json!({"ID": id, "Name": "web", "Port": port, "Check": {"TTL": "10m", "Status": "passing"}}),
    );
}

fn put_defaults(http: &Http, name: &str, protocol: &str) {
    let written = http.put_json("/v1/config", &json!({"Kind": "service-defaults", "Name": name, "Protocol": protocol}));
    assert_eq!(written.json(), json!(true));
}

fn session(http: &Http) -> String {
    let made = http.put("/v1/session/create", r#"{"LockDelay":"0s"}"#).ok().json();
    made["ID"].as_str().expect("an id").to_owned()
}

/// Writers of every kind work while readers look: no reader ever sees an index go down, and no answer holds a row
/// that is newer than its index.
#[test]
fn index_only_grows() {
    let node = Node::dev();
    let http = node.http;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for path in READS {
            let done = &done;
            scope.spawn(move || {
                let mut connection = Connection::open(http.address).expect("the node listens");
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let reply = connection.request("GET", path, b"").expect("a read is answered");
                    let index = reply.index();
                    assert!(index >= last, "{path}: {index} after {last}");
                    if reply.status == 200 {
                        let newest = newest(&reply.json());
                        assert!(newest <= index, "{path}: a row of {newest} in an answer of {index}");
                    }
                    last = index;
                }
            });
        }
        let writers: Vec<_> = (0..4_u16)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 0..60_u16 {
                        let id = format!("web-{writer}-{}", round % 3);
                        register(&http, &id, 1000 + round);
                        let _ = http.put(&format!("/v1/agent/check/fail/service:{id}?note={round}"), "").ok();
                        let _ = http.put(&format!("/v1/kv/a/{writer}/{}", round % 5), round.to_string()).ok();
                        let _ = http.delete(&format!("/v1/kv/a/{writer}/{}", (round + 1) % 5)).ok();
                        let _ = http.put(&format!("/v1/agent/service/deregister/{id}"), "").ok();
                        let protocol = if round % 2 == 0 { "http" } else { "tcp" };
                        put_defaults(&http, &format!("web-{writer}"), protocol);
                        let session = session(&http);
                        let _ = http.put(&format!("/v1/kv/a/lock/{writer}?acquire={session}"), "").ok();
                        let _ = http.put(&format!("/v1/session/destroy/{session}"), "").ok();
                    }
                })
            })
            .collect();
        let ended: Vec<bool> = writers.into_iter().map(|writer| writer.join().is_ok()).collect();
        done.store(true, Ordering::Release);
        assert!(ended.iter().all(|ended| *ended), "every write is answered");
    });
}

/// The highest `ModifyIndex` anywhere in a value.
fn newest(value: &serde_json::Value) -> u64 {
    match value {
        serde_json::Value::Object(map) => {
            let own = map.get("ModifyIndex").and_then(serde_json::Value::as_u64).unwrap_or(0);
            map.values().map(newest).max().unwrap_or(0).max(own)
        }
        serde_json::Value::Array(list) => list.iter().map(newest).max().unwrap_or(0),
        _ => 0,
    }
}

/// Everything is written a second time as it is: no index moves and nobody wakes.
#[test]
fn no_change_no_index() {
    let node = Node::dev();
    let http = node.http;
    let external = json!({"Node": "e1", "Address": "10.0.0.9", "NodeMeta": {"a": "b"},
        "Service": {"Service": "web", "ID": "ext", "Port": 7, "Tags": ["x"]},
        "Checks": [{"CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "ext"}]});
    let session = session(&http);
    let write = || {
        register(&http, "web-1", 80);
        let _ = http.put("/v1/agent/check/pass/service:web-1?note=fine", "").ok();
        http.put_json("/v1/catalog/register", &external);
        http.put_json("/v1/catalog/deregister", &json!({"Node": "nobody"}));
        let _ = http.put("/v1/kv/a/b?flags=3", "text").ok();
        let _ = http.delete("/v1/kv/a/nothing").ok();
        let _ = http.delete("/v1/kv/nothing?recurse").ok();
        assert_eq!(http.put(&format!("/v1/kv/a/lock?acquire={session}"), "x").ok().json(), json!(true));
        let _ = http.put(&format!("/v1/session/renew/{session}"), "").ok();
        let _ = http.put("/v1/session/destroy/none", "").ok();
        put_defaults(&http, "web", "http");
        let _ = http.delete("/v1/config/service-router/none").ok();
    };
    write();
    let before = READS.map(|path| http.get(path).index());
    let waiters = READS.map(|path| {
        let index = http.get(path).index();
        let glue = if path.contains('?') { '&' } else { '?' };
        let question = format!("{path}{glue}index={index}&wait=3s");
        thread::spawn(move || (Instant::now(), http.get(&question), Instant::now()))
    });
    node.until_waiters(u32::try_from(READS.len()).expect("a few"));
    for _ in 0..3 {
        write();
    }
    assert_eq!(READS.map(|path| http.get(path).index()), before, "of {READS:?}");
    for (waiter, index) in waiters.into_iter().zip(before) {
        let (begun, reply, ended) = waiter.join().expect("a waiter is answered");
        assert_eq!(reply.index(), index);
        assert!(ended - begun >= Duration::from_secs(3), "nobody wakes without a change");
    }
}

/// The last row of a topic goes: its readers wake, see nothing, and with a higher index.
#[test]
fn removal_wakes() {
    let node = Node::dev();
    let http = node.http;
    register(&http, "web-1", 80);
    http.put_json(
        "/v1/catalog/register",
        &json!({"Node": "e1", "Address": "10.0.0.9", "Service": {"Service": "ext", "ID": "ext"}}),
    );
    let _ = http.put("/v1/kv/dir/only", "1").ok();
    let last = session(&http);
    let info = format!("/v1/session/info/{last}");
    put_defaults(&http, "gone", "http");
    put_defaults(&http, "last", "http");
    let removals: [(&str, &dyn Fn()); 9] = [
        ("/v1/config/service-defaults/gone", &|| drop(http.delete("/v1/config/service-defaults/gone").ok())),
        ("/v1/config/service-defaults", &|| drop(http.delete("/v1/config/service-defaults/last").ok())),
        (&info, &|| drop(http.put(&format!("/v1/session/destroy/{last}"), "").ok())),
        ("/v1/health/service/web", &|| drop(http.put("/v1/agent/service/deregister/web-1", "").ok())),
        ("/v1/catalog/service/ext", &|| {
            drop(http.put_json("/v1/catalog/deregister", &json!({"Node": "e1", "ServiceID": "ext"})));
        }),
        ("/v1/catalog/node/e1", &|| drop(http.put_json("/v1/catalog/deregister", &json!({"Node": "e1"})))),
        ("/v1/kv/dir/only", &|| drop(http.delete("/v1/kv/dir/only").ok())),
        ("/v1/kv/dir/?recurse", &|| {
            let _ = http.put("/v1/kv/dir/again", "1").ok();
        }),
        ("/v1/catalog/services", &|| {
            register(&http, "late", 1);
            let _ = http.put("/v1/agent/service/deregister/late", "").ok();
        }),
    ];
    for (path, remove) in removals {
        let index = http.get(path).index();
        let glue = if path.contains('?') { '&' } else { '?' };
        let question = format!("{path}{glue}index={index}&wait=60s");
        let waiter = thread::spawn(move || http.get(&question));
        node.until_waiters(1);
        let begun = Instant::now();
        remove();
        let reply = waiter.join().expect("a waiter is answered");
        assert!(begun.elapsed() < Duration::from_secs(5), "{path} wakes at once");
        assert!(reply.index() > index, "{path}: {} after {index}", reply.index());
    }
}

/// Whoever is told that a write is done can read it, by any way of asking, on any connection.
#[test]
fn acked_is_visible() {
    let node = Node::dev();
    let http = node.http;
    let dns = node.dns();
    thread::scope(|scope| {
        for writer in 0..4_u16 {
            scope.spawn(move || {
                for round in 0..40_u16 {
                    let key = format!("/v1/kv/seen/{writer}");
                    let _ = http.put(&key, round.to_string()).ok();
                    for mode in ["", "&stale", "&consistent"] {
                        assert_eq!(http.get(&format!("{key}?raw{mode}")).ok().text(), round.to_string(), "{mode}");
                    }
                    let name = format!("web-{writer}");
                    let port = 1000 + round;
                    http.put_json("/v1/agent/service/register", &json!({"Name": name, "Port": port}));
                    for mode in ["", "?stale", "?consistent"] {
                        let found = http.get(&format!("/v1/health/service/{name}{mode}")).ok().json();
                        assert_eq!(found[0]["Service"]["Port"], json!(port), "{mode}");
                    }
                    assert_eq!(dns.services(&format!("{name}.service.consul")), [(port, 1)]);
                }
            });
        }
    });
}

/// Whatever happens, a waiter gets an answer: a change, the end of its wait, or the end of the node.
#[test]
fn waiter_always_answers() {
    const WAITERS: u32 = 120;
    let mut node = Node::dev();
    let http = node.http;
    register(&http, "web-1", 80);
    let index = http.get("/v1/health/service/web").index();
    let ask = move |wait: &'static str| {
        thread::spawn(move || {
            let mut connection = Connection::open(http.address).expect("the node listens");
            connection.request("GET", &format!("/v1/health/service/web?index={index}&wait={wait}"), b"")
        })
    };
    let woken: Vec<_> = (0..WAITERS).map(|_| ask("60s")).collect();
    node.until_waiters(WAITERS);
    register(&http, "web-1", 81);
    for waiter in woken {
        let reply = waiter.join().expect("no waiter panics").expect("a change answers");
        assert_eq!(reply.ok().json()[0]["Service"]["Port"], json!(81));
    }
    let index = http.get("/v1/health/service/web").index();
    let in_vain: Vec<_> = ["1ms", "50ms", "1s"]
        .into_iter()
        .map(|wait| thread::spawn(move || http.get(&format!("/v1/health/service/web?index={index}&wait={wait}"))))
        .collect();
    for waiter in in_vain {
        assert_eq!(waiter.join().expect("no waiter panics").ok().index(), index, "the end of a wait is an answer");
    }
    // A wait of nothing means the default, five minutes: it must not outlive the node.
    let last: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || http.request("GET", &format!("/v1/health/service/web?index={index}&wait=0s"), b""))
        })
        .collect();
    node.until_waiters(4);
    node.process.terminate();
    for waiter in last {
        // The index it had, an error in words, or a closed connection: all of them end its waiting.
        let _ = waiter.join().expect("no waiter panics");
    }
    assert!(node.process.wait(Duration::from_secs(15)).success(), "a stop is no failure");
}

/// Whatever states the instances are in, DNS answers with the ones that the health API calls fit, and no other.
#[test]
fn dns_within_health() {
    const INSTANCES: u8 = 6;
    let node = Node::dev();
    let http = node.http;
    let dns = node.dns();
    let seed = fastrand::u64(..);
    println!("seed: dns_within_health {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    for instance in 0..INSTANCES {
        http.put_json(
            "/v1/agent/service/register",
            &json!({"ID": format!("web-{instance}"), "Name": "web", "Address": format!("10.0.0.{instance}"),
                "Port": 8000 + u16::from(instance), "Check": {"TTL": "10m", "Status": "passing"}}),
        );
    }
    for _ in 0..60 {
        let instance = dice.u8(..INSTANCES);
        let verb = *dice.choice(&["pass", "warn", "fail"]).expect("three words");
        match dice.u8(..10) {
            0 => drop(http.put(&format!("/v1/agent/maintenance?enable={}", dice.bool()), "").ok()),
            1 => {
                let path = format!("/v1/agent/service/maintenance/web-{instance}?enable={}", dice.bool());
                let _ = http.put(&path, "").ok();
            }
            _ => drop(http.put(&format!("/v1/agent/check/{verb}/service:web-{instance}"), "").ok()),
        }
        let rows = http.get("/v1/health/service/web").ok().json();
        let mut fit: Vec<IpAddr> = rows
            .as_array()
            .expect("a list")
            .iter()
            .filter(|row| row["Checks"].as_array().expect("a list").iter().all(|check| check["Status"] != "critical"))
            .map(|row| row["Service"]["Address"].as_str().expect("text").parse().expect("an address"))
            .collect();
        fit.sort_unstable();
        assert_eq!(dns.addresses("web.service.consul"), fit, "seed {seed}: {rows}");
        assert_eq!(dns.services("web.service.consul").len(), fit.len(), "seed {seed}");
        let code = dns.ask("web.service.consul", RecordType::A).metadata.response_code;
        let expected = if fit.is_empty() { ResponseCode::NXDomain } else { ResponseCode::NoError };
        assert_eq!(code, expected, "seed {seed}");
    }
}
