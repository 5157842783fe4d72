//! `/v1/acl/…`: tokens, policies, roles and logins as clients write and read them.
//!
//! Requests take what answers give, because clients write back what they read: what a server decides itself (indexes,
//! digests, times) is passed over. A secret is in an answer only where its own holder gets it; else it is
//! [`HIDDEN`].

mod common;
mod login;
mod policy;
mod token;

pub use common::{
    Authorization, Given, HIDDEN, Link, NodeIdentity, ServiceIdentity, TemplateShown, TemplateVariables,
    TemplatedPolicy, parse_timestamp, timestamp,
};
pub use login::{AuthMethod, BindVars, BindingRule, LoginRequest};
pub use policy::{Policy, PolicyRequest, Role, RoleRequest};
pub use token::{AgentTokenRequest, BootstrapRequest, Expanded, Token, TokenRequest};

#[cfg(test)]
mod tests {
    use crate::api::decode::{Unknown, from_slice};
    use std::time::Duration;

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
