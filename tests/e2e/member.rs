//! A member of a cluster: a control node started as the suites of client libraries do it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use callboard_tests::binaries;
use callboard_tests::http::Http;
use callboard_tests::node::addresses;
use callboard_tests::process::Process;
use callboard_tests::wait;
use serde_json::Value;

/// Far beyond anything that should happen; only a hang gets here.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// One member, with ports of its own on loopback.
pub(crate) struct Member {
    pub(crate) process: Process,
    pub(crate) http: Http,
    gossip: String,
    pub(crate) name: String,
}

impl Member {
    /// Starts a member as a suite does; the flags say what it is.
    pub(crate) fn start(name: &str, dir: &Path, flags: &[&str]) -> Member {
        Member::configured(name, dir, flags, r#"{"ui_config": {"enabled": true}}"#)
    }

    /// The same with a configuration of the caller's own.
    pub(crate) fn configured(name: &str, dir: &Path, flags: &[&str], settings: &str) -> Member {
        Member::at("127.0.0.1", Command::new(binaries::control()), name, dir, flags, settings)
    }

    /// The same at an address, by a command that runs the program where the address is.
    pub(crate) fn at(
        address: &str,
        mut command: Command,
        name: &str,
        dir: &Path,
        flags: &[&str],
        settings: &str,
    ) -> Member {
        let config = dir.join(format!("{name}.json"));
        std::fs::write(&config, settings).expect("the folder is writable");
        command.arg("agent").args(flags);
        command.args(["-bind", address, "-client", address, "-node", name, "-datacenter", "dc1"]);
        command.arg("-data-dir").arg(dir.join(name)).arg("-config-file").arg(config);
        command.arg("-pid-file").arg(dir.join(format!("{name}.pid")));
        command.args(["-http-port", "0", "-dns-port", "-1", "-server-port", "0", "-serf-lan-port", "0"]);
        let process = Process::start(&mut command);
        let http = Http::new(addresses(&process).http);
        let own = http.get("/v1/agent/self").ok().json();
        let member = &own["Member"];
        let gossip = format!("{}:{}", member["Addr"].as_str().expect("an address"), member["Port"]);
        Member { process, http, gossip, name: name.to_owned() }
    }

    pub(crate) fn join(&self, other: &Member) {
        let begun = Instant::now();
        self.put(&format!("/v1/agent/join/{}", other.gossip), b"");
        assert!(begun.elapsed() < Duration::from_secs(2), "joining took {:?}", begun.elapsed());
    }

    /// The members as this one sees them: name and status.
    pub(crate) fn members(&self) -> Vec<(String, u64)> {
        let members = self.http.get("/v1/agent/members").ok().json();
        let row = |member: &Value| (text(&member["Name"]), member["Status"].as_u64().expect("a status"));
        members.as_array().expect("members are a list").iter().map(row).collect()
    }

    /// Writes, and requires that it is taken.
    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Value {
        let reply = self.http.put(path, body).ok();
        if reply.body.is_empty() { Value::Null } else { reply.json() }
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let reply = self.http.request("GET", path, b"").ok()?;
        (reply.status == 200).then(|| reply.json())
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

pub(crate) fn bootstrapped(name: &str, dir: &Path) -> Member {
    let member = Member::start(name, dir, &["-bootstrap", "-server"]);
    until_led(&member);
    member
}

pub(crate) fn until_led(member: &Member) {
    wait::until_true("a leader", LONG, || {
        member.get("/v1/status/leader").is_some_and(|leader| !text(&leader).is_empty())
    });
}
