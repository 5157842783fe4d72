//! Every method of the two Python packages for Consul, each a case of its own in a script beside this file. The scripts
//! walk the packages themselves, so a method that a new version brings fails until it has a case; what is refused is
//! refused because a line of the contract says so.
#![allow(clippy::print_stdout, reason = "figures are said where a reader looks")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use callboard_tests::binaries;
use callboard_tests::description;
use callboard_tests::http::Http;
use callboard_tests::needs;
use callboard_tests::node::{Node, addresses};
use callboard_tests::process::Process;
use serde_json::{Value, json};

use crate::file;
use crate::page::{Client, version_of};

/// A script takes ten seconds; checks that run every second and the end of a node are in it.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn every_method_of_python_consul_works() {
    let node = Node::dev_with(&["-enable-script-checks"]);
    every_method("python-consul", "python_consul.py", &json!({"http": node.http.address.port()}));
}

#[test]
fn every_method_of_py_consul_works() {
    let node = Node::dev_with(&["-enable-script-checks"]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let guarded = guarded(folder.path());
    let guest = Guest::start(folder.path());
    let settings = json!({"http": node.http.address.port(), "acl": guarded.http.address.port(), "token": TOKEN,
        "joined": guest.gossip, "joined_pid": guest.process.pid()});
    every_method("py-consul", "py_consul.py", &settings);
}

/// The management token of [`guarded`].
pub(crate) const TOKEN: &str = "6a3c1f0e00004000800000000000abcd";

/// A node that asks for tokens, with what nobody may do without one left to its policies.
pub(crate) fn guarded(folder: &Path) -> Node {
    let settings = json!({"acl": {"enabled": true, "tokens": {"initial_management": TOKEN}}});
    let path = folder.join("acl.json");
    std::fs::write(&path, settings.to_string()).expect("a file can be written");
    Node::dev_with(&["-config-file", &path.to_string_lossy()])
}

/// A node without a vote, named `n2`, that knows nobody yet.
pub(crate) struct Guest {
    /// Its process.
    pub(crate) process: Process,
    /// Where it may be joined.
    pub(crate) gossip: String,
}

impl Guest {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut command = Command::new(binaries::control());
        command.args(["agent", "-node", "n2", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-dns-port", "-1"]);
        command.args(["-http-port", "0", "-server-port", "0", "-serf-lan-port", "0"]);
        let process = Process::start(command.arg("-data-dir").arg(folder.join("n2")));
        let own = Http::new(addresses(&process).http).get("/v1/agent/self").ok().json();
        Self { process, gossip: format!("127.0.0.1:{}", own["Member"]["Port"]) }
    }
}

/// Runs a script with the Python that has `package`, shows what it counted, and tells the page.
fn every_method(package: &str, script: &str, settings: &Value) {
    let Some(python) = needs::python(package) else { return };
    // Read before the script, whose last case may end the node.
    let port = settings["http"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port is given");
    let paths = description::paths(&Http::new(([127, 0, 0, 1], port).into()), None);
    let mut command = Command::new(&python);
    // Nothing is written beside the sources.
    command.arg("-B").arg(file(script)).arg(settings.to_string());
    let mut process = Process::start(&mut command);
    let status = process.wait(PATIENCE);
    let said = process.stdout();
    assert!(status.success(), "{said}{}", process.stderr());
    for line in said.lines().filter(|line| line.starts_with("figure:") || line.contains(" refused ")) {
        println!("{line}");
    }
    let mut client = Client::new(&format!("{package}, every method")).version(&version_of(&python, package));
    client.methods(&said, &paths);
    client.hold();
}
