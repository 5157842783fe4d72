//! The processes on stage: a control node, a sidecar and instances; started, killed and ended here.
//!
//! Decides what each is told. Everything they write lies in one temporary folder, which goes with the stage.

use std::time::{Duration, Instant};

use callboard::Client;
use callboard::watch::Watch;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::programs::{Program, Programs, log_of};
use crate::{Error, load, screen};

/// The service that is called.
pub(crate) const SERVICE: &str = "hello";
/// The instances there are from the start; the first is the one that is killed.
pub(crate) const FIRST: [&str; 3] = ["hello-a", "hello-b", "hello-c"];
/// The instance that joins.
pub(crate) const NEW: &str = "hello-d";

/// How long everything may take to find one another.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How much of a log is shown when something failed, in bytes.
const LOG_SHOWN: usize = 2_000;

/// What runs.
pub(crate) struct Stage {
    programs: Programs,
    folder: TempDir,
    open: Option<Open>,
    // In the order in which they are started; ended the other way round.
    running: Vec<Program>,
}

/// What callers need to know of an open stage.
#[derive(Clone)]
pub(crate) struct Open {
    /// The `host:port` of the control node.
    pub(crate) control: String,
    /// The `host:port` at which the sidecar leads to the service.
    pub(crate) upstream: String,
    /// The `host:port` of the sidecar's admin port.
    pub(crate) admin: String,
    /// The SDK of the caller in this process.
    pub(crate) client: Client,
    /// What the SDK knows of the service.
    pub(crate) watch: Watch,
}

impl Stage {
    pub(crate) fn new(programs: Programs) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("callboard-demo-").tempdir()?;
        Ok(Self { programs, folder, open: None, running: Vec::new() })
    }

    /// Starts everything; returns when both ways to the service are open.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        let mut command = Command::new(self.programs.control());
        command
            .args(["agent", "-server", "-bootstrap", "-node", "demo", "-bind", "127.0.0.1"])
            .args(["-server-port", "0", "-serf-lan-port", "0", "-http-port", "0", "-dns-port", "0", "-data-dir"])
            .arg(self.folder.path().join("data"));
        let said = self.start("control", command).await?;
        let control = text(&said["http"])?;

        for id in FIRST {
            self.instance(id, &control).await?;
        }

        let mut command = Command::new(self.programs.sidecar());
        command.args(["--control", &format!("http://{control}"), "--upstream", &format!("{SERVICE}=127.0.0.1:0")]);
        command.args(["--admin", "127.0.0.1:0", "--settle", "0s", "--drain", "1s"]);
        let said = self.start("sidecar", command).await?;
        let (admin, upstream) = (text(&said["admin"])?, text(&said["upstreams"][SERVICE])?);

        let client = Client::builder().server(&control).build()?;
        let mut watch = client.watch(SERVICE)?;
        watch.ready(FIRST.len(), READY_LIMIT).await?;
        let ready = async {
            while !load::is_ready(&admin).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(READY_LIMIT, ready).await.map_err(|_| "the sidecar did not get ready")?;
        self.open = Some(Open { control, upstream, admin, client, watch });
        Ok(())
    }

    /// Returns what callers need to know.
    pub(crate) fn ways(&self) -> Result<Open, Error> {
        self.open.clone().ok_or_else(|| "the stage is not open".into())
    }

    /// Starts an instance; returns when it has signed in.
    pub(crate) async fn instance(&mut self, id: &str, control: &str) -> Result<(), Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["instance", id]).env("CALLBOARD_HTTP_ADDR", control);
        self.start(id, command).await.map(drop)
    }

    async fn start(&mut self, name: &str, command: Command) -> Result<Value, Error> {
        let mut program = Program::start(name, command, self.folder.path())?;
        let said = program.said().await;
        // Kept even when it said nothing, so that it is ended with the others.
        self.running.push(program);
        said
    }

    /// Kills a program with SIGKILL; returns when that was.
    pub(crate) async fn kill(&mut self, name: &str) -> Result<Instant, Error> {
        let program = self.running.iter_mut().find(|program| program.name == name);
        program.ok_or("there is no such program")?.kill().await
    }

    /// Says when a program was started and whether it runs.
    pub(crate) fn state(&mut self, name: &str) -> Option<(Instant, bool)> {
        let program = self.running.iter_mut().find(|program| program.name == name)?;
        Some((program.started, program.is_alive()))
    }

    /// Shows the end of every log, after a failure.
    pub(crate) fn show_logs(&self) {
        for program in &self.running {
            let Ok(log) = std::fs::read(log_of(self.folder.path(), &program.name)) else { continue };
            if !log.is_empty() {
                let shown = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned();
                screen::complain(&format!("--- {}\n{}", program.name, shown.trim_end()));
            }
        }
    }

    /// Ends everything, callers first, and removes the folder.
    pub(crate) async fn close(mut self) {
        if let Some(open) = self.open.take() {
            open.client.shutdown().await;
        }
        while let Some(program) = self.running.pop() {
            program.end().await;
        }
    }
}

fn text(value: &Value) -> Result<String, Error> {
    value.as_str().map(str::to_owned).ok_or_else(|| "a program did not say where it listens".into())
}
