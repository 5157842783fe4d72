//! The sockets: accepts connections, bounds them, and lets them finish when the node stops.
//!
//! A connection that begins with HTTP/2's preface (RFC 9113, section 3.4) speaks it from the first byte, so that one
//! client's waiting reads share one connection; every other one speaks HTTP/1.1. Inside TLS the two agree on it in the
//! handshake (ALPN, RFC 7301).

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Api;
use super::dispatch::handle;
use super::reply::Response;
use crate::tls::Tls;

/// How long a client may take to send its headers. The time runs between two requests as well, so it is longer than
/// client pools keep an idle connection (90 s in Go, 20 s in the SDK).
const HEADER_MAX: Duration = Duration::from_secs(120);
/// How long a client may take to agree on TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long connections may finish what they began when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What an HTTP/2 connection begins with; no method of HTTP/1 does.
const PREFACE_START: &[u8; 4] = b"PRI ";
/// How soon a connection is looked at again that sent less than that.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);
/// The most requests at a time on one HTTP/2 connection, waiting reads included; further ones are told to wait.
const STREAMS_MAX: u32 = 1024;
/// The largest header list that an HTTP/2 request may have, in bytes.
const HEADER_LIST_MAX: u32 = 16 * 1024;
/// How much of a body a client may send ahead: on one stream, and on all of a connection together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of an answer is held for one stream that does not take it.
const SEND_BUFFER_MAX: usize = 256 * 1024;
/// When an idle HTTP/2 connection is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Under which address those who come over Unix sockets are counted, all together.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Where HTTP comes in.
#[derive(Debug)]
pub enum Door {
    /// A TCP port.
    Tcp(TcpListener),
    /// A TCP port where every connection speaks TLS.
    Tls(TcpListener, Arc<Tls>),
    /// A Unix socket, which speaks HTTP/1.1 only.
    Unix(UnixListener),
}

/// What a connection is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    None,
    Tls,
}

impl Wrap {
    /// Adds what answers over TLS carry: they are for browsers too, which must not guess what a body is.
    fn mark(self, response: &mut Response) {
        if self == Wrap::Tls {
            let name = http::header::X_CONTENT_TYPE_OPTIONS;
            response.headers_mut().insert(name, http::HeaderValue::from_static("nosniff"));
        }
    }
}

/// A connection that was accepted.
enum Arrived {
    Tcp(TcpStream),
    Tls(TcpStream, TlsAcceptor),
    Unix(UnixStream),
}

impl Door {
    async fn accept(&self) -> io::Result<(Arrived, IpAddr)> {
        match self {
            Door::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (Arrived::Tcp(stream), peer.ip())),
            Door::Tls(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                // Taken anew for each connection: certificates are exchanged while the node runs.
                Ok((Arrived::Tls(stream, TlsAcceptor::from(tls.server_config())), peer.ip()))
            }
            Door::Unix(listener) => listener.accept().await.map(|(stream, _)| (Arrived::Unix(stream), LOCAL)),
        }
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
pub async fn serve(api: Arc<Api>, doors: Vec<Door>, stop: CancellationToken) {
    let clients = Clients::default();
    let connections = TaskTracker::new();
    let loops = doors.iter().map(|door| accept(&api, door, &clients, &connections, &stop));
    futures_util::future::join_all(loops).await;
    // Nobody comes in any more, while those who are in finish.
    drop(doors);
    connections.close();
    if tokio::time::timeout(DRAIN_MAX, connections.wait()).await.is_err() {
        warn!(left = connections.len(), "connections were cut off at the end of the drain");
    }
}

async fn accept(api: &Arc<Api>, door: &Door, clients: &Clients, connections: &TaskTracker, stop: &CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (arrived, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: wait for some to come back instead of spinning.
                warn!(error = &error as &dyn std::error::Error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let most = api.rules.load().connections_per_client;
        match (clients.enter(peer, most), arrived) {
            (Some(place), Arrived::Tcp(stream)) => {
                connections.spawn(over_tcp(api.clone(), stream, place, stop.clone()));
            }
            (Some(place), Arrived::Tls(stream, acceptor)) => {
                connections.spawn(over_tls(api.clone(), acceptor, stream, place, stop.clone()));
            }
            // To whom TLS was promised, a plain answer would only be noise.
            (None, Arrived::Tls(..)) => {}
            (Some(place), Arrived::Unix(stream)) => {
                connections.spawn(over_unix(api.clone(), stream, place, stop.clone()));
            }
            (None, Arrived::Tcp(stream)) => {
                connections.spawn(refuse(stream, most));
            }
            (None, Arrived::Unix(stream)) => {
                connections.spawn(refuse(stream, most));
            }
        }
    }
}

async fn over_tcp(api: Arc<Api>, stream: TcpStream, place: Place, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = &error as &dyn std::error::Error, "setting TCP_NODELAY failed");
    }
    let _open = api.telemetry.connection();
    let begins = tokio::select! {
        begins = tokio::time::timeout(HEADER_MAX, begins_with_preface(&stream)) => begins,
        () = stop.cancelled() => return,
    };
    let result = match begins {
        // Nothing came: closed without a word, as any connection that stays idle.
        Err(_) => return,
        Ok(Err(error)) => {
            debug!(error = &error as &dyn std::error::Error, "connection ended");
            return;
        }
        // Boxed: a waiting HTTP/1 connection must not carry the larger state of an HTTP/2 one.
        Ok(Ok(true)) => Box::pin(multiplexed(&api, stream, Wrap::None, Some(place.address), stop)).await,
        Ok(Ok(false)) => plain(&api, stream, Wrap::None, Some(place.address), stop).await,
    };
    if let Err(error) = result {
        debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
    drop(place);
}

async fn over_tls(api: Arc<Api>, acceptor: TlsAcceptor, stream: TcpStream, place: Place, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = &error as &dyn std::error::Error, "setting TCP_NODELAY failed");
    }
    let _open = api.telemetry.connection();
    let agreed = tokio::select! {
        agreed = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)) => agreed,
        () = stop.cancelled() => return,
    };
    let result = match agreed {
        Err(_) => {
            debug!("a client did not agree on TLS in time");
            return;
        }
        Ok(Err(error)) => {
            debug!(error = &error as &dyn std::error::Error, "a client did not agree on TLS");
            return;
        }
        Ok(Ok(stream)) => match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Box::pin(multiplexed(&api, stream, Wrap::Tls, Some(place.address), stop)).await,
            _ => Box::pin(plain(&api, stream, Wrap::Tls, Some(place.address), stop)).await,
        },
    };
    if let Err(error) = result {
        debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
    drop(place);
}

async fn over_unix(api: Arc<Api>, stream: UnixStream, place: Place, stop: CancellationToken) {
    let _open = api.telemetry.connection();
    if let Err(error) = plain(&api, stream, Wrap::None, None, stop).await {
        debug!(error = &error as &dyn std::error::Error, "connection ended");
    }
    drop(place);
}

/// Looks at the first bytes of a connection without taking them.
async fn begins_with_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PREFACE_START.len()];
    loop {
        let length = stream.peek(&mut start).await?;
        let begins = PREFACE_START.starts_with(&start[..length]);
        if length == PREFACE_START.len() || !begins || length == 0 {
            return Ok(begins && length > 0);
        }
        // Bytes that were looked at leave the socket readable, so there is nothing to wait for but time.
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

/// Serves HTTP/1.1: one request at a time.
async fn plain<S>(api: &Api, stream: S, wrap: Wrap, peer: Option<IpAddr>, stop: CancellationToken) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request| async move {
        let mut response = handle(api, request, peer).await;
        wrap.mark(&mut response);
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .max_buf_size(api.rules.load().header_bytes_max)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Serves HTTP/2: many requests at a time, each its own task.
async fn multiplexed<S>(
    api: &Arc<Api>,
    stream: S,
    wrap: Wrap,
    peer: Option<IpAddr>,
    stop: CancellationToken,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request| {
        let api = api.clone();
        async move {
            let mut response = handle(&api, request, peer).await;
            wrap.mark(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, max: usize) {
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
        return;
    }
    super::linger::refused(stream).await;
}
