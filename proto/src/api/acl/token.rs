//! Tokens as they are written and shown.

use serde::{Deserialize, Serialize};

use super::common::{Link, NodeIdentity, ServiceIdentity, TemplatedPolicy};
use super::policy::{Policy, Role};
use crate::api::decode::Ignored;
use crate::duration::GoDuration;
use crate::index::Index;

/// Body of the writes of a token. Its `Debug` does not show the secret.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct TokenRequest {
    #[serde(rename = "AccessorID")]
    /// The public id; chosen by the server if empty.
    pub accessor_id: String,
    #[serde(rename = "SecretID")]
    /// The secret; chosen by the server if empty.
    pub secret_id: String,
    /// For people.
    pub description: String,
    /// Policies, by id or name.
    pub policies: Vec<Link>,
    /// Roles, by id or name.
    pub roles: Vec<Link>,
    /// Rights of services.
    pub service_identities: Vec<ServiceIdentity>,
    /// Rights of nodes.
    pub node_identities: Vec<NodeIdentity>,
    /// Rights by template.
    pub templated_policies: Vec<TemplatedPolicy>,
    /// Whether it is meant for this datacenter only.
    pub local: bool,
    #[serde(rename = "ExpirationTTL")]
    /// How long it lives.
    pub expiration_ttl: Option<GoDuration>,
    /// When it ends.
    pub expiration_time: Option<String>,
    /// Only as it was read.
    pub auth_method: Option<String>,
    /// Decided by the server.
    pub create_time: Ignored,
    /// Decided by the server.
    pub create_index: Ignored,
    /// Decided by the server.
    pub modify_index: Ignored,
    /// Decided by the server.
    pub hash: Ignored,
    /// Of an older kind.
    pub legacy: Ignored,
    /// Of an older kind.
    pub rules: Ignored,
    #[serde(rename = "ID")]
    /// Of an older kind.
    pub id: Ignored,
    /// `default` or empty.
    pub namespace: Ignored,
    /// `default` or empty.
    pub partition: Ignored,
}

impl std::fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequest").field("accessor_id", &self.accessor_id).finish_non_exhaustive()
    }
}

/// A token as it is shown. Its `Debug` does not show the secret.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Token {
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    /// The secret again, as the answer to bootstrapping has it.
    pub id: String,
    #[serde(rename = "AccessorID")]
    /// The public id.
    pub accessor_id: String,
    #[serde(rename = "SecretID")]
    /// The secret, or [`HIDDEN`](super::HIDDEN).
    pub secret_id: String,
    /// For people.
    pub description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Policies.
    pub policies: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Roles.
    pub roles: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Rights of services.
    pub service_identities: Vec<ServiceIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Rights of nodes.
    pub node_identities: Vec<NodeIdentity>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Rights by template.
    pub templated_policies: Vec<TemplatedPolicy>,
    /// Whether it is meant for this datacenter only.
    pub local: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// The auth method whose login made it.
    pub auth_method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// When it ends.
    pub expiration_time: Option<String>,
    /// When it was made.
    pub create_time: String,
    /// A digest of what it says.
    pub hash: String,
    /// When it was first written.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// False; lists have it.
    pub legacy: Option<bool>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    /// What its links lead to, where that is asked for.
    pub expanded: Option<Expanded>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("accessor_id", &self.accessor_id).finish_non_exhaustive()
    }
}

/// What the links of a token lead to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Expanded {
    /// Every policy, those of roles included.
    pub expanded_policies: Vec<Policy>,
    /// Every role.
    pub expanded_roles: Vec<Role>,
    #[serde(rename = "AgentACLDefaultPolicy")]
    /// What holds on this node where no rule speaks.
    pub agent_default_policy: String,
    #[serde(rename = "AgentACLDownPolicy")]
    /// What holds when rules cannot be had; they always can.
    pub agent_down_policy: String,
    #[serde(rename = "ResolvedByAgent")]
    /// The node that says so.
    pub resolved_by_agent: String,
}

/// Body of `PUT /v1/acl/bootstrap`.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct BootstrapRequest {
    /// The secret; chosen by the server if empty.
    pub bootstrap_secret: String,
}

/// Body of `PUT /v1/agent/token/…`.
#[derive(Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentTokenRequest {
    /// The secret; empty removes it.
    pub token: String,
}
