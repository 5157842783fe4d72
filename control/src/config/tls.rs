//! TLS: which certificates are shown and asked for, per interface.
//!
//! `tls.defaults` holds for every interface that does not say otherwise; the names of older files (`cert_file`,
//! `verify_incoming`, …) stand for the same. Files are not opened here.

use std::path::PathBuf;

use super::file::FileConfig;
use super::keys::keys;
use super::{ConfigError, invalid};

keys! {
    pub(super) struct TlsKeys {
        pub(super) defaults: InterfaceKeys,
        pub(super) https: InterfaceKeys,
        pub(super) internal_rpc: InterfaceKeys,
    }
    unneeded {
        grpc: "gRPC is not served",
        enable_agent_tls_for_checks: "checks use the certificates of their own definition",
    }
}

keys! {
    pub(super) struct InterfaceKeys {
        pub(super) ca_file: Option<PathBuf>,
        pub(super) ca_path: Option<PathBuf>,
        pub(super) cert_file: Option<PathBuf>,
        pub(super) key_file: Option<PathBuf>,
        pub(super) tls_min_version: Option<String>,
        pub(super) verify_incoming: Option<bool>,
        pub(super) verify_outgoing: Option<bool>,
        pub(super) verify_server_hostname: Option<bool>,
        pub(super) server_name: Option<String>,
    }
    unneeded {
        tls_cipher_suites: "only suites that are strong are offered",
        use_auto_cert: "certificates are given in files",
    }
}

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// TLS on one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsInterface {
    /// Who is trusted: a file of certificates.
    pub ca_file: Option<PathBuf>,
    /// Who is trusted: a folder of such files.
    pub ca_path: Option<PathBuf>,
    /// What we show.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub version_min: TlsVersion,
    /// Whether callers have to bring a certificate.
    pub verify_incoming: bool,
    /// Whether those we call have to bring one that we trust.
    pub verify_outgoing: bool,
    /// Whether it must be for `server.<datacenter>.<domain>`.
    pub verify_server_hostname: bool,
    /// The name to ask for instead.
    pub server_name: Option<String>,
}

/// TLS, per interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Of the HTTPS port, and of what this node calls over HTTPS.
    pub https: TlsInterface,
    /// Between control nodes.
    pub internal_rpc: TlsInterface,
}

impl TlsSettings {
    pub(super) fn resolve(file: &FileConfig) -> Result<TlsSettings, ConfigError> {
        // Older names stand for `tls.defaults`, unless that is given.
        let given = &file.tls.defaults;
        let defaults = InterfaceKeys {
            ca_file: given.ca_file.clone().or_else(|| file.ca_file.clone()),
            ca_path: given.ca_path.clone().or_else(|| file.ca_path.clone()),
            cert_file: given.cert_file.clone().or_else(|| file.cert_file.clone()),
            key_file: given.key_file.clone().or_else(|| file.key_file.clone()),
            tls_min_version: given.tls_min_version.clone().or_else(|| file.tls_min_version.clone()),
            verify_incoming: given.verify_incoming.or(file.verify_incoming),
            verify_outgoing: given.verify_outgoing.or(file.verify_outgoing),
            verify_server_hostname: given.verify_server_hostname.or(file.verify_server_hostname),
            server_name: given.server_name.clone().or_else(|| file.server_name.clone()),
        };
        let settings = TlsSettings {
            https: interface("https", &file.tls.https, &defaults, file.verify_incoming_https)?,
            internal_rpc: interface("internal_rpc", &file.tls.internal_rpc, &defaults, file.verify_incoming_rpc)?,
        };
        if !file.ports.is_off(file.ports.https) && file.ports.https.is_some() && settings.https.cert_file.is_none() {
            return Err(invalid(
                "tls.https.cert_file",
                "ports.https is on, so a certificate and its key must be given",
            ));
        }
        Ok(settings)
    }
}

fn interface(
    name: &str,
    own: &InterfaceKeys,
    defaults: &InterfaceKeys,
    verify_incoming: Option<bool>,
) -> Result<TlsInterface, ConfigError> {
    let path = |own: &Option<PathBuf>, default: &Option<PathBuf>| {
        own.clone().or_else(|| default.clone()).filter(|path| !path.as_os_str().is_empty())
    };
    let version = own.tls_min_version.as_deref().or(defaults.tls_min_version.as_deref());
    let interface = TlsInterface {
        ca_file: path(&own.ca_file, &defaults.ca_file),
        ca_path: path(&own.ca_path, &defaults.ca_path),
        cert_file: path(&own.cert_file, &defaults.cert_file),
        key_file: path(&own.key_file, &defaults.key_file),
        version_min: match version {
            None | Some("" | "TLSv1_2" | "tls12" | "TLS_AUTO") => TlsVersion::V1_2,
            Some("TLSv1_3" | "tls13") => TlsVersion::V1_3,
            Some(other) => {
                let reason = format!("{other:?} is none of TLSv1_2, TLSv1_3");
                return Err(invalid(&format!("tls.{name}.tls_min_version"), reason));
            }
        },
        verify_incoming: own.verify_incoming.or(verify_incoming).or(defaults.verify_incoming).unwrap_or(false),
        verify_outgoing: own.verify_outgoing.or(defaults.verify_outgoing).unwrap_or(false),
        verify_server_hostname: own.verify_server_hostname.or(defaults.verify_server_hostname).unwrap_or(false),
        server_name: own.server_name.clone().or_else(|| defaults.server_name.clone()),
    };
    if interface.cert_file.is_some() != interface.key_file.is_some() {
        let reason = "cert_file and key_file must be given together";
        return Err(invalid(&format!("tls.{name}"), reason));
    }
    if interface.verify_incoming && interface.ca_file.is_none() && interface.ca_path.is_none() {
        let reason = "callers cannot be verified without ca_file or ca_path";
        return Err(invalid(&format!("tls.{name}.verify_incoming"), reason));
    }
    Ok(interface)
}
