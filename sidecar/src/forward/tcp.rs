//! Bytes between two sockets: raw TCP upstreams, `CONNECT` tunnels, upgraded connections.
//!
//! Plain sockets are pumped through one buffer per thread, so that an idle connection costs none;
//! upgraded ones, whose sockets hyper holds, through buffers of their own. A failed connect is tried
//! on another endpoint, since no byte of the client's was spent on it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use callboard::balance::{Ask, NoEndpoint, Picked};
use callboard::endpoint::Outcome;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::answer::Failure;
use crate::conn::{Order, Watch};
use crate::metrics::Counters;
use crate::upstream::Local;

/// Endpoints tried for one connection.
const ATTEMPTS_MAX: usize = 3;
/// Size of a thread's buffer: large enough that bulk transfers are bound by the kernel.
const BUFFER: usize = 64 * 1024;
/// Sizes of the buffers of an upgraded connection.
const UPGRADED_BUFFER: usize = 16 * 1024;

thread_local!(static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice()));

/// Why a raw connection could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody to call.
    #[error(transparent)]
    NoEndpoint(#[from] NoEndpoint),
    /// Everybody tried refused or was silent; each is set aside.
    #[error("connecting to {service} failed: {attempts}")]
    Failed {
        /// The service.
        service: String,
        /// Each endpoint and its reason.
        attempts: String,
    },
}

impl ConnectError {
    /// The kind of failure, for answer and counters.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            ConnectError::NoEndpoint(_) => Failure::NoEndpoint,
            ConnectError::Failed { .. } => Failure::Connect,
        }
    }
}

/// Connects to an endpoint of the service, trying another when one fails.
pub(crate) async fn connect(local: &Local, hash: Option<u64>) -> Result<(TcpStream, Picked), ConnectError> {
    let mut tried = Vec::new();
    let mut attempts = String::new();
    while tried.len() < ATTEMPTS_MAX {
        let ask = hash.map_or_else(Ask::any, Ask::hash).without(&tried);
        let mut picked = match local.upstream.balancer.pick(&ask) {
            Ok(picked) => picked,
            Err(none) if tried.is_empty() => return Err(none.into()),
            Err(_) => break,
        };
        let reason = match tokio::time::timeout(local.upstream.timeouts.connect, dial(picked.endpoint())).await {
            Ok(Ok(socket)) => {
                // The cost of one system call, once per connection; without it small writes wait for acks.
                let _ = socket.set_nodelay(true);
                picked.record(Outcome::Success);
                return Ok((socket, picked));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", local.upstream.timeouts.connect),
        };
        if !attempts.is_empty() {
            attempts.push_str("; ");
        }
        attempts.push_str(&format!("{} ({}): {reason}", picked.endpoint().authority(), picked.endpoint().id()));
        tried.push(picked.key());
        picked.finish(Outcome::ConnectFailed);
    }
    Err(ConnectError::Failed { service: local.upstream.label.clone(), attempts })
}

async fn dial(endpoint: &callboard::endpoint::Endpoint) -> io::Result<TcpStream> {
    match endpoint.socket() {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect(endpoint.authority()).await,
    }
}

/// Serves one raw client connection: connects, then pumps until both sides have ended.
pub(crate) async fn serve(client: TcpStream, local: Arc<Local>, hash: Option<u64>, watch: Arc<Watch>) {
    let counters = local.counters();
    match connect(&local, hash).await {
        Ok((server, _picked)) => {
            counters.tunnels.fetch_add(1, Relaxed);
            pump(client, server, &watch, counters).await;
        }
        Err(error) => {
            counters.failed(error.failure());
            // There is no way to say why; a reset tells at least that it was not the server's end.
            tracing::warn!(
                service = local.upstream.label,
                error = &error as &dyn std::error::Error,
                "raw connection refused"
            );
            let _ = client.set_zero_linger();
        }
    }
}

/// Pumps both ways; each side's end is passed on, and an order to drop ends both.
async fn pump(client: TcpStream, server: TcpStream, watch: &Watch, counters: &Counters) {
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let both = async {
        // An error on either way ends both: half of a broken exchange is of no use to anybody.
        tokio::try_join!(
            one_way(client_read, server_write, watch, &counters.bytes_out),
            one_way(server_read, client_write, watch, &counters.bytes_in),
        )
    };
    if let Some(Err(error)) = unless_dropped(both, watch).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "raw connection broke");
    }
}

async fn one_way(from: OwnedReadHalf, mut to: OwnedWriteHalf, watch: &Watch, bytes: &AtomicU64) -> io::Result<()> {
    loop {
        from.readable().await?;
        let step = SHARED.with_borrow_mut(|buffer| match from.try_read(buffer) {
            Ok(0) => Ok(Step::End),
            Ok(length) => match to.try_write(&buffer[..length]) {
                Ok(written) if written == length => Ok(Step::Moved(length)),
                Ok(written) => Ok(Step::Rest(length, buffer[written..length].to_vec())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Ok(Step::Rest(length, buffer[..length].to_vec()))
                }
                Err(error) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Wait),
            Err(error) => Err(error),
        })?;
        match step {
            Step::End => return to.shutdown().await,
            Step::Wait => continue,
            Step::Moved(length) => {
                bytes.fetch_add(length as u64, Relaxed);
            }
            Step::Rest(length, rest) => {
                to.write_all(&rest).await?;
                bytes.fetch_add(length as u64, Relaxed);
            }
        }
        watch.alive();
        // A flood on one connection must not starve the others of its thread.
        tokio::task::coop::consume_budget().await;
    }
}

/// What one turn of the pump came to.
enum Step {
    End,
    Wait,
    Moved(usize),
    /// So many bytes were read; these of them are still to be written.
    Rest(usize, Vec<u8>),
}

/// Joins an upgraded client connection with a socket or another upgraded connection.
pub(crate) async fn tunnel(
    client: hyper::upgrade::Upgraded,
    server: impl AsyncRead + AsyncWrite + Unpin,
    watch: &Watch,
    counters: &Counters,
) {
    let mut client = TokioIo::new(client);
    let mut server = Counted { inner: server, watch, counters };
    let both = async {
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, UPGRADED_BUFFER, UPGRADED_BUFFER).await
    };
    if let Some(Err(error)) = unless_dropped(both, watch).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "tunnel broke");
    }
}

/// Runs until done or until the connection is told to drop.
async fn unless_dropped<T>(work: impl Future<Output = T>, watch: &Watch) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        watch.register(cx.waker());
        if watch.order() == Order::Drop {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Counts what passes the server's side of a tunnel.
struct Counted<'a, T> {
    inner: T,
    watch: &'a Watch,
    counters: &'a Counters,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<'_, T> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = std::pin::Pin::new(&mut self.inner).poll_read(cx, buf);
        let length = buf.filled().len() - before;
        if length > 0 {
            self.watch.alive();
            self.counters.bytes_in.fetch_add(length as u64, Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<'_, T> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = std::pin::Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(length)) = &written {
            self.watch.alive();
            self.counters.bytes_out.fetch_add(*length as u64, Relaxed);
        }
        written
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
