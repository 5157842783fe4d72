//! The connector, and the stream that hyper reads and writes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;

use crate::balance::Ask;
use crate::connect::{self, ConnectSettings, ServiceStream};
use crate::directory::Directory;
use crate::error::Error;
use crate::tower::RetryBudget;

/// Opens connections by URI for `hyper_util::client::legacy::Client`; clones share directory and budget. The port is the
/// endpoint's, whatever the URI says. A host that means no service is refused: it has no place in a registry.
///
/// ```
/// use callboard::catalog::Catalog;
/// use callboard::endpoint::Endpoint;
/// use callboard::hyper::Connector;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
///
/// let catalog = Catalog::fixed([("users", [Endpoint::new("users-1", "127.0.0.1", 8080)])]);
/// let client: Client<_, String> = Client::builder(TokioExecutor::new()).build(Connector::new(&catalog));
/// let answer = client.get("http://users/7".parse().unwrap());
/// # drop(answer);
/// ```
#[derive(Debug, Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: Directory,
    settings: ConnectSettings,
    budget: Arc<RetryBudget>,
}

impl Connector {
    /// Builds a connector over a client's registry, a fixed catalog or a directory, with default settings.
    #[must_use]
    pub fn new(directory: impl Into<Directory>) -> Self {
        Self::with(directory, ConnectSettings::default(), Arc::default())
    }

    /// Builds a connector with settings and a budget that may be shared with others.
    #[must_use]
    pub fn with(directory: impl Into<Directory>, settings: ConnectSettings, budget: Arc<RetryBudget>) -> Self {
        Self { shared: Arc::new(Shared { directory: directory.into(), settings, budget }) }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = HttpStream;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpStream, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let service = Directory::service_of(host).ok_or_else(|| Error::Config {
                setting: "host",
                reason: format!("{host} is not a service: one label, or one before .service.consul, would be"),
            })?;
            let balancer = shared.directory.balancer(service)?;
            let connector = connect::Connector::with(balancer, shared.settings.clone(), Arc::clone(&shared.budget));
            Ok(HttpStream(TokioIo::new(connector.connect(&Ask::any()).await?)))
        })
    }
}

/// Carries the bytes of HTTP to and from an endpoint.
#[derive(Debug)]
pub struct HttpStream(TokioIo<ServiceStream>);

impl Connection for HttpStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for HttpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl Write for HttpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
