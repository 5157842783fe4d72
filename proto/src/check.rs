//! A check as the registry stores it: what is known about the health of a node or an instance.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::definition::CheckDefinition;
use crate::index::Index;
use crate::name::{CheckId, InstanceId, NodeName, ServiceName};
use crate::text::{Tags, Text};

/// The check id of the node itself being alive.
pub const SERF_HEALTH: &str = "serfHealth";
/// The check id of a node in maintenance.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";
/// The prefix of the check id of an instance in maintenance; the instance id follows.
pub const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// All well.
    Passing,
    /// Still usable; callers use the warning weight.
    Warning,
    /// Not to be called.
    Critical,
}

impl CheckStatus {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CheckStatus::Passing => "passing",
            CheckStatus::Warning => "warning",
            CheckStatus::Critical => "critical",
        }
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is none of the three statuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a check status; it must be one of 'passing', 'warning', 'critical'")]
pub struct UnknownStatus(pub String);

impl FromStr for CheckStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<CheckStatus, UnknownStatus> {
        match text {
            "passing" => Ok(CheckStatus::Passing),
            "warning" => Ok(CheckStatus::Warning),
            "critical" => Ok(CheckStatus::Critical),
            other => Err(UnknownStatus(other.to_owned())),
        }
    }
}

/// Who put the check there, and so who runs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckOwner {
    /// Registered through an agent route: the control node of that node runs it (or waits for beats).
    #[default]
    Agent,
    /// Registered through the catalog: its status is what is written.
    Catalog,
}

/// A check row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The node it belongs to.
    pub node: NodeName,
    /// Unique on its node.
    pub id: CheckId,
    /// For people.
    pub name: Text,
    /// How well it is.
    pub status: CheckStatus,
    /// For people: what it is about.
    pub notes: Text,
    /// What the last run said.
    pub output: Text,
    /// The instance it is about; none for the node.
    pub instance: InstanceId,
    /// The service of that instance; none for the node.
    pub service: ServiceName,
    /// The tags of that instance.
    pub service_tags: Tags,
    /// `http`, `tcp`, `ttl`, …; empty when nobody runs it.
    pub kind: Text,
    /// How its status is found out; none when nobody runs it.
    pub definition: Option<Box<CheckDefinition>>,
    /// The definition as a catalog client wrote it: a JSON object as text, or empty.
    pub shown_definition: Text,
    /// Who runs it.
    pub owner: CheckOwner,
    /// When it was first registered.
    pub created: Index,
    /// When the row last changed.
    pub modified: Index,
}

impl Check {
    /// Whether the other row says the same, whatever its place in history.
    #[must_use]
    pub fn same_as(&self, other: &Check) -> bool {
        let stamped = Check { created: self.created, modified: self.modified, ..other.clone() };
        *self == stamped
    }
}

/// The health of several checks taken together, as all Consul clients compute it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AggregatedStatus {
    /// The worst of the statuses; passing when there is none.
    Status(CheckStatus),
    /// The node or the instance is in maintenance.
    Maintenance,
}

impl AggregatedStatus {
    /// Takes checks together: maintenance first, then the worst status.
    pub fn of<'a>(checks: impl Iterator<Item = (&'a str, CheckStatus)>) -> AggregatedStatus {
        let mut worst = CheckStatus::Passing;
        for (id, status) in checks {
            if id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE) {
                return AggregatedStatus::Maintenance;
            }
            worst = worst.max(status);
        }
        AggregatedStatus::Status(worst)
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AggregatedStatus::Status(status) => status.as_str(),
            AggregatedStatus::Maintenance => "maintenance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_beats_critical_and_nothing_is_passing() {
        use CheckStatus::{Critical, Passing, Warning};
        let of = |checks: &[(&str, CheckStatus)]| AggregatedStatus::of(checks.iter().copied()).as_str();
        assert_eq!(of(&[]), "passing");
        assert_eq!(of(&[("a", Passing), ("b", Warning)]), "warning");
        assert_eq!(of(&[("a", Critical), ("b", Warning)]), "critical");
        assert_eq!(of(&[("a", Critical), ("_service_maintenance:web", Critical)]), "maintenance");
        assert_eq!(of(&[("_node_maintenance", Critical)]), "maintenance");
    }
}
