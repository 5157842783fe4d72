//! `/v1/kv/…`: keys and values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::index::Index;
use crate::kv::KvEntry;
use crate::text::Text;

/// An element of `GET /v1/kv/:key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct KvShown {
    /// How often the lock was taken.
    pub lock_index: u64,
    /// The key.
    pub key: Text,
    /// A number for the client's own use.
    pub flags: u64,
    /// The value in base64; null when it is empty.
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    /// The session that holds the lock.
    pub session: Text,
    /// When the key was created.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

impl KvShown {
    /// Shows a row.
    #[must_use]
    pub fn of(entry: &KvEntry) -> KvShown {
        KvShown {
            lock_index: entry.lock_index,
            key: entry.key.clone(),
            flags: entry.flags,
            value: (!entry.value.is_empty()).then(|| STANDARD.encode(&entry.value)),
            session: entry.session.clone(),
            create_index: entry.created,
            modify_index: entry.modified,
        }
    }

    /// The value as bytes.
    ///
    /// # Errors
    /// When the server's base64 is broken.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        self.value.as_deref().map_or(Ok(Vec::new()), |text| STANDARD.decode(text))
    }
}

/// Bytes that a body writes in base64; null stands for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// Says whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes =
            STANDARD.decode(&text).map_err(|error| D::Error::custom(format!("illegal base64 data: {error}")))?;
        Ok(Base64(bytes))
    }
}
