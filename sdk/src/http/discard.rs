//! What is left of a request when its answer is there.
//!
//! A socket that is closed with unread bytes in it answers the client's next ones with a reset, and a reset takes back
//! what the client had not read yet: the answer. So a server reads the rest beside the answer and throws it away, up to a
//! bound (RFC 9112, section 9.6). For servers of HTTP/1, as the control node and the sidecar are.

use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt as _;

/// How much is read, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// How long the client may pause, and how long all of it may take: less than a server that stops waits for what it began.
const IDLE_MAX: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(4);

/// Reads the rest of a request's body that nobody wants. Returns whether its end came; else it was too long, too slow or cut
/// off, and its connection is of no more use.
pub async fn discard<B>(mut body: B) -> bool
where
    B: Body + Unpin,
{
    let rest = async {
        let mut read = 0;
        loop {
            match tokio::time::timeout(IDLE_MAX, body.frame()).await {
                Ok(None) => return true,
                Ok(Some(Ok(frame))) => read += frame.data_ref().map_or(0, |data| bytes::Buf::remaining(data) as u64),
                Ok(Some(Err(_))) | Err(_) => return false,
            }
            if read > BYTES_MAX {
                return false;
            }
        }
    };
    tokio::time::timeout(TIME_MAX, rest).await.unwrap_or(false)
}
