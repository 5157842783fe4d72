//! A request body that may be absent, so that a request without one can be built again for a retry.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

/// Wraps a body, or stands for the empty one.
#[derive(Debug)]
pub struct Payload<B>(Option<B>);

impl<B> Payload<B> {
    /// Wraps a body.
    #[must_use]
    pub fn new(body: B) -> Self {
        Self(Some(body))
    }

    /// Returns the empty body.
    #[must_use]
    pub fn empty() -> Self {
        Self(None)
    }
}

impl<B: Body + Unpin> Body for Payload<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.get_mut().0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
