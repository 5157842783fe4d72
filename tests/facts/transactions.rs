//! Facts of transactions, over the API: one index or nothing, whoever else writes; locks wait for their delay; bounds
//! are told.

use std::thread;

use callboard_tests::http::{Http, Reply};
use callboard_tests::node::Node;
use serde_json::{Value, json};

fn txn(http: &Http, ops: &Value) -> Reply {
    http.request("PUT", "/v1/txn", ops.to_string().as_bytes()).expect("it is answered")
}

fn what(reply: &Reply) -> Vec<(u64, String)> {
    assert_eq!(reply.status, 409, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["Results"], Value::Null);
    let errors = body["Errors"].as_array().expect("the errors are listed");
    let error = |error: &Value| {
        (error["OpIndex"].as_u64().expect("a place"), error["What"].as_str().expect("a text").to_owned())
    };
    errors.iter().map(error).collect()
}

/// Money is moved between two keys by many at a time: their sum is always the same, and every move has one index.
#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let node = Node::dev();
    let http = node.http;
    let set = |key: &str, value: i64| json!({"KV": {"Verb": "set", "Key": key, "Value": base64(value)}});
    assert_eq!(txn(&http, &json!([set("sum/a", 100), set("sum/b", 0)])).status, 200);
    let read = || {
        let rows = http.get("/v1/kv/sum/?recurse").ok().json();
        let row = |at: usize| {
            let value = rows[at]["Value"].as_str().expect("a value").to_owned();
            (number(&value), rows[at]["ModifyIndex"].as_u64().expect("an index"))
        };
        let ((a, a_index), (b, b_index)) = (row(0), row(1));
        assert_eq!((a + b, a_index), (100, b_index), "half a move is seen");
        (a, b, a_index)
    };
    let moved = thread::scope(|scope| {
        let movers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut moved = 0;
                    while moved < 10 {
                        let (a, b, index) = read();
                        let cas = |key: &str, value: i64| {
                            json!({"KV": {"Verb": "cas", "Key": key, "Value": base64(value), "Index": index}})
                        };
                        let reply = txn(&http, &json!([cas("sum/a", a - 1), cas("sum/b", b + 1)]));
                        match reply.status {
                            200 => moved += 1,
                            _ => assert_eq!(what(&reply).len(), 2, "{}", reply.text()),
                        }
                    }
                    moved
                })
            })
            .collect();
        movers.into_iter().map(|mover| mover.join().expect("it ends well")).sum::<i64>()
    });
    assert_eq!((read().0, read().1), (100 - moved, moved));
}

fn base64(value: i64) -> String {
    use std::fmt::Write as _;
    // Digits in groups of three letters need no library: three bytes are four letters.
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{value:03}");
    assert_eq!(text.len(), 3);
    let word = text.bytes().fold(0_usize, |word, byte| word << 8 | usize::from(byte));
    let mut out = String::new();
    for shift in [18, 12, 6, 0] {
        let _ = write!(out, "{}", char::from(LETTERS[word >> shift & 63]));
    }
    out
}

fn number(text: &str) -> i64 {
    (0..1000).find(|value| base64(*value) == text).expect("a number of three digits")
}

#[test]
fn a_lock_in_a_transaction_waits_for_the_delay() {
    let node = Node::dev();
    let http = node.http;
    let session = |delay: &str| {
        let made = http.put_json("/v1/session/create", &json!({"LockDelay": delay})).ok().json();
        made["ID"].as_str().expect("an id").to_owned()
    };
    let (first, second) = (session("50s"), session("0s"));
    let lock = |session: &str| {
        json!([
            {"KV": {"Verb": "set", "Key": "beside", "Value": "eA=="}},
            {"KV": {"Verb": "lock", "Key": "k", "Value": "eA==", "Session": session}},
        ])
    };
    let held = txn(&http, &lock(&first)).ok().json();
    assert_eq!(held["Results"][1]["KV"]["Session"], json!(first));
    let refused = [(1, "failed to lock key \"k\", lock is already held".to_owned())];
    assert_eq!(what(&txn(&http, &lock(&second))), refused);
    let end = json!([{"Session": {"Verb": "delete", "Session": {"ID": first}}}]);
    assert_eq!(txn(&http, &end).ok().json(), json!({"Results": [], "Errors": null}));
    let refused = [(1, "failed to lock key \"k\" due to lock delay".to_owned())];
    assert_eq!(what(&txn(&http, &lock(&second))), refused);
    assert_eq!(http.get("/v1/kv/k").ok().json()[0].get("Session"), None);
}

#[test]
fn bounds_of_a_transaction_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("limits.json");
    let limits = r#"{"limits": {"kv_max_value_size": 100, "txn_max_req_len": 20000}}"#;
    std::fs::write(&file, limits).expect("the file can be written");
    let node = Node::dev_with(&["-config-file", file.to_str().expect("our paths are text")]);
    let http = node.http;
    let many = |count: usize| {
        Value::Array((0..count).map(|at| json!({"KV": {"Verb": "get-or-empty", "Key": format!("k{at}")}})).collect())
    };
    assert_eq!(txn(&http, &many(128)).ok().json()["Results"].as_array().map(Vec::len), Some(128));
    let reply = txn(&http, &many(129));
    assert_eq!((reply.status, reply.text().as_str()), (413, "Transaction contains too many operations (129 > 128)"));
    let set = |letters: usize| json!([{"KV": {"Verb": "set", "Key": "k", "Value": "AAAA".repeat(letters / 4)}}]);
    let reply = txn(&http, &set(136));
    assert_eq!((reply.status, reply.text().as_str()), (413, "Value for key \"k\" is too large (102 > 100 bytes)"));
    assert_eq!(txn(&http, &set(132)).status, 200);
    let reply = txn(&http, &set(20_000));
    assert_eq!(reply.status, 413);
    assert!(reply.text().starts_with("Request body too large, max size: 20000 bytes."), "{}", reply.text());
    let reply = http.request("PUT", "/v1/kv/k", &[0; 101]).expect("it is answered");
    assert_eq!(reply.status, 413);
    assert!(reply.text().starts_with("Request body(101 bytes) too large, max size: 100 bytes."), "{}", reply.text());
}
