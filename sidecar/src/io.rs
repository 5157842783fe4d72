//! A client's socket as hyper reads it, with the bytes that were looked at before, and the look
//! itself: does the client speak HTTP/2 with prior knowledge?
//!
//! Used by `accept`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::conn::Watch;

/// What an HTTP/2 client with prior knowledge says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// A client's socket.
pub(crate) struct ClientIo {
    before: Bytes,
    socket: TokioIo<TcpStream>,
    watch: Arc<Watch>,
}

impl ClientIo {
    /// Waits for the first bytes and tells by them what the client speaks; `None` when it left
    /// without a word. HTTP/1 is known by its first byte in all but name: no method begins like the preface.
    pub(crate) async fn detect(mut socket: TcpStream, watch: Arc<Watch>) -> io::Result<Option<(Speaks, ClientIo)>> {
        let mut before = BytesMut::with_capacity(1_024);
        let speaks = loop {
            if socket.read_buf(&mut before).await? == 0 {
                return Ok(None);
            }
            watch.received();
            if let Some(speaks) = judge(&before) {
                break speaks;
            }
        };
        Ok(Some((speaks, ClientIo { before: before.freeze(), socket: TokioIo::new(socket), watch })))
    }
}

/// Tells what is spoken as soon as the bytes say so.
fn judge(bytes: &[u8]) -> Option<Speaks> {
    let common = bytes.iter().zip(PREFACE).take_while(|(given, expected)| given == expected).count();
    if common == PREFACE.len() {
        Some(Speaks::Http2)
    } else if common < bytes.len() {
        Some(Speaks::Http1)
    } else {
        None
    }
}

impl Read for ClientIo {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let length = self.before.len().min(buf.remaining());
            buf.put_slice(&self.before[..length]);
            self.before.advance(length);
            if self.before.is_empty() {
                self.before = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if read.is_ready() {
            self.watch.received();
        }
        read
    }
}

impl Write for ClientIo {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    #[inline]
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Speaks::Http1)),
            (b"P", None),
            (b"PR", None),
            (b"PO", Some(Speaks::Http1)),
            (b"PROPFIND / HTTP/1.1", Some(Speaks::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Speaks::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Some(Speaks::Http2)),
            (b"\x16\x03\x01", Some(Speaks::Http1)),
        ] {
            assert_eq!(judge(bytes), expected, "{bytes:?}");
        }
    }
}
