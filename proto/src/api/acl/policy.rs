//! Policies and roles as they are written and shown.

use serde::{Deserialize, Serialize};

use super::common::{Link, NodeIdentity, ServiceIdentity, TemplatedPolicy};
use crate::api::decode::Ignored;
use crate::index::Index;

/// Body of the writes of a policy.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct PolicyRequest {
    #[serde(rename = "ID")]
    /// Its id; chosen by the server for a new one.
    pub id: String,
    /// Unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// HCL or JSON.
    pub rules: String,
    /// Where it counts; everywhere if empty.
    pub datacenters: Vec<String>,
    /// Decided by the server.
    pub create_index: Ignored,
    /// Decided by the server.
    pub modify_index: Ignored,
    /// Decided by the server.
    pub hash: Ignored,
    /// `default` or empty.
    pub namespace: Ignored,
    /// `default` or empty.
    pub partition: Ignored,
}

/// A policy as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Policy {
    #[serde(rename = "ID")]
    /// Its id.
    pub id: String,
    /// Unique.
    pub name: String,
    /// For people.
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// As they were written; lists leave them out.
    pub rules: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Where it counts; lists have null for everywhere.
    pub datacenters: Option<Option<Vec<String>>>,
    /// A digest of what it says.
    pub hash: String,
    /// When it was first written.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

/// Body of the writes of a role.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct RoleRequest {
    #[serde(rename = "ID")]
    /// Its id; chosen by the server for a new one.
    pub id: String,
    /// Unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// Policies, by id or name.
    pub policies: Vec<Link>,
    /// Rights of services.
    pub service_identities: Vec<ServiceIdentity>,
    /// Rights of nodes.
    pub node_identities: Vec<NodeIdentity>,
    /// Rights by template.
    pub templated_policies: Vec<TemplatedPolicy>,
    /// Decided by the server.
    pub create_index: Ignored,
    /// Decided by the server.
    pub modify_index: Ignored,
    /// Decided by the server.
    pub hash: Ignored,
    /// `default` or empty.
    pub namespace: Ignored,
    /// `default` or empty.
    pub partition: Ignored,
}

/// A role as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Role {
    #[serde(rename = "ID")]
    /// Its id.
    pub id: String,
    /// Unique.
    pub name: String,
    /// For people.
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Policies.
    pub policies: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Rights of services.
    pub service_identities: Vec<ServiceIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Rights of nodes.
    pub node_identities: Vec<NodeIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Rights by template.
    pub templated_policies: Vec<TemplatedPolicy>,
    /// A digest of what it says.
    pub hash: String,
    /// When it was first written.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}
