//! The admin port: `/ready`, `/live`, `/metrics`, `/events`. Read-only, off the workers' threads.
//!
//! Ready means that the application is signed in, if that was asked, and that every upstream has an
//! instance to call, unless it was told that it may start empty. Run by `server`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::accept::Worker;
use crate::directory::Directory;
use crate::events::Events;
use crate::forward::upload::Upload;
use crate::metrics;
use crate::register::State;

/// Connections served at once; more wait.
const CONNECTIONS_MAX: usize = 64;
/// Patience with a request head, and with a connection between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The body of an answer, whole or in pieces.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the admin port shows.
pub(crate) struct Admin {
    /// The services followed.
    pub(crate) directory: Arc<Directory>,
    /// The workers.
    pub(crate) workers: Vec<Arc<Worker>>,
    /// The local application's registration.
    pub(crate) registration: State,
    /// User events, for the local application.
    pub(crate) events: Events,
}

impl Admin {
    /// Serves until it is dropped.
    pub(crate) async fn serve(self: Arc<Admin>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let socket = match listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "accept failed on the admin port");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let (admin, request) = (Arc::clone(&admin), Upload::of(request, None));
                    async move { Ok::<_, Infallible>(admin.answer(&request).await) }
                });
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                // Whoever asks and goes away is no news.
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                drop(permit);
            });
        }
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" => {
                let reasons = self.unready();
                if reasons.is_empty() {
                    text(StatusCode::OK, "ready\n")
                } else {
                    text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
                }
            }
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics());
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            "/events" if request.method() == Method::HEAD => text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"),
            "/events" => self.events.answer(request.uri().query().unwrap_or_default()).await,
            _ => text(StatusCode::NOT_FOUND, "here are /ready, /live, /metrics and /events\n"),
        }
    }

    /// Why the sidecar is not ready; nothing when it is.
    fn unready(&self) -> Vec<String> {
        let upstreams = self.directory.upstreams();
        let upstreams = upstreams.iter().filter_map(|upstream| upstream.unready());
        self.registration.unready().into_iter().chain(upstreams).collect()
    }

    fn metrics(&self) -> String {
        let upstreams = self.directory.upstreams();
        let views: Vec<_> = upstreams.iter().map(|upstream| upstream.view()).collect();
        let workers: Vec<_> = self.workers.iter().map(|worker| &worker.counters).collect();
        metrics::write(&views, &workers, self.unready().is_empty())
    }
}

/// Answers with a text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
