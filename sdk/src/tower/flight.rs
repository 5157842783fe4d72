//! The server's side: a layer that counts what is being served, and tells callers to go when the instance leaves.
//!
//! A request counts from its arrival to the end of its response's body. When the instance leaves, answers of HTTP/1.1
//! carry `Connection: close`, so that kept connections are gone before the server stops to read from them: a request that
//! crosses the end of its connection is lost. Used by the adapter for axum; fits any server made of tower services.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::held::{HeldBody, Hold};
use crate::registration::{InFlight, Moving};

impl Hold for Moving {}

/// Counts requests in flight; clones count together and leave together.
///
/// ```
/// use callboard::registration::InFlight;
/// use callboard::tower::FlightLayer;
///
/// let in_flight = InFlight::default();
/// let layer = FlightLayer::new(in_flight.clone());
/// // … around the service; then, when it is time to go:
/// layer.leave();
/// ```
#[derive(Debug, Clone)]
pub struct FlightLayer {
    in_flight: InFlight,
    leaving: Arc<AtomicBool>,
}

impl FlightLayer {
    /// Builds a layer that counts on `in_flight`, say [`crate::Registered::in_flight`].
    #[must_use]
    pub fn new(in_flight: InFlight) -> Self {
        Self { in_flight, leaving: Arc::default() }
    }

    /// From now on, asks callers over HTTP/1.1 to close their connections.
    pub fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    /// Says whether [`Self::leave`] was called.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }
}

impl<S> Layer<S> for FlightLayer {
    type Service = Flight<S>;

    fn layer(&self, inner: S) -> Flight<S> {
        Flight { inner, layer: self.clone() }
    }
}

/// Counts the requests of the service it wraps.
#[derive(Debug, Clone)]
pub struct Flight<S> {
    inner: S,
    layer: FlightLayer,
}

impl<S, A, B> Service<Request<A>> for Flight<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: Body + Unpin + 'static,
{
    type Response = Response<HeldBody<B, Moving>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let moving = self.layer.in_flight.enter();
        let layer = self.layer.clone();
        let closable = request.version() <= Version::HTTP_11;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            // Looked at here, not on arrival: a long call may have begun before the leave.
            if closable && layer.is_leaving() && !response.status().is_informational() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| HeldBody::new(body, moving)))
        })
    }
}
