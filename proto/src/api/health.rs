//! `/v1/health/…`: who is well.

use serde::{Deserialize, Serialize};

use super::catalog::{NodeService, NodeShown};
use crate::check::{AggregatedStatus, Check, CheckStatus};
use crate::definition::CheckDefinition;
use crate::duration::GoDuration;
use crate::index::Index;
use crate::name::{CheckId, InstanceId, NodeName, ServiceName};
use crate::text::{Tags, Text};

/// A check in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct HealthCheck {
    /// The node it belongs to.
    pub node: NodeName,
    #[serde(rename = "CheckID")]
    /// Unique on its node.
    pub id: CheckId,
    /// For people.
    pub name: Text,
    /// How well it is.
    pub status: CheckStatus,
    /// For people.
    #[serde(default)]
    pub notes: Text,
    /// What the last run said.
    #[serde(default)]
    pub output: Text,
    #[serde(rename = "ServiceID", default)]
    /// The instance it is about; empty for the node.
    pub instance: InstanceId,
    #[serde(rename = "ServiceName", default)]
    /// Its service.
    pub service: ServiceName,
    #[serde(default)]
    /// Its tags.
    pub service_tags: Tags,
    #[serde(rename = "Type", default)]
    /// `http`, `tcp`, `ttl`, …
    pub kind: Text,
    #[serde(default)]
    /// As configured, or empty.
    pub interval: Text,
    #[serde(default)]
    /// As configured, or empty.
    pub timeout: Text,
    #[serde(default)]
    /// Always 0 here.
    pub exposed_port: u16,
    #[serde(default)]
    /// What a catalog client wrote; empty for checks of an agent.
    pub definition: serde_json::Value,
    #[serde(default)]
    /// When it was first registered.
    pub create_index: Index,
    #[serde(default)]
    /// When the row last changed.
    pub modify_index: Index,
}

impl HealthCheck {
    /// Shows a row.
    #[must_use]
    pub fn of(check: &Check) -> HealthCheck {
        let text = |pick: fn(&CheckDefinition) -> std::time::Duration| match &check.definition {
            Some(definition) if !pick(definition).is_zero() => GoDuration::from(pick(definition)).to_string().into(),
            _ => Text::default(),
        };
        HealthCheck {
            node: check.node.clone(),
            id: check.id.clone(),
            name: check.name.clone(),
            status: check.status,
            notes: check.notes.clone(),
            output: check.output.clone(),
            instance: check.instance.clone(),
            service: check.service.clone(),
            service_tags: check.service_tags.clone(),
            kind: check.kind.clone(),
            interval: text(|definition| definition.interval),
            timeout: text(|definition| definition.timeout),
            exposed_port: 0,
            definition: match check.shown_definition.is_empty() {
                true => serde_json::Value::Object(serde_json::Map::new()),
                false => serde_json::from_str(&check.shown_definition).unwrap_or_default(),
            },
            create_index: check.created,
            modify_index: check.modified,
        }
    }
}

/// An element of `GET /v1/health/service/:name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct ServiceEntry {
    /// Where it runs.
    pub node: NodeShown,
    /// What runs.
    pub service: NodeService,
    /// Its checks and those of its node.
    pub checks: Vec<HealthCheck>,
}

impl ServiceEntry {
    /// The health of the instance, all its checks taken together.
    #[must_use]
    pub fn status(&self) -> AggregatedStatus {
        AggregatedStatus::of(self.checks.iter().map(|check| (check.id.as_str(), check.status)))
    }
}
