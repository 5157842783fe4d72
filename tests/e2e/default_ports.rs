//! Three nodes on the default ports, as the suites of client libraries start them: one server on 127.0.0.1, two agents on
//! 127.0.0.2 and 127.0.0.3, word for word. In a network namespace, because the ports may be taken outside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use callboard_tests::namespace::Namespace;
use callboard_tests::process::Process;
use callboard_tests::{binaries, needs, wait};
use serde_json::Value;

use crate::member::LONG;

/// What such suites put into the configuration file.
const SETTINGS: &str = r#"{
    "ports": {"https": -1, "grpc_tls": -1}, "performance": {"raft_multiplier": 1}, "enable_script_checks": true,
    "primary_datacenter": "dc1"
}"#;

struct World {
    network: Namespace,
    curl: PathBuf,
    folder: tempfile::TempDir,
}

impl World {
    fn agent(&self, n: u8, server: &[&str]) -> Process {
        let address = format!("127.0.0.{n}");
        let own = self.folder.path().join(format!("node{n}"));
        let config = self.folder.path().join("config.json");
        std::fs::write(&config, SETTINGS).expect("the folder is writable");
        let mut command = self.network.inside(&binaries::control());
        command.arg("agent").args(server);
        command.args(["-bind", &address, "-client", &address, "-node", &format!("node{n}"), "-datacenter", "dc1"]);
        command.arg("-data-dir").arg(own.join("data")).arg("-config-file").arg(&config);
        command.arg("-pid-file").arg(own.join("pid"));
        let process = Process::start(&mut command);
        wait::until_true(&format!("node{n} to answer"), LONG, || self.get(n, "/v1/agent/self").is_some());
        let pid = process.pid().to_string();
        wait::until_true("the pid file", LONG, || {
            std::fs::read_to_string(own.join("pid")).is_ok_and(|written| written.trim() == pid)
        });
        process
    }

    fn curl(&self, method: &str, n: u8, path: &str) -> Command {
        let mut command = self.network.inside(&self.curl);
        command.args(["--silent", "--fail", "--max-time", "20", "-X", method]);
        command.arg(format!("http://127.0.0.{n}:8500{path}"));
        command
    }

    fn get(&self, n: u8, path: &str) -> Option<Value> {
        let output = self.curl("GET", n, path).output().expect("curl runs");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("the answer is JSON"))
    }

    fn join(&self, n: u8, path: &str) -> Duration {
        let begun = Instant::now();
        let status = self.curl("PUT", n, path).status().expect("curl runs");
        assert!(status.success(), "{path}: {status}");
        begun.elapsed()
    }

    fn names(&self, n: u8) -> Vec<String> {
        let members = self.get(n, "/v1/agent/members").unwrap_or_default();
        let names = members.as_array().into_iter().flatten().filter(|member| member["Status"] == 1);
        let mut names: Vec<_> = names.filter_map(|member| member["Name"].as_str().map(str::to_owned)).collect();
        names.sort();
        names
    }
}

#[test]
fn three_nodes_on_the_default_ports_join_as_the_suites_of_clients_do_it() {
    let (Some(curl), Some(_)) = (needs::program("curl"), needs::program("ip")) else { return };
    if !needs::is_root() {
        return needs::missing("the right to make a network");
    }
    let network = Namespace::make("ports").expect("root can make a network");
    let world = World { network, curl, folder: tempfile::tempdir().expect("a folder") };
    let _one = world.agent(1, &["-bootstrap", "-server"]);
    wait::until_true("a leader", LONG, || {
        world.get(1, "/v1/status/leader").is_some_and(|leader| leader == "127.0.0.1:8300")
    });
    let (_two, _three) = (world.agent(2, &[]), world.agent(3, &[]));
    for (n, path) in [(2, "/v1/agent/join/127.0.0.1"), (1, "/v1/agent/join/127.0.0.3")] {
        let took = world.join(n, path);
        println!("PUT {path} at node{n} took {took:?}");
        assert!(took < Duration::from_secs(2), "joining took {took:?}");
    }
    let all = ["node1", "node2", "node3"];
    for n in 1..=3 {
        wait::until_true(&format!("all members at node{n}"), LONG, || world.names(n) == all);
        wait::until_true(&format!("all nodes in the catalog of node{n}"), LONG, || {
            let nodes = world.get(n, "/v1/catalog/nodes").unwrap_or_default();
            nodes.as_array().is_some_and(|nodes| nodes.len() == all.len())
        });
    }
    dns(&world.network);
}

/// The name of each node, from the default port of each.
fn dns(network: &Namespace) {
    let Some(dig) = needs::program("dig") else { return };
    for n in 1..=3 {
        let asked = |about: &str| {
            let mut command = network.inside(Path::new(&dig));
            command.args([&format!("@127.0.0.{n}"), "-p", "8600", "+short", &format!("{about}.node.consul")]);
            String::from_utf8_lossy(&command.output().expect("dig runs").stdout).trim().to_owned()
        };
        for about in 1..=3 {
            wait::until_true(&format!("the name of node{about} at node{n}"), LONG, || {
                asked(&format!("node{about}")) == format!("127.0.0.{about}")
            });
        }
    }
}
