//! TLS on the node's own sockets: which certificate it shows, whom it trusts, and how both are exchanged while it runs.
//!
//! A [`Tls`] holds what was built from the files that [`TlsSettings`] name, behind one pointer: [`Tls::reload`] builds it
//! again and swaps it whole, or keeps the old one when the new files are broken. It opens no socket; `http::serve` and the
//! transport between nodes ask for [`Tls::server_config`] and [`Tls::client_config`] for each connection. [`issue`] makes
//! certificates, for `callboard tls`.

pub mod issue;
mod load;
mod verify;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig};

pub use watch::{reload_all, watch};

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with forward secrecy and authenticated encryption only.
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// The settings of one kind of socket, as Consul names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Trusted authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// A folder of the same.
    pub ca_path: Option<PathBuf>,
    /// The node's own certificate, followed by those between it and its authority, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether whoever connects has to bring a certificate of a trusted authority.
    pub verify_incoming: bool,
    /// Whether whoever is connected to has to bring a certificate of a trusted authority.
    pub verify_outgoing: bool,
    /// Whether that certificate must also be for the name that was asked for.
    pub verify_server_hostname: bool,
}

impl TlsSettings {
    /// Whether there is a certificate to show.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some()
    }
}

/// What a socket is for, which decides the protocols inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The HTTPS port: HTTP/2 and HTTP/1.1.
    Https,
    /// Between control nodes.
    InternalRpc,
}

impl Purpose {
    /// The name of the settings, for messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Https => "tls.https",
            Purpose::InternalRpc => "tls.internal_rpc",
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Purpose::Https => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Purpose::InternalRpc => vec![b"http/1.1".to_vec()],
        }
    }
}

/// Why TLS cannot be spoken with what the files hold. The ones in use, if any, stay in use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A setting is missing that another one needs.
    #[error("{purpose}.{field} is missing; {reason}")]
    Missing {
        /// The settings.
        purpose: &'static str,
        /// The missing one.
        field: &'static str,
        /// Who needs it.
        reason: &'static str,
    },
    /// A file cannot be read.
    #[error("reading {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path} {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected.
        reason: String,
    },
    /// Certificate and key do not fit, or are of a kind that is not spoken.
    #[error("{purpose}: {reason}")]
    Build {
        /// The settings.
        purpose: &'static str,
        /// The library's reason.
        reason: String,
    },
}

/// What is in use, built from the files at one moment.
struct Current {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// TLS for one kind of socket; shared by all its connections.
pub struct Tls {
    purpose: Purpose,
    settings: TlsSettings,
    current: ArcSwap<Current>,
    /// What the files held when they were last looked at, good or not.
    seen: Mutex<u64>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are in the configurations.
        f.debug_struct("Tls").field("purpose", &self.purpose).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a look at the files brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// They are as they were.
    Unchanged,
    /// New connections use what they hold now.
    Exchanged,
}

impl Tls {
    /// Reads the files and builds what connections need.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the setting. Nothing is in use then.
    pub fn load(purpose: Purpose, settings: TlsSettings) -> Result<Arc<Tls>, TlsError> {
        let material = load::read(purpose, &settings)?;
        let current = build(purpose, &settings, &material)?;
        let seen = Mutex::new(material.fingerprint);
        Ok(Arc::new(Tls { purpose, settings, current: ArcSwap::from_pointee(current), seen }))
    }

    /// Reads the files again. Connections that are open keep what they began with.
    ///
    /// # Errors
    /// [`TlsError`] when the files are broken; what was in use stays in use.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let material = load::read(self.purpose, &self.settings)?;
        let mut seen = self.seen.lock();
        if *seen == material.fingerprint {
            return Ok(Reloaded::Unchanged);
        }
        let current = build(self.purpose, &self.settings, &material)?;
        self.current.store(Arc::new(current));
        *seen = material.fingerprint;
        Ok(Reloaded::Exchanged)
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How to answer a connection.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    /// How to open one: with the node's own certificate, which the other side may ask for.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.current.load().client.clone()
    }
}

fn build(purpose: Purpose, settings: &TlsSettings, material: &load::Material) -> Result<Current, TlsError> {
    Ok(Current {
        server: Arc::new(load::server(purpose, settings, material)?),
        client: Arc::new(load::client(purpose, settings, material)?),
    })
}
