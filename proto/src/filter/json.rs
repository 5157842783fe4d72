//! Fields inside parts of a row that are kept as JSON, such as the settings of a mesh proxy.
//!
//! What such an object leaves out has the zero value of its kind, as it has in Consul, which leaves out zero values
//! when it writes: `Connect.Native == false` holds for `{}`. Called by the compiled tests of `bind`.

use serde_json::Value as Json;

use super::bind::Check;

/// Returns a member of an object; null if there is none.
pub(super) fn member<'a>(json: &'a Json, name: &str) -> &'a Json {
    json.get(name).unwrap_or(&Json::Null)
}

/// Says whether a value, found or left out, passes a check.
pub(super) fn holds(check: &Check, json: &Json) -> bool {
    let text = json.as_str().unwrap_or("");
    match check {
        Check::Text(wanted) => wanted == text,
        Check::Number(wanted) => json.as_i64().unwrap_or(0) == *wanted,
        Check::Bool(wanted) => json.as_bool().unwrap_or(false) == *wanted,
        Check::Holds(part) => match json {
            Json::Array(list) => list.iter().any(|item| item.as_str() == Some(part.as_str())),
            Json::Object(map) => map.contains_key(part),
            _ => text.contains(part.as_str()),
        },
        Check::Matches(pattern) => pattern.is_match(text),
        Check::Empty => match json {
            Json::Array(list) => list.is_empty(),
            Json::Object(map) => map.is_empty(),
            _ => text.is_empty(),
        },
    }
}
