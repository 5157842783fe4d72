//! Watches: printed once, or given to a program with each piece of news.

use std::process::Command;
use std::time::Duration;

use callboard_tests::binaries;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use serde_json::Value;

use crate::run::{refused, run};

const LIMIT: Duration = Duration::from_secs(20);

fn watch(node: &Node, arguments: &[&str]) -> Process {
    let mut command = Command::new(binaries::control());
    command.arg("watch").args(arguments);
    command.env("CONSUL_HTTP_ADDR", node.http.address.to_string()).env("SHELL", "/bin/sh");
    Process::start(&mut command)
}

#[test]
fn without_a_program_the_news_is_printed() {
    let node = Node::dev();
    let _ = run(&node, "kv put a/b hello");
    let _ = run(&node, "services register -name web -tag v1");
    let _ = run(&node, "event -name deploy");
    for (flags, pointer, expect) in [
        ("-type key -key a/b", "/Value", "aGVsbG8="),
        ("-type=keyprefix -prefix=a/", "/0/Key", "a/b"),
        ("-type services", "/web/0", "v1"),
        ("-type nodes", "/0/Node", "n1"),
        ("-type service -service web -tag v1 -passingonly", "/0/Service/ID", "web"),
        ("-type checks", "/0/CheckID", "serfHealth"),
        ("-type checks -state passing", "/0/Status", "passing"),
        ("-type event -name deploy", "/0/Name", "deploy"),
    ] {
        let found = run(&node, &format!("watch {flags}"));
        assert_eq!(found.code, 0, "{flags}: {found:?}");
        let value: Value = serde_json::from_str(&found.stdout).unwrap_or_else(|error| panic!("{error}: {found:?}"));
        assert_eq!(value.pointer(pointer), Some(&Value::from(expect)), "{flags}: {value}");
    }
    assert_eq!(run(&node, "watch -type key -key nothing").stdout, "null\n");
    assert_eq!(run(&node, "watch -type checks -service web").stdout, "[]\n");
    refused(&node, "watch -type key", 2, "-key");
    refused(&node, "watch -type nope", 2, "connect_roots");
    refused(&node, "watch -type nodes -filter 'nope =='", 2, "Failed to create boolean expression evaluator");
}

#[test]
fn a_program_is_given_each_piece_of_news() {
    let node = Node::dev();
    let _ = run(&node, "kv put a one");
    let process = watch(&node, &["-type", "key", "-key", "a", "cat; echo $CONSUL_INDEX"]);
    let news = || {
        let value: Value = serde_json::from_str(&process.line(LIMIT)).expect("news is JSON");
        let index: u64 = process.line(LIMIT).parse().expect("the index is a number");
        (value, index)
    };
    let (value, first) = news();
    assert_eq!(value["Value"], "b25l");
    assert_eq!(value["ModifyIndex"], first);
    node.until_waiters(1);
    // What happens elsewhere is no news.
    let _ = run(&node, "kv put b x");
    let _ = run(&node, "kv put a two");
    let (value, second) = news();
    assert_eq!(value["Value"], "dHdv");
    assert!(second > first);
    let _ = run(&node, "kv delete a");
    let (value, third) = news();
    assert_eq!(value, Value::Null);
    assert!(third > second);
}

#[test]
fn a_program_that_fails_ends_the_watch() {
    let node = Node::dev();
    let mut process = watch(&node, &["-type", "nodes", "-shell=false", "false"]);
    assert_eq!(process.wait(LIMIT).code(), Some(1));
    assert!(process.stderr().contains("Error executing handler"), "{}", process.stderr());
}
