//! The body that goes back to the client: an instance's stream passed through, or a short text of
//! ours. Never boxed, never buffered; while it lives, its connection counts as busy.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::conn::Busy;
use crate::upstream::UpstreamBody;

/// A response body.
pub(crate) struct Body {
    kind: Kind,
    busy: Option<Busy>,
}

enum Kind {
    /// Ours; taken when it was sent.
    Text(Option<Bytes>),
    /// An instance's, with the guard of its pick inside.
    Stream(UpstreamBody),
}

impl Body {
    /// A body of our own; nothing at all when the text is empty.
    pub(crate) fn text(text: Bytes) -> Body {
        Body { kind: Kind::Text((!text.is_empty()).then_some(text)), busy: None }
    }

    /// A body without bytes.
    pub(crate) fn empty() -> Body {
        Body::text(Bytes::new())
    }

    /// Passes an instance's body through.
    pub(crate) fn stream(body: UpstreamBody) -> Body {
        Body { kind: Kind::Stream(body), busy: None }
    }

    /// Keeps the connection busy until the body is gone.
    pub(crate) fn keep(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    #[inline]
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.kind {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Text(text) => text.is_none(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}
