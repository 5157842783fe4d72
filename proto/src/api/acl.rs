//! `/v1/acl/…`: tokens, policies, roles and logins as clients write and read them.
//!
//! Requests take what answers give, because clients write back what they read: what a server decides itself (indexes,
//! digests, times) is passed over. A secret is in an answer only where its own holder gets it; else it is
//! [`HIDDEN`].

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::decode::Ignored;
use crate::duration::GoDuration;
use crate::index::Index;

/// What stands for a secret that is not told.
pub const HIDDEN: &str = "<hidden>";

/// A time as answers show it (RFC 3339), from the time since 1970.
#[must_use]
pub fn timestamp(since: Duration) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + since.min(Duration::from_secs(253_402_300_799))).to_string()
}

/// The time since 1970 of a time in a request.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<Duration> {
    humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()
}

/// A link to a policy or a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Link {
    #[serde(rename = "ID")]
    /// Its id; in requests, may be left out for a name.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// Rights of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceIdentity {
    /// The service.
    pub service_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Where they count; everywhere if empty.
    pub datacenters: Vec<String>,
}

/// Rights of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeIdentity {
    /// The node.
    pub node_name: String,
    /// Where they count.
    pub datacenter: String,
}

/// What the variables of a template stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TemplateVariables {
    #[serde(skip_serializing_if = "String::is_empty")]
    /// The name that it is for.
    pub name: String,
}

/// Rights that a template stands for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct TemplatedPolicy {
    /// The template.
    pub template_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What its variables stand for.
    pub template_variables: Option<TemplateVariables>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Where they count; everywhere if empty.
    pub datacenters: Vec<String>,
    #[serde(skip_serializing)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    /// Shown by some servers.
    pub template_id: Ignored,
}

/// Where rights come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// Policies.
    pub policies: Vec<Link>,
    /// Services.
    pub services: Vec<ServiceIdentity>,
    /// Nodes.
    pub nodes: Vec<NodeIdentity>,
    /// Templates.
    pub templated: Vec<TemplatedPolicy>,
}

/// Body of the writes of a token. Its `Debug` does not show the secret.
#[derive(Clone, Default, Deserialize)]
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
    /// The secret, or [`HIDDEN`].
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

/// Body of the writes of a policy.
#[derive(Debug, Clone, Default, Deserialize)]
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

/// An auth method: written and shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthMethod {
    /// Unique.
    pub name: String,
    #[serde(rename = "Type")]
    /// `jwt`, `kubernetes`, …
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// For people.
    pub display_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// For people.
    pub description: String,
    #[serde(rename = "MaxTokenTTL", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    /// How long a login lasts at most.
    pub token_ttl_max: Option<GoDuration>,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// `local`, `global` or empty.
    pub token_locality: String,
    /// The settings of the kind; lists leave them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// When it was first written.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

/// What a template's variables stand for in a binding rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct BindVars {
    /// The name that it is for.
    pub name: String,
}

/// A binding rule: written and shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct BindingRule {
    #[serde(rename = "ID")]
    /// Its id; chosen by the server for a new one.
    pub id: String,
    /// For people.
    pub description: String,
    /// The auth method whose logins it is about.
    pub auth_method: String,
    /// A filter over claims; empty for every login.
    pub selector: String,
    /// `service`, `node`, `role`, `policy` or `templated-policy`.
    pub bind_type: String,
    /// The name that it binds to.
    pub bind_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What a template's variables stand for.
    pub bind_vars: Option<BindVars>,
    /// When it was first written.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

/// Body of `POST /v1/acl/login`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LoginRequest {
    /// The auth method.
    pub auth_method: String,
    /// What proves who logs in.
    pub bearer_token: String,
    /// For people.
    pub meta: BTreeMap<String, String>,
    /// `default` or empty.
    pub namespace: Ignored,
    /// `default` or empty.
    pub partition: Ignored,
}

/// Body of `PUT /v1/acl/bootstrap`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BootstrapRequest {
    /// The secret; chosen by the server if empty.
    pub bootstrap_secret: String,
}

/// Body of `PUT /v1/agent/token/…`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentTokenRequest {
    /// The secret; empty removes it.
    pub token: String,
}

/// One question of `POST /v1/internal/acl/authorize`, and its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Authorization {
    /// What kind of thing.
    pub resource: String,
    /// Which one.
    pub segment: String,
    /// `read`, `list` or `write`.
    pub access: String,
    /// The answer.
    pub allow: bool,
}

/// A template as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct TemplateShown {
    /// Its name.
    pub template_name: String,
    /// What its variables must be like, as a JSON schema.
    pub schema: String,
    /// Its rules.
    pub template: String,
    /// What it is for.
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::super::decode::{Unknown, from_slice};
    use super::*;

    #[test]
    fn times_go_both_ways() {
        let time = Duration::new(1_763_821_535, 551_730_726);
        assert_eq!(timestamp(time), "2025-11-22T14:25:35.551730726Z");
        assert_eq!(parse_timestamp(&timestamp(time)), Some(time));
        assert_eq!(parse_timestamp("tomorrow"), None);
        assert!(timestamp(Duration::MAX).starts_with("9999-12-31"));
    }

    #[test]
    fn what_was_read_can_be_written_back() {
        let token = Token {
            accessor_id: "a".into(),
            secret_id: HIDDEN.into(),
            policies: vec![Link { id: "p".into(), name: "n".into() }],
            create_time: timestamp(Duration::ZERO),
            legacy: Some(false),
            ..Token::default()
        };
        let request: TokenRequest = from_slice(&serde_json::to_vec(&token).unwrap(), Unknown::Refuse).unwrap();
        assert_eq!((request.accessor_id.as_str(), request.policies), ("a", token.policies));
        let policy = Policy { name: "n".into(), rules: Some(String::new()), ..Policy::default() };
        let request: PolicyRequest = from_slice(&serde_json::to_vec(&policy).unwrap(), Unknown::Refuse).unwrap();
        assert_eq!(request.name, "n");
        assert!(from_slice::<TokenRequest>(b"{\"Wings\": 2}", Unknown::Refuse).is_err());
    }

    #[test]
    fn secrets_do_not_print() {
        let request: TokenRequest = from_slice(b"{\"SecretID\": \"swordfish\"}", Unknown::Refuse).unwrap();
        let token = Token { secret_id: "swordfish".into(), id: "swordfish".into(), ..Token::default() };
        assert!(!format!("{request:?}{token:?}").contains("swordfish"));
    }
}
