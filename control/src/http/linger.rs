//! What a client still sends after its answer.
//!
//! A socket that is closed with unread bytes in it answers the client's next ones with a reset, and a reset takes
//! back what the client had not read yet: the answer. So what is left of a request is read and thrown away while the
//! answer is on its way, up to a bound (RFC 9112, section 9.6).

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::AsyncRead;
use tracing::debug;

/// How much is read of a body that nobody wants, in bytes.
const BODY_MAX: u64 = 64 << 20;
/// How long it may pause, and how long it may take: less than the drain of a node that stops.
const IDLE_MAX: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(4);
/// How long a connection stays that should not have been opened: it is one too many, so not for long.
const REFUSED_MAX: Duration = Duration::from_millis(500);

/// Reads the rest of a body beside the answer. Once it is whole the connection can be used again, unless the answer
/// said otherwise; beyond the bounds hyper closes it.
pub(super) fn body(mut body: Incoming) {
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

/// Reads what comes on a connection whose answer is written, until the client closes it.
pub(super) async fn refused<S: AsyncRead + Unpin>(mut stream: S) {
    let mut sink = tokio::io::sink();
    match tokio::time::timeout(REFUSED_MAX, tokio::io::copy(&mut stream, &mut sink)).await {
        Err(_) => debug!("a client that was refused stayed and was cut off"),
        Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "a client that was refused is gone"),
        Ok(Ok(_)) => {}
    }
}
