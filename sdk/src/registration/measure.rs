//! A service around a server's own, which counts what is in flight and how well it went.
//!
//! It decides what counts as failed: an error, a response of 500 and above, and a body that ends in an error. A request
//! counts until its response's body has ended or is dropped. Around any tower service over HTTP; as a layer by
//! `tower::layer::layer_fn`.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use super::flight::{InFlight, Moving};

/// Counts what a service does; see [`InFlight::measure`].
#[derive(Debug, Clone)]
pub struct Measured<S> {
    inner: S,
    in_flight: InFlight,
}

impl<S> Measured<S> {
    pub(super) fn new(inner: S, in_flight: InFlight) -> Self {
        Self { inner, in_flight }
    }
}

impl<S, R, B> Service<R> for Measured<S>
where
    S: Service<R, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Body,
{
    type Response = Response<MeasuredBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let mut moving = self.in_flight.enter();
        let answering = self.inner.call(request);
        Box::pin(async move {
            match answering.await {
                Ok(response) => {
                    if response.status().is_server_error() {
                        moving.fail();
                    }
                    Ok(response.map(|body| {
                        let moving = (!body.is_end_stream()).then_some(moving);
                        MeasuredBody { body, moving }
                    }))
                }
                Err(error) => {
                    moving.fail();
                    Err(error)
                }
            }
        })
    }
}

/// Keeps a request in flight until the body has ended.
#[derive(Debug)]
pub struct MeasuredBody<B> {
    body: B,
    moving: Option<Moving>,
}

impl<B: Body + Unpin> Body for MeasuredBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Ready(None) => this.moving = None,
            // Readers that look at `is_end_stream` never ask for the frame after the last.
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => this.moving = None,
            Poll::Ready(Some(Err(_))) => {
                if let Some(mut moving) = this.moving.take() {
                    moving.fail();
                }
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// Answers with the status that it is given, and fails on none.
    #[derive(Clone)]
    struct Answers;

    impl Service<Option<u16>> for Answers {
        type Response = Response<Full<Bytes>>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, status: Option<u16>) -> Self::Future {
            std::future::ready(status.ok_or("no answer").map(|status| {
                let body = if status == 204 { Bytes::new() } else { Bytes::from_static(b"hello") };
                Response::builder().status(status).body(Full::new(body)).unwrap()
            }))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_until_its_body_ends_and_failures_are_told_apart() {
        let in_flight = InFlight::default();
        let mut service = in_flight.measure(Answers);
        assert_eq!(in_flight.quality(), None);
        let response = service.call(Some(200)).await.unwrap();
        assert_eq!(in_flight.count(), 1, "its body is still to come");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        response.into_body().collect().await.unwrap();
        assert_eq!(in_flight.count(), 0);
        drop(service.call(Some(204)).await.unwrap());
        drop(service.call(Some(503)).await.unwrap());
        assert!(service.call(None).await.is_err());
        // Cancelled before it answered: in flight no longer, and no failure of ours.
        drop(service.call(Some(200)));
        let quality = in_flight.quality().unwrap();
        assert_eq!((in_flight.count(), quality.requests, quality.error_rate), (0, 5, 0.4));
        assert!(quality.p99 >= std::time::Duration::from_secs(1), "{quality:?}");
    }
}
