//! The server's side: a layer that counts what is being served and how well, and tells callers to go when the instance
//! leaves.
//!
//! A request counts from its arrival to the end of its response's body. It failed by our fault if it ended in an
//! error, in a status of 500 and above, or in a body that broke. When the instance leaves, answers of HTTP/1.1 carry
//! `Connection: close`, so that kept connections are gone before the server stops to read from them: a request that
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

impl Hold for Moving {
    fn broke(&mut self) {
        self.fail();
    }
}

/// Counts requests in flight and notes which failed; clones count together and leave together. Layers that refuse
/// requests, like [`crate::call::ShedLayer`], belong around it: what was never handled was not served.
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
        let mut moving = self.layer.in_flight.enter();
        let layer = self.layer.clone();
        let closable = request.version() <= Version::HTTP_11;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await.inspect_err(|_| moving.fail())?;
            if response.status().is_server_error() {
                moving.fail();
            }
            // Looked at here, not on arrival: a long call may have begun before the leave.
            if closable && layer.is_leaving() && !response.status().is_informational() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| HeldBody::new(body, moving)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    /// Answers with the status that a request holds, and fails on none.
    #[derive(Clone)]
    struct Answers;

    impl Service<Request<Option<u16>>> for Answers {
        type Response = Response<Full<Bytes>>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Option<u16>>) -> Self::Future {
            std::future::ready(request.into_body().ok_or("no answer").map(|status| {
                let body = if status == 204 { Bytes::new() } else { Bytes::from_static(b"hello") };
                Response::builder().status(status).body(Full::new(body)).unwrap()
            }))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_until_its_body_ends_and_failures_are_told_apart() {
        let in_flight = InFlight::default();
        let mut service = FlightLayer::new(in_flight.clone()).layer(Answers);
        assert_eq!(in_flight.quality(), None);
        let response = service.call(Request::new(Some(200))).await.unwrap();
        assert_eq!(in_flight.count(), 1, "its body is still to come");
        tokio::time::sleep(Duration::from_secs(1)).await;
        response.into_body().collect().await.unwrap();
        assert_eq!(in_flight.count(), 0);
        drop(service.call(Request::new(Some(204))).await.unwrap());
        drop(service.call(Request::new(Some(503))).await.unwrap());
        assert!(service.call(Request::new(None)).await.is_err());
        // Cancelled before it answered: in flight no longer, and no failure of ours.
        drop(service.call(Request::new(Some(200))));
        let quality = in_flight.quality().unwrap();
        assert_eq!((in_flight.count(), quality.requests, quality.error_rate), (0, 5, 0.4));
        assert!(quality.p99 >= Duration::from_secs(1), "{quality:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_is_a_failure() {
        let in_flight = InFlight::default();
        let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err("broke")];
        let mut frames = frames.into_iter();
        let stream = Box::pin(Frames(move || frames.next()));
        let mut body = HeldBody::new(StreamBody::new(stream), in_flight.enter());
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(in_flight.count(), 1);
        assert!(body.frame().await.unwrap().is_err());
        assert_eq!((in_flight.count(), in_flight.quality().unwrap().error_rate), (0, 1.0));
    }

    struct Frames<F>(F);

    impl<T, F: FnMut() -> Option<T> + Unpin> futures_core::Stream for Frames<F> {
        type Item = T;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
            Poll::Ready((self.get_mut().0)())
        }
    }
}
