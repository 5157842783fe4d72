//! The server's side of the limit: a layer that refuses what is above it, with 503 and a `Retry-After`.
//!
//! A request holds its place until its handler has answered; how long that takes moves the limit. What is served, and
//! how well, is counted elsewhere (`tower::FlightLayer`, which belongs inside this layer). Refused requests cost next
//! to nothing, so that those that are taken still end in time. Fits any server made of tower services.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use super::limit::LimitSettings;
use super::limiter::Limiter;

/// Wraps services in [`Shed`]; all services of one layer share its limit.
#[derive(Debug, Clone)]
pub struct ShedLayer {
    limiter: Limiter,
}

impl ShedLayer {
    /// Builds a layer with a limit of its own.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        Self { limiter: Limiter::new(settings) }
    }

    /// Returns the limit, to be shown.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, limiter: self.limiter.clone() }
    }
}

/// Refuses requests above the limit for the service it wraps.
#[derive(Debug, Clone)]
pub struct Shed<S> {
    inner: S,
    limiter: Limiter,
}

impl<S, A, B> Service<Request<A>> for Shed<S>
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

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Some(place) = self.limiter.enter() else {
            return Box::pin(async {
                let mut refused = Response::new(B::default());
                *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                refused.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                Ok(refused)
            });
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            place.done(false);
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::time::Duration;

    use super::*;

    #[derive(Clone)]
    struct Slow;

    impl Service<Request<()>> for Slow {
        type Response = Response<String>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let done: Ready<_> = ready(Ok(Response::new("done".to_owned())));
                done.await
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_above_the_limit_is_refused_at_once() {
        let layer = ShedLayer::new(LimitSettings { initial: 3, min: 1, ..LimitSettings::default() });
        let mut service = layer.layer(Slow);
        let calls: Vec<_> = (0..5).map(|_| tokio::spawn(service.call(Request::new(())))).collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap().unwrap());
        }
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
        assert_eq!(statuses, [200, 200, 200, 503, 503]);
        assert_eq!(answers[4].headers()[RETRY_AFTER], "1");
        assert_eq!((layer.limiter().in_flight(), layer.limiter().refused()), (0, 2));
        assert_eq!(service.call(Request::new(())).await.unwrap().status(), StatusCode::OK);
    }
}
