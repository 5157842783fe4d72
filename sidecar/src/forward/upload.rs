//! The body that goes to an instance: a client's stream passed through, and read to its end if nobody takes it.
//!
//! The SDK drops a body when it has no use for it: there is nobody to call, or the instance answered before it had heard
//! everything. What is left is read beside the answer, so that the connection's end does not take the answer back; see
//! [`discard`]. The control node does so for its own requests; it knows when it is done with a body, which here only the
//! drop tells.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use callboard::http::discard;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::conn::{Busy, Watch};

/// A request body.
pub(crate) struct Upload {
    /// What the client sends; none when there is nothing more to come.
    stream: Option<Incoming>,
    drop: OnDrop,
    /// Whether the client waits until somebody asks for the body; then it sends it, wanted or not.
    waits: bool,
    /// The client is not idle while it sends, answered or not.
    busy: Option<Busy>,
}

/// What becomes of what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDrop {
    /// It is read.
    Read,
    /// It is left: HTTP/2 ends a stream without its connection.
    Leave,
}

impl Upload {
    /// Takes the body of a request in; `watch` is told by it that the connection is busy.
    pub(crate) fn of(request: Request<Incoming>, watch: Option<&Arc<Watch>>) -> Request<Upload> {
        let waits = request.headers().contains_key(EXPECT);
        let is_http1 = request.version() <= Version::HTTP_11;
        request.map(|body| {
            if body.is_end_stream() {
                return Upload { stream: None, drop: OnDrop::Leave, waits, busy: None };
            }
            let drop = if is_http1 { OnDrop::Read } else { OnDrop::Leave };
            Upload { stream: Some(body), drop, waits, busy: watch.map(Busy::new) }
        })
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    #[inline]
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Asking for the first piece is what tells a client to go on.
        self.waits = false;
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let frame = Pin::new(stream).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.stream = None;
        }
        frame
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(Body::is_end_stream)
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.stream.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Upload {
    #[inline]
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        // Without a runtime its connection is gone as well.
        if self.drop == OnDrop::Read
            && !self.waits
            && !stream.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(read(stream, self.busy.take()));
        }
    }
}

/// Reads the rest. Once it is whole the connection can be used again; else hyper closes it.
async fn read(stream: Incoming, busy: Option<Busy>) {
    if !discard(stream).await {
        tracing::debug!("a body that nobody wanted was cut off");
    }
    drop(busy);
}
