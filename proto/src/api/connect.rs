//! `/v1/connect/ca…` and `/v1/agent/connect…`: the authority of the mesh in answers, and who is allowed in.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::index::Index;
use crate::text::Text;

/// A root. Times are RFC 3339.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CaRootShown {
    #[serde(rename = "ID")]
    /// The fingerprint of its certificate.
    pub id: Text,
    /// Its name.
    pub name: Text,
    /// The serial number of its certificate.
    pub serial_number: u64,
    #[serde(rename = "SigningKeyID")]
    /// The identifier of its key.
    pub signing_key_id: Text,
    /// The name of the mesh, a UUID.
    pub external_trust_domain: Text,
    /// When its certificate begins to be valid.
    pub not_before: Text,
    /// When that ends.
    pub not_after: Text,
    /// Its certificate, PEM.
    pub root_cert: Text,
    /// Its key signed by the root before it, PEM.
    pub intermediate_certs: Option<Vec<Text>>,
    /// Whether it signs.
    pub active: bool,
    /// `ec`, `rsa` or `ed25519`.
    pub private_key_type: Text,
    /// The length of its key in bits.
    pub private_key_bits: u32,
    /// When it was written.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

/// Every root that may have to be trusted.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CaRoots {
    #[serde(rename = "ActiveRootID")]
    /// The one that signs.
    pub active_root_id: Text,
    /// The name of the mesh, as it stands in SPIFFE ids.
    pub trust_domain: Text,
    /// All of them.
    pub roots: Vec<CaRootShown>,
}

/// The settings of the authority.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CaConfigurationShown {
    /// Always `consul`: the built-in one.
    pub provider: Text,
    /// The settings, without secrets.
    pub config: Value,
    /// Always null: the built-in one has none.
    pub state: Option<Value>,
    /// Whether a new root may do without the signature of the old one.
    pub force_without_cross_signing: bool,
    /// When they were first written.
    pub create_index: Index,
    /// When they last changed.
    pub modify_index: Index,
}

/// The certificate of a service, with its key.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LeafShown {
    /// The number that its root counts it by, as pairs of digits with colons.
    pub serial_number: Text,
    #[serde(rename = "CertPEM")]
    /// The certificate, then those between it and any root that is still trusted.
    pub cert_pem: Text,
    #[serde(rename = "PrivateKeyPEM")]
    /// Its private key, PKCS #8.
    pub private_key_pem: Text,
    /// The service.
    pub service: Text,
    #[serde(rename = "ServiceURI")]
    /// Its SPIFFE id.
    pub service_uri: Text,
    /// When it begins to be valid, RFC 3339.
    pub valid_after: Text,
    /// When that ends.
    pub valid_before: Text,
    /// Its place in history.
    pub create_index: Index,
    /// The same.
    pub modify_index: Index,
}

impl std::fmt::Debug for LeafShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeafShown").field("service_uri", &self.service_uri).finish_non_exhaustive()
    }
}

/// Who wants in, and where.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthorizeRequest {
    /// The service that is called.
    pub target: String,
    #[serde(rename = "ClientCertURI")]
    /// The SPIFFE id in the certificate of the caller.
    pub client_cert_uri: String,
    /// The serial number of that certificate.
    pub client_cert_serial: String,
    /// `default` or empty.
    pub namespace: String,
    /// `default` or empty.
    pub partition: String,
}

/// Whether it may come in.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuthorizeAnswer {
    /// Whether.
    pub authorized: bool,
    /// Why, for people.
    pub reason: Text,
}
