//! A request body that may be absent, or small enough to be kept, so that a request can be built again for a retry.
//!
//! Decides what of a body is kept: all of it when it is known to be small, or turns out to be at once. Whether a request may be
//! sent twice is decided by its owner. Used by `call` and by the transport.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// Wraps a body, a kept one, or stands for the empty one.
#[derive(Debug)]
pub struct Payload<B>(Kind<B>);

enum Kind<B> {
    Empty,
    Kept(Kept),
    /// What was read ahead of it, and the body.
    Stream(VecDeque<Frame<Bytes>>, B),
}

impl<B> std::fmt::Debug for Kind<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Empty => "Empty",
            Kind::Kept(_) => "Kept",
            Kind::Stream(..) => "Stream",
        })
    }
}

/// A whole body.
#[derive(Debug, Clone)]
struct Kept {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

/// A piece of a body: kept by us, or the body's own.
#[derive(Debug)]
pub enum Piece<D> {
    /// Of a kept body.
    Kept(Bytes),
    /// Of a streamed one.
    Own(D),
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        match self {
            Self::Kept(bytes) => bytes.remaining(),
            Self::Own(data) => data.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Kept(bytes) => bytes.chunk(),
            Self::Own(data) => data.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Kept(bytes) => bytes.advance(count),
            Self::Own(data) => data.advance(count),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        match self {
            Self::Kept(bytes) => bytes.chunks_vectored(slices),
            Self::Own(data) => data.chunks_vectored(slices),
        }
    }
}

impl<B> Payload<B> {
    /// Wraps a body.
    #[must_use]
    pub fn new(body: B) -> Self {
        Self(Kind::Stream(VecDeque::new(), body))
    }

    /// Returns the empty body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Builds the same payload once more; none when it is streamed.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self(Kind::Empty)),
            Kind::Kept(kept) => Some(Self(Kind::Kept(kept.clone()))),
            Kind::Stream(..) => None,
        }
    }
}

impl<B: Body + Unpin> Payload<B> {
    /// Reads a body ahead to keep it, if it has at most `max` bytes: waits for one whose length is known; of others takes only
    /// what is there at once, since they may go on as long as the call does. What is not kept is streamed.
    ///
    /// # Errors
    /// When the body breaks.
    pub async fn keep(self, max: usize) -> Result<Self, B::Error> {
        let Kind::Stream(mut ahead, mut body) = self.0 else { return Ok(self) };
        let size = body.size_hint();
        if size.lower() > max as u64 {
            return Ok(Self(Kind::Stream(ahead, body)));
        }
        let known = size.exact().is_some();
        let mut len = ahead.iter().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
        let ended = std::future::poll_fn(|cx| {
            loop {
                if body.is_end_stream() {
                    return Poll::Ready(Ok(true));
                }
                match Pin::new(&mut body).poll_frame(cx) {
                    Poll::Ready(None) => return Poll::Ready(Ok(true)),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(Some(Ok(frame))) => {
                        // Free of charge when it is `Bytes` already.
                        let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                        len = len.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                        ahead.push_back(frame);
                        if len > max {
                            return Poll::Ready(Ok(false));
                        }
                    }
                    Poll::Pending if known => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(Ok(false)),
                }
            }
        })
        .await?;
        Ok(Self(if ended { Kind::Kept(join(ahead)) } else { Kind::Stream(ahead, body) }))
    }
}

fn join(frames: VecDeque<Frame<Bytes>>) -> Kept {
    let mut kept = Kept { data: None, trailers: None };
    let mut parts = Vec::new();
    for frame in frames {
        match frame.into_data() {
            Ok(data) => parts.push(data),
            Err(frame) => kept.trailers = frame.into_trailers().ok(),
        }
    }
    parts.retain(|part| !part.is_empty());
    kept.data = match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(parts.concat().into()),
    };
    kept
}

impl<B: Body + Unpin> Body for Payload<B> {
    type Data = Piece<B::Data>;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        match &mut self.get_mut().0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Kept(kept) => {
                let data = kept.data.take().map(|data| Frame::data(Piece::Kept(data)));
                Poll::Ready(data.or_else(|| kept.trailers.take().map(Frame::trailers)).map(Ok))
            }
            Kind::Stream(ahead, body) => match ahead.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame.map_data(Piece::Kept)))),
                None => Pin::new(body).poll_frame(cx).map_ok(|frame| frame.map_data(Piece::Own)),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Kept(kept) => kept.data.is_none() && kept.trailers.is_none(),
            Kind::Stream(ahead, body) => ahead.is_empty() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Kept(kept) => SizeHint::with_exact(kept.data.as_ref().map_or(0, |data| data.len() as u64)),
            Kind::Stream(ahead, body) if ahead.is_empty() => body.size_hint(),
            Kind::Stream(ahead, body) => {
                let read = ahead.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum::<u64>();
                let rest = body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower() + read);
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper + read);
                }
                hint
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Full};

    use super::*;

    /// A body of unknown length: its pieces, between which it makes one wait where there is none.
    #[derive(Debug)]
    struct Slow(Vec<Option<&'static str>>);

    impl Body for Slow {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.0.is_empty() {
                return Poll::Ready(None);
            }
            match self.0.remove(0) {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
                None => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        }
    }

    async fn read<B: Body<Error = Infallible> + Unpin>(payload: Payload<B>) -> Bytes {
        payload.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_small_body_is_kept_and_sent_again() {
        let payload = Payload::new(Full::<Bytes>::from("once")).keep(4).await.unwrap();
        let again = payload.again().unwrap();
        assert_eq!((payload.size_hint().exact(), payload.is_end_stream()), (Some(4), false));
        assert_eq!((read(payload).await, read(again).await), ("once".into(), "once".into()));
        let large = Payload::new(Full::<Bytes>::from("twice")).keep(4).await.unwrap();
        assert!(large.again().is_none());
        assert_eq!(read(large).await, "twice");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_body_without_a_length() {
        let whole = Payload::new(Slow(vec![Some("a"), Some("b")])).keep(9).await.unwrap();
        assert_eq!(read(whole.again().unwrap()).await, "ab");
        let slow = Payload::new(Slow(vec![Some("a"), None, Some("b")])).keep(9).await.unwrap();
        assert!(slow.again().is_none());
        assert_eq!(slow.size_hint().lower(), 1);
        assert_eq!(read(slow).await, "ab");
        let long = Payload::new(Slow(vec![Some("abc"), Some("def"), Some("g")])).keep(4).await.unwrap();
        assert!(long.again().is_none());
        assert_eq!(read(long).await, "abcdefg");
    }

    #[tokio::test]
    async fn trailers_are_kept_too() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "y".parse().unwrap());
        let with = Full::<Bytes>::from("a").with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
        let payload = Payload::new(Box::pin(with)).keep(4).await.unwrap();
        let collected = payload.again().unwrap().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
    }
}
