//! TLS to the control nodes: whom to trust, what to show, and which name to ask for.
//!
//! [`TlsOptions`] are the settings, [`Tls`] what is built from them once. Verification is the platform's roots unless
//! others are named. Called by the transport; probes have their own rules (`check::tls`) and share the verifier here.

use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::{io, path::Path, sync::Arc};

#[cfg(feature = "tls")]
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
#[cfg(feature = "tls")]
use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::error::Error;

/// Holds the settings of TLS to the control nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Trusted authorities, PEM; those of the platform when neither this nor the folder is named.
    pub ca_file: Option<PathBuf>,
    /// A folder of the same.
    pub ca_path: Option<PathBuf>,
    /// The certificate to show, followed by those between it and its authority, PEM.
    pub client_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Option<PathBuf>,
    /// The name that the server's certificate must be for, where it is not the one that is dialled.
    pub server_name: Option<String>,
    /// Whether the server's certificate is verified at all.
    pub verify: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { ca_file: None, ca_path: None, client_cert: None, client_key: None, server_name: None, verify: true }
    }
}

impl TlsOptions {
    /// Reads the files and builds what connections need.
    ///
    /// # Errors
    /// [`Error::Config`] names the file or setting that cannot be used.
    #[cfg(feature = "tls")]
    pub(crate) fn load(&self) -> Result<Tls, Error> {
        let failed = |error: &dyn std::fmt::Display| bad(error.to_string());
        let builder = versions(ring::default_provider()).map_err(|error| failed(&error))?;
        let builder = if self.verify {
            builder.with_root_certificates(self.roots()?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(ring::default_provider())))
        };
        let mut config = match (&self.client_cert, &self.client_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let bytes = std::fs::read(key).map_err(|error| bad(format!("reading {}: {error}", key.display())))?;
                let key = PrivateKeyDer::from_pem_slice(&bytes)
                    .map_err(|_| bad(format!("{} holds no private key in PEM", key.display())))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| failed(&error))?
            }
            (Some(_), None) => return Err(bad("a client certificate needs its key (client_key)".to_owned())),
            (None, Some(_)) => return Err(bad("a client key needs its certificate (client_cert)".to_owned())),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = |name: &String| {
            ServerName::try_from(name.clone())
                .map_err(|_| bad(format!("{name:?} is neither a DNS name nor an address")))
        };
        let server_name = self.server_name.as_ref().filter(|name| !name.is_empty()).map(name).transpose()?;
        Ok(Tls { config: Arc::new(config), server_name })
    }

    /// Refuses: this build speaks no TLS.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn load(&self) -> Result<std::convert::Infallible, Error> {
        Err(bad("https:// needs the feature `tls` of this crate".to_owned()))
    }

    #[cfg(feature = "tls")]
    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut store = RootCertStore::empty();
        if self.ca_file.is_none() && self.ca_path.is_none() {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(store);
        }
        let mut files: Vec<PathBuf> = self.ca_file.iter().cloned().collect();
        if let Some(folder) = &self.ca_path {
            let failed = |error: io::Error| bad(format!("reading {}: {error}", folder.display()));
            for entry in std::fs::read_dir(folder).map_err(failed)? {
                files.push(entry.map_err(failed)?.path());
            }
        }
        for file in files.iter().filter(|file| file.is_file()) {
            for certificate in certificates(file)? {
                store.add(certificate).map_err(|error| bad(format!("{}: {error}", file.display())))?;
            }
        }
        if store.is_empty() {
            return Err(bad("no authority to trust was found".to_owned()));
        }
        Ok(store)
    }
}

fn bad(reason: String) -> Error {
    Error::Config { setting: "tls", reason }
}

#[cfg(feature = "tls")]
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = std::fs::read(path).map_err(|error| bad(format!("reading {}: {error}", path.display())))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| bad(format!("{} is not PEM: {error}", path.display())))?;
    if found.is_empty() {
        return Err(bad(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(found)
}

/// Begins a configuration: TLS 1.2 and 1.3.
#[cfg(feature = "tls")]
pub(crate) fn versions(provider: CryptoProvider) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()
}

/// Speaks TLS; clones share one configuration.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

#[cfg(feature = "tls")]
impl std::fmt::Debug for Tls {
    // The key is in the configuration.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

#[cfg(feature = "tls")]
impl Tls {
    /// Agrees on TLS with whoever is at the other side of a connection to `authority`.
    pub(super) async fn wrap(&self, stream: TcpStream, authority: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
                let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
                ServerName::try_from(bare.to_owned())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?
            }
        };
        TlsConnector::from(self.config.clone()).connect(name, stream).await
    }
}

/// Takes any certificate whose key the other side has.
#[cfg(feature = "tls")]
#[derive(Debug)]
pub(crate) struct AnyCertificate(pub(crate) CryptoProvider);

#[cfg(feature = "tls")]
impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
