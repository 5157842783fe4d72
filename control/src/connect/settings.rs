//! What an operator writes about the authority, read and judged. PURE.
//!
//! Kept are the settings without secrets, as the canonical JSON that is shown again; a root and key of the operator's own
//! go into the roots instead. Any spelling of a key is taken (`LeafCertTTL`, `leaf_cert_ttl`), but no unknown one.

use std::fmt;
use std::time::Duration;

use callboard_proto::api::decode::{Ignored, Unknown, from_slice};
use callboard_proto::duration::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::registry::Hidden;

const HOUR: Duration = Duration::from_secs(3600);
const LEAF_TTL: &str = "72h";
const INTERMEDIATE_TTL: &str = "8760h";
const ROTATION_PERIOD: &str = "2160h";
const ROOT_TTL: &str = "87600h";
/// The longest time that anything may be valid: a hundred years.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Why settings cannot be used. The text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// They cannot be read.
    #[error("Request decode failed: {0}")]
    Decode(String),
    /// They can be read, and not be used.
    #[error("{0}")]
    Invalid(String),
}

fn invalid<T>(text: impl Into<String>) -> Result<T, SettingsError> {
    Err(SettingsError::Invalid(text.into()))
}

/// A kind of key that roots are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum KeyKind {
    /// ECDSA over P-256.
    #[default]
    P256,
    /// ECDSA over P-384.
    P384,
}

impl KeyKind {
    pub(super) fn bits(self) -> u32 {
        match self {
            KeyKind::P256 => 256,
            KeyKind::P384 => 384,
        }
    }

    /// Whether a root with such a key is what is asked for.
    pub(super) fn matches(self, key_type: &str, bits: u32) -> bool {
        key_type == "ec" && bits == self.bits()
    }
}

/// A root of the operator's own.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct OwnRoot {
    /// Its private key, PEM.
    pub(super) key: Hidden,
    /// Its certificate, PEM; empty to make one for the key.
    pub(super) certificate: String,
}

impl fmt::Debug for OwnRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnRoot").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The settings of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaOptions {
    /// How long a service's certificate is valid.
    pub leaf_ttl: Duration,
    /// How long the old root's signature of a new one is valid.
    pub intermediate_ttl: Duration,
    /// How long a new root is valid.
    pub root_ttl: Duration,
    pub(super) key: KeyKind,
    shown: Shown,
}

/// The settings as they are kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Shown {
    #[serde(rename = "CSRMaxConcurrent", skip_serializing_if = "Value::is_null")]
    csr_max_concurrent: Value,
    #[serde(rename = "CSRMaxPerSecond", skip_serializing_if = "Value::is_null")]
    csr_max_per_second: Value,
    #[serde(rename = "IntermediateCertTTL")]
    intermediate_cert_ttl: String,
    #[serde(rename = "LeafCertTTL")]
    leaf_cert_ttl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key_bits: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    private_key_type: String,
    #[serde(rename = "RootCertTTL", skip_serializing_if = "is_default_root_ttl")]
    root_cert_ttl: String,
    rotation_period: String,
}

fn is_default_root_ttl(text: &str) -> bool {
    text == ROOT_TTL
}

impl Default for Shown {
    fn default() -> Shown {
        Shown {
            csr_max_concurrent: Value::Null,
            csr_max_per_second: Value::Null,
            intermediate_cert_ttl: INTERMEDIATE_TTL.to_owned(),
            leaf_cert_ttl: LEAF_TTL.to_owned(),
            private_key_bits: None,
            private_key_type: String::new(),
            root_cert_ttl: ROOT_TTL.to_owned(),
            rotation_period: ROTATION_PERIOD.to_owned(),
        }
    }
}

impl Default for CaOptions {
    fn default() -> CaOptions {
        CaOptions {
            leaf_ttl: 72 * HOUR,
            intermediate_ttl: 8760 * HOUR,
            root_ttl: 87_600 * HOUR,
            key: KeyKind::P256,
            shown: Shown::default(),
        }
    }
}

impl CaOptions {
    /// The canonical JSON.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::to_string(&self.shown).expect("settings are a map with text keys and always encode")
    }

    /// Reads what [`Self::body`] wrote; anything else is as if nothing had been set.
    #[must_use]
    pub fn from_body(body: &str) -> CaOptions {
        let shown = serde_json::from_str(body).unwrap_or_default();
        judged(shown).unwrap_or_default()
    }
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) options: CaOptions,
    pub(super) own: Option<OwnRoot>,
    pub(super) force_without_cross_signing: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Body {
    provider: String,
    config: Config,
    force_without_cross_signing: bool,
    #[serde(rename = "State")]
    _state: Ignored,
    #[serde(rename = "CreateIndex")]
    _create_index: Ignored,
    #[serde(rename = "ModifyIndex")]
    _modify_index: Ignored,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    private_key: String,
    root_cert: String,
    private_key_type: String,
    private_key_bits: Option<u32>,
    #[serde(rename = "LeafCertTTL")]
    leaf_cert_ttl: Value,
    #[serde(rename = "IntermediateCertTTL")]
    intermediate_cert_ttl: Value,
    #[serde(rename = "RootCertTTL")]
    root_cert_ttl: Value,
    rotation_period: Value,
    #[serde(rename = "CSRMaxPerSecond")]
    csr_max_per_second: Value,
    #[serde(rename = "CSRMaxConcurrent")]
    csr_max_concurrent: Value,
}

/// Reads the body of a write.
pub(super) fn parse(body: &[u8]) -> Result<Asked, SettingsError> {
    let decoded: Result<Body, _> = from_slice(body, Unknown::Refuse);
    let Body { provider, config, force_without_cross_signing, .. } =
        decoded.map_err(|error| SettingsError::Decode(error.detail()))?;
    if !matches!(provider.as_str(), "" | "consul") {
        let provider: String = provider.chars().take(64).collect();
        return invalid(format!("Provider {provider:?} is not known; the only one is \"consul\""));
    }
    let options = judged(Shown {
        csr_max_concurrent: number("CSRMaxConcurrent", config.csr_max_concurrent)?,
        csr_max_per_second: number("CSRMaxPerSecond", config.csr_max_per_second)?,
        intermediate_cert_ttl: duration("IntermediateCertTTL", config.intermediate_cert_ttl, INTERMEDIATE_TTL)?,
        leaf_cert_ttl: duration("LeafCertTTL", config.leaf_cert_ttl, LEAF_TTL)?,
        private_key_bits: config.private_key_bits.filter(|bits| *bits != 0),
        private_key_type: config.private_key_type,
        root_cert_ttl: duration("RootCertTTL", config.root_cert_ttl, ROOT_TTL)?,
        rotation_period: duration("RotationPeriod", config.rotation_period, ROTATION_PERIOD)?,
    })?;
    let own = match (config.private_key.is_empty(), config.root_cert.is_empty()) {
        (true, true) => None,
        (true, false) => return invalid("RootCert needs the PrivateKey that it is for, as PKCS #8 in PEM"),
        (false, _) => Some(OwnRoot { key: Hidden::new(&config.private_key), certificate: config.root_cert }),
    };
    Ok(Asked { options, own, force_without_cross_signing })
}

fn number(field: &str, value: Value) -> Result<Value, SettingsError> {
    match &value {
        Value::Null => Ok(value),
        Value::Number(number) if number.as_f64().is_some_and(|number| number >= 0.0) => Ok(value),
        _ => invalid(format!("{field}: expected a number, 0 or more")),
    }
}

/// A duration as it was written: a text, or nanoseconds.
fn duration(field: &str, value: Value, default: &str) -> Result<String, SettingsError> {
    match value {
        Value::Null => Ok(default.to_owned()),
        Value::String(text) if text.is_empty() => Ok(default.to_owned()),
        Value::String(text) => Ok(text),
        Value::Number(number) if number.as_i64().is_some() => {
            Ok(GoDuration(number.as_i64().unwrap_or_default()).to_string())
        }
        _ => invalid(format!("{field}: expected a duration such as \"72h\"")),
    }
}

/// Reads what is shown, and refuses what contradicts itself.
fn judged(shown: Shown) -> Result<CaOptions, SettingsError> {
    let read = |field: &str, text: &str, min: Duration| {
        let parsed = GoDuration::parse(text);
        let Ok(duration) = parsed else {
            let text: String = text.chars().take(64).collect();
            return invalid(format!("{field}: {text:?} is no duration; expected one such as \"72h\""));
        };
        let duration = duration.to_std();
        if duration < min || duration > TTL_MAX {
            let (min, max) = (min.as_secs() / 3600, TTL_MAX.as_secs() / 3600);
            return invalid(format!("{field} must be {min}h to {max}h, and is {text}"));
        }
        Ok(duration)
    };
    let leaf_ttl = read("LeafCertTTL", &shown.leaf_cert_ttl, HOUR)?;
    let intermediate_ttl = read("IntermediateCertTTL", &shown.intermediate_cert_ttl, HOUR)?;
    let root_ttl = read("RootCertTTL", &shown.root_cert_ttl, HOUR)?;
    read("RotationPeriod", &shown.rotation_period, Duration::ZERO)?;
    if intermediate_ttl < 3 * leaf_ttl {
        return invalid(format!(
            "IntermediateCertTTL must be at least three times LeafCertTTL, and is {} beside {}",
            shown.intermediate_cert_ttl, shown.leaf_cert_ttl
        ));
    }
    if root_ttl < intermediate_ttl {
        return invalid("RootCertTTL must not be shorter than IntermediateCertTTL");
    }
    let key = match (shown.private_key_type.as_str(), shown.private_key_bits) {
        ("" | "ec", None | Some(256)) => KeyKind::P256,
        ("" | "ec", Some(384)) => KeyKind::P384,
        ("rsa", _) => {
            return invalid(
                "PrivateKeyType \"rsa\": keys of this type are not made here; give PrivateKey and RootCert",
            );
        }
        ("" | "ec", Some(bits)) => return invalid(format!("PrivateKeyBits must be 256 or 384, and is {bits}")),
        (other, _) => {
            let other: String = other.chars().take(64).collect();
            return invalid(format!("PrivateKeyType must be \"ec\", and is {other:?}"));
        }
    };
    Ok(CaOptions { leaf_ttl, intermediate_ttl, root_ttl, key, shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_shown_again_without_secrets() {
        let asked = parse(br#"{"Provider":"consul","Config":{"leaf_cert_ttl":"1h","PrivateKey":"SECRET","rotation_period":3600000000000},"State":null,"CreateIndex":5}"#).unwrap();
        assert_eq!(asked.options.leaf_ttl, HOUR);
        let body = asked.options.body();
        assert_eq!(body, r#"{"IntermediateCertTTL":"8760h","LeafCertTTL":"1h","RotationPeriod":"1h0m0s"}"#);
        assert_eq!(CaOptions::from_body(&body), asked.options);
        assert!(!format!("{asked:?}").contains("SECRET"));
        assert_eq!(asked.own.unwrap().key.reveal(), "SECRET");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let check = |config: &str, part: &str| {
            let error = parse(format!(r#"{{"Config":{config}}}"#).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(r#"{"LeafCertTTL":"5m"}"#, "LeafCertTTL must be 1h");
        check(r#"{"LeafCertTTL":"soon"}"#, "LeafCertTTL: \"soon\" is no duration");
        check(r#"{"LeafCertTTL":true}"#, "LeafCertTTL: expected a duration");
        check(r#"{"IntermediateCertTTL":"100h"}"#, "three times");
        check(r#"{"PrivateKeyType":"rsa","PrivateKeyBits":2048}"#, "rsa");
        check(r#"{"PrivateKeyBits":224}"#, "256 or 384");
        check(r#"{"RootCert":"x"}"#, "PrivateKey");
        check(r#"{"Nope":1}"#, "Nope");
        assert!(parse(br#"{"Provider":"vault"}"#).unwrap_err().to_string().contains("only one is \"consul\""));
        assert!(parse(b"").unwrap_err().to_string().starts_with("Request decode failed: "));
    }
}
