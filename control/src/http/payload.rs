//! The body of an answer: whole, or piece by piece as it comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that may wait until the connection takes them.
const PIECES_MAX: usize = 16;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// All of it; empty when it was sent.
    Whole(Bytes),
    /// Pieces, until the sender goes. The sender learns by its next piece that nobody reads any more.
    Pieces(mpsc::Receiver<Bytes>),
}

impl Default for Payload {
    fn default() -> Payload {
        Payload::Whole(Bytes::new())
    }
}

impl Payload {
    /// A body that is sent piece by piece.
    pub(super) fn pieces() -> (mpsc::Sender<Bytes>, Payload) {
        let (send, receive) = mpsc::channel(PIECES_MAX);
        (send, Payload::Pieces(receive))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Payload::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Payload::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Payload::Pieces(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Payload::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Pieces(_) => SizeHint::default(),
        }
    }
}
