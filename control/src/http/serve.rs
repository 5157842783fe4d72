//! The sockets: accepts connections, bounds them, and lets them finish when the node stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Api;
use super::dispatch::handle;

/// How long a client may take to send its headers. The time runs between two requests as well, so it is longer than
/// client pools keep an idle connection (90 s in Go, 20 s in the SDK).
const HEADER_MAX: Duration = Duration::from_secs(120);
/// How long connections may finish what they began when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Bounds of the HTTP interface.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// The most connections from one address; further ones are told so and closed.
    pub connections_per_client: usize,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits { connections_per_client: 200 }
    }
}

/// Connections by address.
#[derive(Clone, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Place {
    clients: Clients,
    address: IpAddr,
}

impl Clients {
    fn enter(&self, address: IpAddr, max: usize) -> Option<Place> {
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { clients: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.clients.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Serves until told to stop, then lets open requests finish for a bounded time.
pub async fn serve(api: Arc<Api>, listener: TcpListener, stop: CancellationToken) {
    let clients = Clients::default();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to come back instead of spinning.
                warn!(error = &error as &dyn std::error::Error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        match clients.enter(peer.ip(), api.limits.connections_per_client) {
            Some(place) => {
                connections.spawn(connection(api.clone(), stream, place, stop.clone()));
            }
            None => {
                connections.spawn(refuse(stream, api.limits.connections_per_client));
            }
        }
    }
    connections.close();
    if tokio::time::timeout(DRAIN_MAX, connections.wait()).await.is_err() {
        warn!(left = connections.len(), "connections were cut off at the end of the drain");
    }
}

async fn connection(api: Arc<Api>, stream: TcpStream, place: Place, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = &error as &dyn std::error::Error, "setting TCP_NODELAY failed");
    }
    let _open = api.telemetry.connection();
    let service = service_fn(|request| async { Ok::<_, Infallible>(handle(&api, request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
    drop(place);
}

async fn refuse(mut stream: TcpStream, max: usize) {
    let text = format!(
        "Your IP is issuing too many concurrent connections, please rate limit your calls (limits.http_max_conns_per_client = {max})\n"
    );
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let answered: io::Result<()> = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
    .await;
    if let Err(error) = answered {
        debug!(error = &error as &dyn std::error::Error, "refusing a connection failed");
    }
}
