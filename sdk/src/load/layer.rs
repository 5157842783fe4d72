//! The server's side over tower: counts requests to the end of their responses, and says the load in a header.
//!
//! Fits any server whose requests go through a tower service (axum, tonic, hyper by `hyper-util`). The header costs
//! some forty bytes per response and is taken away by callers that know it; others ignore it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use super::header::{LOAD_HEADER, write};
use super::reporter::{LoadReporter, Serving};
use crate::endpoint::Load;

/// Puts [`ReportLoad`] around a service.
#[derive(Clone, Debug)]
pub struct ReportLoadLayer {
    reporter: LoadReporter,
}

impl ReportLoadLayer {
    /// Builds a layer that measures by `reporter`.
    #[must_use]
    pub fn new(reporter: LoadReporter) -> Self {
        Self { reporter }
    }
}

impl<S> Layer<S> for ReportLoadLayer {
    type Service = ReportLoad<S>;

    fn layer(&self, inner: S) -> ReportLoad<S> {
        ReportLoad::new(inner, self.reporter.clone())
    }
}

/// Measures what a service does, and says its load in the header `callboard-load` of each response.
#[derive(Clone, Debug)]
pub struct ReportLoad<S> {
    inner: S,
    reporter: LoadReporter,
}

impl<S> ReportLoad<S> {
    /// Puts it around a service.
    pub fn new(inner: S, reporter: LoadReporter) -> Self {
        Self { inner, reporter }
    }
}

impl<S, B, R> Service<Request<B>> for ReportLoad<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<ReportedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut serving = self.reporter.begin();
        let reporter = self.reporter.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = match answer.await {
                Ok(response) => response,
                Err(error) => {
                    serving.fail();
                    return Err(error);
                }
            };
            if response.status().is_server_error() {
                serving.fail();
            }
            let load = reporter.load();
            // By the time the caller reads it, this one is done.
            let load = Load { in_flight: load.in_flight.saturating_sub(1), ..load };
            response.headers_mut().insert(LOAD_HEADER, write(load));
            Ok(response.map(|inner| ReportedBody { inner, _serving: serving }))
        })
    }
}

/// The body of a response: its request counts as in flight until it is dropped.
#[derive(Debug)]
pub struct ReportedBody<R> {
    inner: R,
    _serving: Serving,
}

impl<R: Body + Unpin> Body for ReportedBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use bytes::Bytes;
    use http::StatusCode;
    use http_body_util::{BodyExt, Full};

    use super::super::header::read;
    use super::*;

    /// Answers with the status that the path names.
    struct Answer;

    impl Service<Request<()>> for Answer {
        type Response = Response<Full<Bytes>>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let mut response = Response::new(Full::from("hello"));
            *response.status_mut() = request.uri().path()[1..].parse().unwrap_or(StatusCode::OK);
            ready(Ok(response))
        }
    }

    #[tokio::test]
    async fn a_request_counts_to_the_end_of_its_body_and_the_header_says_so() {
        let reporter = LoadReporter::new();
        let mut service = ReportLoadLayer::new(reporter.clone()).layer(Answer);
        let other = reporter.begin();
        let response = service.call(Request::get("/").body(()).unwrap()).await.unwrap();
        let said = read(&response.headers()[&LOAD_HEADER]).unwrap();
        assert_eq!((said.in_flight, reporter.load().in_flight), (1, 2), "this one does not count itself");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        assert_eq!(reporter.load().in_flight, 1);
        drop(other);
        assert!(reporter.load().latency > 0);
    }

    #[tokio::test]
    async fn a_failure_says_nothing_of_how_long_requests_take() {
        let reporter = LoadReporter::new();
        let mut service = ReportLoad::new(Answer, reporter.clone());
        drop(service.call(Request::get("/503").body(()).unwrap()).await);
        assert_eq!(reporter.load(), Load { in_flight: 0, latency: 0 });
    }
}
