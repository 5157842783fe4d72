//! Writes of access control, and why they may not fit.
//!
//! A command is whole: its rows carry ids, digests and times that the door chose. Only links, names and what may never
//! change are held against the present state.

use callboard_proto::Index;
use callboard_proto::acl::rows::{AuthMethodRow, BindingRuleRow, PolicyRow, RoleRow, TokenRow};
use callboard_proto::text::Text;
use serde::{Deserialize, Serialize};

/// A write of access control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AclCommand {
    /// Makes what is always there, as far as it is not: built-in policies, the anonymous token, and the management
    /// token of the settings, which then counts as the first one.
    Seed {
        /// The built-in policies.
        policies: Vec<PolicyRow>,
        /// The anonymous token.
        anonymous: Box<TokenRow>,
        /// The management token of the settings. It is made if no token has its secret.
        management: Option<Box<TokenRow>>,
    },
    /// Makes the first management token.
    Bootstrap {
        /// The token.
        token: Box<TokenRow>,
        /// Makes another one, if this is when the first was made.
        reset: Option<Index>,
    },
    /// Writes a token.
    TokenPut {
        /// The token. Of a known one, secret, locality, auth method and times stay.
        token: Box<TokenRow>,
        /// Whether it is new.
        write: Write,
    },
    /// Removes tokens. Unknown ones are gone already.
    TokensDelete {
        /// Their accessors.
        accessors: Vec<Text>,
    },
    /// Writes a policy.
    PolicyPut {
        /// The policy.
        policy: Box<PolicyRow>,
        /// Whether it is new.
        write: Write,
    },
    /// Removes a policy, and all links to it.
    PolicyDelete {
        /// Its id.
        id: Text,
    },
    /// Writes a role.
    RolePut {
        /// The role.
        role: Box<RoleRow>,
        /// Whether it is new.
        write: Write,
    },
    /// Removes a role, and all links to it.
    RoleDelete {
        /// Its id.
        id: Text,
    },
    /// Writes an auth method.
    AuthMethodPut {
        /// The method. Of a known one, the kind stays.
        method: Box<AuthMethodRow>,
        /// Whether it is new.
        write: Write,
    },
    /// Removes an auth method, its binding rules, and the tokens that its logins made.
    AuthMethodDelete {
        /// Its name.
        name: Text,
    },
    /// Writes a binding rule.
    BindingRulePut {
        /// The rule.
        rule: Box<BindingRuleRow>,
        /// Whether it is new.
        write: Write,
    },
    /// Removes a binding rule.
    BindingRuleDelete {
        /// Its id.
        id: Text,
    },
}

/// Whether a row must be new or known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// It must be new.
    Create,
    /// It must be known.
    Update,
}

/// A table that readers can wait on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AclTopic {
    /// Tokens.
    Tokens,
    /// Policies.
    Policies,
    /// Roles.
    Roles,
    /// Auth methods.
    AuthMethods,
    /// Binding rules.
    BindingRules,
}

/// Why a write of access control does not fit the present state. The texts are what clients match on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AclRefusal {
    /// There was a first management token.
    #[error("Permission denied: ACL bootstrap no longer allowed (reset index: {0})")]
    Bootstrapped(Index),
    /// No such token.
    #[error("ACL not found")]
    NoToken,
    /// No such policy.
    #[error("No such ACL policy with ID {0:?}")]
    NoPolicy(Text),
    /// No such role.
    #[error("No such ACL role with ID {0:?}")]
    NoRole(Text),
    /// No such auth method.
    #[error("No such ACL auth method with name {0:?}")]
    NoAuthMethod(Text),
    /// No such binding rule.
    #[error("No such ACL binding rule with ID {0:?}")]
    NoBindingRule(Text),
    /// Another token has the accessor.
    #[error("Invalid Token: AccessorID is already in use")]
    AccessorInUse,
    /// Another token has the secret.
    #[error("Invalid Token: SecretID is already in use")]
    SecretInUse,
    /// The name or the id is taken.
    #[error("Invalid {kind}: A {kind} with Name {name:?} already exists")]
    NameInUse {
        /// `Policy`, `Role` or `AuthMethod`.
        kind: Text,
        /// The name.
        name: Text,
    },
    /// A row with this id is there.
    #[error("Invalid {kind}: the ID {id:?} is already in use")]
    IdInUse {
        /// `Policy`, `Role` or `BindingRule`.
        kind: Text,
        /// The id.
        id: Text,
    },
    /// A built-in policy stays as it is.
    #[error("{what} the builtin {name} policy is not permitted")]
    Builtin {
        /// What was asked for.
        what: Text,
        /// Its name.
        name: Text,
    },
    /// The anonymous token stays.
    #[error("Delete operation not permitted on the anonymous token")]
    Anonymous,
    /// The kind of an auth method stays.
    #[error("Changing an auth method's Type from {0:?} to {1:?} is not permitted")]
    AuthMethodType(Text, Text),
}
