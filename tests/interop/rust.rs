//! The crate `rs-consul` in a small program of its own, which is built apart: what it depends on is nothing of ours.

use std::process::Command;
use std::time::Duration;

use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;

use crate::page::Client;

const STEP: Duration = Duration::from_secs(40);

#[test]
fn rs_consul_keeps_keys_locks_registers_and_watches() {
    let Some(program) = needs::rs_consul() else { return };
    let node = Node::dev();
    let mut command = Command::new(program);
    let mut process = Process::start(command.arg(format!("http://{}", node.http.address)));
    for step in ["keys", "lock", "registration", "nodes"] {
        assert_eq!(process.line(STEP), step, "{}", process.stderr());
    }
    assert!(process.wait(STEP).success(), "{}", process.stderr());
    let mut client = Client::new("rs-consul");
    client.did("keys: writes by check-and-set, reads that wait, deletes of a tree");
    client.did("lock: two contend, the second watches until it is free and takes it");
    client.did("registration: a node with a service and a check, found by name, address and port");
    client.did("nodes: lists by filter and distance, and a wait for the last instance to leave");
    client.hold();
}
