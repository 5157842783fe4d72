//! The `acl` part of a configuration file: Consul's keys, in today's and in earlier spellings.

use callboard_proto::acl::Fallback;
use callboard_proto::duration::GoDuration;
use serde::Deserialize;

use super::{ConfigError, invalid};
use crate::acl::{AgentTokens, Secret, TokenUse};

/// A secret in a file: never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct FileSecret(String);

impl std::fmt::Debug for FileSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

/// The keys of `acl`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AclFile {
    enabled: Option<bool>,
    default_policy: Option<String>,
    /// There is no other datacenter to be down.
    #[serde(rename = "down_policy")]
    _down_policy: Option<String>,
    enable_token_persistence: Option<bool>,
    enable_key_list_policy: Option<bool>,
    #[serde(rename = "enable_token_replication")]
    _enable_token_replication: Option<bool>,
    /// What is kept here is always the newest, so these have nothing to bound.
    #[serde(rename = "token_ttl")]
    _token_ttl: Option<GoDuration>,
    #[serde(rename = "policy_ttl")]
    _policy_ttl: Option<GoDuration>,
    #[serde(rename = "role_ttl")]
    _role_ttl: Option<GoDuration>,
    tokens: TokensFile,
}

/// The keys of `acl.tokens`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokensFile {
    #[serde(alias = "master")]
    initial_management: Option<FileSecret>,
    default: Option<FileSecret>,
    agent: Option<FileSecret>,
    #[serde(alias = "agent_master")]
    agent_recovery: Option<FileSecret>,
    replication: Option<FileSecret>,
    config_file_service_registration: Option<FileSecret>,
    dns: Option<FileSecret>,
}

/// Access control, as it was set up.
#[derive(Debug, Clone, Default)]
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

impl AclFile {
    /// Takes over what a later file says.
    pub(super) fn merge(&mut self, later: AclFile) {
        fn take<T>(mine: &mut Option<T>, later: Option<T>) {
            if later.is_some() {
                *mine = later;
            }
        }
        take(&mut self.enabled, later.enabled);
        take(&mut self.default_policy, later.default_policy);
        take(&mut self.enable_token_persistence, later.enable_token_persistence);
        take(&mut self.enable_key_list_policy, later.enable_key_list_policy);
        let (mine, later) = (&mut self.tokens, later.tokens);
        take(&mut mine.initial_management, later.initial_management);
        take(&mut mine.default, later.default);
        take(&mut mine.agent, later.agent);
        take(&mut mine.agent_recovery, later.agent_recovery);
        take(&mut mine.replication, later.replication);
        take(&mut mine.config_file_service_registration, later.config_file_service_registration);
        take(&mut mine.dns, later.dns);
    }

    /// Takes the settings as a whole.
    pub(super) fn resolve(self) -> Result<AclConfig, ConfigError> {
        let fallback = match self.default_policy.as_deref() {
            None | Some("allow") => Fallback::Allow,
            Some("deny") => Fallback::Deny,
            Some(other) => {
                return Err(invalid("acl.default_policy", format!("{other:?} is none of allow, deny")));
            }
        };
        let mut tokens = AgentTokens::default();
        let given = [
            (TokenUse::Default, self.tokens.default),
            (TokenUse::Agent, self.tokens.agent),
            (TokenUse::AgentRecovery, self.tokens.agent_recovery),
            (TokenUse::Replication, self.tokens.replication),
            (TokenUse::ConfigFileRegistration, self.tokens.config_file_service_registration),
            (TokenUse::Dns, self.tokens.dns),
        ];
        for (token_use, token) in given {
            tokens.set(token_use, token.as_ref().map_or("", |token| &token.0));
        }
        let initial = self.tokens.initial_management.filter(|token| !token.0.is_empty());
        Ok(AclConfig {
            enabled: self.enabled.unwrap_or(false),
            fallback,
            key_list_policy: self.enable_key_list_policy.unwrap_or(false),
            token_persistence: self.enable_token_persistence.unwrap_or(false),
            initial_management: initial.map(|token| Secret::new(&token.0)),
            tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_secrets_are_not_told() {
        let text =
            r#"{"enabled": true, "default_policy": "deny", "tokens": {"master": "s3", "agent": "s4", "dns": ""}}"#;
        let mut file: AclFile = serde_json::from_str(text).unwrap();
        file.merge(serde_json::from_str(r#"{"tokens": {"agent": "s5"}, "enable_key_list_policy": true}"#).unwrap());
        let told = format!("{file:?}");
        assert!(!told.contains("s3") && !told.contains("s5"), "{told}");
        let config = file.resolve().unwrap();
        assert!(config.enabled && config.key_list_policy && config.fallback == Fallback::Deny);
        assert_eq!(config.initial_management, Some(Secret::new("s3")));
        assert_eq!(config.tokens.get(TokenUse::Agent), Some(&Secret::new("s5")));
        assert_eq!(config.tokens.get(TokenUse::Dns), None);
        let told = format!("{config:?}");
        assert!(!told.contains("s3") && !told.contains("s5"), "{told}");
    }

    #[test]
    fn a_wrong_policy_is_named() {
        let file: AclFile = serde_json::from_str(r#"{"default_policy": "maybe"}"#).unwrap();
        assert!(file.resolve().unwrap_err().to_string().contains("acl.default_policy: \"maybe\""));
    }
}
