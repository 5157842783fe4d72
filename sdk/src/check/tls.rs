//! TLS as probes speak it: whom to trust, and which protocol to ask for.
//!
//! Decides how a server is verified. The settings are built once per process and shared by all checks.
//! Sessions are never resumed: a resumed one skips the certificate, which is half of what is checked.

use std::fmt;
use std::sync::Arc;

use callboard_proto::definition::Tls;
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::{Fault, words};
use crate::http::{AnyCertificate, versions};

/// Which protocol is asked for inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// None in particular.
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    H2,
}

/// One way to verify, for each protocol.
struct Configs {
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
}

impl Configs {
    fn new(mut any: ClientConfig) -> Configs {
        any.resumption = Resumption::disabled();
        let with = |protocol: &[u8]| {
            let mut config = any.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Configs { http1: with(b"http/1.1"), h2: with(b"h2"), any: Arc::new(any) }
    }

    fn get(&self, alpn: Alpn) -> Arc<ClientConfig> {
        match alpn {
            Alpn::Any => self.any.clone(),
            Alpn::Http1 => self.http1.clone(),
            Alpn::H2 => self.h2.clone(),
        }
    }
}

/// The TLS settings of all probes, built when first needed.
#[derive(Default)]
pub(crate) struct TlsClients {
    /// Trusted beside the platform's own roots.
    roots: Vec<CertificateDer<'static>>,
    verified: OnceCell<Configs>,
    unverified: OnceCell<Configs>,
}

impl TlsClients {
    /// Trusts these certificates (DER) beside the platform's own roots.
    pub(crate) fn trusting(roots: impl IntoIterator<Item = Vec<u8>>) -> TlsClients {
        TlsClients { roots: roots.into_iter().map(CertificateDer::from).collect(), ..TlsClients::default() }
    }

    /// Speaks TLS on a connection to `host`.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
        tls: &Tls,
        alpn: Alpn,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let name = if tls.server_name.is_empty() { host } else { &tls.server_name };
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Fault(format!("TLS: {name:?} is neither a DNS name nor an IP address")))?;
        let config = self.config(tls.skip_verify, alpn).await?;
        let wrapped = TlsConnector::from(config).connect(server, stream).await;
        wrapped.map_err(|error| Fault(format!("TLS with {name}: {}", words(&error))))
    }

    async fn config(&self, skip_verify: bool, alpn: Alpn) -> Result<Arc<ClientConfig>, Fault> {
        let configs = if skip_verify {
            self.unverified.get_or_try_init(async || unverified().map(Configs::new)).await
        } else {
            let roots = || self.roots.clone();
            let build = async || {
                // The platform's roots are files: some hundred kilobytes to read and parse.
                let built = tokio::task::spawn_blocking({
                    let roots = roots();
                    move || verified(roots)
                })
                .await;
                built.map_err(|_| Fault::new("TLS: loading the trusted roots failed"))?.map(Configs::new)
            };
            self.verified.get_or_try_init(build).await
        };
        Ok(configs?.get(alpn))
    }
}

impl fmt::Debug for TlsClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClients").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

fn begin() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Fault> {
    versions(ring::default_provider()).map_err(|error| Fault(format!("TLS: {error}")))
}

fn verified(roots: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Fault> {
    let mut store = RootCertStore::empty();
    // A root that cannot be read or parsed is one fewer to trust; the handshake then says whom it misses.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store.add_parsable_certificates(roots);
    Ok(begin()?.with_root_certificates(store).with_no_client_auth())
}

fn unverified() -> Result<ClientConfig, Fault> {
    // For checks that say `TLSSkipVerify`; the handshake itself must still be true.
    let verifier = Arc::new(AnyCertificate(ring::default_provider()));
    Ok(begin()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}
