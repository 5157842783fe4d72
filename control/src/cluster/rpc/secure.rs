//! TLS around what nodes say to each other, where the node has a certificate for that.
//!
//! Either all of it is inside TLS or none: a node with a certificate takes nothing that is not, so whoever has none cannot
//! write to the log of others. What certificates are shown and wanted is [`Tls`]'s decision.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::Tls;

/// How long a client may take to agree.
const AGREE_MAX: Duration = Duration::from_secs(5);

/// The certificates, and the name that the other side's is to be for.
#[derive(Clone)]
pub struct RpcTls {
    tls: Arc<Tls>,
    name: ServerName<'static>,
}

/// A connection, in TLS or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl RpcTls {
    /// TLS by these certificates; `name` is asked for where names are verified.
    ///
    /// # Errors
    /// When it is no name of a host.
    pub fn new(tls: Arc<Tls>, name: &str) -> Result<RpcTls, String> {
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("{name:?}: {error}"))?;
        Ok(RpcTls { tls, name })
    }
}

/// Answers a connection.
pub(super) async fn accepted(tls: Option<&RpcTls>, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    let Some(RpcTls { tls, .. }) = tls else { return Ok(Box::new(stream)) };
    match tokio::time::timeout(AGREE_MAX, TlsAcceptor::from(tls.server_config()).accept(stream)).await {
        Ok(stream) => Ok(Box::new(stream?)),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the other side did not agree on TLS in time")),
    }
}

/// Opens one. The time for it is the caller's.
pub(super) async fn opened(tls: Option<&RpcTls>, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
    let Some(RpcTls { tls, name }) = tls else { return Ok(Box::new(stream)) };
    Ok(Box::new(TlsConnector::from(tls.client_config()).connect(name.clone(), stream).await?))
}
