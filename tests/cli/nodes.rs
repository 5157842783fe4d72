//! Several nodes from the command line: joined, listed, kept secret among each other, left.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use callboard_tests::node::Node;
use callboard_tests::wait;

use crate::run::{LONG, agent, check, command, refused, run};

/// Where the gossip of a node is.
pub(crate) fn gossip(node: &Node) -> String {
    let own = node.http.get("/v1/agent/self").ok().json();
    format!("127.0.0.1:{}", own["Member"]["Port"])
}

#[test]
fn nodes_join_are_listed_and_leave() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let one = Node::dev();
    let (_two, at) = agent(folder.path(), "n2", &[]);
    let at_two = format!("-http-addr={at}");
    check(&one, &format!("join {at_two} {}", gossip(&one)), "Successfully joined cluster by contacting 1 nodes.");
    wait::until_true("both members", LONG, || run(&one, "members").stdout.lines().count() == 3);
    let members = run(&one, "members").stdout;
    let row = members.lines().find(|line| line.starts_with("n2")).expect("a row");
    for part in ["alive", "client", "dc1"] {
        assert!(row.contains(part), "{part} in {row}");
    }
    assert_eq!(run(&one, "members -status=failed").code, 2);
    refused(&one, &format!("join {at_two} 127.0.0.1:1"), 1, "127.0.0.1:1");
    wait::until_true("the node in the catalog", LONG, || run(&one, "catalog nodes").stdout.contains("n2"));
    check(&one, &format!("leave {at_two}"), "Graceful leave complete");
    wait::until_true("it has left", LONG, || run(&one, "members -status=left").stdout.contains("n2"));
    check(&one, "force-leave -prune n2", "");
    wait::until_true("it is forgotten", LONG, || !run(&one, "members").stdout.contains("n2"));
    refused(&one, "force-leave nobody", 1, "nobody");
}

#[test]
fn the_servers_are_listed_and_the_last_one_stays() {
    let node = Node::dev();
    let listed = run(&node, "operator raft list-peers").stdout;
    let row = listed.lines().nth(1).expect("a row");
    assert!(listed.starts_with("Node") && row.starts_with("n1") && row.contains("leader"), "{listed}");
    let stranger = "00000000-0000-4000-8000-000000000000";
    refused(&node, &format!("operator raft remove-peer -id {stranger}"), 1, stranger);
    refused(&node, "operator raft transfer-leader", 1, "leader");
    let usage = run(&node, "operator usage instances").stdout;
    assert!(usage.contains("dc1"), "{usage}");
}

#[test]
fn the_keys_of_gossip_are_changed_without_a_restart() {
    let node = {
        let key = run(&Node::dev(), "keygen").stdout;
        Node::dev_with(&["-encrypt", key.trim()])
    };
    let key = run(&node, "keygen").stdout.trim().to_owned();
    let short = run(&node, "keyring -install short");
    assert!(short.code == 1 && short.stderr.contains("key"), "{short:?}");
    assert_eq!(run(&node, &format!("keyring -install {key}")).code, 0);
    assert_eq!(run(&node, &format!("keyring -use {key}")).code, 0);
    let listed = run(&node, "keyring -list").stdout;
    assert!(listed.contains(&key), "{listed}");
    let used = run(&node, &format!("keyring -remove {key}"));
    assert!(used.code == 1 && used.stderr.contains("primary"), "{used:?}");
    let old = listed.split_whitespace().find(|word| word.ends_with('=') && *word != key).expect("the other key");
    assert_eq!(run(&node, &format!("keyring -remove {old}")).code, 0);
    assert!(!run(&node, "keyring -list").stdout.contains(old));
    let open = run(&Node::dev(), "keyring -list");
    assert!(open.code == 1 && open.stderr.contains("keyring is empty"), "{open:?}");
}

#[test]
fn an_agent_is_watched_reloaded_and_put_into_maintenance() {
    let node = Node::dev();
    let mut monitor = command(&node, "monitor -log-level=info").stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(monitor.stdout.take().expect("a pipe")).lines();
    // Something that is logged, again and again until it listens.
    let heard = std::thread::scope(|scope| {
        let heard = scope
            .spawn(|| lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("configuration read again"))));
        while !heard.is_finished() {
            check(&node, "reload", "Configuration reload triggered");
        }
        heard.join().expect("it is read")
    });
    assert!(heard.is_some());
    monitor.kill().expect("it can be ended");
    monitor.wait().expect("it ends");
    check(&node, "maint -enable -reason=upgrade", "Node maintenance is now enabled");
    assert!(run(&node, "maint").stdout.contains("upgrade"));
    check(&node, "maint -disable", "Node maintenance is now disabled");
    let info = run(&node, "info").stdout;
    assert!(info.contains("raft:\n") && info.contains("\tstate = "), "{info}");
    check(&node, "catalog datacenters", "dc1");
    check(&node, "catalog services", "consul");
}
