//! A control node as a process on free ports: started, asked, killed, started again on the same folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::binaries;
use crate::dns::Dns;
use crate::http::Http;
use crate::process::Process;
use crate::wait;

/// How long a node may take until it serves; generous because the machine may be compiling meanwhile.
pub const START_LIMIT: Duration = Duration::from_secs(30);

/// A running control node.
#[derive(Debug)]
pub struct Node {
    /// The process.
    pub process: Process,
    /// Its HTTP API.
    pub http: Http,
    /// Its DNS server.
    pub dns: Dns,
    data_dir: Option<PathBuf>,
    flags: Vec<String>,
}

impl Node {
    /// Starts a node named `n1` that keeps nothing.
    #[must_use]
    pub fn dev() -> Self {
        Self::dev_with(&[])
    }

    /// The same with more flags.
    #[must_use]
    pub fn dev_with(flags: &[&str]) -> Self {
        Self::start(None, flags.iter().map(ToString::to_string).collect())
    }

    /// Starts a node named `n1` on a data folder.
    #[must_use]
    pub fn durable(data_dir: &Path) -> Self {
        Self::durable_with(data_dir, &[])
    }

    /// The same with more flags.
    #[must_use]
    pub fn durable_with(data_dir: &Path, flags: &[&str]) -> Self {
        Self::start(Some(data_dir.to_path_buf()), flags.iter().map(ToString::to_string).collect())
    }

    /// The command that starts such a node, for suites that expect it to fail.
    #[must_use]
    pub fn command(data_dir: Option<&Path>, flags: &[String]) -> Command {
        let mut command = Command::new(binaries::control());
        command.arg("agent");
        match data_dir {
            None => command.arg("-dev"),
            Some(folder) => command.args(["-server", "-bootstrap"]).arg("-data-dir").arg(folder),
        };
        command
            .args(["-node", "n1", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-http-port", "0", "-dns-port", "0"])
            .args(flags);
        command
    }

    /// Kills it with SIGKILL and starts another process on the same data folder.
    ///
    /// # Panics
    /// When the new one does not serve.
    #[must_use]
    pub fn killed_and_started(mut self) -> Self {
        self.process.kill();
        Self::start(self.data_dir.clone(), self.flags.clone())
    }

    /// Waits until it has a leader: from here on reads and writes are answered.
    fn start(data_dir: Option<PathBuf>, flags: Vec<String>) -> Self {
        let process = Process::start(&mut Self::command(data_dir.as_deref(), &flags));
        let (http, dns) = addresses(&process);
        let http = Http::new(http);
        wait::until_true("a leader", START_LIMIT, || {
            http.request("GET", "/v1/status/leader", b"").is_ok_and(|reply| reply.status == 200 && reply.body.len() > 2)
        });
        Self { process, http, dns: Dns::new(dns), data_dir, flags }
    }
}

/// Reads the line that a node says once it serves.
///
/// # Panics
/// When the line does not come or names no addresses.
#[must_use]
pub fn addresses(process: &Process) -> (SocketAddr, SocketAddr) {
    let line = process.line(START_LIMIT);
    let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in the first line: {line}"));
    let address = |key: &str| {
        said[key].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {key} in {line}"))
    };
    (address("http"), address("dns"))
}
