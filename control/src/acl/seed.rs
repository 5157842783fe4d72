//! The rows that are always there: built-in policies, the anonymous token, and the management token of the settings.

use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::acl::rows::{
    ANONYMOUS, ANONYMOUS_SECRET, MANAGEMENT, MANAGEMENT_NAME, PolicyRow, READ_ONLY, READ_ONLY_NAME, Sources, TokenRow,
};
use callboard_proto::acl::templates;
use callboard_proto::text::Text;
use uuid::Uuid;

use super::{Secret, digest};
use crate::registry::AclCommand;

/// The command that makes them, as far as they are not there.
#[must_use]
pub(crate) fn command(initial_management: Option<&Secret>, now: Duration) -> AclCommand {
    let policies = [
        (MANAGEMENT, MANAGEMENT_NAME, "Grants everything", templates::everything()),
        (READ_ONLY, READ_ONLY_NAME, "Grants reading everything", templates::reading_everything()),
    ];
    let policies = policies.map(|(id, name, description, rules)| {
        digested_policy(PolicyRow {
            id: id.into(),
            name: name.into(),
            description: description.into(),
            rules: templates::hcl(&rules).into(),
            datacenters: Vec::new(),
            hash: Text::default(),
            created: Index::ZERO,
            modified: Index::ZERO,
        })
    });
    let anonymous = TokenRow {
        accessor: ANONYMOUS.into(),
        ..token(&Secret::new(ANONYMOUS_SECRET), "Anonymous Token", Sources::default(), now)
    };
    let management = initial_management.map(|secret| Box::new(management(secret, "Initial Management Token", now)));
    AclCommand::Seed { policies: policies.into(), anonymous: Box::new(digested(anonymous)), management }
}

/// A new token that may do everything.
#[must_use]
pub(crate) fn management(secret: &Secret, description: &str, now: Duration) -> TokenRow {
    let sources = Sources { policies: vec![MANAGEMENT.into()], ..Sources::default() };
    digested(token(secret, description, sources, now))
}

/// A new token with a new accessor.
#[must_use]
pub(crate) fn token(secret: &Secret, description: &str, sources: Sources, now: Duration) -> TokenRow {
    TokenRow {
        accessor: Uuid::new_v4().to_string().into(),
        secret: secret.hash(),
        description: description.into(),
        sources,
        roles: Vec::new(),
        local: false,
        auth_method: Text::default(),
        expires: None,
        created_at: now,
        hash: Text::default(),
        created: Index::ZERO,
        modified: Index::ZERO,
    }
}

/// The token with the digest of what it says.
#[must_use]
pub(crate) fn digested(token: TokenRow) -> TokenRow {
    let hash = digest(&(&token.description, &token.sources, &token.roles, token.local));
    TokenRow { hash, ..token }
}

/// The policy with the digest of what it says.
#[must_use]
pub(crate) fn digested_policy(policy: PolicyRow) -> PolicyRow {
    let hash = digest(&(&policy.name, &policy.description, &policy.rules, &policy.datacenters));
    PolicyRow { hash, ..policy }
}
