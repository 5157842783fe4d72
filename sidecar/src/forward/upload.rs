//! The body that goes to an instance: a client's stream passed through, and read to its end if nobody takes it.
//!
//! The SDK drops a body when it has no use for it: there is nobody to call, or the instance answered before it had heard
//! everything. But a socket that is closed with unread bytes in it answers the client's next ones with a reset, and a
//! reset takes back what the client had not read yet: the answer. So what is left is read and thrown away while the
//! answer is on its way, up to a bound (RFC 9112, section 9.6). The control node does so for its own requests; it knows
//! when it is done with a body, which here only the drop tells.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::conn::{Busy, Watch};

/// How much is read of a body that nobody wants, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// How long it may pause, and how long it may take: less than a sidecar that leaves gives to what is in flight.
const IDLE_MAX: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(4);

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

/// Reads the rest. Once it is whole the connection can be used again; beyond the bounds hyper closes it.
async fn read(mut stream: Incoming, busy: Option<Busy>) {
    let rest = async {
        let mut read = 0;
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(IDLE_MAX, stream.frame()).await {
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read > BYTES_MAX {
                return;
            }
        }
    };
    if tokio::time::timeout(TIME_MAX, rest).await.is_err() {
        tracing::debug!("a body that nobody wanted was cut off");
    }
    drop(busy);
}
