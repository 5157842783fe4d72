//! The connections of the kit: reads requests, lets them meet their faults, waits where the interface says so.
//!
//! Decides when a waiting read is answered: when the index of what it asked about is past the one it quoted, or when its
//! time is over, or when a fault comes that concerns it. Started by [`super::Registry`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use callboard_proto::api::meta::{INDEX, KNOWN_LEADER, LAST_CONTACT};
use callboard_proto::api::query::{Consistency, Params, ReadOptions};
use callboard_proto::index::{WAIT_DEFAULT, WAIT_MAX};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Shared;
use super::fault::{Fault, Met};
use super::routes::{self, Call, Reply};
use super::state::State;

/// The largest request body, in bytes.
const BODY_MAX: usize = 1 << 20;

/// A body that may break off in the middle.
#[derive(Debug)]
pub(super) struct Bytewise {
    left: Option<Bytes>,
    length: u64,
    cut: bool,
}

impl Body for Bytewise {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        match this.left.take() {
            Some(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            _ if this.cut => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            _ => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// Serves one connection to its end, or until the registry hangs up.
pub(super) async fn connection<S>(shared: Arc<Shared>, server: String, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (http2, closed) = shared.connected();
    let hung_up = closed.clone();
    let service = service_fn(move |request| {
        let (shared, server, hung_up) = (shared.clone(), server.clone(), hung_up.is_cancelled());
        async move {
            // What arrives on a connection that is closed in the same moment is not served.
            if hung_up { Err(io::ErrorKind::ConnectionReset.into()) } else { answer(&shared, &server, request).await }
        }
    });
    // An error is a client that went away, or a fault that was ordered.
    match http2 {
        None => {
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = closed.run_until_cancelled(serving).await;
        }
        Some(streams) => {
            let mut either = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            either.http2().max_concurrent_streams(streams);
            let _ = closed.run_until_cancelled(either.serve_connection(TokioIo::new(stream), service)).await;
        }
    }
}

async fn answer(shared: &Shared, server: &str, request: Request<Incoming>) -> Result<Response<Bytewise>, io::Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    shared.note(format!("{server} {} {path}", head.method), head.version == Version::HTTP_2);
    let (reply, met) = reply(shared, server, &head, &body).await;
    match met.instead {
        Some(Fault::Close) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Status(status, text)) => return response(&Reply::text(status, text), &met),
        Some(Fault::NoIndex) if reply.index.is_some() => {
            return response(&Reply { index: None, body: b"[]".to_vec(), ..reply }, &met);
        }
        _ => {}
    }
    response(&reply, &met)
}

fn response(reply: &Reply, met: &Met) -> Result<Response<Bytewise>, io::Error> {
    let whole = Bytes::copy_from_slice(&reply.body);
    if met.cut && whole.is_empty() {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let sent = if met.cut { whole.slice(..whole.len() / 2) } else { whole.clone() };
    let body = Bytewise { left: Some(sent), length: whole.len() as u64, cut: met.cut };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).map_err(io::Error::other)?;
    if let Some(index) = reply.index {
        let headers = response.headers_mut();
        headers.insert(INDEX, index.into());
        headers.insert(KNOWN_LEADER, HeaderValue::from_static(if met.leaderless { "false" } else { "true" }));
        headers.insert(LAST_CONTACT, HeaderValue::from_static("0"));
    }
    Ok(response)
}

/// Serves a request: the reply, and what met it in the end.
async fn reply(shared: &Shared, server: &str, head: &Parts, body: &[u8]) -> (Reply, Met) {
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    let (params, options) =
        match Params::parse(query).and_then(|params| Ok((ReadOptions::from_params(&params)?, params))) {
            Ok((options, params)) => (params, options),
            Err(error) => return (Reply::text(400, error.to_string()), Met::default()),
        };
    let mut met = shared.meet(server, &head.method, path, true);
    if !met.delay.is_zero() {
        tokio::time::sleep(met.delay).await;
    }
    let mut changed = shared.changed.subscribe();
    let read = head.method == Method::GET;
    let stale = read && options.consistency == Consistency::Stale;
    let until = Instant::now() + options.wait.unwrap_or(WAIT_DEFAULT).min(WAIT_MAX);
    let mut seen = options.index.filter(|_| read).map(|index| index.0);
    let mut was_absent = false;
    loop {
        changed.borrow_and_update();
        while met.hang {
            // The sender lives in `shared`.
            let _ = changed.changed().await;
            met = shared.meet(server, &head.method, path, false);
        }
        if matches!(met.instead, Some(Fault::Close | Fault::Status(..))) {
            return (Reply::text(500, ""), met);
        }
        if met.leaderless && !stale {
            return (Reply::text(500, "No cluster leader"), met);
        }
        let now = Instant::now();
        let call = Call { method: &head.method, path, params: &params, options: &options, body, now };
        let reply = match &met.lag {
            Some(then) if stale => routes::answer(&mut State::clone(then), &call),
            _ => shared.with(!read, |state| routes::answer(state, &call)),
        };
        let (Some(asked), Some(index)) = (seen, reply.index) else { return (reply, met) };
        let news = if reply.pseudo { index != asked } else { index > asked };
        // Whoever waits for what is not there is not woken by news of others.
        let others = news && was_absent && reply.absent;
        if (news && !others) || met.hasty || met.instead.is_some() || met.cut || now >= until {
            return (reply, met);
        }
        if others {
            seen = Some(index);
        }
        was_absent = reply.absent;
        // Whatever ended the wait, the next round sees it.
        let _ = tokio::time::timeout_at(until, changed.changed()).await;
        met = shared.meet(server, &head.method, path, false);
    }
}
