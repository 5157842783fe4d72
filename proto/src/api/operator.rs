//! `/v1/operator/autopilot/…`: the settings by which servers are kept in good order, and how each server is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::index::Index;
use crate::text::Text;

/// The settings. A write replaces all of them: what it leaves out is zero.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotConfig {
    /// Whether the votes of failed servers are taken away.
    pub cleanup_dead_servers: bool,
    /// For how long a healthy server may have answered the leader nothing.
    pub last_contact_threshold: GoDuration,
    /// How many entries a healthy server may be behind.
    pub max_trailing_logs: u64,
    /// How many voters are kept at least.
    pub min_quorum: u64,
    /// How long a server must have been up before it votes.
    pub server_stabilization_time: GoDuration,
    /// Kept without effect: the key of node metadata that names a zone.
    pub redundancy_zone_tag: Text,
    /// Kept without effect: whether new versions get no votes by themselves.
    pub disable_upgrade_migration: bool,
    /// Kept without effect: the key of node metadata that names a version.
    pub upgrade_version_tag: Text,
    /// When they were first written; a write passes it over.
    pub create_index: Index,
    /// When they last changed; a write passes it over.
    pub modify_index: Index,
}

/// How all servers are.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AutopilotHealth {
    /// Whether every server is healthy.
    pub healthy: bool,
    /// How many servers can fail before there is no quorum.
    pub failure_tolerance: u64,
    /// The servers.
    pub servers: Vec<ServerHealth>,
}

/// How one server is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServerHealth {
    /// Its node's UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Its node's name.
    pub name: Text,
    /// Where other servers reach it.
    pub address: Text,
    /// How gossip finds it: `alive`, `leaving`, `left`, `failed` or `none`.
    pub serf_status: Text,
    /// The version of the interface that it speaks.
    pub version: Text,
    /// Whether it leads.
    pub leader: bool,
    /// How long ago it last answered the leader.
    pub last_contact: GoDuration,
    /// The election period of the last entry that it is known to hold.
    pub last_term: u64,
    /// That entry.
    pub last_index: u64,
    /// Whether it answers and keeps up.
    pub healthy: bool,
    /// Whether it votes.
    pub voter: bool,
    /// Since when it is as healthy as it is, RFC 3339.
    pub stable_since: Text,
}

/// The whole view that the leader has of the servers.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AutopilotState {
    /// Whether every server is healthy.
    pub healthy: bool,
    /// How many servers can fail before there is no quorum.
    pub failure_tolerance: u64,
    /// The same where zones would take over for one another; there are none.
    pub optimistic_failure_tolerance: u64,
    /// The servers by the UUIDs of their nodes.
    pub servers: BTreeMap<Text, ServerState>,
    /// The UUID of the leader's node.
    pub leader: Text,
    /// The UUIDs of those that vote.
    pub voters: Vec<Text>,
}

/// One server in the leader's view.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServerState {
    /// Its node's UUID.
    #[serde(rename = "ID")]
    pub id: Text,
    /// Its node's name.
    pub name: Text,
    /// Where other servers reach it.
    pub address: Text,
    /// How gossip finds it: `alive`, `leaving`, `left`, `failed` or `none`.
    pub node_status: Text,
    /// The version of the interface that it speaks.
    pub version: Text,
    /// How long ago it last answered the leader.
    pub last_contact: GoDuration,
    /// The election period of the last entry that it is known to hold.
    pub last_term: u64,
    /// That entry.
    pub last_index: u64,
    /// Whether it answers and keeps up.
    pub healthy: bool,
    /// Since when it is as healthy as it is, RFC 3339.
    pub stable_since: Text,
    /// Whether it is never to vote.
    pub read_replica: bool,
    /// `leader`, `voter` or `non-voter`.
    pub status: Text,
    /// What its node says of itself.
    pub meta: Option<BTreeMap<Text, Text>>,
    /// `voter`.
    pub node_type: Text,
}
