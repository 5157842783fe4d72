//! `etcd` beside us: a process of one member, and a client that speaks its own protocol, gRPC over HTTP/2.
//!
//! The client is as bare as ours for HTTP/1.1: two protobuf fields by hand, eight connections as its own
//! benchmark advises, many requests at once on each.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{Request, Uri};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::needs::program;
use crate::node::{folder, free_port};

/// How long a start may take before it counts as failed.
const START_MAX: Duration = Duration::from_secs(30);

/// A running member; it is killed when dropped.
pub(crate) struct Etcd {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Etcd {
    pub(crate) async fn start() -> Result<Etcd> {
        program("etcd", "etcd-server")?;
        let dir = folder()?;
        let (client, peer) = (free_port()?, free_port()?);
        let (client_url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new("etcd")
            .args(["--name", "bench", "--log-level", "error", "--data-dir"])
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("bench={peer_url}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting etcd")?;
        let mut etcd = Etcd { child, address: SocketAddr::from(([127, 0, 0, 1], client)), _dir: dir };
        let begun = Instant::now();
        loop {
            if let Ok(mut channel) = Channel::open(etcd.address).await
                && channel.put(b"ready", b"yes").await.is_ok()
            {
                return Ok(etcd);
            }
            ensure!(etcd.child.try_wait()?.is_none(), "etcd ended instead of serving");
            ensure!(begun.elapsed() < START_MAX, "etcd does not serve");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended already; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub(crate) struct Channel {
    requests: SendRequest<Bytes>,
    uri: Uri,
}

impl Channel {
    pub(crate) async fn open(address: SocketAddr) -> Result<Channel> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) =
            h2::client::Builder::new().initial_connection_window_size(1 << 20).handshake(stream).await?;
        tokio::spawn(async move {
            // Its end shows in the requests that it carries.
            let _ = connection.await;
        });
        Ok(Channel { requests, uri: format!("http://{address}/etcdserverpb.KV/Put").parse()? })
    }

    /// Writes a key and waits until etcd says that it is durable.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let request = Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        self.requests = self.requests.clone().ready().await?;
        let (response, mut body) = self.requests.send_request(request, false)?;
        body.send_data(message(key, value), true)?;
        let mut answer = response.await?.into_body();
        while let Some(piece) = answer.data().await {
            let length = piece?.len();
            answer.flow_control().release_capacity(length)?;
        }
        match answer.trailers().await?.as_ref().and_then(|trailers| trailers.get("grpc-status")) {
            Some(status) if status == "0" => Ok(()),
            status => bail!("etcd answered {status:?}"),
        }
    }
}

/// A gRPC frame with a `PutRequest`: field 1 the key, field 2 the value.
fn message(key: &[u8], value: &[u8]) -> Bytes {
    let mut fields = BytesMut::with_capacity(key.len() + value.len() + 16);
    for (tag, bytes) in [(0x0a, key), (0x12, value)] {
        fields.put_u8(tag);
        let mut length = bytes.len();
        while length >= 0x80 {
            fields.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        fields.put_u8(length as u8);
        fields.put_slice(bytes);
    }
    let mut frame = BytesMut::with_capacity(fields.len() + 5);
    frame.put_u8(0);
    frame.put_u32(fields.len() as u32);
    frame.put_slice(&fields);
    frame.freeze()
}
