//! From a token to what its holder may do.
//!
//! What was found is kept while the token, the policies and the roles are the same; another token that comes or goes does
//! not matter. Bounded: past the bound everything is given up and found again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::acl::rows::{
    ANONYMOUS, ANONYMOUS_SECRET, MANAGEMENT, PolicyRow, READ_ONLY, SecretHash, Sources, TokenRow,
};
use callboard_proto::acl::templates::{self, Template};
use callboard_proto::acl::{Authority, Fallback, Grant, InvalidRules, Label, Resource, Rule, RuleSet};
use callboard_proto::text::Text;
use parking_lot::{Mutex, RwLock};
use tracing::error;

use super::secret::{same, sha256};
use super::{Access, AgentTokens, Rights, Secret, TokenUse, UnwritableTokens, keeper};
use crate::registry::{AclTopic, Registry};

/// How many tokens' rights are kept.
const KEPT_MAX: usize = 8192;
/// How many policies are kept as they were read.
const READ_MAX: usize = 4096;

/// What access control depends on.
#[derive(Debug, Clone, Default)]
pub struct AclSettings {
    /// Whether there is any.
    pub enabled: bool,
    /// What holds where no rule speaks.
    pub fallback: Fallback,
    /// Whether listing keys needs a right of its own, instead of leaving out what may not be read.
    pub key_list_policy: bool,
    /// Where this node is: policies may count elsewhere only.
    pub datacenter: Text,
    /// The name of this node.
    pub node_name: Text,
    /// The secret of the management token that is made at first.
    pub initial_management: Option<Secret>,
    /// The tokens of this node.
    pub tokens: AgentTokens,
    /// Where they are kept when they are replaced; none forgets them with the process.
    pub tokens_file: Option<PathBuf>,
    /// Where an operator writes the number that allows another first management token.
    pub reset_file: Option<PathBuf>,
    /// How soon a token may end, and how late.
    pub expiration: Option<(Duration, Duration)>,
}

/// A token that nobody has. The text is what clients match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ACL not found")]
pub struct UnknownToken;

/// Finds out what callers may do. One for a control node.
#[derive(Debug)]
pub struct Acl {
    settings: AclSettings,
    anonymous: SecretHash,
    tokens: RwLock<AgentTokens>,
    kept: Mutex<HashMap<SecretHash, Kept>>,
    read: Mutex<HashMap<(Text, Index), Arc<RuleSet>>>,
}

/// Rights, and the state that they are true in.
#[derive(Debug, Clone)]
struct Kept {
    stamp: Stamp,
    token: Option<Arc<TokenRow>>,
    rights: Arc<Rights>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    lineage: u64,
    policies: Index,
    roles: Index,
}

impl Acl {
    /// Begins.
    ///
    /// # Errors
    /// When the file of this node's tokens is there and cannot be read.
    pub fn new(settings: AclSettings) -> Result<Acl, UnwritableTokens> {
        let mut tokens = settings.tokens.clone();
        if let Some(path) = settings.tokens_file.as_ref().filter(|_| settings.enabled) {
            tokens.read(path)?;
        }
        Ok(Acl {
            settings,
            anonymous: sha256(ANONYMOUS_SECRET.as_bytes()),
            tokens: RwLock::new(tokens),
            kept: Mutex::default(),
            read: Mutex::default(),
        })
    }

    /// Whether there is access control.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.settings.enabled
    }

    /// What holds where no rule speaks.
    #[must_use]
    pub fn fallback(&self) -> Fallback {
        if self.settings.enabled { self.settings.fallback } else { Fallback::Allow }
    }

    /// What it depends on.
    #[must_use]
    pub fn settings(&self) -> &AclSettings {
        &self.settings
    }

    /// Replaces a token of this node; an empty one removes it.
    ///
    /// # Errors
    /// When it cannot be kept; it is used all the same until the process ends.
    pub fn set_token(&self, token_use: TokenUse, token: &str) -> Result<(), UnwritableTokens> {
        let mut tokens = self.tokens.write();
        tokens.set(token_use, token);
        match &self.settings.tokens_file {
            Some(path) => tokens.write(path),
            None => Ok(()),
        }
    }

    /// What the holder of a token may do; without one, the node's default token stands in, or the anonymous one.
    ///
    /// # Errors
    /// When nobody has the token, or its time is over.
    pub fn access(&self, registry: &Registry, given: Option<&Secret>) -> Result<Access, UnknownToken> {
        if !self.settings.enabled {
            return Ok(Access::unrestricted());
        }
        let hash = given.map_or_else(|| self.standing_in(TokenUse::Default), Secret::hash);
        self.access_at(registry, hash, keeper::now())
    }

    /// What this node may do on its own account: by its agent token, or its default one, or as anybody.
    ///
    /// # Errors
    /// When nobody has the token, or its time is over.
    pub fn agent_access(&self, registry: &Registry) -> Result<Access, UnknownToken> {
        if !self.settings.enabled {
            return Ok(Access::unrestricted());
        }
        self.access_at(registry, self.standing_in(TokenUse::Agent), keeper::now())
    }

    /// What a question over DNS may see. A token that nobody has sees nothing.
    #[must_use]
    pub fn dns_access(&self, registry: &Registry) -> Access {
        if !self.settings.enabled {
            return Access::unrestricted();
        }
        let access = self.access_at(registry, self.standing_in(TokenUse::Dns), keeper::now());
        access.unwrap_or_else(|UnknownToken| self.nobody())
    }

    fn hash_for(&self, token_use: TokenUse) -> Option<SecretHash> {
        self.tokens.read().get(token_use).map(Secret::hash)
    }

    /// The token of a use, or the one that stands in for it.
    fn standing_in(&self, token_use: TokenUse) -> SecretHash {
        let hash = self.hash_for(token_use).or_else(|| self.hash_for(TokenUse::Default));
        hash.unwrap_or(self.anonymous)
    }

    fn nobody(&self) -> Access {
        Access::of(Arc::new(self.rights(ANONYMOUS.into(), Authority::of([], Fallback::Deny), None)))
    }

    fn rights(&self, accessor: Text, authority: Authority, token: Option<Arc<TokenRow>>) -> Rights {
        let fingerprint = super::digest(&(authority.canonical(), self.settings.key_list_policy));
        let fingerprint = fingerprint.as_ref().into();
        Rights { accessor, authority, fingerprint, key_list_policy: self.settings.key_list_policy, token }
    }

    fn access_at(&self, registry: &Registry, hash: SecretHash, now: Duration) -> Result<Access, UnknownToken> {
        let stamp = Stamp {
            lineage: registry.lineage(),
            policies: registry.acl_index(AclTopic::Policies),
            roles: registry.acl_index(AclTopic::Roles),
        };
        let token = registry.acl_token_of(&hash).filter(|token| same(&token.secret, &hash));
        let recovers = self.hash_for(TokenUse::AgentRecovery).is_some_and(|recovery| same(&recovery, &hash));
        if token.is_none() && !recovers && !same(&hash, &self.anonymous) {
            return Err(UnknownToken);
        }
        let fits = |kept: &&Kept| {
            kept.stamp == stamp
                && match (&kept.token, token) {
                    (None, None) => true,
                    (Some(one), Some(two)) => Arc::ptr_eq(one, two),
                    _ => false,
                }
        };
        let kept = self.kept.lock().get(&hash).filter(fits).map(|kept| kept.rights.clone());
        let rights = match kept {
            Some(rights) => rights,
            None => {
                let rights = Arc::new(match token {
                    Some(token) => self.find(registry, token),
                    None if recovers => self.recovery(),
                    None => self.rights(ANONYMOUS.into(), Authority::of([], self.settings.fallback), None),
                });
                let mut kept = self.kept.lock();
                if kept.len() >= KEPT_MAX {
                    kept.clear();
                }
                kept.insert(hash, Kept { stamp, token: token.cloned(), rights: rights.clone() });
                rights
            }
        };
        if rights.is_over(now) {
            return Err(UnknownToken);
        }
        Ok(Access::of(rights))
    }

    fn find(&self, registry: &Registry, token: &Arc<TokenRow>) -> Rights {
        let roles = token.roles.iter().filter_map(|id| registry.acl_role(id)).map(|role| &role.sources);
        let mut sets = Vec::new();
        for sources in std::iter::once(&token.sources).chain(roles) {
            if let Err(error) = self.collect(registry, sources, &mut sets) {
                // It was readable when it was written. A rule that is not read could be one that denies.
                error!(accessor = %token.accessor, error = &error as &dyn std::error::Error, "a policy cannot be read");
                let nothing = Authority::of([], Fallback::Deny);
                return self.rights(token.accessor.clone(), nothing, Some(token.clone()));
            }
        }
        let authority = Authority::of(sets.iter().map(|set| &**set), self.settings.fallback);
        self.rights(token.accessor.clone(), authority, Some(token.clone()))
    }

    fn collect(
        &self,
        registry: &Registry,
        sources: &Sources,
        sets: &mut Vec<Arc<RuleSet>>,
    ) -> Result<(), InvalidRules> {
        let here = |datacenters: &[Text]| {
            datacenters.is_empty() || datacenters.iter().any(|one| one.eq_ignore_ascii_case(&self.settings.datacenter))
        };
        let policies = sources.policies.iter().filter_map(|id| registry.acl_policy(id));
        for policy in policies.filter(|policy| here(&policy.datacenters)) {
            sets.push(self.rules_of(policy)?);
        }
        let services = sources.services.iter().filter(|row| here(&row.datacenters));
        sets.extend(services.map(|row| Arc::new(Template::Service.rules(&row.service))));
        let nodes = sources.nodes.iter().filter(|row| here(std::slice::from_ref(&row.datacenter)));
        sets.extend(nodes.map(|row| Arc::new(Template::Node.rules(&row.node))));
        for row in sources.templated.iter().filter(|row| here(&row.datacenters)) {
            let template = Template::from_name(&row.template);
            let template = template.ok_or_else(|| InvalidRules(format!("unknown template {:?}", row.template)))?;
            sets.push(Arc::new(template.rules(&row.name)));
        }
        Ok(())
    }

    fn rules_of(&self, policy: &PolicyRow) -> Result<Arc<RuleSet>, InvalidRules> {
        match &*policy.id {
            MANAGEMENT => return Ok(Arc::new(templates::everything())),
            READ_ONLY => return Ok(Arc::new(templates::reading_everything())),
            _ => {}
        }
        let place = (policy.hash.clone(), policy.modified);
        if let Some(rules) = self.read.lock().get(&place) {
            return Ok(rules.clone());
        }
        let rules = Arc::new(RuleSet::read(&policy.rules)?);
        let mut read = self.read.lock();
        if read.len() >= READ_MAX {
            read.clear();
        }
        read.insert(place, rules.clone());
        Ok(rules)
    }

    /// What lets an operator in when nothing else does.
    fn recovery(&self) -> Rights {
        let node = &*self.settings.node_name;
        let rule = |resource, label, grant| Rule { resource, label, grant };
        let rules = RuleSet::of(vec![
            rule(Resource::Agent, Label::Exact(node.into()), Grant::Write),
            rule(Resource::Node, Label::Prefix("".into()), Grant::Read),
        ]);
        let accessor = format!("agent-recovery:{node}").into();
        self.rights(accessor, Authority::of([&rules], self.settings.fallback), None)
    }
}

#[cfg(test)]
mod tests;
