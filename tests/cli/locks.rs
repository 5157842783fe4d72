//! Locks and semaphores between processes: held, contended, lost, and free again after a holder was killed.

use std::process::Command;
use std::time::Duration;

use callboard_tests::binaries;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::wait;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::run::{check, run};

const LIMIT: Duration = Duration::from_secs(20);
/// A TTL of 10 s, which a server may let run twice, and the lock delay of 15 s.
const FREE_AGAIN: Duration = Duration::from_secs(90);

/// Starts a lock as a process of its own, so that a signal meets it and nobody between.
fn contender(node: &Node, arguments: &[&str]) -> Process {
    let mut command = Command::new(binaries::control());
    command.arg("lock").args(arguments);
    command.env("CONSUL_HTTP_ADDR", node.http.address.to_string()).env("SHELL", "/bin/sh");
    Process::start(&mut command)
}

/// Starts one whose program stays, and waits until it is in; returns the id of the program as well.
fn holder(node: &Node, n: &str, prefix: &str, limit: Duration) -> (Process, u32) {
    let process = contender(node, &["-ttl=10s", "-n", n, prefix, "echo in $$; sleep 300"]);
    let line = process.line(limit);
    let pid = line.strip_prefix("in ").and_then(|pid| pid.parse().ok());
    (process, pid.unwrap_or_else(|| panic!("{line}")))
}

/// Ends a program that outlived its holder.
fn end(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may be gone already.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn rows(node: &Node, prefix: &str) -> Vec<Value> {
    let reply = node.http.get(&format!("/v1/kv/{prefix}?recurse"));
    if reply.status == 404 { Vec::new() } else { reply.json().as_array().expect("a list").clone() }
}

#[test]
fn a_program_runs_while_the_lock_is_held() {
    let node = Node::dev();
    check(&node, "lock jobs 'echo held=$CONSUL_LOCK_HELD'", "held=true");
    check(&node, "lock -shell=false jobs echo -n a b", "a b");
    check(&node, "lock -n=2 more 'echo one of two'", "one of two");
    let left = rows(&node, "jobs/");
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0]["Key"], &left[0]["Session"]), (&"jobs/.lock".into(), &Value::Null), "it was given back");
    assert_eq!(left[0]["Flags"], Value::from(3_304_740_253_564_472_344_u64));
    let left = rows(&node, "more/");
    assert_eq!(left.len(), 1, "the contender's key went with its session: {left:?}");
    assert_eq!(left[0]["Flags"], Value::from(16_210_313_421_097_356_768_u64));
    assert_eq!(run(&node, "lock jobs 'exit 3'").code, 0);
    assert_eq!(run(&node, "lock -child-exit-code jobs 'exit 3'").code, 2);
    assert!(node.http.get("/v1/session/list").json().as_array().is_some_and(Vec::is_empty), "no session is left");
}

#[test]
fn a_held_lock_is_waited_for_no_longer_than_said() {
    let node = Node::dev();
    let (mut holder, pid) = holder(&node, "1", "jobs", LIMIT);
    let found = run(&node, "lock -timeout=1s jobs 'echo in'");
    assert_eq!((found.code, found.stdout.as_str()), (7, ""), "{found:?}");
    let found = run(&node, "consul lock -try 1s jobs 'echo in'");
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{found:?}");
    holder.terminate();
    assert!(!holder.wait(LIMIT).success());
    wait::until_true("the program's end", LIMIT, || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    check(&node, "lock -timeout=10s jobs 'echo in'", "in");
}

#[test]
fn a_lost_lock_ends_the_program() {
    let node = Node::dev();
    let program = "trap 'echo told; exit 0' TERM; echo in; while :; do sleep 0.1; done";
    let mut process = contender(&node, &["jobs", program]);
    assert_eq!(process.line(LIMIT), "in");
    let session = rows(&node, "jobs/")[0]["Session"].as_str().expect("it is held").to_owned();
    let _ = node.http.put(&format!("/v1/session/destroy/{session}"), "").ok();
    assert_eq!(process.line(LIMIT), "told");
    assert_eq!(process.wait(LIMIT).code(), Some(5));
    assert!(process.stderr().contains("Lock lost"), "{}", process.stderr());
}

#[test]
fn a_lock_is_given_back_when_all_that_the_program_started_are_gone() {
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("order");
    let path = file.display();
    // The shell itself dies of the signal; what it started takes its time.
    let drains = format!("trap 'sleep 1; echo first >> {path}; exit' TERM; echo in; while :; do sleep 0.1; done");
    let first = contender(&node, &["jobs", &format!("({drains}) & wait")]);
    assert_eq!(first.line(LIMIT), "in");
    let mut second = contender(&node, &["jobs", &format!("echo second >> {path}")]);
    node.until_waiters(2);
    first.terminate();
    assert!(second.wait(LIMIT).success(), "{}", second.stderr());
    assert_eq!(std::fs::read_to_string(&file).expect("it was written"), "first\nsecond\n");
}

#[test]
fn a_program_that_cannot_be_started_leaves_no_lock() {
    let node = Node::dev();
    let found = run(&node, "lock -shell=false jobs /no/such/program");
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.stderr.contains("starting the program"), "{found:?}");
    assert_eq!(rows(&node, "jobs/")[0]["Session"], Value::Null, "it was given back");
    assert!(node.http.get("/v1/session/list").json().as_array().is_some_and(Vec::is_empty), "no session is left");
}

#[test]
fn a_lock_that_cannot_be_seen_is_given_up_as_soon_as_the_flag_says() {
    let mut node = Node::dev();
    let alone = contender(&node, &["-monitor-retry=0", "-ttl=1h", "jobs", "echo in; exec sleep 300"]);
    let among = contender(&node, &["-monitor-retry=1", "-ttl=1h", "-n=2", "pool", "echo in; exec sleep 300"]);
    let both = [alone, among].map(|process| {
        assert_eq!(process.line(LIMIT), "in");
        process
    });
    node.process.kill();
    for mut process in both {
        assert_eq!(process.wait(LIMIT).code(), Some(5));
        assert!(process.stderr().contains("Lock lost (Unwatched)"), "{}", process.stderr());
    }
}

#[test]
fn a_killed_holder_loses_the_lock() {
    let node = Node::dev();
    let (mut first, first_pid) = holder(&node, "1", "jobs", LIMIT);
    let mut second = contender(&node, &["jobs", "echo in"]);
    node.until_waiters(2);
    assert!(second.is_alive());
    first.kill();
    end(first_pid);
    assert_eq!(second.line(FREE_AGAIN), "in");
    assert!(second.wait(LIMIT).success());
}

#[test]
fn a_semaphore_admits_so_many_and_a_killed_holder_leaves() {
    let node = Node::dev();
    let (mut first, first_pid) = holder(&node, "2", "pool", LIMIT);
    let (mut second, second_pid) = holder(&node, "2", "pool", LIMIT);
    let found = run(&node, "lock -n=2 -timeout=1s pool 'echo in'");
    assert_eq!((found.code, found.stdout.as_str()), (7, ""), "there is no third place: {found:?}");
    let found = run(&node, "lock -n=3 -timeout=5s pool 'echo in'");
    assert_eq!(found.code, 5, "all must mean the same number: {found:?}");
    first.kill();
    end(first_pid);
    let (mut third, third_pid) = holder(&node, "2", "pool", FREE_AGAIN);
    assert!(second.is_alive());
    for (process, pid) in [(&mut second, second_pid), (&mut third, third_pid)] {
        process.kill();
        end(pid);
    }
}
