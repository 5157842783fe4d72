//! `/v1/config…`: config entries in answers.

use serde::{Deserialize, Deserializer, Serialize};

use crate::config_entry::ConfigEntry;
use crate::index::Index;

/// An entry in an answer: what was written, and its place in history.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConfigShown {
    #[serde(flatten)]
    /// What was written.
    pub entry: ConfigEntry,
    /// When it was first written.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

impl<'de> Deserialize<'de> for ConfigShown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ConfigShown, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let index = |name: &str| Index(value.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default());
        let (create_index, modify_index) = (index("CreateIndex"), index("ModifyIndex"));
        let entry = ConfigEntry::deserialize(value).map_err(serde::de::Error::custom)?;
        Ok(ConfigShown { entry, create_index, modify_index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back() {
        let text = r#"{"Kind":"service-resolver","Name":"web","ConnectTimeout":"5s","CreateIndex":7,"ModifyIndex":9}"#;
        let shown: ConfigShown = serde_json::from_str(text).unwrap();
        assert_eq!((shown.create_index, shown.modify_index), (Index(7), Index(9)));
        assert_eq!(serde_json::to_string(&shown).unwrap(), text);
    }
}
