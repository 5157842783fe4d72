//! The processes of a round: a control node on disk, a sidecar and instances; started, hurt and ended here.
//!
//! Everything they write lies in one temporary folder, which goes with the stage.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use callboard::Client;
use callboard_tests::network::Network;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::{binaries, wait};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Error, instance};

/// The service that is called.
pub(crate) const SERVICE: &str = "well";
/// Instances of it.
pub(crate) const INSTANCES: usize = 5;
/// How long a beat of an instance lasts.
pub(crate) const TTL: Duration = Duration::from_secs(6);
/// The longest time between two beats: a third of the TTL and a tenth of that.
pub(crate) const BEAT_MAX: Duration = Duration::from_millis(2200);
/// How long callers give one try. Nobody can tell a server that is stopped from one that is slow, but by time.
pub(crate) const TRY_MAX: Duration = Duration::from_secs(2);
/// How long an instance that leaves serves on while callers are told.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// How long anything may take before the round is given up.
const LIMIT: Duration = Duration::from_secs(60);
/// The port of the control node where the network is its own.
const PORT: &str = "8500";

/// What runs.
pub(crate) struct Stage {
    folder: TempDir,
    network: Option<Network>,
    node: Option<Node>,
    control: String,
    sidecar: Process,
    /// The `host:port` at which the sidecar leads to the service.
    pub(crate) upstream: String,
    instances: Vec<Instance>,
    /// The SDK of the callers.
    pub(crate) client: Client,
}

struct Instance {
    id: String,
    port: u16,
    process: Process,
}

impl Stage {
    /// Starts everything; returns when every instance is passing and both ways to the service are open.
    pub(crate) async fn open(network: Option<Network>) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("callboard-chaos-").tempdir()?;
        let node = start_node(network.as_ref(), &folder.path().join("data"), "0")?;
        let control = node.http.address.to_string();
        let instances = (1..=INSTANCES).map(|n| start_instance(&format!("well-{n}"), &control)).collect();
        let mut command = Command::new(binaries::sidecar());
        command.args(["--control", &format!("http://{control}"), "--upstream", &format!("{SERVICE}=127.0.0.1:0")]);
        command.args(["--admin", "127.0.0.1:0", "--try-timeout", &format!("{}ms", TRY_MAX.as_millis())]);
        let sidecar = Process::start(&mut command);
        let said: Value = serde_json::from_str(&sidecar.line(LIMIT))?;
        let upstream = said["upstreams"][SERVICE].as_str().ok_or("the sidecar names its port")?.to_owned();
        let client = Client::builder().server(&control).cache_dir(folder.path().join("cache")).build()?;
        client.watch(SERVICE)?.ready(INSTANCES, LIMIT).await?;
        let stage = Self { folder, network, node: Some(node), control, sidecar, upstream, instances, client };
        stage.until_back();
        // What the index is set back to, later on.
        stage.keep_early_copy()?;
        Ok(stage)
    }

    /// Says whether the network can be cut.
    pub(crate) fn has_network(&self) -> bool {
        self.network.is_some()
    }

    /// Waits until the control node lists every instance as passing; returns how long that took.
    pub(crate) fn until_back(&self) -> Duration {
        let begun = Instant::now();
        wait::until_true("every registration", LIMIT, || {
            let Some(node) = &self.node else { return false };
            let Ok(reply) = node.http.request("GET", &format!("/v1/health/service/{SERVICE}?passing"), b"") else {
                return false;
            };
            let rows: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let port = |row: &Value| row["Service"]["Port"].as_u64();
            let ports: Vec<u64> = rows.as_array().into_iter().flatten().filter_map(port).collect();
            ports.len() == self.instances.len() && self.instances.iter().all(|i| ports.contains(&i.port.into()))
        });
        begun.elapsed()
    }

    /// Kills an instance with SIGKILL.
    pub(crate) fn kill_instance(&mut self, which: usize) {
        self.instances[which].process.kill();
    }

    /// Starts an instance again, under its id, on another port.
    pub(crate) fn start_instance(&mut self, which: usize) {
        self.instances[which] = start_instance(&self.instances[which].id, &self.control);
    }

    /// Lets an instance leave in good order, and starts it again.
    pub(crate) fn restart_instance(&mut self, which: usize) -> Result<(), Error> {
        let instance = &mut self.instances[which];
        instance.process.terminate();
        let status = instance.process.wait(LIMIT);
        if !status.success() {
            return Err(format!("{} left with {status}", instance.id).into());
        }
        self.start_instance(which);
        Ok(())
    }

    /// Sends a signal to an instance.
    pub(crate) fn signal_instance(&self, which: usize, signal: Signal) {
        self.instances[which].process.signal(signal);
    }

    /// Tells an instance to take so many milliseconds for each answer.
    pub(crate) fn slow_instance(&self, which: usize, millis: u64) -> Result<(), Error> {
        let address = format!("127.0.0.1:{}", self.instances[which].port).parse()?;
        let reply = callboard_tests::http::Http::new(address).request("PUT", &format!("/slow/{millis}"), b"")?;
        (reply.status == 200).then_some(()).ok_or_else(|| format!("/slow was answered {}", reply.status).into())
    }

    /// Kills the control node with SIGKILL.
    pub(crate) fn kill_control(&mut self) {
        if let Some(node) = &mut self.node {
            node.process.kill();
        }
        self.node = None;
    }

    /// Starts the control node again where it was.
    pub(crate) fn start_control(&mut self) -> Result<(), Error> {
        let port = self.control.rsplit(':').next().unwrap_or(PORT).to_owned();
        self.node = Some(start_node(self.network.as_ref(), &self.data(), &port)?);
        Ok(())
    }

    /// Throws away everything the control node keeps; it must not run.
    pub(crate) fn lose_data(&self) -> Result<(), Error> {
        Ok(std::fs::remove_dir_all(self.data())?)
    }

    /// Puts the early copy of what the control node keeps in place of it, so that its index goes back; it must not run.
    pub(crate) fn set_back_data(&self) -> Result<(), Error> {
        self.lose_data()?;
        copy(&self.early(), &self.data())
    }

    /// Pulls the cable of the control node, or plugs it in.
    pub(crate) fn set_network(&self, there: bool) -> Result<(), Error> {
        let Some(network) = &self.network else { return Ok(()) };
        let done = if there { network.plug() } else { network.pull() };
        Ok(done?)
    }

    /// Shows the end of every log.
    pub(crate) fn show_logs(&self) {
        let instances = self.instances.iter().map(|instance| (instance.id.as_str(), &instance.process));
        let node = self.node.iter().map(|node| ("control", &node.process));
        for (name, process) in instances.chain(node).chain([("sidecar", &self.sidecar)]) {
            let log = process.stderr();
            let from = log.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
            println!("--- {name}\n{}", log[from..].trim_end());
        }
    }

    /// Ends everything.
    pub(crate) async fn close(self) {
        self.client.shutdown().await;
        for mut instance in self.instances {
            instance.process.kill();
        }
    }

    fn keep_early_copy(&self) -> Result<(), Error> {
        copy(&self.data(), &self.early())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn early(&self) -> PathBuf {
        self.folder.path().join("early")
    }
}

fn start_node(network: Option<&Network>, data: &Path, port: &str) -> Result<Node, Error> {
    let (mut command, client, port) = match network {
        Some(network) => (network.inside(&binaries::control()), network.far.as_str(), PORT),
        None => (Command::new(binaries::control()), "127.0.0.1", port),
    };
    command.args(["agent", "-server", "-bootstrap", "-node", "n1", "-bind", "127.0.0.1", "-client", client]);
    command.args(["-server-port", "0", "-serf-lan-port", "0"]);
    command.args(["-dns-port", "-1", "-http-port", port, "-data-dir"]).arg(data);
    Ok(Node::from_command(&mut command, Some(data)))
}

fn start_instance(id: &str, control: &str) -> Instance {
    let own = std::env::current_exe().expect("a process knows its program");
    let mut command = Command::new(own);
    command.env(instance::ID_VARIABLE, id).env("CALLBOARD_HTTP_ADDR", control);
    let process = Process::start(&mut command);
    let line = process.line(LIMIT);
    let port = line.parse().unwrap_or_else(|error| panic!("{error} in the first line of {id}: {line}"));
    Instance { id: id.to_owned(), port, process }
}

/// Copies a folder. Of a running node: its store recovers from a copy as it does from a power cut.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
