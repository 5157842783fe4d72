//! Two services that know nothing of Callboard, each with a sidecar, call one another by a port of localhost.
//!
//! `cargo run --bin sidecar_pair` starts the services `ping` and `pong` in this process and a sidecar process for each,
//! makes a call in either direction and ends. Build the sidecar first: `cargo build -p callboard-sidecar`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let ping = service("ping").await?;
    let pong = service("pong").await?;
    let mut beside_ping = Sidecar::start("ping", ping, "pong").await?;
    let mut beside_pong = Sidecar::start("pong", pong, "ping").await?;
    beside_ping.ready().await?;
    beside_pong.ready().await?;

    // What the services themselves would do: plain HTTP to a port of localhost.
    println!("ping calls its sidecar: {}", call(&beside_ping.upstream, "/").await?.1.trim_end());
    println!("pong calls its sidecar: {}", call(&beside_pong.upstream, "/").await?.1.trim_end());

    beside_ping.stop().await?;
    beside_pong.stop().await?;
    println!("both sidecars have signed their services out and ended");
    Ok(())
}

/// A plain service on a free port.
async fn service(name: &'static str) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let app = Router::new().route("/", get(move || async move { format!("this is {name}\n") }));
    tokio::spawn(axum::serve(listener, app).into_future());
    Ok(port)
}

/// A sidecar process beside a service, with one upstream.
struct Sidecar {
    child: Child,
    admin: String,
    upstream: String,
}

impl Sidecar {
    async fn start(service: &str, port: u16, upstream: &str) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("callboard-sidecar");
        let mut child = Command::new(program)
            .args(["--service", service, "--port", &port.to_string(), "--address", "127.0.0.1", "--check-tcp"])
            .args(["--upstream", &format!("{upstream}=127.0.0.1:0"), "--settle", "0s"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{error}: is the sidecar built?"))?;
        // Its first line says where it listens.
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.ok_or("the sidecar ended")?;
        let said: Value = serde_json::from_str(&line)?;
        let address = |value: &Value| value.as_str().map(str::to_owned).ok_or("no address in the sidecar's line");
        Ok(Self { admin: address(&said["admin"])?, upstream: address(&said["upstreams"][upstream])?, child })
    }

    /// Waits until the service is signed in and the upstream has somebody to call.
    async fn ready(&self) -> Result<()> {
        for _ in 0..200 {
            if call(&self.admin, "/ready").await?.0 == StatusCode::OK {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("a sidecar is not ready after ten seconds".into())
    }

    /// Asks it to leave in good order.
    async fn stop(&mut self) -> Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let ended = self.child.wait().await?;
        if ended.success() { Ok(()) } else { Err(format!("a sidecar ended with {ended}").into()) }
    }
}

async fn call(address: &str, path: &str) -> Result<(StatusCode, String)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(Request::get(path).header("host", address).body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?))
}
