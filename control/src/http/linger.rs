//! What a client still sends after its answer.
//!
//! It is read beside the answer and thrown away, so that the connection's end does not take the answer back; see
//! [`discard`].

use std::time::Duration;

use callboard::http::discard;
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use hyper::body::{Body as _, Incoming};
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;
use tracing::debug;

/// How long a connection stays that should not have been opened: it is one too many, so not for long.
const REFUSED_MAX: Duration = Duration::from_millis(500);
/// So many of them stay at a time.
static REFUSED: Semaphore = Semaphore::const_new(64);

/// The body of a request, as much of it as is not read.
pub(super) struct Sent {
    body: Incoming,
    /// What was announced, in bytes.
    length: Option<u64>,
    /// HTTP/2 ends a stream without its connection.
    is_http1: bool,
    /// Whether the client waits until somebody asks for the body; then it sends it, wanted or not.
    waits: bool,
}

impl Sent {
    /// Takes the body of a request; none when it has none.
    pub(super) fn of(body: Incoming, head: &Parts) -> Option<Self> {
        let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let (is_http1, waits) = (head.version <= Version::HTTP_11, head.headers.contains_key(EXPECT));
        (!body.is_end_stream()).then_some(Self { body, length, is_http1, waits })
    }

    /// The length that was announced, in bytes.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether more bytes may come than this.
    pub(super) fn is_longer_than(&self, most: u64) -> bool {
        self.length.is_none_or(|length| length > most)
    }

    /// The stream, to be read: the first piece that is asked for tells the client to go on.
    pub(super) fn ask(&mut self) -> &mut Incoming {
        self.waits = false;
        &mut self.body
    }

    /// Reads the rest beside the answer. Once it is whole the connection can be used again, unless the answer said
    /// otherwise; beyond the bounds hyper closes it.
    pub(super) fn linger(self) {
        let Self { body, is_http1, waits, .. } = self;
        if !is_http1 || waits || body.is_end_stream() {
            return;
        }
        tokio::spawn(async move {
            if !discard(body).await {
                debug!("a body that nobody wanted was cut off");
            }
        });
    }
}

/// Reads what comes on a connection whose answer is written, until the client closes it. Of connections beyond the first
/// few none is kept that long: there are too many already.
pub(super) async fn refused<S: AsyncRead + Unpin>(mut stream: S) {
    let Ok(_place) = REFUSED.try_acquire() else { return };
    let mut sink = tokio::io::sink();
    match tokio::time::timeout(REFUSED_MAX, tokio::io::copy(&mut stream, &mut sink)).await {
        Err(_) => debug!("a client that was refused stayed and was cut off"),
        Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "a client that was refused is gone"),
        Ok(Ok(_)) => {}
    }
}
