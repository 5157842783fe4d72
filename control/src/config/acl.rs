//! Access control: whether there is any, what holds where no rule does, and the tokens that the node itself uses.

use std::time::Duration;

use callboard_proto::acl::Fallback;
use callboard_proto::duration::GoDuration;

use super::keys::keys;
use super::{ConfigError, invalid};
use crate::acl::{AgentTokens, Secret, TokenUse};

const CACHE: &str = "rights are found in this node's own copy of the registry, and are never old";

keys! {
    pub(super) struct AclKeys {
        pub(super) enabled: Option<bool>,
        pub(super) default_policy: Option<String>,
        pub(super) down_policy: Option<String>,
        pub(super) enable_token_persistence: Option<bool>,
        pub(super) enable_key_list_policy: Option<bool>,
        pub(super) tokens: TokenKeys,
    }
    unneeded {
        token_ttl: CACHE,
        policy_ttl: CACHE,
        role_ttl: CACHE,
        enable_token_replication: "there is one datacenter, so nothing is replicated into another",
        msp_disable_bootstrap: "it belongs to the commercial product",
    }
}

keys! {
    pub(super) struct TokenKeys {
        pub(super) initial_management: Option<String>,
        pub(super) master: Option<String>,
        pub(super) agent: Option<String>,
        pub(super) agent_recovery: Option<String>,
        pub(super) agent_master: Option<String>,
        pub(super) default: Option<String>,
        pub(super) replication: Option<String>,
        pub(super) config_file_service_registration: Option<String>,
        pub(super) dns: Option<String>,
    }
    unneeded {
        managed_service_provider: "it belongs to the commercial product",
    }
}

/// Access control, as it was set up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AclConfig {
    /// Whether there is any.
    pub enabled: bool,
    /// What holds where no rule speaks.
    pub fallback: Fallback,
    /// Whether listing keys needs a right of its own.
    pub key_list_policy: bool,
    /// Whether replaced tokens of this node are kept in the data folder.
    pub token_persistence: bool,
    /// The secret of the management token that is made at first.
    pub initial_management: Option<Secret>,
    /// The tokens of this node.
    pub tokens: AgentTokens,
}

impl AclKeys {
    pub(super) fn resolve(self) -> Result<AclConfig, ConfigError> {
        if let Some(policy) = &self.down_policy
            && !matches!(policy.as_str(), "allow" | "deny" | "extend-cache" | "async-cache")
        {
            let reason = format!("{policy:?} is none of allow, deny, extend-cache, async-cache");
            return Err(invalid("acl.down_policy", reason));
        }
        let given = [
            (TokenUse::Default, self.tokens.default),
            (TokenUse::Agent, self.tokens.agent),
            (TokenUse::AgentRecovery, self.tokens.agent_recovery.or(self.tokens.agent_master)),
            (TokenUse::Replication, self.tokens.replication),
            (TokenUse::ConfigFileRegistration, self.tokens.config_file_service_registration),
            (TokenUse::Dns, self.tokens.dns),
        ];
        let mut tokens = AgentTokens::default();
        for (token_use, token) in given {
            tokens.set(token_use, token.as_deref().unwrap_or(""));
        }
        let initial = self.tokens.initial_management.or(self.tokens.master).filter(|token| !token.is_empty());
        Ok(AclConfig {
            enabled: self.enabled.unwrap_or(false),
            fallback: fallback("acl.default_policy", self.default_policy.as_deref())?.unwrap_or_default(),
            key_list_policy: self.enable_key_list_policy.unwrap_or(false),
            token_persistence: self.enable_token_persistence.unwrap_or(false),
            initial_management: initial.map(|token| Secret::new(&token)),
            tokens,
        })
    }
}

/// Reads a policy.
pub(super) fn fallback(key: &str, text: Option<&str>) -> Result<Option<Fallback>, ConfigError> {
    match text {
        None | Some("") => Ok(None),
        Some("allow") => Ok(Some(Fallback::Allow)),
        Some("deny") => Ok(Some(Fallback::Deny)),
        Some(other) => Err(invalid(key, format!("{other:?} is none of allow, deny"))),
    }
}

/// A duration that must be more than nothing.
pub(super) fn positive(key: &str, given: Option<GoDuration>, default: Duration) -> Result<Duration, ConfigError> {
    match given {
        None => Ok(default),
        Some(given) => given.positive().ok_or_else(|| invalid(key, "must be more than 0")),
    }
}
