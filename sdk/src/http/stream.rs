//! What connections are made of: TCP, with or without TLS, sockets of the file system, or pipes within the process.
//!
//! The last way in is for tests of whole clients without sockets, where paused time works. It decides nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::address::UNIX;
#[cfg(feature = "tls")]
use super::tls::Tls;

/// How much a pipe holds in each direction, in bytes.
const PIPE: usize = 64 * 1024;

/// Says how connections are opened.
#[derive(Debug, Clone, Default)]
pub enum Dialer {
    /// By TCP, or to a socket of the file system if the address is one.
    #[default]
    Tcp,
    /// By TCP, with TLS inside.
    #[cfg(feature = "tls")]
    Tls(Tls),
    /// By pipes to a listener in this process, whatever the address.
    Memory(Memory),
}

/// Opens pipes to a [`MemoryListener`]; clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Memory(mpsc::Sender<(String, DuplexStream)>);

/// Takes the pipes that are opened to it; when it is dropped, connections are refused.
#[derive(Debug)]
pub struct MemoryListener(mpsc::Receiver<(String, DuplexStream)>);

/// Builds a listener in this process and the way to it.
#[must_use]
pub fn memory() -> (Memory, MemoryListener) {
    let (sender, receiver) = mpsc::channel(128);
    (Memory(sender), MemoryListener(receiver))
}

impl MemoryListener {
    /// Returns the next connection with the `host:port` that was dialled; none when nobody can dial any more.
    pub async fn accept(&mut self) -> Option<(String, DuplexStream)> {
        self.0.recv().await
    }
}

impl Dialer {
    /// Says whether connections leave the process.
    pub(crate) fn is_network(&self) -> bool {
        !matches!(self, Dialer::Memory(_))
    }

    /// Says whether somebody takes a connection within the time. It is closed at once.
    pub(crate) async fn answers(&self, authority: &str, socket: Option<SocketAddr>, timeout: Duration) -> bool {
        matches!(tokio::time::timeout(timeout, self.dial(authority, socket)).await, Ok(Ok(_)))
    }

    pub(super) async fn dial(&self, authority: &str, socket: Option<SocketAddr>) -> io::Result<Stream> {
        match self {
            Dialer::Tcp => {
                if let Some(path) = authority.strip_prefix(UNIX) {
                    return UnixStream::connect(path).await.map(Stream::Unix);
                }
                tcp(authority, socket).await.map(Stream::Tcp)
            }
            #[cfg(feature = "tls")]
            Dialer::Tls(tls) => {
                let stream = tcp(authority, socket).await?;
                tls.wrap(stream, authority).await.map(|stream| Stream::Tls(Box::new(stream)))
            }
            Dialer::Memory(memory) => {
                let (ours, theirs) = tokio::io::duplex(PIPE);
                let sent = memory.0.send((authority.to_owned(), theirs)).await;
                sent.map(|()| Stream::Memory(ours)).map_err(|_| io::ErrorKind::ConnectionRefused.into())
            }
        }
    }
}

async fn tcp(authority: &str, socket: Option<SocketAddr>) -> io::Result<TcpStream> {
    let stream = match socket {
        Some(socket) => TcpStream::connect(socket).await,
        // All addresses of the name are tried in turn.
        None => TcpStream::connect(authority).await,
    }?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Carries the bytes of a connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Memory(DuplexStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Memory(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Memory(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
