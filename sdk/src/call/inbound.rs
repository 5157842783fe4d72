//! The server's side of deadlines and retries: a layer that reads both from a request and hands them to the handler.
//!
//! A request whose time is over is answered 504 without the handler: nobody waits for it any more. Otherwise the
//! [`Inherited`] of the request stands among its extensions (and its [`Deadline`], if it has one), and every call that the
//! handler makes in its own task inherits both. Fits any server made of tower services.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::deadline::Inherited;

/// Wraps services in [`Inbound`].
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct InboundLayer;

impl InboundLayer {
    /// Builds the layer.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for InboundLayer {
    type Service = Inbound<S>;

    fn layer(&self, inner: S) -> Inbound<S> {
        Inbound { inner }
    }
}

/// Reads what requests tell about themselves, for the service it wraps.
#[derive(Debug, Clone)]
pub struct Inbound<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Inbound<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let inherited = Inherited::of(request.headers());
        if let Some(deadline) = inherited.deadline {
            if deadline.left().is_none() {
                return Box::pin(async {
                    let mut late = Response::new(B::default());
                    *late.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                    Ok(late)
                });
            }
            request.extensions_mut().insert(deadline);
        }
        request.extensions_mut().insert(inherited);
        Box::pin(inherited.scope(self.inner.call(request)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::super::deadline::Deadline;
    use super::*;

    #[derive(Clone)]
    struct Handler;

    impl Service<Request<()>> for Handler {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let given = request.extensions().get::<Deadline>().copied();
            Box::pin(async move {
                assert_eq!(given, Deadline::current());
                let left = Deadline::current().and_then(Deadline::left);
                Ok(Response::new(format!("{left:?} {}", Inherited::current().retry)))
            })
        }
    }

    async fn answer(headers: &[(&str, &str)]) -> (StatusCode, String) {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = InboundLayer::new().layer(Handler).call(request.body(()).unwrap()).await.unwrap();
        (answer.status(), answer.into_body())
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_inherits_what_its_request_tells() {
        let ok = |text: &str| (StatusCode::OK, text.to_owned());
        assert_eq!(answer(&[]).await, ok("None false"));
        let told = answer(&[("callboard-timeout-ms", "250"), ("callboard-attempt", "2")]).await;
        assert_eq!(told, ok(&format!("{:?} true", Some(Duration::from_millis(250)))));
        assert_eq!(Inherited::current(), Inherited::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_too_late_is_not_handled() {
        let (status, body) = answer(&[("grpc-timeout", "0m")]).await;
        assert_eq!((status, body.as_str()), (StatusCode::GATEWAY_TIMEOUT, ""));
    }
}
