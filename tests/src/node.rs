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

/// The token that may do everything on a node with access control; others ignore it.
pub const MANAGEMENT: &str = "root";

/// The flag that a caller may give instead of any free port.
const HTTP_PORT: &str = "-http-port";

/// A running control node.
#[derive(Debug)]
pub struct Node {
    /// The process.
    pub process: Process,
    /// Its HTTP API.
    pub http: Http,
    https: Option<SocketAddr>,
    dns: Option<Dns>,
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

    /// Starts a node named `n1` on a data folder, with access control: `acl` is that part of its settings, to which
    /// [`MANAGEMENT`] is added.
    ///
    /// # Panics
    /// When the settings cannot be written.
    #[must_use]
    pub fn guarded(data_dir: &Path, mut acl: Value) -> Self {
        acl["enabled"] = true.into();
        acl["tokens"]["initial_management"] = MANAGEMENT.into();
        std::fs::create_dir_all(data_dir.join("data")).expect("a folder can be made");
        let file = data_dir.join("acl.json");
        std::fs::write(&file, serde_json::json!({"acl": acl}).to_string()).expect("the settings can be written");
        let file = file.to_str().expect("a temporary folder has a name of text").to_owned();
        Self::durable_with(&data_dir.join("data"), &["-config-file", &file])
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
        command.args(["-node", "n1", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-dns-port", "0"]);
        command.args(["-server-port", "0", "-serf-lan-port", "0"]);
        if flags.iter().all(|flag| flag != HTTP_PORT) {
            command.args([HTTP_PORT, "0"]);
        }
        command.args(flags);
        command
    }

    /// Its DNS server.
    ///
    /// # Panics
    /// When it was started without one.
    #[must_use]
    pub fn dns(&self) -> Dns {
        self.dns.expect("this node serves DNS")
    }

    /// The port of its HTTPS.
    ///
    /// # Panics
    /// When it was started without.
    #[must_use]
    pub fn https_port(&self) -> u16 {
        self.https.expect("this node serves HTTPS").port()
    }

    /// The figure of a metric without labels, `None` while it is not shown.
    ///
    /// # Panics
    /// When the metrics are not answered.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let shown =
            self.http.request_as(Some(MANAGEMENT), "GET", "/metrics", b"").expect("metrics are answered").ok().text();
        shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Waits until at least so many readers wait for a change. A reader of several topics counts several times.
    ///
    /// # Panics
    /// When they do not come to.
    pub fn until_waiters(&self, count: u32) {
        wait::until_true(&format!("{count} waiting readers"), Duration::from_secs(10), || {
            self.metric("callboard_watch_waiters") >= Some(f64::from(count))
        });
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

    /// The same on the same HTTP port, for clients that shall find it again.
    ///
    /// # Panics
    /// When the new one does not serve.
    #[must_use]
    pub fn killed_and_started_in_place(mut self) -> Self {
        self.process.kill();
        let mut flags = self.flags.clone();
        if flags.iter().all(|flag| flag != HTTP_PORT) {
            flags.extend([HTTP_PORT.to_owned(), self.http.address.port().to_string()]);
        }
        Self::start(self.data_dir.clone(), flags)
    }

    fn start(data_dir: Option<PathBuf>, flags: Vec<String>) -> Self {
        Self::serving(Process::start(&mut Self::command(data_dir.as_deref(), &flags)), data_dir, flags)
    }

    /// Starts a node by a command of the caller's own, which must run a node named `n1` on `data_dir`.
    #[must_use]
    pub fn from_command(command: &mut Command, data_dir: Option<&Path>) -> Self {
        Self::serving(Process::start(command), data_dir.map(Path::to_path_buf), Vec::new())
    }

    /// Waits until it has a leader and its own row: from here on reads and writes are answered, and the catalog has its
    /// first content.
    fn serving(process: Process, data_dir: Option<PathBuf>, flags: Vec<String>) -> Self {
        let Addresses { http, https, dns } = addresses(&process);
        let http = Http::new(http);
        wait::until_true("a leader", START_LIMIT, || {
            http.request("GET", "/v1/status/leader", b"").is_ok_and(|reply| reply.status == 200 && reply.body.len() > 2)
        });
        wait::until_true("the node's own row", START_LIMIT, || {
            // Nobody else knows the management token, and a node without one answers whoever gives none.
            [Some(MANAGEMENT), None].into_iter().any(|token| {
                let reply = http.request_as(token, "GET", "/v1/health/node/n1", b"");
                reply.is_ok_and(|reply| reply.text().contains("serfHealth"))
            })
        });
        Self { process, http, https, dns: dns.map(Dns::new), data_dir, flags }
    }
}

/// Where a node serves.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// HTTPS, where that is turned on.
    pub https: Option<SocketAddr>,
    /// DNS, unless that is turned off.
    pub dns: Option<SocketAddr>,
}

/// Reads the line that a node says once it serves.
///
/// # Panics
/// When the line does not come or names no HTTP address.
#[must_use]
pub fn addresses(process: &Process) -> Addresses {
    let line = process.line(START_LIMIT);
    let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in the first line: {line}"));
    let address = |key: &str| said[key].as_str().and_then(|text| text.parse().ok());
    let http = address("http").unwrap_or_else(|| panic!("no HTTP address in {line}"));
    Addresses { http, https: address("https"), dns: address("dns") }
}
