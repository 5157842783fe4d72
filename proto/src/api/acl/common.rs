//! What tokens, policies and roles have in common: links, identities, templates, times.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::api::decode::Ignored;

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
