//! `service-splitter`: which share of the calls goes where.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rules::{HeaderModifiers, InvalidEntry, Rules, is_default};

/// How the calls of a service are divided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceSplitter {
    /// The service.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    /// The shares; their weights add up to 100.
    pub splits: Vec<Split>,
    #[serde(skip_serializing_if = "is_default")]
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
}

/// One share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Split {
    /// Percent of the calls, in steps of 0.01.
    pub weight: f64,
    #[serde(skip_serializing_if = "is_default")]
    /// The service; empty for the one that is split.
    pub service: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its subset; empty for its default.
    pub service_subset: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Changes to the request.
    pub request_headers: Option<HeaderModifiers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Changes to the answer.
    pub response_headers: Option<HeaderModifiers>,
}

impl ServiceSplitter {
    /// Rounds weights to the steps in which they count.
    pub(super) fn normalise(&mut self) {
        for split in &mut self.splits {
            split.weight = (split.weight * 100.0).round() / 100.0;
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidEntry> {
        let rules = Rules("");
        rules.require(!self.splits.is_empty(), "no splits configured")?;
        let mut seen = BTreeSet::new();
        for (number, split) in self.splits.iter().enumerate() {
            let place = format!("Splits[{number}]");
            let rules = Rules(&place);
            rules.only_default("Namespace", &split.namespace)?;
            rules.only_default("Partition", &split.partition)?;
            rules.require((0.0..=100.0).contains(&split.weight), "Weight must be 0 to 100")?;
            let service = if split.service.is_empty() { &self.name } else { &split.service };
            if !seen.insert((service, &split.service_subset)) {
                let subset = &split.service_subset;
                return rules.broken(format!(
                    "split destination occurs more than once: service={service:?}, subset={subset:?}"
                ));
            }
            for (field, headers) in
                [("RequestHeaders", &split.request_headers), ("ResponseHeaders", &split.response_headers)]
            {
                headers.as_ref().map_or(Ok(()), |headers| headers.validate(&format!("{place}.{field}")))?;
            }
        }
        let sum: f64 = self.splits.iter().map(|split| split.weight).sum();
        if (sum - 100.0).abs() >= 0.01 {
            return rules.broken(format!("the sum of all split weights must be 100, not {sum:.6}"));
        }
        Ok(())
    }
}
