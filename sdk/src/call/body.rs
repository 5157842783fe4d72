//! The body of a response: keeps the call in flight, and its connection away from others, to the end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::judge::Judge;
use super::limiter::Place;
use crate::balance::Picked;
use crate::endpoint::{EndpointKey, Outcome};
use crate::error::Cause;
use crate::http::Lease;

/// Streams the response of an endpoint. When it has been read to its end, the connection goes back to the
/// pool and the call stops to count; dropped before, the connection is closed. The body of a 101 answer counts until
/// it is dropped: keep it beside the upgraded stream.
pub struct ResponseBody<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    incoming: Incoming,
    lease: Option<Lease<EndpointKey, B>>,
    picked: Option<Picked>,
    // None when nothing is left to be told, or was told by the trailers.
    judge: Option<Judge>,
    // Of the limit on calls under way, where there is one.
    place: Option<Place>,
}

impl<B> ResponseBody<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// `lease` is none when the connection cannot be used again (an upgrade), `judge` when the head said it all.
    pub(super) fn new(
        incoming: Incoming,
        lease: Option<Lease<EndpointKey, B>>,
        picked: Picked,
        judge: Option<Judge>,
        place: Option<Place>,
    ) -> Self {
        let upgraded = lease.is_none();
        let mut body = Self { incoming, lease, picked: Some(picked), judge, place };
        if body.incoming.is_end_stream() && !upgraded {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        self.told(None);
        if let Some(lease) = self.lease.take() {
            lease.give_back();
            self.picked = None;
            self.place = None;
        }
    }

    /// Hears the end, with trailers or without; the first time counts.
    fn told(&mut self, trailers: Option<&HeaderMap>) {
        let outcome = self.judge.take().and_then(|judge| judge.end(trailers));
        if let (Some(outcome), Some(picked)) = (outcome, &mut self.picked) {
            picked.record(outcome);
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.incoming).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            this.told(Some(trailers));
        }
        match &frame {
            Poll::Ready(None) => this.finish(),
            // Readers that look at `is_end_stream` never ask for the frame after the last.
            Poll::Ready(Some(Ok(_))) if this.incoming.is_end_stream() => this.finish(),
            Poll::Ready(Some(Err(_))) => {
                if let Some(mut picked) = this.picked.take() {
                    picked.record(Outcome::Failed);
                }
                (this.lease, this.place) = (None, None);
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B> fmt::Debug for ResponseBody<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}
