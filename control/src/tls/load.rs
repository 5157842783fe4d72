//! From files to configurations: reads PEM, and puts certificates, keys and trusted authorities together.
//!
//! Decides which versions and suites are spoken: TLS 1.2 and 1.3 as ring has them, which is forward secrecy and
//! authenticated encryption throughout. Called by [`super::Tls`] at the start and at each reload.

use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use twox_hash::XxHash3_64;

use super::verify::{AnyCertificate, AnyName};
use super::{Purpose, TlsError, TlsSettings, TlsVersion};

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 1024 * 1024;
/// The most files that a folder of authorities may hold.
const FOLDER_MAX: usize = 256;

static ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// What the files hold.
pub(super) struct Material {
    roots: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// A hash of every byte that was read.
    pub(super) fingerprint: u64,
}

/// Reads every file that the settings name.
pub(super) fn read(purpose: Purpose, settings: &TlsSettings) -> Result<Material, TlsError> {
    let missing = |field, reason| TlsError::Missing { purpose: purpose.as_str(), field, reason };
    let mut hasher = XxHash3_64::default();
    let mut roots = Vec::new();
    let folder = settings.ca_path.iter().map(|folder| files(folder)).collect::<Result<Vec<_>, _>>()?;
    for path in settings.ca_file.iter().cloned().chain(folder.into_iter().flatten()) {
        roots.extend(certificates(&path, &mut hasher)?);
    }
    if roots.is_empty() && settings.verify_incoming {
        return Err(missing("ca_file", "verify_incoming needs to know whom to trust"));
    }
    if roots.is_empty() && settings.verify_outgoing {
        return Err(missing("ca_file", "verify_outgoing needs to know whom to trust"));
    }
    let cert = settings.cert_file.as_ref().ok_or_else(|| missing("cert_file", "a server shows a certificate"))?;
    let key = settings.key_file.as_ref().ok_or_else(|| missing("key_file", "cert_file is nothing without it"))?;
    let chain = certificates(cert, &mut hasher)?;
    let bytes = contents(key, &mut hasher)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::Content {
        path: key.clone(),
        // Not the reader's own words: they might repeat a piece of the key.
        reason: "holds no private key in PEM (PKCS #8, SEC 1 or PKCS #1)".to_owned(),
    })?;
    Ok(Material { roots, chain, key, fingerprint: hasher.finish() })
}

fn contents(path: &Path, hasher: &mut XxHash3_64) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_MAX {
        return Err(TlsError::Content { path: path.to_owned(), reason: format!("is larger than {FILE_MAX} bytes") });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    hasher.write_usize(bytes.len());
    hasher.write(&bytes);
    Ok(bytes)
}

fn certificates(path: &Path, hasher: &mut XxHash3_64) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |reason: String| TlsError::Content { path: path.to_owned(), reason };
    let bytes = contents(path, hasher)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| content(format!("is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(content("holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

/// The files of a folder of authorities, by name, so that the same folder is the same however it is listed.
fn files(folder: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let failed = |source| TlsError::Read { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            found.push(path);
        }
        if found.len() > FOLDER_MAX {
            let reason = format!("holds more than {FOLDER_MAX} files");
            return Err(TlsError::Content { path: folder.to_owned(), reason });
        }
    }
    found.sort();
    Ok(found)
}

fn versions(settings: &TlsSettings) -> &'static [&'static SupportedProtocolVersion] {
    match settings.min_version {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => ONLY_1_3,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(purpose: Purpose, material: &Material) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in &material.roots {
        store.add(root.clone()).map_err(|error| failed(purpose, &error))?;
    }
    Ok(Arc::new(store))
}

fn failed(purpose: Purpose, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::Build { purpose: purpose.as_str(), reason: error.to_string() }
}

/// How connections are answered.
pub(super) fn server(purpose: Purpose, settings: &TlsSettings, material: &Material) -> Result<ServerConfig, TlsError> {
    let failed = |error: &dyn std::fmt::Display| failed(purpose, error);
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(versions(settings)).map_err(|error| failed(&error))?;
    let builder = if settings.verify_incoming {
        let roots = roots(purpose, material)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        builder.with_client_cert_verifier(verifier.map_err(|error| failed(&error))?)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(material.chain.clone(), material.key.clone_key());
    let mut config = config.map_err(|error| failed(&error))?;
    config.alpn_protocols = purpose.protocols();
    // Ours is the order of strength; the client's may be anything.
    config.ignore_client_order = true;
    Ok(config)
}

/// How connections are opened.
pub(super) fn client(purpose: Purpose, settings: &TlsSettings, material: &Material) -> Result<ClientConfig, TlsError> {
    let failed = |error: &dyn std::fmt::Display| failed(purpose, error);
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(versions(settings)).map_err(|error| failed(&error))?;
    let builder = if !settings.verify_outgoing {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider())))
    } else if settings.verify_server_hostname {
        builder.with_root_certificates(roots(purpose, material)?)
    } else {
        let verifier = AnyName::new(roots(purpose, material)?, provider()).map_err(|error| failed(&error))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    let config = builder.with_client_auth_cert(material.chain.clone(), material.key.clone_key());
    let mut config = config.map_err(|error| failed(&error))?;
    config.alpn_protocols = purpose.protocols();
    Ok(config)
}
