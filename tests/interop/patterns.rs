//! Requests as consul-template and Fabio make them (the contract, 25.3 and 25.4), which both act on every answer: an index
//! that is equal is no news, one that moves without a change is a rebuild of everything, and one that moves for ever is a
//! busy loop. What is counted are answers.
#![allow(clippy::print_stdout, reason = "figures are said where a reader looks")]

use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use callboard_tests::http::{Http, Reply};
use callboard_tests::node::Node;
use callboard_tests::wait;
use serde_json::{Value, json};

use crate::page::Client;

const PATIENCE: Duration = Duration::from_secs(20);

/// A reader in the manner of consul-template: index equal is ignored, a lower one begins anew, an absence is a value.
struct Watcher {
    told: Receiver<Reply>,
    thread: JoinHandle<u64>,
}

impl Watcher {
    /// Watches `path` until an answer holds the word `end`.
    fn start(http: Http, path: &'static str, wait: &'static str) -> Self {
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let (mut index, mut answers) = (0, 0);
            loop {
                let sign = if path.contains('?') { '&' } else { '?' };
                let reply = http.get(&format!("{path}{sign}stale=&index={index}{wait}"));
                answers += 1;
                assert!(reply.status == 200 || reply.status == 404, "{}", reply.text());
                let contact = reply.header("X-Consul-LastContact").and_then(|value| value.parse::<u64>().ok());
                assert!(contact.is_some(), "how stale it is belongs to each answer");
                assert_eq!(reply.header("X-Consul-KnownLeader"), Some("true"));
                let new = reply.index();
                if new == index {
                    continue;
                }
                index = if new < index { 0 } else { new };
                // In a name, or as the value of a key.
                let over = ["\"end\"", "\"ZW5k\""].iter().any(|word| reply.text().contains(word));
                tell.send(reply).expect("the test listens as long as it has not seen the end");
                if over {
                    return answers;
                }
            }
        });
        Self { told, thread }
    }

    fn next(&self, what: &str) -> Reply {
        self.told.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Ends once the end has been told; returns how many answers there were.
    fn answers(self) -> u64 {
        self.thread.join().expect("the watcher does not fail")
    }
}

#[test]
fn a_template_is_rendered_once_for_each_change() {
    let node = Node::dev();
    let http = node.http;
    let register = |tags: &Value| {
        let check = json!({"TTL": "10m", "Status": "passing"});
        http.put_json("/v1/agent/service/register", &json!({"Name": "web", "Port": 80, "Tags": tags, "Check": check}));
    };
    let put = |key: &str, value: &str| drop(http.put(&format!("/v1/kv/{key}"), value).ok());
    let instances = Watcher::start(http, "/v1/health/service/web?passing=1", "&wait=60000ms");
    let absent = Watcher::start(http, "/v1/kv/config/colour", "&wait=60000ms");
    let tree = Watcher::start(http, "/v1/kv/config/?recurse=", "&wait=60000ms");
    let services = Watcher::start(http, "/v1/catalog/services", "&wait=60000ms");
    assert_eq!(instances.next("the first answer").json(), json!([]));
    assert_eq!(absent.next("an absence is a value").status, 404);
    assert_eq!(tree.next("an absence is a value").status, 404);
    assert!(services.next("the first answer").text().contains("consul"));

    register(&json!(["v1"]));
    assert!(instances.next("the registration").text().contains("\"v1\""));
    assert!(services.next("the registration").text().contains("web"));
    // What changes nothing, and what is none of theirs.
    register(&json!(["v1"]));
    let _ = http.put("/v1/agent/check/pass/service:web", "").ok();
    http.put_json("/v1/agent/service/register", &json!({"Name": "other", "Port": 81}));
    assert!(services.next("the other service").text().contains("other"));
    put("config/colour", "red");
    assert!(absent.next("the key").text().contains("cmVk"));
    assert!(tree.next("the key").text().contains("cmVk"));
    put("config/colour", "red");
    put("elsewhere", "1");
    // The last of each.
    put("config/colour", "end");
    register(&json!(["end"]));
    assert!(instances.next("the change of tags").text().contains("\"end\""));
    let answers = [instances.answers(), services.answers(), absent.answers(), tree.answers()];
    assert_eq!(answers, [3, 4, 3, 3], "an answer for each change and no other");
    println!("figure: four reads of a template were answered {answers:?} times, once for each change and no more");
    let mut client = Client::new("consul-template, requests in its manner");
    client.did("four reads that wait are answered once for each change and not otherwise");
    client.hold();
}

#[test]
fn fabio_rebuilds_once_for_each_change() {
    let node = Node::dev();
    let http = node.http;
    let myself = http.get("/v1/agent/self").ok().json();
    assert!(myself["Config"]["Datacenter"].is_string() && myself["Config"]["NodeName"].is_string());
    // It registers itself: one check that it beats, one that looks at its page, and it looks whether it is still there.
    let page = format!("http://{}/v1/status/leader", http.address);
    let own = json!({"ID": "fabio-1", "Name": "fabio", "Port": 9998, "Address": "127.0.0.1", "Tags": [],
        "Checks": [{"CheckID": "fabio-1-ttl", "TTL": "2m", "DeregisterCriticalServiceAfter": "1m"},
            {"HTTP": page, "Interval": "1s", "Timeout": "3s", "DeregisterCriticalServiceAfter": "1m"}]});
    http.put_json("/v1/agent/service/register", &own);
    http.put_json("/v1/agent/check/update/fabio-1-ttl", &json!({"Status": "passing"}));
    wait::until_true("its own checks to pass", PATIENCE, || {
        let checks = http.get("/v1/health/checks/fabio").ok().json();
        checks
            .as_array()
            .is_some_and(|checks| checks.len() == 2 && checks.iter().all(|check| check["Status"] == "passing"))
    });
    assert!(http.get("/v1/agent/services").ok().json()["fabio-1"].is_object());

    // No wait is sent; every answer, whatever it is, rebuilds the whole table.
    let states = Watcher::start(http, "/v1/health/state/any", "");
    let first = states.next("the first answer").json();
    let serf =
        first.as_array().and_then(|checks| checks.iter().find(|check| check["CheckID"] == "serfHealth").cloned());
    let serf = serf.expect("the node's own check is listed");
    assert!(
        ["ServiceTags", "ServiceID", "ServiceName", "Node"].iter().all(|field| serf.get(field).is_some()),
        "{serf}"
    );
    let web = json!({"ID": "web-1", "Name": "web", "Port": 80, "Tags": ["urlprefix-/web"], "Check": {"TTL": "10m"}});
    http.put_json("/v1/agent/service/register", &web);
    let check = |answer: &Value, id: &str| -> Option<Value> {
        answer.as_array()?.iter().find(|check| check["CheckID"] == id).cloned()
    };
    let told = states.next("the registration").json();
    let seen = check(&told, "service:web-1").expect("the check is listed");
    assert_eq!((seen["ServiceTags"][0].as_str(), seen["Status"].as_str()), (Some("urlprefix-/web"), Some("critical")));
    // Beats that say the same, and keys, are no news.
    for _ in 0..20 {
        http.put_json("/v1/agent/check/update/fabio-1-ttl", &json!({"Status": "passing"}));
        let _ = http.put("/v1/kv/fabio/other", "x").ok();
    }
    let _ = http.put("/v1/agent/check/pass/service:web-1", "").ok();
    let told = states.next("the status").json();
    assert_eq!(check(&told, "service:web-1").expect("it is listed")["Status"], "passing");
    let rows = http.get("/v1/catalog/service/web").ok().json();
    assert_eq!(
        (rows[0]["ServicePort"].as_u64(), rows[0]["ServiceTags"][0].as_str()),
        (Some(80), Some("urlprefix-/web"))
    );
    let _ = http.put("/v1/agent/service/maintenance/web-1?enable=true&reason=end", "").ok();
    let told = states.next("the maintenance").json();
    let closed = check(&told, "_service_maintenance:web-1").expect("the maintenance is a check");
    assert_eq!((closed["Status"].as_str(), closed["Notes"].as_str()), (Some("critical"), Some("end")));
    assert_eq!(states.answers(), 4, "an answer for each of four states of the checks, and no other");
    println!("figure: Fabio's read of every check was answered 4 times for 4 states, 20 beats and 20 keys beside");
    let mut client = Client::new("Fabio, requests in its manner");
    client.did("registers itself, and beats");
    client.did("a read of every check is answered once for each state of the checks and not otherwise");
    client.hold();
}
