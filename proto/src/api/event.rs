//! `/v1/event/…`: messages to whoever listens, kept for a while and never stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::index::Index;

/// The most that the name, the payload and the filters of an event may take together, in bytes.
pub const EVENT_BYTES_MAX: usize = 512;
/// How many events a node remembers.
pub const EVENTS_MAX: usize = 256;
/// Events whose names begin so are internal: they are never shown.
pub const INTERNAL_PREFIX: &str = "_rexec";
/// The internal event that calls nodes to run a program.
pub const EXEC: &str = "_rexec";

/// An event, as it is fired and listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct UserEvent {
    #[serde(rename = "ID")]
    /// A UUID.
    pub id: String,
    /// What it is about.
    pub name: String,
    /// The payload in base64; null when it is empty.
    pub payload: Option<String>,
    #[serde(default)]
    /// A regular expression over node names: who keeps it. Empty for everyone.
    pub node_filter: String,
    #[serde(default)]
    /// A regular expression over the names of a node's own services. Empty for everyone.
    pub service_filter: String,
    #[serde(default)]
    /// A regular expression over the tags of those services. Empty for all.
    pub tag_filter: String,
    #[serde(default)]
    /// Always 1.
    pub version: u32,
    #[serde(rename = "LTime", default)]
    /// Its place among the events of a node; 0 in the answer to firing it.
    pub ltime: u64,
}

impl UserEvent {
    /// Writes a payload the way it travels.
    #[must_use]
    pub fn encode(payload: &[u8]) -> Option<String> {
        (!payload.is_empty()).then(|| STANDARD.encode(payload))
    }

    /// The payload as bytes.
    ///
    /// # Errors
    /// When the server's base64 is broken.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        self.payload.as_deref().map_or(Ok(Vec::new()), |text| STANDARD.decode(text))
    }

    /// The pseudo index of a list that ends with this event: both halves of its id, one over the other. It says
    /// nothing of order; a reader only compares it for equality.
    #[must_use]
    pub fn list_index(&self) -> Index {
        let digits: String = self.id.chars().filter(|c| *c != '-').collect();
        let bits = u128::from_str_radix(&digits, 16).unwrap_or_default();
        Index((bits >> 64) as u64 ^ bits as u64).on_wire()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a real server computed it.
    #[test]
    fn the_pseudo_index_is_the_halves_of_the_id_over_one_another() {
        let event = UserEvent { id: "a7467e24-3b04-9023-be63-267dadbe9ecf".to_owned(), ..UserEvent::default() };
        assert_eq!(event.list_index(), Index(1_811_951_566_890_602_220));
        assert_eq!(UserEvent::default().list_index(), Index(1));
    }

    #[test]
    fn payloads_are_any_bytes() {
        let event = UserEvent { payload: UserEvent::encode(&[0, 255]), ..UserEvent::default() };
        assert_eq!(event.bytes(), Ok(vec![0, 255]));
        assert_eq!(UserEvent::encode(b""), None);
    }
}
