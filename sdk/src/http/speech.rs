//! Whether a server speaks HTTP/2 in clear text, and how many requests it takes at once on one connection.
//!
//! It is asked once, on a connection of its own: whoever answers the preface (RFC 9113 section 3.4) with a SETTINGS frame
//! speaks it; whoever answers anything else, hangs up or keeps silent does not. Nothing is upgraded and no request is at
//! stake. Decides nothing about what is sent how. Called by `transport`.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The preface, and an empty SETTINGS frame as it must follow (RFC 9113 sections 3.4 and 6.5).
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const SETTINGS: u8 = 4;
/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 section 6.5.2).
const STREAMS: u16 = 3;
/// The largest frame before anything else is agreed on (RFC 9113 section 4.2).
const FRAME_MAX: usize = 16_384;
/// How long the first frame may take.
const ANSWER_IN: Duration = Duration::from_secs(1);
/// The requests at once on one connection when the server names no bound.
const STREAMS_DEFAULT: u32 = 1000;

/// Says what a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 as well.
    Http2 {
        /// How many requests one connection carries at once; at least one.
        streams: u32,
    },
}

/// Asks.
pub(super) async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Speech {
    match tokio::time::timeout(ANSWER_IN, first_frame(&mut stream)).await {
        Ok(Ok(Some(streams))) if streams > 0 => Speech::Http2 { streams },
        _ => Speech::Http1,
    }
}

/// Returns how many streams the server allows; none when its first bytes are no SETTINGS frame.
async fn first_frame(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Option<u32>> {
    stream.write_all(HELLO).await?;
    stream.flush().await?;
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let is_settings = head[3] == SETTINGS && head[4] & 1 == 0 && head[5..] == [0; 4];
    if !is_settings || len > FRAME_MAX || !len.is_multiple_of(6) {
        return Ok(None);
    }
    let mut settings = vec![0; len];
    stream.read_exact(&mut settings).await?;
    let mut streams = STREAMS_DEFAULT;
    for setting in settings.chunks_exact(6) {
        if u16::from_be_bytes([setting[0], setting[1]]) == STREAMS {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            streams = value.min(STREAMS_DEFAULT);
        }
    }
    Ok(Some(streams))
}

/// Counts the requests on each connection to one server, so that none is queued behind others that wait for minutes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    // By number of the connection.
    held: Vec<u32>,
}

impl Lanes {
    /// Takes a place on the first connection that has one; returns its number.
    pub(super) fn take(&mut self, streams: u32) -> u32 {
        let free = self.held.iter().position(|held| *held < streams);
        let lane = free.unwrap_or_else(|| {
            self.held.push(0);
            self.held.len() - 1
        });
        self.held[lane] += 1;
        lane as u32
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, lane: u32) {
        if let Some(held) = self.held.get_mut(lane as usize) {
            *held = held.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &[u8]) -> Speech {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let asked = tokio::spawn(ask(ours));
        let mut hello = vec![0; HELLO.len()];
        theirs.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello, HELLO);
        theirs.write_all(answer).await.unwrap();
        if !answer.is_empty() {
            drop(theirs);
        }
        asked.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_settings_frame_is_http2() {
        let frame = |settings: &[u8]| [&[0, 0, settings.len() as u8, 4, 0, 0, 0, 0, 0], settings].concat();
        assert_eq!(answered(&frame(&[])).await, Speech::Http2 { streams: STREAMS_DEFAULT });
        let bounded = frame(&[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 200]);
        assert_eq!(answered(&bounded).await, Speech::Http2 { streams: 200 });
        assert_eq!(answered(&frame(&[0, 3, 0, 0, 0, 0])).await, Speech::Http1, "it takes no request");
        assert_eq!(answered(&bounded[..12]).await, Speech::Http1, "cut short");
        assert_eq!(answered(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, Speech::Http1);
        assert_eq!(answered(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await, Speech::Http1, "an acknowledgement is no greeting");
        assert_eq!(answered(b"").await, Speech::Http1, "silence");
    }

    #[test]
    fn a_full_connection_is_followed_by_another() {
        let mut lanes = Lanes::default();
        assert_eq!([0; 5].map(|_| lanes.take(2)), [0, 0, 1, 1, 2]);
        lanes.give_back(0);
        assert_eq!(lanes.take(2), 0);
    }

    #[tokio::test]
    async fn servers_are_told_apart() {
        use hyper_util::rt::{TokioExecutor, TokioIo};
        let service = || {
            hyper::service::service_fn(|_| async {
                Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::<bytes::Bytes>::default()))
            })
        };
        let (ours, theirs) = tokio::io::duplex(4096);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service()));
        assert_eq!(ask(ours).await, Speech::Http1);
        let (ours, theirs) = tokio::io::duplex(4096);
        let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        http2.max_concurrent_streams(77);
        tokio::spawn(http2.serve_connection(TokioIo::new(theirs), service()));
        assert_eq!(ask(ours).await, Speech::Http2 { streams: 77 });
    }
}
