//! The life of a control node: it serves, shows itself, and stops on a signal without keeping anyone waiting.

use std::process::Command;
use std::time::Duration;

use callboard_tests::backend::Backend;
use callboard_tests::dns::RecordType;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::{binaries, wait};
use rustix::process::Signal;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

/// The tour of a newcomer: register by hand, look by HTTP and by name, see a check fail and the name go.
#[test]
fn register_look_call() {
    let node = Node::dev();
    let backend = Backend::start("hello");
    let body = json!({"Name": "web", "Address": "127.0.0.1", "Port": backend.address.port(),
        "Check": {"HTTP": format!("http://{}/", backend.address), "Interval": "1s"}});
    node.http.put_json("/v1/agent/service/register", &body);
    let name = "web.service.consul";
    let port = backend.address.port();
    wait::until_true("the name", LIMIT, || node.dns().services(name) == [(port, 1)]);
    let rows = node.http.get("/v1/health/service/web?passing").ok().json();
    assert_eq!(rows[0]["Service"]["Port"], json!(port));
    backend.set_status(503);
    wait::until_true("the name to go", LIMIT, || node.dns().ask(name, RecordType::SRV).answers.is_empty());
    let checks = node.http.get("/v1/health/checks/web").ok().json();
    assert!(checks[0]["Output"].as_str().is_some_and(|output| output.contains("503")), "{checks}");
}

#[test]
fn signals_stop_it_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut node = Node::durable(folder.path());
        let _ = node.http.put("/v1/kv/a", "kept").ok();
        node.process.signal(signal);
        assert!(node.process.wait(LIMIT).success(), "{}", node.process.stderr());
        let node = Node::durable(folder.path());
        assert_eq!(node.http.get("/v1/kv/a?raw").ok().text(), "kept");
    }
}

/// What an idle node has written itself, which no other process shares and nothing can take away, is a few megabytes;
/// the bound leaves room for a build without optimization, and for each thread that a machine has more.
#[test]
fn an_idle_node_is_small() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let node = Node::durable(folder.path());
    let _ = node.http.put("/v1/kv/a", "kept").ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.process.pid())).expect("the node runs");
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok());
    let own: u64 = own.unwrap_or_else(|| panic!("no RssAnon in {status}"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    assert!(own < (16 * 1024) + 256 * threads, "{own} kB");
}

#[test]
fn it_shows_metrics_and_a_console() {
    let node = Node::dev();
    let _ = node.http.get("/v1/catalog/nodes").ok();
    let metrics = node.http.get("/metrics").ok().text();
    assert!(metrics.lines().any(|line| line.starts_with("callboard_")), "{metrics}");
    assert!(metrics.contains("# TYPE callboard_"), "{metrics}");
    let root = node.http.get("/");
    assert_eq!((root.status, root.header("Location")), (301, Some("/ui/")));
    assert!(node.http.get("/ui/").ok().text().to_lowercase().contains("<html"), "the console is a page");
}

#[test]
fn a_pid_file_is_written_and_taken_away() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("pid");
    let mut node = Node::dev_with(&["-pid-file", &path.to_string_lossy()]);
    let written = std::fs::read_to_string(&path).expect("the pid file is there");
    assert_eq!(written.trim(), node.process.pid().to_string());
    node.process.terminate();
    assert!(node.process.wait(LIMIT).success());
    assert!(!path.exists(), "it is gone with the process");
}

#[test]
fn wrong_flags_are_refused_with_the_nearest_right_one() {
    let mut command = Command::new(binaries::control());
    command.args(["agent", "-dev", "-http-prot", "0"]);
    let mut process = Process::start(&mut command);
    let status = process.wait(LIMIT);
    assert!(!status.success(), "{status}");
    assert!(process.stderr().contains("http-port"), "it names the nearest: {}", process.stderr());
}

#[test]
fn a_taken_port_is_a_clear_error() {
    let node = Node::dev();
    let mut command = Command::new(binaries::control());
    let port = node.http.address.port().to_string();
    command.args(["agent", "-dev", "-node", "n2", "-http-port", &port, "-dns-port", "0"]);
    let mut process = Process::start(&mut command);
    assert!(!process.wait(LIMIT).success());
    assert!(process.stderr().contains(&port), "it names the address: {}", process.stderr());
}
