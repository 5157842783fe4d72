//! Each example runs as a process against a control node, says what it should and ends well.

use std::process::Command;
use std::time::Duration;

use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::{binaries, wait};

/// How long one example may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn start(node: &Node, name: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(binaries::example(name));
    command.args(arguments).env("CALLBOARD_HTTP_ADDR", format!("http://{}", node.http.address));
    Process::start(&mut command)
}

/// Runs an example to its end and returns what it said.
fn run(node: &Node, name: &str, arguments: &[&str]) -> String {
    let mut process = start(node, name, arguments);
    let status = process.wait(LIMIT);
    assert!(status.success(), "{name}: {status}\n{}{}", process.stdout(), process.stderr());
    process.stdout()
}

fn count(node: &Node, service: &str) -> usize {
    let rows = node.http.get(&format!("/v1/health/service/{service}?passing")).ok().json();
    rows.as_array().expect("a list").len()
}

#[test]
fn register_signs_in_and_leaves() {
    let node = Node::dev();
    let said = run(&node, "register", &["--once"]);
    assert!(said.contains("signed in") && said.contains("left"), "{said}");
    assert_eq!(count(&node, "greeter"), 0, "it left nothing behind");
}

#[test]
fn register_survives_a_forgetful_node_and_leaves_on_a_signal() {
    let node = Node::dev();
    let mut example = start(&node, "register", &[]);
    wait::until_true("it is signed in", LIMIT, || count(&node, "greeter") == 1);
    // The node keeps nothing: after this it knows nobody, and a registration must not stay lost.
    let node = node.killed_and_started_in_place();
    wait::until_true("it is signed in again", LIMIT, || count(&node, "greeter") == 1);
    example.signal(rustix::process::Signal::INT);
    assert!(example.wait(LIMIT).success(), "{}", example.stderr());
    assert_eq!(count(&node, "greeter"), 0, "it left nothing behind");
}

#[test]
fn register_leaves_in_good_order_when_it_is_terminated() {
    let node = Node::dev();
    let mut example = start(&node, "register", &[]);
    wait::until_true("it is signed in", LIMIT, || count(&node, "greeter") == 1);
    let row = node.http.get("/v1/health/service/greeter").ok().json();
    assert!(row[0]["Service"]["Meta"]["callboard-started"].as_str().is_some_and(|text| text.parse::<u64>().is_ok()));
    example.terminate();
    assert!(example.wait(LIMIT).success(), "{}", example.stderr());
    assert!(example.stdout().contains("left: everything finished"), "{}", example.stdout());
    assert_eq!(count(&node, "greeter"), 0, "it left nothing behind");
}

#[test]
fn servers_are_discovered_and_called() {
    let node = Node::dev();
    let mut servers = [start(&node, "axum_server", &[]), start(&node, "axum_server", &[])];
    wait::until_true("both are signed in", LIMIT, || count(&node, "greeter") == 2);
    let said = run(&node, "discover", &["greeter", "--once"]);
    assert!(said.contains("greeter"), "{said}");
    let said = run(&node, "tower_client", &["greeter"]);
    assert!(said.lines().count() >= 5, "five calls: {said}");
    for server in &mut servers {
        server.terminate();
    }
    for server in &mut servers {
        assert!(server.wait(LIMIT).success(), "{}", server.stderr());
    }
    assert_eq!(count(&node, "greeter"), 0, "both left");
}

#[test]
fn axum_server_calls_itself() {
    run(&Node::dev(), "axum_server", &["--once"]);
}

#[test]
fn hash_cache_keeps_its_keys() {
    run(&Node::dev(), "hash_cache", &[]);
}

#[test]
fn sidecar_pair_calls_both_ways() {
    let said = run(&Node::dev(), "sidecar_pair", &[]);
    assert!(said.contains("this is pong") && said.contains("this is ping"), "{said}");
}

/// The README's first command, shortly; it brings its own control node and its own judgement.
#[test]
fn demo_loses_no_call() {
    let mut command = Command::new(binaries::example("demo"));
    // Without a cargo it takes the programs beside it, which are built.
    command.args(["--for", "8s"]).env_remove("CARGO");
    let mut process = Process::start(&mut command);
    let status = process.wait(LIMIT);
    assert!(status.success(), "{status}\n{}{}", process.stdout(), process.stderr());
    for line in process.stdout().lines().rev().take(12) {
        println!("figure: demo: {line}");
    }
}

#[test]
fn canary_gets_its_share_and_nobody_is_restarted() {
    let said = run(&Node::dev(), "canary", &[]);
    let line =
        |begin: &str| said.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {said}"));
    assert_eq!(line("nothing for the canary"), "nothing for the canary: {\"v1\": 400}");
    let share = line("5 % for the canary");
    // Of any 400 turns 20, give or take one: by turns, not by chance.
    assert!(
        (19..=21).any(|canary| share.ends_with(&format!("{{\"v1\": {}, \"v2\": {canary}}}", 400 - canary))),
        "{said}"
    );
    assert_eq!(line("failed calls"), "failed calls: 0");
}
