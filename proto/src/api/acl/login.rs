//! Auth methods, their binding rules, and logins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::decode::Ignored;
use crate::duration::GoDuration;
use crate::index::Index;

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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
