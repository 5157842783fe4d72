//! What the validation of all kinds of entries shares: how a broken rule is told, names, durations, headers.
//!
//! Every text begins with the place of the field, so that it can be found in the body that was sent.

use std::collections::{BTreeMap, BTreeSet};

use regex::RegexBuilder;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;

/// The largest compiled pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 512 * 1024;

/// Why an entry contradicts itself; the text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEntry(pub String);

/// Rules about what stands at a place, which their texts begin with.
pub(super) struct Rules<'a>(pub(super) &'a str);

impl Rules<'_> {
    pub(super) fn broken(&self, text: impl std::fmt::Display) -> Result<(), InvalidEntry> {
        Err(InvalidEntry(if self.0.is_empty() { text.to_string() } else { format!("{}: {text}", self.0) }))
    }

    pub(super) fn require(&self, holds: bool, text: &str) -> Result<(), InvalidEntry> {
        if holds { Ok(()) } else { self.broken(text) }
    }

    pub(super) fn not_negative(&self, field: &str, duration: GoDuration) -> Result<(), InvalidEntry> {
        if duration.0 >= 0 { Ok(()) } else { self.broken(format!("{field} must not be negative, and is {duration}")) }
    }

    pub(super) fn pattern(&self, field: &str, pattern: &str) -> Result<(), InvalidEntry> {
        match RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build() {
            Ok(_) => Ok(()),
            Err(error) => self.broken(format!("{field} is no regular expression: {error}")),
        }
    }

    /// There is one namespace and one partition, called `default`, and one datacenter's worth of peers.
    pub(super) fn only_default(&self, field: &str, value: &str) -> Result<(), InvalidEntry> {
        match value {
            "" | "default" => Ok(()),
            other => self.broken(format!("{field} {other:?} does not exist; there is only \"default\"")),
        }
    }

    pub(super) fn absent(&self, field: &str, value: &str) -> Result<(), InvalidEntry> {
        if value.is_empty() { Ok(()) } else { self.broken(format!("{field} {value:?} does not exist")) }
    }

    /// A subset's name: a label as in DNS, because it may stand in a host name.
    pub(super) fn subset_name(&self, name: &str) -> Result<(), InvalidEntry> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let plain = !name.is_empty() && name.len() <= 63 && name.bytes().all(inner);
        if plain && !name.starts_with('-') && !name.ends_with('-') {
            return Ok(());
        }
        let name: String = name.chars().take(64).collect();
        self.broken(format!("Subset name {name:?} must be 1 to 63 lower-case letters, digits and inner hyphens"))
    }
}

/// Whether a field has its zero value and is left out of answers.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Changes to the headers of a request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeaderModifiers {
    #[serde(skip_serializing_if = "is_default")]
    /// Headers to add beside what is there.
    pub add: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    /// Headers to put in place of what is there.
    pub set: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    /// Headers to take away.
    pub remove: Vec<String>,
}

impl HeaderModifiers {
    pub(super) fn validate(&self, place: &str) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        let mut seen = BTreeSet::new();
        for name in self.add.keys().chain(self.set.keys()).chain(&self.remove) {
            // RFC 9110, section 5.6.2: the characters of a token.
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                let name: String = name.chars().take(64).collect();
                return rules.broken(format!("{name:?} is no header name"));
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                return rules.broken(format!("the header {name:?} is changed more than once"));
            }
        }
        for (name, value) in self.add.iter().chain(&self.set) {
            if value.chars().any(|c| c.is_control() && c != '\t') {
                return rules.broken(format!("the value of {name:?} holds a control character"));
            }
        }
        Ok(())
    }
}
