//! The server's side over tower: counts requests to the end of their responses, and says the load in a header.
//!
//! A request whose caller says how many may be in flight (`callboard-bound`) is answered 503 at once when that many are,
//! and the service behind does not see it: put the layer outside of whatever else is done with requests.
//! Fits any server whose requests go through a tower service (axum, tonic, hyper by `hyper-util`). The header costs
//! some forty bytes per response and is taken away by callers that know it; others ignore it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use super::bound::{BOUND_HEADER, read_bound};
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let reporter = self.reporter.clone();
        // Taken away: it is meant for this server, and not for those that this request leads to.
        let bound = request.headers_mut().remove(&BOUND_HEADER).as_ref().and_then(read_bound);
        let begun = match bound {
            None => Ok(reporter.begin()),
            Some(bound) => reporter.begin_within(bound).ok_or(bound),
        };
        let mut serving = match begun {
            Ok(serving) => serving,
            Err(bound) => return Box::pin(async move { Ok(refusal(reporter.load(), bound)) }),
        };
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
            Ok(response.map(|inner| ReportedBody { inner: Some(inner), _serving: Some(serving) }))
        })
    }
}

/// Builds the answer to a request that would exceed its caller's bound.
fn refusal<R>(load: Load, bound: u32) -> Response<ReportedBody<R>> {
    let mut response = Response::new(ReportedBody { inner: None, _serving: None });
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(LOAD_HEADER, write(load));
    response.headers_mut().insert(BOUND_HEADER, HeaderValue::from(bound));
    response
}

/// The body of a response: its request counts as in flight until it is dropped. That of a refusal is empty.
#[derive(Debug)]
pub struct ReportedBody<R> {
    inner: Option<R>,
    _serving: Option<Serving>,
}

impl<R: Body + Unpin> Body for ReportedBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
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
    async fn what_would_exceed_the_bound_is_refused_and_nobody_sees_it() {
        let reporter = LoadReporter::new();
        let mut service = ReportLoad::new(Answer, reporter.clone());
        let ask = |bound: u32| Request::get("/200").header(BOUND_HEADER, bound).body(()).unwrap();
        let first = service.call(ask(2)).await.unwrap();
        let second = service.call(ask(2)).await.unwrap();
        let refused = service.call(ask(2)).await.unwrap();
        assert!(super::super::is_refusal(&refused) && !super::super::is_refusal(&second));
        assert_eq!(read(&refused.headers()[&LOAD_HEADER]).unwrap().in_flight, 2);
        assert_eq!(refused.headers()[&BOUND_HEADER], "2");
        assert!(refused.body().is_end_stream() && refused.body().size_hint().exact() == Some(0));
        drop(refused);
        assert_eq!(reporter.load().in_flight, 2, "a refused one never counted");
        let third = service.call(Request::get("/200").body(()).unwrap()).await.unwrap();
        assert_eq!(third.status(), 200, "no bound, no refusal");
        drop((first, second, third));
        assert_eq!(service.call(ask(1)).await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn a_failure_says_nothing_of_how_long_requests_take() {
        let reporter = LoadReporter::new();
        let mut service = ReportLoad::new(Answer, reporter.clone());
        drop(service.call(Request::get("/503").body(()).unwrap()).await);
        assert_eq!(reporter.load(), Load { in_flight: 0, latency: 0 });
    }
}
