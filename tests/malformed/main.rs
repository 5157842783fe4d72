//! A thousand bad requests and more, made from a table of good ones by mutations: each is refused with a 4xx that names
//! what is wrong, or with FORMERR, REFUSED or NOTIMP in DNS; the process lives on and its memory is back where it was.
//!
//! `requests` makes the HTTP ones and says what each answer must name; `packets` the DNS ones; `halves` are requests
//! that are never sent whole.

mod halves;
mod packets;
mod requests;
mod rules;

use callboard_tests::node::Node;
use serde_json::json;

/// What memory may have grown by after the same requests came again and again: allocators keep some, leaks grow.
const GROWTH_MAX: u64 = 16 << 20;

#[test]
fn a_thousand_bad_requests_are_refused_and_forgotten() {
    let mut node = Node::dev();
    let good = json!({"ID": "web-1", "Name": "web", "Port": 80, "Check": {"TTL": "10m", "Status": "passing"}});
    node.http.put_json("/v1/agent/service/register", &good);
    let before = node.http.get("/v1/health/state/any?consistent").index();
    let requests = requests::all();
    let count = requests.len() + packets::COUNT + halves::COUNT;
    assert!(count >= 1000, "{count} bad requests are not a thousand");

    // The first round fills caches and pools, and is the one that is judged.
    let mut wrong = Vec::new();
    for request in &requests {
        wrong.extend(request.verdict(&node.http));
    }
    wrong.extend(packets::verdicts(node.dns()));
    wrong.extend(halves::verdicts(&node.http));
    assert!(node.process.is_alive(), "the process lives: {}", node.process.stderr());
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(node.http.get("/v1/health/state/any?consistent").index(), before, "nothing of it was taken in");

    let warm = node.process.resident().expect("it lives");
    for _ in 0..3 {
        for request in &requests {
            let _ = request.verdict(&node.http);
        }
        let _ = packets::verdicts(node.dns());
        let _ = halves::verdicts(&node.http);
    }
    assert!(node.process.is_alive(), "the process lives: {}", node.process.stderr());
    let after = node.process.resident().expect("it lives");
    println!(
        "figure: {count} bad requests, four times: {} KiB resident after the first, {} KiB after the last",
        warm / 1024,
        after / 1024
    );
    assert!(after < warm + GROWTH_MAX, "{warm} bytes became {after}");
    let found = node.http.get("/v1/health/service/web?passing").ok().json();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "and it still answers");
}
