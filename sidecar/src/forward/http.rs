//! One request, from the client's head to the answer's: clean, send by the SDK, clean, hand back.
//!
//! Bodies stream through untouched both ways, trailers included. An upgrade (WebSocket) is offered
//! to the instance, and when it agrees the two connections are joined. Called by `outbound` and by
//! the listeners of upstreams, through `accept`.

use std::sync::Arc;
use std::time::Instant;

use callboard::call::{CallError, Reason};
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::answer::Failure;
use super::body::Body;
use super::upload::Upload;
use super::{headers, tcp};
use crate::accept::Client;
use crate::conn::Kind;
use crate::upstream::Local;

/// Sends a request to an instance of the upstream and returns what the client gets.
pub(crate) async fn forward(local: &Arc<Local>, client: &Client, mut request: Request<Upload>) -> Response<Body> {
    let from_http1 = request.version() <= Version::HTTP_11;
    if request.method() == Method::CONNECT {
        return Failure::BadRequest.answer("CONNECT is for the shared outbound port; this port leads to one service");
    }
    let wanted = headers::strip_request(request.headers_mut()).filter(|_| from_http1);
    let waiting = wanted.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let (service, to_http2) = local.http(wanted.is_some());
    if let Err(text) = aim(&mut request, from_http1, to_http2) {
        return Failure::BadRequest.answer(text);
    }
    if let Some(protocol) = wanted {
        offer(request.headers_mut(), protocol);
    }
    let hash = local.upstream.hash_of(&request, client.address);
    let counters = local.counters();
    let started = Instant::now();
    match service.send_hashed(request, hash).await {
        Ok(response) => {
            counters.answered(response.status().as_u16(), started.elapsed());
            give_back(response, local, client, waiting)
        }
        Err(error) => {
            let failure = failure_of(&error);
            counters.failed(failure);
            failure.answer(error)
        }
    }
}

fn failure_of(error: &CallError) -> Failure {
    match error.reason {
        Reason::NoEndpoint => Failure::NoEndpoint,
        Reason::Connect => Failure::Connect,
        Reason::Timeout | Reason::Deadline => Failure::Timeout,
        Reason::Overloaded => Failure::Overloaded,
        Reason::Request => Failure::BadRequest,
        _ => Failure::Reset,
    }
}

/// Brings the target into the form the next hop wants and makes sure that it says one host.
fn aim(request: &mut Request<Upload>, from_http1: bool, to_http2: bool) -> Result<(), &'static str> {
    if from_http1 && request.headers().get_all(HOST).iter().nth(1).is_some() {
        // RFC 9112 section 3.2: two hosts are two readings.
        return Err("the request has more than one Host header");
    }
    if let Some(authority) = request.uri().authority() {
        // RFC 9112 section 3.2.2: the target's authority wins over Host.
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| "the request's authority is malformed")?;
        request.headers_mut().insert(HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    *request.version_mut() = if to_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    if !to_http2 && !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        // Said outright, or a GET would lose its body: methods that rarely have one get none by default.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
}

fn offer(headers: &mut http::HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn give_back(
    mut response: Response<crate::upstream::UpstreamBody>,
    local: &Arc<Local>,
    client: &Client,
    waiting: Option<OnUpgrade>,
) -> Response<Body> {
    let agreed = headers::strip_response(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return switch(response, agreed, local, client, waiting);
    }
    response.map(Body::stream)
}

/// Joins the two connections once both have changed their protocol.
fn switch(
    mut response: Response<crate::upstream::UpstreamBody>,
    agreed: Option<HeaderValue>,
    local: &Arc<Local>,
    client: &Client,
    waiting: Option<OnUpgrade>,
) -> Response<Body> {
    let (Some(waiting), Some(protocol)) = (waiting, agreed) else {
        let service = &local.upstream.label;
        return Failure::Reset.answer(format_args!("{service} changed the protocol without being asked"));
    };
    let server = hyper::upgrade::on(&mut response);
    offer(response.headers_mut(), protocol);
    let (head, body) = response.into_parts();
    let (local, worker) = (Arc::clone(local), Arc::clone(&client.worker));
    let watch = worker.register.add(Kind::Other);
    client.worker.tasks.spawn(async move {
        // The pick's guard lives in the body: the instance is busy for as long as the tunnel is open.
        let _body = body;
        match tokio::try_join!(waiting, server) {
            Ok((client, server)) => {
                local.counters().tunnels.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tcp::tunnel(client, TokioIo::new(server), &watch, local.counters()).await;
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "upgrade did not come about");
            }
        }
    });
    Response::from_parts(head, Body::empty())
}
