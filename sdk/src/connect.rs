//! Plain TCP: a connection to an endpoint of a service, for every protocol that is not HTTP.
//!
//! Picks, dials within a time and, since nothing was said yet, dials another endpoint when that fails. The stream holds
//! the call's place on its endpoint for as long as it is open, and tells how it went: a first byte from the other side
//! is a success, a failed read or write or an end without a byte is a failure. What is said on the
//! connection is the caller's business. Called by [`crate::Client::connect`] and by the connector for hyper.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Client;
use crate::balance::{Ask, Balancer, Picked, Policy};
use crate::endpoint::{Endpoint, Outcome};
use crate::error::Error;
use crate::http::{Dialer, Stream, open};
use crate::tower::{CallError, Reason, RetryBudget, Tries};

/// Holds the settings of connections.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    /// The time for one connection.
    pub timeout: Duration,
    /// How many endpoints are tried, at most 8.
    pub attempts_max: usize,
    /// How connections are opened.
    pub dialer: Dialer,
}

impl Default for ConnectSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(1), attempts_max: 3, dialer: Dialer::Tcp }
    }
}

/// Opens connections to one service; clones share the balancer and the budget.
///
/// ```no_run
/// use callboard::balance::{Ask, Policy};
/// use callboard::connect::Connector;
/// use tokio::io::AsyncWriteExt;
///
/// # async fn example(client: &callboard::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let caches = Connector::new(client.balancer("redis", Policy::RING_HASH)?);
/// let mut stream = caches.connect(&Ask::key(b"user:7")).await?;
/// println!("talking to {}", stream.endpoint().id());
/// stream.write_all(b"PING\r\n").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Connector {
    balancer: Balancer,
    settings: ConnectSettings,
    budget: Arc<RetryBudget>,
}

impl Connector {
    /// Builds a connector with default settings and a budget of its own.
    #[must_use]
    pub fn new(balancer: Balancer) -> Self {
        Self::with(balancer, ConnectSettings::default(), Arc::default())
    }

    /// Builds a connector with settings and a budget that may be shared with others.
    #[must_use]
    pub fn with(balancer: Balancer, settings: ConnectSettings, budget: Arc<RetryBudget>) -> Self {
        Self { balancer, settings, budget }
    }

    /// Returns the balancer.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Opens a connection to an endpoint.
    ///
    /// # Errors
    /// [`CallError`] when none could be had; nothing was sent then.
    pub async fn connect(&self, ask: &Ask<'_>) -> Result<ServiceStream, Box<CallError>> {
        let mut tries = Tries::new(&self.balancer, &self.budget, ask, self.settings.attempts_max);
        loop {
            let Some(picked) = tries.next() else { return Err(tries.failed()) };
            let endpoint = picked.endpoint();
            let settings = &self.settings;
            match open(&settings.dialer, endpoint.authority(), endpoint.socket(), settings.timeout).await {
                Ok(stream) => return Ok(ServiceStream { stream, picked, written: false, told: Told::Nothing }),
                Err(error) => tries.note(picked, Outcome::ConnectFailed, Reason::Connect, error.into()),
            }
        }
    }
}

impl Client {
    /// Opens a TCP connection to an endpoint of a service, by the default policy and with one retry budget for all
    /// services. For another policy, a key or other settings build a [`Connector`].
    ///
    /// # Errors
    /// As [`Client::watch`], and [`Error::Call`] when no connection could be had.
    pub async fn connect(&self, service: &str) -> Result<ServiceStream, Error> {
        let balancer = self.balancer(service, Policy::default())?;
        let connector = Connector::with(balancer, ConnectSettings::default(), Arc::clone(self.budget()));
        Ok(connector.connect(&Ask::any()).await?)
    }
}

/// Carries bytes to and from an endpoint, and counts in flight there until it is dropped.
#[derive(Debug)]
pub struct ServiceStream {
    stream: Stream,
    picked: Picked,
    written: bool,
    told: Told,
}

/// What was recorded about the endpoint so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Success,
    Failure,
}

impl ServiceStream {
    /// Returns the endpoint at the other side.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.picked.endpoint()
    }

    /// Records how the conversation goes, for protocols in which a well-formed answer can be bad news.
    pub fn record(&mut self, outcome: Outcome) {
        self.told = if outcome == Outcome::Success { Told::Success } else { Told::Failure };
        self.picked.record(outcome);
    }

    fn heard(&mut self) {
        if self.told == Told::Nothing {
            self.record(Outcome::Success);
        }
    }

    #[cold]
    fn broke(&mut self) {
        if self.told != Told::Failure {
            self.record(Outcome::Failed);
        }
    }

    fn noted<T>(&mut self, result: io::Result<T>) -> Poll<io::Result<T>> {
        if result.is_err() {
            self.broke();
        }
        Poll::Ready(result)
    }
}

impl AsyncRead for ServiceStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        if buf.filled().len() > before {
            this.heard();
        } else if read.is_ok() && room > 0 && this.written && this.told == Told::Nothing {
            // Asked, and hung up on without a byte.
            this.broke();
        }
        this.noted(read)
    }
}

impl AsyncWrite for ServiceStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.written = true;
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes));
        this.noted(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.written = true;
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices));
        this.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        this.noted(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A side that is gone already has no say in how it is left.
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
