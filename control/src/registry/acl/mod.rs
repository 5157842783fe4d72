//! Tokens, policies, roles and logins: the tables, and how they are read.
//!
//! Writing is in `write`. Links are ids, and every link leads somewhere: what is removed is unlinked. A token is found by
//! the hash of its secret; nobody here ever sees a secret. Who may do what is decided above, in `crate::acl`.

mod command;
mod write;

use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::acl::rows::{AuthMethodRow, BindingRuleRow, PolicyRow, RoleRow, SecretHash, Sources, TokenRow};
use callboard_proto::text::Text;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::Registry;

pub use command::{AclCommand, AclRefusal, AclTopic, Write};

/// All tables of access control. Names are keys in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct AclTables {
    tokens: OrdMap<Text, Arc<TokenRow>>,
    by_secret: OrdMap<SecretHash, Text>,
    policies: OrdMap<Text, Arc<PolicyRow>>,
    roles: OrdMap<Text, Arc<RoleRow>>,
    methods: OrdMap<Text, Arc<AuthMethodRow>>,
    rules: OrdMap<Text, Arc<BindingRuleRow>>,
    changed: AclChanged,
}

/// When each table last changed, and when the first management token was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct AclChanged {
    tokens: Index,
    policies: Index,
    roles: Index,
    methods: Index,
    rules: Index,
    bootstrapped: Index,
}

impl AclChanged {
    fn all(self) -> [Index; 6] {
        [self.tokens, self.policies, self.roles, self.methods, self.rules, self.bootstrapped]
    }

    fn of(&mut self, topic: AclTopic) -> &mut Index {
        match topic {
            AclTopic::Tokens => &mut self.tokens,
            AclTopic::Policies => &mut self.policies,
            AclTopic::Roles => &mut self.roles,
            AclTopic::AuthMethods => &mut self.methods,
            AclTopic::BindingRules => &mut self.rules,
        }
    }
}

/// The rows of a checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct AclRows {
    tokens: Vec<Arc<TokenRow>>,
    policies: Vec<Arc<PolicyRow>>,
    roles: Vec<Arc<RoleRow>>,
    methods: Vec<Arc<AuthMethodRow>>,
    rules: Vec<Arc<BindingRuleRow>>,
    changed: AclChanged,
}

fn folded(name: &str) -> Text {
    name.to_ascii_lowercase().into()
}

impl AclTables {
    pub(super) fn rows(&self) -> AclRows {
        AclRows {
            tokens: self.tokens.values().cloned().collect(),
            policies: self.policies.values().cloned().collect(),
            roles: self.roles.values().cloned().collect(),
            methods: self.methods.values().cloned().collect(),
            rules: self.rules.values().cloned().collect(),
            changed: self.changed,
        }
    }

    pub(super) fn from_rows(rows: AclRows) -> AclTables {
        AclTables {
            by_secret: rows.tokens.iter().map(|token| (token.secret, token.accessor.clone())).collect(),
            tokens: rows.tokens.into_iter().map(|row| (row.accessor.clone(), row)).collect(),
            policies: rows.policies.into_iter().map(|row| (row.id.clone(), row)).collect(),
            roles: rows.roles.into_iter().map(|row| (row.id.clone(), row)).collect(),
            methods: rows.methods.into_iter().map(|row| (folded(&row.name), row)).collect(),
            rules: rows.rules.into_iter().map(|row| (row.id.clone(), row)).collect(),
            changed: rows.changed,
        }
    }

    /// Checks everything that must always hold; `index` is the registry's.
    pub(super) fn audit(&self, index: Index) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        for changed in self.changed.all() {
            fact(changed <= index, &|| format!("a table of access control is at {changed}, past {index}"))?;
        }
        fact(self.tokens.len() == self.by_secret.len(), &|| "a token without its secret".to_owned())?;
        let linked = |sources: &Sources| sources.policies.iter().all(|id| self.policies.contains_key(id));
        for (accessor, token) in &self.tokens {
            fact(*accessor == token.accessor, &|| format!("token {} stands under {accessor}", token.accessor))?;
            fact(token.modified <= self.changed.tokens, &|| format!("token {accessor} is newer than its table"))?;
            let found = self.by_secret.get(&token.secret) == Some(accessor);
            fact(found, &|| format!("token {accessor} is not found by its secret"))?;
            let roles = token.roles.iter().all(|id| self.roles.contains_key(id));
            fact(roles && linked(&token.sources), &|| format!("token {accessor} has a link to nothing"))?;
            let method = token.auth_method.is_empty() || self.methods.contains_key(&folded(&token.auth_method));
            fact(method, &|| format!("token {accessor} is of the unknown auth method {}", token.auth_method))?;
        }
        for (id, role) in &self.roles {
            fact(*id == role.id && linked(&role.sources), &|| format!("role {id} is misplaced, or links to nothing"))?;
            fact(role.modified <= self.changed.roles, &|| format!("role {id} is newer than its table"))?;
        }
        for (id, policy) in &self.policies {
            let fits = *id == policy.id && policy.modified <= self.changed.policies;
            fact(fits, &|| format!("policy {id} is misplaced, or newer than its table"))?;
        }
        let names = |names: Vec<Text>| {
            let count = names.len();
            names.into_iter().collect::<std::collections::BTreeSet<_>>().len() == count
        };
        let unique = names(self.policies.values().map(|row| folded(&row.name)).collect())
            && names(self.roles.values().map(|row| folded(&row.name)).collect());
        fact(unique, &|| "two policies or two roles have one name".to_owned())?;
        for (name, method) in &self.methods {
            let fits = *name == folded(&method.name) && method.modified <= self.changed.methods;
            fact(fits, &|| format!("auth method {name} is misplaced, or newer than its table"))?;
        }
        for (id, rule) in &self.rules {
            let fits = *id == rule.id && rule.modified <= self.changed.rules;
            fact(fits, &|| format!("binding rule {id} is misplaced, or newer than its table"))?;
            let method = self.methods.contains_key(&folded(&rule.auth_method));
            fact(method, &|| format!("binding rule {id} is of an unknown auth method"))?;
        }
        Ok(())
    }
}

// How they are read.
impl Registry {
    /// A token, by its public id.
    #[must_use]
    pub fn acl_token(&self, accessor: &str) -> Option<&Arc<TokenRow>> {
        self.acl.tokens.get(accessor)
    }

    /// The token that a secret belongs to.
    #[must_use]
    pub fn acl_token_of(&self, secret: &SecretHash) -> Option<&Arc<TokenRow>> {
        self.acl.tokens.get(self.acl.by_secret.get(secret)?)
    }

    /// All tokens, by accessor.
    pub fn acl_tokens(&self) -> impl Iterator<Item = &Arc<TokenRow>> {
        self.acl.tokens.values()
    }

    /// A policy, by id.
    #[must_use]
    pub fn acl_policy(&self, id: &str) -> Option<&Arc<PolicyRow>> {
        self.acl.policies.get(id)
    }

    /// A policy, by name.
    #[must_use]
    pub fn acl_policy_named(&self, name: &str) -> Option<&Arc<PolicyRow>> {
        self.acl_policies().find(|policy| policy.name.eq_ignore_ascii_case(name))
    }

    /// All policies, by id.
    pub fn acl_policies(&self) -> impl Iterator<Item = &Arc<PolicyRow>> {
        self.acl.policies.values()
    }

    /// A role, by id.
    #[must_use]
    pub fn acl_role(&self, id: &str) -> Option<&Arc<RoleRow>> {
        self.acl.roles.get(id)
    }

    /// A role, by name.
    #[must_use]
    pub fn acl_role_named(&self, name: &str) -> Option<&Arc<RoleRow>> {
        self.acl_roles().find(|role| role.name.eq_ignore_ascii_case(name))
    }

    /// All roles, by id.
    pub fn acl_roles(&self) -> impl Iterator<Item = &Arc<RoleRow>> {
        self.acl.roles.values()
    }

    /// An auth method, by name.
    #[must_use]
    pub fn acl_auth_method(&self, name: &str) -> Option<&Arc<AuthMethodRow>> {
        self.acl.methods.get(&folded(name))
    }

    /// All auth methods, by name.
    pub fn acl_auth_methods(&self) -> impl Iterator<Item = &Arc<AuthMethodRow>> {
        self.acl.methods.values()
    }

    /// A binding rule, by id.
    #[must_use]
    pub fn acl_binding_rule(&self, id: &str) -> Option<&Arc<BindingRuleRow>> {
        self.acl.rules.get(id)
    }

    /// All binding rules, by id.
    pub fn acl_binding_rules(&self) -> impl Iterator<Item = &Arc<BindingRuleRow>> {
        self.acl.rules.values()
    }

    /// When any row of a table of access control last changed or went.
    #[must_use]
    pub fn acl_index(&self, topic: AclTopic) -> Index {
        let mut changed = self.acl.changed;
        *changed.of(topic)
    }

    /// When the first management token was made; zero if there never was one.
    #[must_use]
    pub fn acl_bootstrapped(&self) -> Index {
        self.acl.changed.bootstrapped
    }
}
