//! What the registry keeps of access control: tokens, policies, roles, and how logins become tokens.
//!
//! Of a secret only its SHA-256 is kept, so that neither the log, nor a checkpoint, nor a backup gives one away. Links
//! are ids; names are looked up when a row is shown. Times are counted since 1970.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::index::Index;
use crate::text::Text;

/// The accessor of the token that stands for callers without one.
pub const ANONYMOUS: &str = "00000000-0000-0000-0000-000000000002";
/// The secret of that token. It is known to all.
pub const ANONYMOUS_SECRET: &str = "anonymous";
/// The id of the policy that grants everything.
pub const MANAGEMENT: &str = "00000000-0000-0000-0000-000000000001";
/// The name of that policy.
pub const MANAGEMENT_NAME: &str = "global-management";
/// The id of the policy that grants reading everything.
pub const READ_ONLY: &str = "00000000-0000-0000-0000-000000000002";
/// The name of that policy.
pub const READ_ONLY_NAME: &str = "builtin/global-read-only";

/// Whether a policy is always there, as it is.
#[must_use]
pub fn is_builtin(id: &str) -> bool {
    id == MANAGEMENT || id == READ_ONLY
}

/// The SHA-256 of a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(<hidden>)")
    }
}

/// Rights of one service: to register it and its proxy, and to find others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceIdentityRow {
    /// The service.
    pub service: Text,
    /// Where it counts; everywhere if empty.
    pub datacenters: Vec<Text>,
}

/// Rights of one node: to register it, and to see services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentityRow {
    /// The node.
    pub node: Text,
    /// Where it counts.
    pub datacenter: Text,
}

/// Rights that a template stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplatedRow {
    /// The name of the template.
    pub template: Text,
    /// What its name variable stands for; empty where there is none.
    pub name: Text,
    /// Where it counts; everywhere if empty.
    pub datacenters: Vec<Text>,
}

/// Where rights come from: the same for tokens and for roles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Policies, by id.
    pub policies: Vec<Text>,
    /// Services.
    pub services: Vec<ServiceIdentityRow>,
    /// Nodes.
    pub nodes: Vec<NodeIdentityRow>,
    /// Templates.
    pub templated: Vec<TemplatedRow>,
}

/// A stored token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its public id, a UUID.
    pub accessor: Text,
    /// What its secret comes to.
    pub secret: SecretHash,
    /// For people.
    pub description: Text,
    /// Where its rights come from, besides its roles.
    pub sources: Sources,
    /// Roles, by id.
    pub roles: Vec<Text>,
    /// Whether it was meant for this datacenter only.
    pub local: bool,
    /// The auth method whose login made it; empty for others.
    pub auth_method: Text,
    /// When it ends.
    pub expires: Option<Duration>,
    /// When it was made.
    pub created_at: Duration,
    /// A digest of what it says, in base64.
    pub hash: Text,
    /// When it was first written.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

/// A stored policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// A UUID.
    pub id: Text,
    /// Unique without regard to case.
    pub name: Text,
    /// For people.
    pub description: Text,
    /// The rules as they were written, HCL or JSON.
    pub rules: Text,
    /// Where it counts; everywhere if empty.
    pub datacenters: Vec<Text>,
    /// A digest of what it says, in base64.
    pub hash: Text,
    /// When it was first written.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

/// A stored role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRow {
    /// A UUID.
    pub id: Text,
    /// Unique without regard to case.
    pub name: Text,
    /// For people.
    pub description: Text,
    /// Where its rights come from.
    pub sources: Sources,
    /// A digest of what it says, in base64.
    pub hash: Text,
    /// When it was first written.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

/// A stored auth method: a kind of login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthMethodRow {
    /// Unique without regard to case.
    pub name: Text,
    /// `jwt`, `kubernetes`, …
    pub kind: Text,
    /// For people.
    pub display_name: Text,
    /// For people.
    pub description: Text,
    /// How long a login lasts at most; zero for no end.
    pub token_ttl_max: Duration,
    /// `local`, `global` or empty.
    pub locality: Text,
    /// The settings of the kind, as JSON.
    pub config: Text,
    /// When it was first written.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

/// A stored binding rule: what a login is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingRuleRow {
    /// A UUID.
    pub id: Text,
    /// For people.
    pub description: Text,
    /// The auth method whose logins it is about.
    pub auth_method: Text,
    /// A filter over the login's claims; empty for every login.
    pub selector: Text,
    /// `service`, `node`, `role`, `policy` or `templated-policy`.
    pub bind_type: Text,
    /// The name that it binds to, with `${value.x}` for claims.
    pub bind_name: Text,
    /// What a template's name variable stands for, in the same way.
    pub bind_variable: Text,
    /// When it was first written.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}
