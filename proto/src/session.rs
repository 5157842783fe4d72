//! A session: what holds locks, and what it depends on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::index::Index;
use crate::name::{CheckId, NodeName};
use crate::text::Text;

/// The longest lock delay that is kept, whatever was asked for.
pub const LOCK_DELAY_MAX: Duration = Duration::from_secs(60);

/// What becomes of the keys that a session holds when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SessionBehavior {
    /// They stay, unlocked.
    #[default]
    #[serde(rename = "release")]
    Release,
    /// They go.
    #[serde(rename = "delete")]
    Delete,
}

/// A stored session. It ends when it is destroyed, when its time runs out, or when anything that it depends on goes
/// or turns critical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// A UUID in lower case.
    pub id: Text,
    /// For people.
    pub name: Text,
    /// The node it depends on.
    pub node: NodeName,
    /// For how long nobody may take the keys that it held when it ends, as it was asked for.
    pub lock_delay: Duration,
    /// What becomes of those keys.
    pub behavior: SessionBehavior,
    /// The time it lives without being renewed, as it was written; empty for no end.
    pub ttl: Text,
    /// The checks of the node itself that it depends on.
    pub node_checks: Vec<CheckId>,
    /// The checks of instances on the node that it depends on.
    pub service_checks: Vec<CheckId>,
    /// When it was created.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

impl SessionRow {
    /// The time it lives without being renewed, if there is one.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        crate::duration::GoDuration::parse(&self.ttl).ok()?.positive()
    }

    /// For how long that really is: at most [`LOCK_DELAY_MAX`].
    #[must_use]
    pub fn lock_delay(&self) -> Duration {
        self.lock_delay.min(LOCK_DELAY_MAX)
    }

    /// Whether it depends on a check of its node.
    #[must_use]
    pub fn depends_on(&self, check: &CheckId) -> bool {
        self.node_checks.contains(check) || self.service_checks.contains(check)
    }
}
