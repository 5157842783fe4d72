//! What operators do: entries, archives, completion, an agent behind a socket of the file system, and what is refused.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;

use callboard_tests::node::Node;

use crate::run::{check, refused, run, run_with};

#[test]
fn entries_are_written_read_listed_and_deleted() {
    let node = Node::dev();
    let entry = "Kind = \"service-defaults\"\nName = \"web\"\nProtocol = \"http\"\n";
    let written = run_with(&node, "config write -", entry);
    assert_eq!(
        (written.code, written.stdout.as_str()),
        (0, "Config entry written: service-defaults/web\n"),
        "{written:?}"
    );
    let read = run(&node, "config read -kind service-defaults -name web").stdout;
    assert!(read.contains("    \"Protocol\": \"http\""), "{read}");
    check(&node, "config list -kind service-defaults", "web");
    refused(&node, "config read -kind service-defaults -name nope", 3, "Config entry not found");
    check(&node, "config delete -kind service-defaults -name web", "Config entry deleted: service-defaults/web");
    check(&node, "config list -kind service-defaults", "");
    let wrong = run_with(&node, "config write -", "Name = \"web\"\n");
    assert!(wrong.code == 2 && wrong.stderr.contains("kind/Kind"), "{wrong:?}");
}

#[test]
fn a_file_that_is_no_snapshot_is_refused_before_anything_is_sent() {
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("snap");
    std::fs::write(&file, "no archive").expect("a file can be written");
    let file = file.to_string_lossy();
    refused(&node, &format!("snapshot inspect {file}"), 1, "gzip");
    refused(&node, &format!("snapshot restore {file}"), 1, "Error verifying snapshot file");
    refused(&node, "snapshot inspect /nowhere/snap", 1, "/nowhere/snap");
}

#[test]
fn a_snapshot_is_saved_looked_at_and_put_back() {
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("snap").display().to_string();
    check(&node, "kv put a then", "Success! Data written to: a");
    let saved = run(&node, &format!("snapshot save {file}"));
    assert!(saved.code == 0 && saved.stdout.starts_with("Saved and verified snapshot to index "), "{saved:?}");
    let shown = run(&node, &format!("snapshot inspect {file}")).stdout;
    assert!(shown.contains("Index") && shown.contains("1.22.0"), "{shown}");
    check(&node, "kv put a later", "Success! Data written to: a");
    check(&node, &format!("snapshot restore {file}"), "Restored snapshot");
    check(&node, "kv get a", "then");
    let mut bytes = std::fs::read(&file).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("it can be written");
    refused(&node, &format!("snapshot restore {file}"), 1, "Error verifying snapshot file");
}

#[test]
fn what_an_agent_tells_is_packed_without_secrets() {
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("bundle");
    let line = format!("debug -duration=1s -interval=1s -capture=agent -capture=members -output={}", path.display());
    let done = run(&node, &line);
    assert_eq!(done.stdout, format!("Saved debug archive: {}.tar.gz\n", path.display()), "{done:?}");
    let bytes = std::fs::read(path.with_extension("tar.gz")).expect("it is there");
    assert_eq!(bytes[..2], [0x1f, 0x8b]);
    refused(&node, "debug -duration=1h -interval=1ms", 2, "-interval");
}

#[test]
fn the_settings_of_autopilot_are_shown_and_changed_one_by_one() {
    let node = Node::dev();
    let lines = |line: &str| run(&node, line).stdout;
    let shown = lines("operator autopilot get-config");
    for expect in ["CleanupDeadServers = true", "LastContactThreshold = 200ms", "ServerStabilizationTime = 10s"] {
        assert!(shown.contains(expect), "{expect} in {shown}");
    }
    check(&node, "operator autopilot set-config -min-quorum=3 -cleanup-dead-servers=false", "Configuration updated!");
    let shown = lines("operator autopilot get-config");
    for expect in ["CleanupDeadServers = false", "MinQuorum = 3", "MaxTrailingLogs = 250"] {
        assert!(shown.contains(expect), "{expect} in {shown}");
    }
    refused(&node, "operator autopilot set-config -server-stabilization-time=-1s", 1, "is negative");
    let state = lines("operator autopilot state");
    for expect in ["Healthy = true", "FailureTolerance = 0", "Status = leader", "NodeType = voter"] {
        assert!(state.contains(expect), "{expect} in {state}");
    }
}

#[test]
fn a_shell_is_told_how_to_complete() {
    let node = Node::dev();
    let script = run(&node, "completion bash").stdout;
    assert!(script.contains("callboard") && script.contains("complete "), "{script}");
}

/// Passes what comes over a socket of the file system on to the node.
fn behind_a_socket(node: &Node, path: &std::path::Path) {
    let (address, listener) = (node.http.address, UnixListener::bind(path).expect("a socket can be made"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(near) = stream else { return };
            let Ok(far) = TcpStream::connect(address) else { return };
            let (mut from, mut to) = (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
            std::thread::spawn(move || copy(&mut from, &mut to).is_ok() && to.shutdown(Shutdown::Write).is_ok());
            let (mut from, mut to) = (far, near);
            std::thread::spawn(move || copy(&mut from, &mut to).is_ok() && to.shutdown(Shutdown::Write).is_ok());
        }
    });
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<u64> {
    std::io::copy(from, to)
}

#[test]
fn an_agent_is_found_behind_a_socket_of_the_file_system() {
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("http.sock");
    behind_a_socket(&node, &path);
    let address = format!("-http-addr=unix://{}", path.display());
    check(&node, &format!("kv put {address} a hello"), "Success! Data written to: a");
    check(&node, &format!("kv get {address} a"), "hello");
    check(&node, &format!("lock {address} jobs 'echo in'"), "in");
    refused(&node, "kv get -http-addr=unix:///nowhere/sock a", 6, "/nowhere/sock");
}

#[test]
fn how_far_nodes_are_apart_is_estimated() {
    let node = Node::dev();
    for (name, seconds) in [("a", 0.010), ("b", 0.030)] {
        let registration = serde_json::json!({"Node": name, "Address": "10.0.0.1"});
        let _ = node.http.put_json("/v1/catalog/register", &registration).ok();
        let coordinate = serde_json::json!({
            "Vec": [0, 0, 0, seconds, 0, 0, 0, 0], "Error": 1, "Adjustment": 0, "Height": 1e-5,
        });
        let place = serde_json::json!({"Node": name, "Coord": coordinate});
        let _ = node.http.put_json("/v1/coordinate/update", &place).ok();
    }
    check(&node, "rtt a b", "Estimated a <-> b rtt: 20.020 ms (using LAN coordinates)");
    refused(&node, "rtt a", 3, "Could not find a coordinate for node");
    check(&node, "rtt -wan n1.dc1 n1.dc1", "Estimated n1.dc1 <-> n1.dc1 rtt: 0.020 ms (using WAN coordinates)");
    let sorted = run(&node, "catalog nodes -near=b").stdout;
    assert!(sorted.find("\nb ") < sorted.find("\na "), "{sorted}");
}
