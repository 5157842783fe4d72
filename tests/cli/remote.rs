//! Programs on other nodes: what they say and how they ended, on those nodes that allow it and are meant, and nothing left
//! behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use callboard_tests::binaries;
use callboard_tests::node::{MANAGEMENT, Node};
use callboard_tests::process::Process;
use callboard_tests::wait;
use serde_json::{Value, json};

use crate::nodes::gossip;
use crate::run::{Ended, LONG, agent, check, command, ended, refused, run, run_with};

const ALLOWED: &str = "disable_remote_exec = false";
/// What a node says at its start, once it lets anybody do that.
const ANYBODY: &str = "can run any program here";

/// A node that runs programs for others.
fn willing() -> Node {
    Node::dev_with(&["-hcl", ALLOWED])
}

/// What was printed, sorted: nodes are not told in any order.
fn said(found: &Ended) -> Vec<&str> {
    let mut lines: Vec<&str> = found.stdout.lines().collect();
    lines.sort_unstable();
    lines
}

/// Nothing of any program is in the registry any more.
fn assert_clean(node: &Node) {
    assert_eq!(node.http.get("/v1/kv/_rexec?keys").status, 404, "the keys are gone");
    assert_eq!(node.http.get("/v1/session/list").ok().json(), json!([]), "the sessions are gone");
    assert_eq!(node.http.get("/v1/event/list").ok().json(), json!([]), "internal events are hidden");
}

#[test]
fn a_program_runs_on_the_nodes_that_allow_it_and_are_meant() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let one = willing();
    let (_two, two) = agent(&folder.path().join("two"), "n2", &["-hcl", ALLOWED]);
    let (_three, three) = agent(&folder.path().join("three"), "n3", &[]);
    for at in [&two, &three] {
        check(
            &one,
            &format!("join -http-addr={at} {}", gossip(&one)),
            "Successfully joined cluster by contacting 1 nodes.",
        );
    }
    wait::until_true("all members", LONG, || run(&one, "members").stdout.lines().count() == 4);
    // Once a service is in the node's own registry, its own filter finds it.
    wait::until_true("a service", LONG, || {
        run(&one, &format!("services register -http-addr={two} -name web -tag v1")).code == 0
    });
    // Each waits as long as anybody could need, all at the same time.
    let lines: [(&str, i32, &[&str], &str); 7] = [
        (
            "'echo hello; echo there >&2'",
            0,
            &["    n1: hello", "    n1: there", "    n2: hello", "    n2: there"],
            "2 / 2",
        ),
        ("-node=2$ 'echo hello'", 0, &["    n2: hello"], "1 / 1"),
        ("-service=web -tag=v1 'echo hello'", 0, &["    n2: hello"], "1 / 1"),
        ("-service=web -tag=v2 'echo hello'", 0, &[], "0 / 0"),
        ("-node=3$ 'echo hello'", 0, &[], "0 / 0"),
        ("-node=1$ -shell=false -prefix=else/where echo 'a  b' $HOME", 0, &["    n1: a  b $HOME"], "1 / 1"),
        ("-node=2$ 'printf part; exit 3'", 2, &["    n2: part"], "1 / 1"),
    ];
    std::thread::scope(|scope| {
        let running = lines.map(|line| {
            let mut command = command(&one, &format!("exec -wait=8s {}", line.0));
            (line, scope.spawn(move || ended(&mut command)))
        });
        for ((line, code, expect, tally), found) in running {
            let found = found.join().expect("it ended");
            assert_eq!((found.code, said(&found)), (code, expect.to_vec()), "{line}: {found:?}");
            let tally = format!("{tally} node(s) completed / acknowledged");
            assert!(found.stderr.contains(&tally), "{line}: {found:?}");
        }
    });
    assert_clean(&one);
    assert_eq!(one.http.get("/v1/kv/else?keys").status, 404);
}

#[test]
fn a_script_comes_from_standard_input() {
    let node = willing();
    let plain = run_with(&node, "exec -wait=3s -verbose -", "for n in 1 2\ndo echo $n\ndone\n");
    assert_eq!((plain.code, plain.stdout.as_str()), (0, "    n1: 1\n    n1: 2\n"), "{plain:?}");
    for part in ["n1: acknowledged event", "n1: finished with exit code 0", "1 / 1 node(s) completed / acknowledged"] {
        assert!(plain.stderr.contains(part), "{part} in {plain:?}");
    }
    let own = run_with(&node, "consul exec -wait 3s -", "#!/bin/cat\nitself\n");
    assert_eq!((own.code, own.stdout.as_str()), (0, "    n1: #!/bin/cat\n    n1: itself\n"), "{own:?}");
    let missing = run(&node, "exec -wait=3s -shell=false no-such-program-anywhere");
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stdout.contains("callboard: starting the program: No such file"), "{missing:?}");
    refused(&node, "exec -", 2, "standard input is empty");
    refused(&node, "exec -tag=v1 uptime", 2, "Cannot provide tag filter without service filter");
    refused(&node, "exec -node=( uptime", 2, "Invalid node filter");
    refused(&node, "exec -wait=soon uptime", 2, "-wait");
    refused(&node, "exec", 2, "PROGRAM");
    refused(&node, "exec -datacenter=other uptime", 1, "No path to datacenter");
    assert_clean(&node);
}

#[test]
fn too_much_output_is_left_out_and_says_so() {
    let node = willing();
    let found = run(&node, "exec -wait=5s 'head -c 1200000 /dev/zero | tr \\\\0 x; echo; exit 1'");
    assert_eq!(found.code, 2, "{}", found.stderr);
    assert_eq!(found.stdout.bytes().filter(|byte| *byte == b'x').count(), 1 << 20);
    assert!(found.stdout.contains("n1: callboard: what is said beyond 1048576 bytes is left out"));
}

/// Starts a program that stays, and waits until it runs: the client, and the program's id.
fn started(node: &Node) -> (Process, u32) {
    let mut command = Command::new(binaries::control());
    command.args(["exec", "echo $$; exec sleep 300"]);
    command.env("CONSUL_HTTP_ADDR", node.http.address.to_string());
    let process = Process::start(&mut command);
    let line = process.line(LONG);
    let pid = line.strip_prefix("    n1: ").and_then(|pid| pid.parse().ok());
    (process, pid.unwrap_or_else(|| panic!("{line}")))
}

#[test]
fn a_node_that_lets_anybody_run_programs_says_so() {
    for more in ["", r#"acl { enabled = true default_policy = "allow" }"#] {
        let node = Node::dev_with(&["-hcl", ALLOWED, "-hcl", more]);
        wait::until_true(more, LONG, || node.process.stderr().contains(ANYBODY));
    }
}

fn until_ended(pid: u32) {
    wait::until_true("the program's end", LONG, || !std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_program_ends_with_the_session_of_whoever_asked() {
    let node = willing();
    let (mut told, pid) = started(&node);
    told.terminate();
    assert_eq!(told.wait(LONG).code(), Some(1), "{}", told.stderr());
    until_ended(pid);
    assert_clean(&node);
    let (mut killed, pid) = started(&node);
    killed.kill();
    let sessions = node.http.get("/v1/session/list").ok().json();
    assert_eq!(sessions[0]["Name"], "Remote Exec");
    let session = sessions[0]["ID"].as_str().expect("an id").to_owned();
    assert!(
        std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "it outlives its client as long as the session does"
    );
    let _ = node.http.put(&format!("/v1/session/destroy/{session}"), "").ok();
    until_ended(pid);
    assert_clean(&node);
}

#[test]
fn a_reader_that_has_read_enough_ends_the_program() {
    let node = willing();
    let mut client = command(&node, "exec 'echo $$; while :; do echo more; sleep 0.1; done'");
    let mut child = client.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(child.wait().expect("it ends").success(), "nobody reads, so that is the end");
    until_ended(line.trim().strip_prefix("n1: ").and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{line}")));
    assert_clean(&node);
}

#[test]
fn a_node_runs_so_many_programs_and_refuses_more() {
    let node = willing();
    let running: Vec<_> = (0..16).map(|_| started(&node)).collect();
    let refused = run(&node, "exec -wait=5s 'echo hello'");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert_eq!(refused.stdout, "    n1: callboard: 16 programs run here already\n", "{refused:?}");
    running.iter().for_each(|(client, _)| client.terminate());
    for (mut client, pid) in running {
        let _ = client.wait(LONG);
        until_ended(pid);
    }
    assert_eq!(run(&node, "exec -wait=3s 'echo hello'").stdout, "    n1: hello\n", "there is room again");
    assert_clean(&node);
}

#[test]
fn what_cannot_be_used_is_logged_and_run_by_nobody() {
    let node = willing();
    let made = node.http.put("/v1/session/create", r#"{"TTL":"1h","Behavior":"delete"}"#).ok().json();
    let session = made["ID"].as_str().expect("an id");
    let fire = |payload: &str| {
        let _ = node.http.put("/v1/event/fire/_rexec", payload).ok();
    };
    let until_logged = |part: &str| wait::until_true(part, LONG, || node.process.stderr().contains(part));
    fire("no JSON");
    until_logged("expected ident");
    fire(r#"{"Prefix":"p"}"#);
    until_logged("Session: it is not the id of a session");
    let call = json!({"Prefix": "p", "Session": session}).to_string();
    let job = |query: &str, job: &str| {
        let _ = node.http.put(&format!("/v1/kv/p/{session}/job{query}"), job).ok();
    };
    // Whoever may write keys is not yet whoever holds the session.
    job("", r#"{"Command":"echo hello"}"#);
    fire(&call);
    until_logged("no job is held by the session");
    let held = format!("?acquire={session}");
    job(&held, r#"{"Command":"echo hello","Wait":"soon"}"#);
    fire(&call);
    until_logged("Wait: ");
    job(&held, r#"{"Wait":1}"#);
    fire(&call);
    until_logged("Command: there is nothing to run");
    job(&held, r#"{"Command":"echo hello","Wait":1}"#);
    let keys = || node.http.get("/v1/kv/p?keys").ok().json();
    // Somebody exchanged the job since a call that names another one.
    fire(
        &json!({"Prefix": "p", "Session": session, "Digest": "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="})
            .to_string(),
    );
    until_logged("the job is not the one that was called for");
    assert_eq!(keys(), json!([format!("p/{session}/job")]), "nobody took any of these");
    // Called for twice, it is run once.
    fire(&call);
    let end = format!("p/{session}/n1/exit");
    wait::until_true("the end", LONG, || keys().as_array().is_some_and(|keys| keys.contains(&json!(end))));
    let done = keys();
    fire(&call);
    fire("no JSON");
    wait::until_true("both were heard", LONG, || node.process.stderr().matches("expected ident").count() == 2);
    assert_eq!(keys(), done);
}

#[test]
fn a_program_that_is_silent_for_long_leaves_no_trail() {
    let node = willing();
    let made = node.http.put("/v1/session/create", r#"{"TTL":"1h","Behavior":"delete"}"#).ok().json();
    let session = made["ID"].as_str().expect("an id");
    let job = json!({"Command": "sleep 300", "Wait": 200_000_000}).to_string();
    let _ = node.http.put(&format!("/v1/kv/p/{session}/job?acquire={session}"), &job).ok();
    let call = json!({"Prefix": "p", "Session": session}).to_string();
    let _ = node.http.put("/v1/event/fire/_rexec", &call).ok();
    let out = format!("/v1/kv/p/{session}/n1/out?keys");
    let signs = || -> Vec<String> {
        let reply = node.http.get(&out);
        if reply.status == 404 { Vec::new() } else { serde_json::from_value(reply.json()).expect("keys") }
    };
    let mut most = 0;
    wait::until_true("the eighth sign", LONG, || {
        let signs = signs();
        most = most.max(signs.len());
        signs.last().is_some_and(|last| last.ends_with("/00008"))
    });
    assert!(most <= 2, "the last, and one before it that is being removed: {most}");
    let _ = node.http.put(&format!("/v1/session/destroy/{session}"), "").ok();
    wait::until_true("all is gone", LONG, || node.http.get("/v1/kv/p?keys").status == 404);
}

#[test]
fn a_node_that_stops_ends_its_programs() {
    let mut node = willing();
    let (mut client, pid) = started(&node);
    node.process.terminate();
    assert!(node.process.wait(Duration::from_secs(30)).success());
    until_ended(pid);
    let _ = client.wait(LONG);
}

/// Runs as the holder of a token.
fn run_as(node: &Node, token: &str, line: &str) -> Ended {
    ended(command(node, line).env("CONSUL_HTTP_TOKEN", token))
}

#[test]
fn access_control_is_asked_on_both_sides() {
    let agents = "1f0a1c1e-52a7-4d0b-9f3e-0a6f0a1f7d11";
    let acl = format!(
        r#"acl {{ enabled = true default_policy = "deny" tokens {{ initial_management = "{MANAGEMENT}" agent = "{agents}" }} }}"#
    );
    let node = Node::dev_with(&["-hcl", &acl, "-hcl", ALLOWED]);
    let managing = |line: &str| {
        let found = run_as(&node, MANAGEMENT, line);
        assert_eq!(found.code, 0, "{line}: {found:?}");
        found.stdout
    };
    let token = |rules: &str, more: &str| -> String {
        let name = format!("p{}", rules.len());
        managing(&format!("acl policy create -name {name} -rules '{rules}'"));
        let made = managing(&format!("acl token create -format=json -policy-name {name} {more}"));
        let made: Value = serde_json::from_str(&made).expect("JSON");
        made["SecretID"].as_str().expect("a secret").to_owned()
    };
    let (session, keys, event) = (
        r#"session "n1" { policy = "write" }"#,
        r#"key_prefix "_rexec/" { policy = "write" }"#,
        r#"event "_rexec" { policy = "write" }"#,
    );
    // The token of the agent is not there yet: nobody answers, and the log says why.
    let able = token(&format!("{session} {keys} {event}"), "");
    let silent = run_as(&node, &able, "exec 'echo hello'");
    assert_eq!((silent.code, silent.stdout.as_str()), (0, ""), "{silent:?}");
    wait::until_true("the reason", LONG, || node.process.stderr().contains("ACL not found"));
    // One that may do nothing.
    let made = managing(&format!("acl token create -format=json -secret={agents}"));
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let silent = run_as(&node, &able, "exec 'echo hello'");
    assert_eq!((silent.code, silent.stdout.as_str()), (0, ""), "{silent:?}");
    wait::until_true("the rule", LONG, || node.process.stderr().contains("lacks permission 'key:read' on \"_rexec/"));
    managing(&format!("acl policy create -name agents -rules '{keys}'"));
    let accessor = made["AccessorID"].as_str().expect("an id");
    managing(&format!("acl token update -accessor-id {accessor} -policy-name agents"));
    let done = run_as(&node, &able, "exec -wait=3s 'echo hello'");
    assert_eq!((done.code, done.stdout.as_str()), (0, "    n1: hello\n"), "{done:?}");
    for (rules, missing) in [
        (format!("{keys}  {event}"), "'session:write' on \"n1\""),
        (format!("{session}  {event}"), "'key:write' on \"_rexec/"),
        (format!("{session}  {keys}"), "'event:write' on \"_rexec\""),
    ] {
        let denied = run_as(&node, &token(&rules, ""), "exec 'echo hello'");
        assert!(denied.code == 4 && denied.stdout.is_empty(), "{missing}: {denied:?}");
        assert!(denied.stderr.contains(missing), "{missing}: {denied:?}");
    }
    assert!(!node.process.stderr().contains(ANYBODY));
}
