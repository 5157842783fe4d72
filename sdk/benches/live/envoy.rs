//! Envoy as a proxy before the same servers, by its least_request.

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

/// A running Envoy; ended when dropped.
pub(crate) struct Envoy {
    child: Child,
    pub(crate) port: u16,
    // Holds the configuration file.
    _folder: tempfile::TempDir,
}

impl Envoy {
    pub(crate) fn start(program: &Path, servers: impl Iterator<Item = u16>) -> Result<Self, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("envoy.json");
        std::fs::write(&path, config(port, servers).to_string())?;
        let child = Command::new(program)
            .arg("--config-path")
            .arg(&path)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "off"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, port, _folder: folder })
    }

    /// Waits until it listens.
    pub(crate) async fn ready(&self) -> Result<(), Box<dyn Error>> {
        for _ in 0..300 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("Envoy does not listen".into())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(port: u16, servers: impl Iterator<Item = u16>) -> Value {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoints: Vec<Value> = servers.map(|port| json!({"endpoint": {"address": address(port)}})).collect();
    let many = json!({"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [{"name": "web", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "60s"}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager});
    json!({"static_resources": {
        "listeners": [{"address": address(port), "filter_chains": [{"filters": [filter]}]}],
        "clusters": [{"name": "web", "type": "STATIC", "connect_timeout": "2s", "lb_policy": "LEAST_REQUEST",
            "circuit_breakers": {"thresholds": [many]},
            "load_assignment": {"cluster_name": "web", "endpoints": [{"lb_endpoints": endpoints}]}}],
    }})
}
