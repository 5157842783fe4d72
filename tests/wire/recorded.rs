//! What a real Consul 1.10 was recorded to answer, beside what we answer: everything over HTTP in order, and at the end
//! of that, with what it left in the catalog, everything over DNS. What is found becomes the page of conformance.

use callboard_tests::node::Node;

use crate::{acl_differences, differences, names, replay, table};

const HTTP: &str = include_str!("data/http.jsonl");
const ACL: &str = include_str!("data/acl.jsonl");

#[test]
fn recorded_exchanges_are_answered_alike() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = Node::durable(folder.path());
    let played = replay::play(HTTP, node.http, differences::all());
    assert!(played.rows.len() > 150, "the recording is whole");
    played.holds();
    let (rows, surprises) = names::ask_all(node.dns());
    assert!(
        surprises.is_empty(),
        "{} names that the contract does not explain:\n{}",
        surprises.len(),
        surprises.join("\n")
    );
    table::hold("http", "The HTTP interface, without access control", &played.rows);
    table::hold("dns", "DNS", &rows);
}

#[test]
fn recorded_exchanges_with_access_control_are_answered_alike() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = Node::guarded(folder.path(), serde_json::json!({"default_policy": "deny"}));
    let played = replay::play(ACL, node.http, acl_differences::all());
    assert!(played.rows.len() > 80, "the recording is whole");
    played.holds();
    table::hold("acl", "The HTTP interface, with access control that denies unless told otherwise", &played.rows);
}
