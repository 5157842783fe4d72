//! Rules that bodies of several families share: bounds of texts and of free pairs.

use std::collections::BTreeMap;

use crate::text::{Meta, Text};

/// A request that was understood and is wrong; the text names the field and is the body of the 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRequest(pub String);

/// Takes a text of bounded length.
///
/// # Errors
/// Names the field and the bound.
pub fn text(field: &str, value: &str, max: usize) -> Result<Text, InvalidRequest> {
    if value.len() > max {
        return Err(InvalidRequest(format!(
            "Invalid {field}: {} bytes given; at most {max} are accepted",
            value.len()
        )));
    }
    Ok(value.into())
}

/// Takes free key-value pairs: at most 64, keys of 1 to 128 characters `A-Z a-z 0-9 _ -`, values of at most 512.
///
/// # Errors
/// Names the pair and the rule.
pub fn validate_meta(field: &str, pairs: &BTreeMap<String, String>) -> Result<Meta, InvalidRequest> {
    if pairs.len() > 64 {
        return Err(InvalidRequest(format!("Invalid {field}: {} pairs given; at most 64 are accepted", pairs.len())));
    }
    for (key, value) in pairs {
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if key.is_empty() || key.len() > 128 || !plain {
            let key: String = key.chars().take(64).collect();
            return Err(InvalidRequest(format!(
                "Invalid {field}: key {key:?} must be 1 to 128 characters of A-Z, a-z, 0-9, _ and -"
            )));
        }
        if value.len() > 512 {
            return Err(InvalidRequest(format!(
                "Invalid {field}: the value of {key:?} is {} bytes long; at most 512 are accepted",
                value.len()
            )));
        }
        if key.starts_with("consul-") && !matches!(key.as_str(), "consul-network-segment" | "consul-version") {
            return Err(InvalidRequest(format!("Invalid {field}: key {key:?} begins with consul-, which is reserved")));
        }
    }
    Ok(pairs.iter().map(|(key, value)| (key.as_str(), Text::from(value.as_str()))).collect())
}
