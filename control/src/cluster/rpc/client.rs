//! Calls to other control nodes: HTTP/1.1 on kept connections, each with a deadline.
//!
//! Connections are kept by address and lane, so that signs of life never wait behind entries. A request that was not
//! sent because a kept connection had been closed is sent once more on a new one; nothing else is repeated here: the
//! caller knows what may happen twice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use callboard_consensus::transport::BoxFuture;
use callboard_consensus::{CheckpointReader, Peer, Rpc, Transport, Unreachable};
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::debug;

use super::secure::{RpcTls, opened};

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// The longest answer, in bytes.
const ANSWER_MAX: usize = 64 << 20;
/// How many connections are kept per address and lane.
const IDLE_MAX: usize = 8;
/// How long a checkpoint may make no progress.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Connections that lie unused, by what they are for.
type Idle = HashMap<(SocketAddr, Lane), Vec<SendRequest<Body>>>;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::cluster) enum Lane {
    /// A message of the log.
    Log(Rpc),
    /// Everything else.
    Work,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cluster) enum CallError {
    /// It never left.
    #[error("{to} cannot be reached: {reason}")]
    NotSent { to: SocketAddr, reason: String },
    /// It may have arrived.
    #[error("{to} did not answer: {reason}")]
    NoAnswer { to: SocketAddr, reason: String },
}

/// Where members of the log are reached, as gossip says; newer than what the log remembers.
#[derive(Clone, Default)]
pub(in crate::cluster) struct Addresses {
    by_id: Arc<RwLock<HashMap<u64, SocketAddr>>>,
}

impl Addresses {
    /// Replaces all.
    pub(in crate::cluster) fn set(&self, addresses: HashMap<u64, SocketAddr>) {
        *self.by_id.write() = addresses;
    }

    /// Where a member is reached.
    pub(in crate::cluster) fn of(&self, peer: &Peer) -> Option<SocketAddr> {
        let known = self.by_id.read().get(&peer.id).copied();
        known.or_else(|| peer.address.parse().ok())
    }
}

/// The caller; clones share connections.
#[derive(Clone)]
pub(in crate::cluster) struct Caller {
    pub(in crate::cluster) addresses: Addresses,
    idle: Arc<Mutex<Idle>>,
    tls: Option<RpcTls>,
}

impl Caller {
    pub(in crate::cluster) fn new(addresses: Addresses, tls: Option<RpcTls>) -> Caller {
        Caller { addresses, idle: Arc::default(), tls }
    }

    /// Asks a node and returns the body of a successful answer.
    pub(in crate::cluster) async fn call(
        &self,
        to: SocketAddr,
        lane: Lane,
        path: &str,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let body = Bytes::from(body);
        let deadline = Instant::now() + within;
        let reused = self.idle.lock().get_mut(&(to, lane)).and_then(Vec::pop);
        if let Some(connection) = reused {
            match self.send(connection, to, lane, path, full(body.clone()), deadline).await {
                // The other end had closed it: nothing was sent.
                Err(CallError::NotSent { .. }) => {}
                result => return result,
            }
        }
        let connection = self.connect(to, deadline).await?;
        self.send(connection, to, lane, path, full(body), deadline).await
    }

    async fn send(
        &self,
        mut connection: SendRequest<Body>,
        to: SocketAddr,
        lane: Lane,
        path: &str,
        body: Body,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let no_answer = |reason: String| CallError::NoAnswer { to, reason };
        let request = request(to, path, body).map_err(|error| CallError::NotSent { to, reason: error.to_string() })?;
        let answered = async {
            let response = connection.try_send_request(request).await.map_err(|mut error| {
                let reason = error.error().to_string();
                match error.take_message() {
                    Some(_) => CallError::NotSent { to, reason },
                    None => no_answer(reason),
                }
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| no_answer(error.to_string()))?.to_bytes();
            Ok((status, body))
        };
        let (status, body) = match tokio::time::timeout_at(deadline, answered).await {
            Ok(answer) => answer?,
            Err(_) => return Err(no_answer("its time is over".to_owned())),
        };
        if connection.ready().await.is_ok() {
            let mut idle = self.idle.lock();
            let kept = idle.entry((to, lane)).or_default();
            if kept.len() < IDLE_MAX {
                kept.push(connection);
            }
        }
        match status {
            StatusCode::OK => Ok(body),
            status => Err(no_answer(format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(512)])))),
        }
    }

    async fn connect(&self, to: SocketAddr, deadline: Instant) -> Result<SendRequest<Body>, CallError> {
        let not_sent = |reason: String| CallError::NotSent { to, reason };
        let deadline = deadline.min(Instant::now() + CONNECT_MAX);
        let opening = async {
            let stream = TcpStream::connect(to).await.map_err(|error| not_sent(error.to_string()))?;
            stream.set_nodelay(true).map_err(|error| not_sent(error.to_string()))?;
            let stream = opened(self.tls.as_ref(), stream).await.map_err(|error| not_sent(error.to_string()))?;
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| not_sent(error.to_string()))
        };
        let (sender, connection) = match tokio::time::timeout_at(deadline, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(not_sent("no connection in time".to_owned())),
        };
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error = &error as &dyn std::error::Error, %to, "a connection to another node ended");
            }
        });
        Ok(sender)
    }

    /// Forgets connections to addresses that are nobody's any more.
    pub(in crate::cluster) fn keep_only(&self, addresses: &[SocketAddr]) {
        self.idle.lock().retain(|(address, _), _| addresses.contains(address));
    }

    async fn stream(&self, to: SocketAddr, head: Vec<u8>, body: CheckpointReader) -> Result<Bytes, CallError> {
        let connection = self.connect(to, Instant::now() + CONNECT_MAX).await?;
        let pieces = Arc::new(AtomicU64::new(0));
        let mut first = Vec::with_capacity(12 + head.len());
        first.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
        first.extend_from_slice(&head);
        first.extend_from_slice(&body.total().to_be_bytes());
        let counted = pieces.clone();
        let rest = futures_util::stream::try_unfold((Some(Bytes::from(first)), body), move |(first, mut body)| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                let piece = match first {
                    Some(first) => Some(first),
                    None => body.next().await?,
                };
                Ok(piece.map(|piece| (Frame::data(piece), (None, body))))
            }
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(rest));
        // The time runs anew with every piece that is taken, and once more for the answer.
        let far = Instant::now() + Duration::from_secs(24 * 3600);
        let sent = self.send(connection, to, Lane::Work, "/internal/checkpoint", body, far);
        let mut sent = std::pin::pin!(sent);
        let mut seen = 0;
        loop {
            match tokio::time::timeout(STALL_MAX, sent.as_mut()).await {
                Ok(result) => return result,
                Err(_) => {
                    let now = pieces.load(Ordering::Relaxed);
                    if now == seen {
                        return Err(CallError::NoAnswer { to, reason: format!("no progress for {STALL_MAX:?}") });
                    }
                    seen = now;
                }
            }
        }
    }
}

fn full(body: Bytes) -> Body {
    BodyExt::boxed_unsync(Full::new(body).map_err(|never| match never {}))
}

fn request(to: SocketAddr, path: &str, body: Body) -> http::Result<Request<Body>> {
    Request::builder().method(Method::POST).uri(path).header(http::header::HOST, to.to_string()).body(body)
}

impl Transport for Caller {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unreachable>> {
        Box::pin(async move {
            let address = self.addresses.of(to).ok_or_else(|| nowhere(to))?;
            let path = format!("/internal/raft/{}", rpc.name());
            let answer = self.call(address, Lane::Log(rpc), &path, body, within).await;
            answer.map(|body| body.to_vec()).map_err(|error| Unreachable(error.to_string()))
        })
    }

    fn send_checkpoint<'a>(
        &'a self,
        to: &'a Peer,
        head: Vec<u8>,
        body: CheckpointReader,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unreachable>> {
        Box::pin(async move {
            let address = self.addresses.of(to).ok_or_else(|| nowhere(to))?;
            let answer = self.stream(address, head, body).await;
            answer.map(|body| body.to_vec()).map_err(|error| Unreachable(error.to_string()))
        })
    }
}

fn nowhere(peer: &Peer) -> Unreachable {
    Unreachable(format!("{:?} is no address of node {:016x}", peer.address, peer.id))
}
