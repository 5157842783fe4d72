//! Facts of locks: one holder at a time whoever races, an end with the session whatever ends that, nothing forgotten by a
//! crash, and a delay that holds everyone back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callboard_tests::http::Http;
use callboard_tests::node::Node;
use callboard_tests::wait;
use serde_json::{Value, json};

fn session(http: &Http, fields: Value) -> String {
    let made = http.put_json("/v1/session/create", &fields).ok().json();
    made["ID"].as_str().expect("an id").to_owned()
}

fn acquire(http: &Http, key: &str, session: &str) -> bool {
    http.put(&format!("/v1/kv/{key}?acquire={session}"), session).ok().json() == json!(true)
}

fn holder(http: &Http, key: &str) -> Option<String> {
    http.get(&format!("/v1/kv/{key}")).ok().json()[0]["Session"].as_str().map(str::to_owned)
}

fn exists(http: &Http, session: &str) -> bool {
    http.get(&format!("/v1/session/info/{session}")).ok().json() != json!([])
}

/// A node whose sessions may live for a second.
fn short_lived() -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("short.json");
    std::fs::write(&file, r#"{"session_ttl_min": "1s"}"#).expect("the file can be written");
    let file = file.to_str().expect("our paths are text").to_owned();
    (Node::dev_with(&["-config-file", &file]), folder)
}

/// However many race for a lock, at no time do two have it.
#[test]
fn a_lock_has_one_holder() {
    const RACERS: u32 = 8;
    let node = Node::dev();
    let http = node.http;
    let inside = AtomicU32::new(0);
    let taken = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..RACERS {
            scope.spawn(|| {
                let session = session(&http, json!({"LockDelay": "0s", "NodeChecks": []}));
                for _ in 0..20 {
                    if !acquire(&http, "race", &session) {
                        continue;
                    }
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                    taken.fetch_add(1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    assert_eq!(http.put(&format!("/v1/kv/race?release={session}"), "").json(), json!(true));
                }
            });
        }
    });
    let taken = taken.into_inner();
    assert!(taken > 0);
    assert_eq!(http.get("/v1/kv/race").json()[0]["LockIndex"], json!(taken), "every time is counted");
}

/// A session that is renewed lives on and moves no index; one that is not ends with its locks, not before its time, and
/// whoever waits for the lock wakes.
#[test]
fn a_session_lives_as_long_as_it_is_renewed() {
    let (node, _folder) = short_lived();
    let http = node.http;
    let kept = session(&http, json!({"TTL": "1s", "NodeChecks": []}));
    let begun = Instant::now();
    let lost = session(&http, json!({"TTL": "1s", "NodeChecks": [], "Behavior": "delete"}));
    assert!(acquire(&http, "kept", &kept) && acquire(&http, "lost", &lost));
    let index = http.get("/v1/kv/lost").index();
    let waiter = thread::spawn(move || http.get(&format!("/v1/kv/lost?index={index}&wait=60s")));
    let sessions = http.get("/v1/session/list").index();
    while exists(&http, &lost) {
        assert!(begun.elapsed() < Duration::from_secs(20), "a session that nobody renews ends");
        assert_eq!(http.put(&format!("/v1/session/renew/{kept}"), "").ok().json()[0]["ID"], json!(kept));
        if exists(&http, &lost) {
            assert_eq!(http.get("/v1/session/info/none").json(), json!([]));
        }
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "it does not end before its time");
    assert!(http.get("/v1/session/list").index() > sessions);
    assert_eq!(waiter.join().expect("the waiter is answered").status, 404, "the key goes with its holder");
    assert_eq!(http.put(&format!("/v1/session/renew/{lost}"), "").status, 404);
    assert_eq!(holder(&http, "kept"), Some(kept), "the renewed one keeps its lock");
}

/// A check that turns critical ends the session that depends on it, and for the delay nobody gets the lock.
#[test]
fn a_lost_lock_is_held_back_for_its_delay() {
    let node = Node::dev();
    let http = node.http;
    http.put_json("/v1/agent/service/register", &json!({"Name": "web", "Check": {"TTL": "10m", "Status": "passing"}}));
    let fields = json!({"LockDelay": "1500ms", "ServiceChecks": [{"ID": "service:web"}], "NodeChecks": ["serfHealth"]});
    let first = session(&http, fields);
    let second = session(&http, json!({}));
    assert!(acquire(&http, "held", &first));
    let begun = Instant::now();
    let _ = http.put("/v1/agent/check/fail/service:web", "").ok();
    assert!(!exists(&http, &first) && holder(&http, "held").is_none());
    wait::until_true("the lock", Duration::from_secs(20), || acquire(&http, "held", &second));
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    // Given up by its holder, it is free at once.
    let third = session(&http, json!({}));
    assert_eq!(http.put(&format!("/v1/kv/held?release={second}"), "").json(), json!(true));
    assert!(acquire(&http, "held", &third));
}

/// What was locked before a crash is locked after it, by the same session.
#[test]
fn a_crash_forgets_no_lock() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = Node::durable(folder.path());
    let mine = session(&node.http, json!({"TTL": "60s", "NodeChecks": []}));
    assert!(acquire(&node.http, "lock", &mine));
    let node = node.killed_and_started();
    assert_eq!(holder(&node.http, "lock"), Some(mine.clone()));
    let other = session(&node.http, json!({}));
    assert!(!acquire(&node.http, "lock", &other));
    assert_eq!(node.http.put(&format!("/v1/session/renew/{mine}"), "").status, 200);
    assert_eq!(node.http.put(&format!("/v1/kv/lock?release={mine}"), "").json(), json!(true));
}
