//! `/v1/connect/intentions…`: intentions one by one, as bodies and in answers.

use serde::{Deserialize, Serialize};

use super::decode::Ignored;
use crate::config_entry::{Action, Permission, SourceIntention};
use crate::index::Index;
use crate::intention::Intention;
use crate::text::{Meta, Text};

/// An intention in an answer. What an intention that was not made by id does not have is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct IntentionShown {
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    /// Its id.
    pub id: Text,
    #[serde(skip_serializing_if = "str::is_empty")]
    /// For people.
    pub description: Text,
    #[serde(rename = "SourceNS")]
    /// Always `default`.
    pub source_ns: Text,
    /// The caller, or `*`.
    pub source_name: Text,
    #[serde(rename = "DestinationNS")]
    /// Always `default`.
    pub destination_ns: Text,
    /// The called service, or `*`.
    pub destination_name: Text,
    /// Always `consul`.
    pub source_type: Text,
    #[serde(skip_serializing_if = "str::is_empty")]
    /// `allow` or `deny`; left out when that depends on the request.
    pub action: Text,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Which requests go through.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>"))]
    pub permissions: Vec<Permission>,
    #[serde(skip_serializing_if = "Meta::is_empty")]
    /// Free key-value pairs.
    pub meta: Meta,
    /// How early it counts.
    pub precedence: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// When it was made, RFC 3339.
    pub created_at: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// When it last changed.
    pub updated_at: Option<Text>,
    /// When its entry was first written.
    pub create_index: Index,
    /// When its entry last changed.
    pub modify_index: Index,
}

impl IntentionShown {
    /// Shows an intention of an entry with this place in history.
    #[must_use]
    pub fn new(intention: &Intention<'_>, created: Index, modified: Index) -> IntentionShown {
        let source = intention.source;
        IntentionShown {
            id: source.legacy_id.as_str().into(),
            description: source.description.as_str().into(),
            source_ns: "default".into(),
            source_name: source.name.as_str().into(),
            destination_ns: "default".into(),
            destination_name: intention.destination.into(),
            source_type: if source.kind.is_empty() { "consul" } else { &source.kind }.into(),
            action: source.action.map_or("", Action::as_str).into(),
            permissions: source.permissions.clone(),
            meta: source.legacy_meta.iter().map(|(key, value)| (key.as_str(), Text::from(value.as_str()))).collect(),
            precedence: intention.precedence(),
            created_at: source.legacy_create_time.as_deref().map(Text::from),
            updated_at: source.legacy_update_time.as_deref().map(Text::from),
            create_index: created,
            modify_index: modified,
        }
    }
}

/// An intention as it is written. What is only shown may be written back, and does not count.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct IntentionBody {
    #[serde(rename = "ID")]
    /// Its id.
    pub id: String,
    /// For people.
    pub description: String,
    #[serde(rename = "SourceNS")]
    /// `default` or empty.
    pub source_ns: String,
    /// The caller, or `*`.
    pub source_name: String,
    #[serde(rename = "DestinationNS")]
    /// `default` or empty.
    pub destination_ns: String,
    /// The called service, or `*`.
    pub destination_name: String,
    /// `consul` or empty.
    pub source_type: String,
    /// `allow`, `deny`, or empty when there are permissions.
    pub action: String,
    /// Which requests go through.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>"))]
    pub permissions: Vec<Permission>,
    /// Free key-value pairs.
    pub meta: std::collections::BTreeMap<String, String>,
    precedence: Ignored,
    created_at: Ignored,
    updated_at: Ignored,
    hash: Ignored,
    default_addr: Ignored,
    default_port: Ignored,
    source_partition: Ignored,
    destination_partition: Ignored,
    source_peer: Ignored,
    create_index: Ignored,
    modify_index: Ignored,
}

impl IntentionBody {
    /// What stands in an entry for it.
    ///
    /// # Errors
    /// Says what is wrong with the action.
    pub fn source(&self, name: &str) -> Result<SourceIntention, String> {
        let action = match self.action.as_str() {
            "" => None,
            "allow" => Some(Action::Allow),
            "deny" => Some(Action::Deny),
            other => {
                let other: String = other.chars().take(32).collect();
                return Err(format!("Action must be set to 'allow' or 'deny', and is {other:?}"));
            }
        };
        Ok(SourceIntention {
            name: name.to_owned(),
            action,
            permissions: self.permissions.clone(),
            kind: self.source_type.clone(),
            description: self.description.clone(),
            ..SourceIntention::default()
        })
    }
}

/// Whether a call may go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct IntentionCheck {
    /// Whether.
    pub allowed: bool,
}

/// The id of something that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IntentionId {
    #[serde(rename = "ID")]
    /// The id.
    pub id: Text,
}
