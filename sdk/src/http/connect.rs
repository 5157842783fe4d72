//! Opening one connection: name to address, TCP, handshake, and the task that drives it.

use std::net::SocketAddr;
use std::time::Duration;

use http_body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::payload::Payload;
use super::pool::Held;
use super::stream::{Dialer, Stream};
use crate::error::Cause;

/// Says why no connection could be had. No byte of any request was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name was not found, or nobody listens there.
    #[error("connecting to {authority}")]
    Tcp {
        /// Who was dialled.
        authority: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It took too long.
    #[error("connecting to {authority} took longer than {after:?}")]
    Timeout {
        /// Who was dialled.
        authority: String,
        /// The time given.
        after: Duration,
    },
    /// The connection was there, and HTTP could not begin on it.
    #[error("beginning HTTP with {authority}")]
    Handshake {
        /// Who was dialled.
        authority: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// There are as many connections as there may be. Says nothing about the endpoint.
    #[error("connecting to {authority}: the bound of {max} {what} was reached")]
    Bound {
        /// Who was to be dialled.
        authority: String,
        /// What is bounded.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

/// Connects within a time.
pub(crate) async fn open(
    dialer: &Dialer,
    authority: &str,
    socket: Option<SocketAddr>,
    timeout: Duration,
) -> Result<Stream, ConnectError> {
    match tokio::time::timeout(timeout, dialer.dial(authority, socket)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(ConnectError::Tcp { authority: authority.to_owned(), source }),
        Err(_) => Err(ConnectError::Timeout { authority: authority.to_owned(), after: timeout }),
    }
}

/// Begins HTTP/1.1; the connection lives in a task of its own until it ends or its sender is dropped.
pub(super) async fn http1<B>(
    stream: Stream,
    authority: &str,
    held: Held,
) -> Result<http1::SendRequest<Payload<B>>, ConnectError>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| failed(authority, error))?;
    tokio::spawn(async move {
        // How it ended is told to whoever waits for an answer; an idle connection may end as it likes.
        let _ = connection.with_upgrades().await;
        drop(held);
    });
    Ok(sender)
}

/// Begins HTTP/2 with prior knowledge.
pub(super) async fn http2<B>(
    stream: Stream,
    authority: &str,
    held: Held,
) -> Result<http2::SendRequest<Payload<B>>, ConnectError>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // Fixed windows: the adaptive ones cost a ping per round.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = handshake.map_err(|error| failed(authority, error))?;
    tokio::spawn(async move {
        let _ = connection.await;
        drop(held);
    });
    Ok(sender)
}

fn failed(authority: &str, error: hyper::Error) -> ConnectError {
    ConnectError::Handshake { authority: authority.to_owned(), source: error.into() }
}
