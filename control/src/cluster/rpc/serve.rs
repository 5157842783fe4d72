//! What other control nodes ask: the sockets, and from a path to who answers.
//!
//! Bounded: bodies, connections, and the time that a body may pause. A message that cannot be understood is answered
//! with what is wrong with it; nothing that arrives stops the node.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use callboard_consensus::{Raft, Rpc};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::secure::{RpcTls, accepted};
use super::wire::{Refused, Written, decode, encode};
use crate::cluster::Cluster;

/// The longest body of any message but a checkpoint, in bytes.
const BODY_MAX: usize = 64 << 20;
/// The longest head of a checkpoint, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// The most connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 4096;
/// How long a body may pause.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a connection may lie unused.
const IDLE_MAX: Duration = Duration::from_secs(120);

type Answer = Result<Vec<u8>, (StatusCode, String)>;

/// Serves until told to stop.
pub(in crate::cluster) async fn serve(
    cluster: Cluster,
    listener: TcpListener,
    tls: Option<RpcTls>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let (cluster, tls, stop) = (cluster.clone(), tls.clone(), stop.clone());
                tokio::spawn(async move {
                    let served = tokio::select! {
                        served = connection(cluster, tls.as_ref(), stream) => served,
                        () = stop.cancelled() => Ok(()),
                    };
                    if let Err(error) = served {
                        debug!(error = &*error as &dyn std::error::Error, %from, "a connection of another node ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "accepting another node's connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn connection(cluster: Cluster, tls: Option<&RpcTls>, stream: TcpStream) -> Ended {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(error = &error as &dyn std::error::Error, "setting TCP_NODELAY failed");
    }
    let stream = accepted(tls, stream).await?;
    let service = service_fn(|request| {
        let cluster = cluster.clone();
        async move { Ok::<_, Infallible>(handle(&cluster, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    Ok(connection.await?)
}

async fn handle(cluster: &Cluster, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match answer(cluster, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err((status, text)) => (status, text.into_bytes()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

async fn answer(cluster: &Cluster, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "messages are posted".to_owned()));
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path == "/internal/checkpoint" {
        return checkpoint(&cluster.router.raft, body).await;
    }
    let body = whole(body).await?;
    if let Some(name) = path.strip_prefix("/internal/raft/") {
        let rpc = Rpc::ALL.into_iter().find(|rpc| rpc.name() == name);
        let rpc = rpc.ok_or_else(|| (StatusCode::NOT_FOUND, format!("no message of the log is called {name:?}")))?;
        if matches!(rpc, Rpc::Append | Rpc::Heartbeat) {
            cluster.router.contact.heard();
        }
        return cluster.router.raft.answer(rpc, &body).await.map_err(|error| failed(&error));
    }
    let unreadable = |reason: String| (StatusCode::BAD_REQUEST, reason);
    match path {
        "/internal/propose" => {
            let written = cluster.router.raft.propose(body.to_vec()).await;
            let written = written.map(|done| Written { answer: done.answer, log_index: done.log_index });
            Ok(encode(&written.map_err(|error| Refused::from(&error))))
        }
        "/internal/barrier" => {
            let sure = decode::<super::wire::Sure>(&body).map_err(unreadable)?;
            Ok(encode(&cluster.router.raft.read_barrier(sure.into()).await.map_err(|error| Refused::from(&error))))
        }
        "/internal/errand" => {
            let errand = decode(&body).map_err(unreadable)?;
            Ok(encode(&cluster.run_here(errand).await))
        }
        "/internal/begin" => {
            let founders = decode(&body).map_err(unreadable)?;
            Ok(encode(&cluster.promise(founders)))
        }
        "/internal/gossip" => Ok(encode(&cluster.gossip_address())),
        _ => Err((StatusCode::NOT_FOUND, format!("no message is called {path:?}"))),
    }
}

fn failed(error: &dyn std::error::Error) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn whole(body: Incoming) -> Result<Bytes, (StatusCode, String)> {
    let mut body = Limited::new(body, BODY_MAX);
    let mut bytes = BytesMut::new();
    loop {
        match tokio::time::timeout(BODY_IDLE_MAX, body.frame()).await {
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the message stopped in the middle".to_owned())),
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Err(error))) => return Err((StatusCode::BAD_REQUEST, error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
        }
    }
}

/// Receives a checkpoint: the length of its head, the head, its own length, and itself.
async fn checkpoint(raft: &Raft, mut body: Incoming) -> Answer {
    let mut first = BytesMut::new();
    let head = loop {
        if let [a, b, c, d, rest @ ..] = &first[..] {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            if length > HEAD_MAX {
                return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("a head of {length} bytes, allowed {HEAD_MAX}")));
            }
            if rest.len() >= length + 8 {
                first.advance(4);
                break first.split_to(length);
            }
        }
        first.extend_from_slice(&piece(&mut body).await?.ok_or_else(short)?);
    };
    let total = first.get_u64();
    let mut receiver = raft.receive_checkpoint(&head, total).map_err(|error| failed(&error))?;
    if !first.is_empty() {
        receiver = receiver.write(first.freeze()).await.map_err(|error| failed(&error))?;
    }
    while let Some(bytes) = piece(&mut body).await? {
        receiver = receiver.write(bytes).await.map_err(|error| failed(&error))?;
    }
    receiver.finish().await.map_err(|error| failed(&error))
}

fn short() -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, "the checkpoint ends in its head".to_owned())
}

async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, (StatusCode, String)> {
    loop {
        match tokio::time::timeout(BODY_IDLE_MAX, body.frame()).await {
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the checkpoint stopped in the middle".to_owned())),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err((StatusCode::BAD_REQUEST, error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
