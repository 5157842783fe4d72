//! A control node as a process of its own: started, waited for, killed and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::client::Connection;

/// How long a start may take before it counts as failed.
const START_MAX: Duration = Duration::from_secs(30);

/// A folder on the disk of the build, not in memory: writes are to be durable.
pub(crate) fn folder() -> Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A running node; it is killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) http: SocketAddr,
    pub(crate) dns: SocketAddr,
    config: PathBuf,
    dir: TempDir,
}

impl Node {
    /// Starts a node with an empty durable store, which takes as many connections as the load makes.
    pub(crate) async fn start() -> Result<Node> {
        let dir = folder()?;
        let config = dir.path().join("config.json");
        let (http, dns) = (free_port()?, free_port()?);
        let settings = format!(
            r#"{{"data_dir": {:?}, "node_name": "bench", "server": true, "bootstrap": true,
                "ports": {{"http": {http}, "dns": {dns}, "server": 0, "serf_lan": 0}},
                "limits": {{"http_max_conns_per_client": 100000}}, "bind_addr": "127.0.0.1", "log_level": "warn"}}"#,
            dir.path().join("data")
        );
        std::fs::write(&config, settings)?;
        let child = run(&config)?;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut node = Node { child, http: at(http), dns: at(dns), config, dir };
        node.wait_until_serving().await?;
        Ok(node)
    }

    /// Waits until a default read is answered, and returns how long that took.
    pub(crate) async fn wait_until_serving(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(self.http).await
                && let Ok(reply) = connection.get("/v1/kv/?keys&separator=/").await
                && matches!(reply.status, 200 | 404)
            {
                return Ok(begun.elapsed());
            }
            ensure!(self.child.try_wait()?.is_none(), "the node ended instead of serving");
            ensure!(begun.elapsed() < START_MAX, "the node does not serve");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Kills the process as a power cut would, as far as a process can.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts the process again on what is in its folder; it may not serve yet when this returns.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = run(&self.config)?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Registers instances of a service, each with a passing check, spread over nodes of ten.
    pub(crate) async fn register(&self, service: &str, instances: usize) -> Result<()> {
        let mut connection = Connection::open(self.http).await?;
        for instance in 0..instances {
            connection.register(service, instance, "passing").await?;
        }
        Ok(())
    }
}

fn run(config: &Path) -> Result<Child> {
    Command::new(env!("CARGO_BIN_EXE_callboard"))
        .args(["agent", "-config-file"])
        .arg(config)
        .stdout(Stdio::null())
        .spawn()
        .context("starting the control node")
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.kill();
    }
}
