//! A body that holds something for as long as it is being read: a call's place on an endpoint, a count of what is
//! being served.
//!
//! The guard is let go at the end of the body, at its error or when the body is dropped, whichever is first. Used by
//! the layers and by the adapters of clients with responses of their own.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use crate::balance::Picked;
use crate::endpoint::Outcome;

/// Is held by a [`HeldBody`].
pub trait Hold {
    /// Hears that the body broke, before it is let go.
    fn broke(&mut self) {}
}

impl Hold for Picked {
    fn broke(&mut self) {
        self.record(Outcome::Failed);
    }
}

/// Wraps a body and holds a guard until it ends.
#[derive(Debug)]
pub struct HeldBody<B, G> {
    body: B,
    guard: Option<G>,
}

impl<B: Body, G> HeldBody<B, G> {
    /// Wraps a body; lets the guard go at once when there is nothing to read.
    pub fn new(body: B, guard: G) -> Self {
        let guard = (!body.is_end_stream()).then_some(guard);
        Self { body, guard }
    }
}

impl<B: Body + Unpin, G: Hold + Unpin> Body for HeldBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Err(_))) => {
                if let Some(mut guard) = this.guard.take() {
                    guard.broke();
                }
            }
            Poll::Ready(None) => this.guard = None,
            // Readers that look at `is_end_stream` never ask for the frame after the last.
            Poll::Ready(Some(Ok(_))) if this.body.is_end_stream() => this.guard = None,
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
