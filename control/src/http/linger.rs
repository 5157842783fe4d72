//! What a client still sends after its answer.
//!
//! A socket that is closed with unread bytes in it answers the client's next ones with a reset, and a reset takes
//! back what the client had not read yet: the answer. So what is left of a request is read and thrown away while the
//! answer is on its way, up to a bound (RFC 9112, section 9.6).

use std::time::Duration;

use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;
use tracing::debug;

/// How much is read of a body that nobody wants, in bytes.
const BODY_MAX: u64 = 64 << 20;
/// How long it may pause, and how long it may take: less than the drain of a node that stops.
const IDLE_MAX: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(4);
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
        let Self { mut body, is_http1, waits, .. } = self;
        if !is_http1 || waits || body.is_end_stream() {
            return;
        }
        tokio::spawn(async move {
            let rest = async {
                let mut read = 0;
                while let Ok(Some(Ok(frame))) = tokio::time::timeout(IDLE_MAX, body.frame()).await {
                    read += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if read > BODY_MAX {
                        return;
                    }
                }
            };
            if tokio::time::timeout(TIME_MAX, rest).await.is_err() {
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
