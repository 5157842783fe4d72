//! How the tables of access control are written.

use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::acl::rows::{
    ANONYMOUS, AuthMethodRow, BindingRuleRow, PolicyRow, RoleRow, Sources, TokenRow, is_builtin,
};
use callboard_proto::text::Text;

use super::super::command::{Outcome, Refusal};
use super::super::{Change, Registry, Topic};
use super::{AclCommand, AclRefusal, AclTopic, Write, folded};

type Done = Result<(), AclRefusal>;

impl Registry {
    /// Applies a write of access control. A refused one has changed nothing.
    pub(in super::super) fn write_acl(&mut self, command: AclCommand, change: &mut Change<'_>) -> Outcome {
        let done = match command {
            AclCommand::Seed { policies, anonymous, management } => {
                self.acl_seed(policies, *anonymous, management, change);
                Ok(())
            }
            AclCommand::Bootstrap { token, reset } => self.acl_bootstrap(*token, reset, change),
            AclCommand::TokenPut { token, write } => self.acl_put_token(*token, write, change),
            AclCommand::TokensDelete { accessors } => self.acl_delete_tokens(&accessors, change),
            AclCommand::PolicyPut { policy, write } => self.acl_put_policy(*policy, write, change),
            AclCommand::PolicyDelete { id } => self.acl_delete_policy(&id, change),
            AclCommand::RolePut { role, write } => self.acl_put_role(*role, write, change),
            AclCommand::RoleDelete { id } => self.acl_delete_role(&id, change),
            AclCommand::AuthMethodPut { method, write } => self.acl_put_method(*method, write, change),
            AclCommand::AuthMethodDelete { name } => self.acl_delete_method(&name, change),
            AclCommand::BindingRulePut { rule, write } => self.acl_put_rule(*rule, write, change),
            AclCommand::BindingRuleDelete { id } => self.acl_delete_rule(&id, change),
        };
        match done {
            Ok(()) => Outcome::Done,
            Err(refusal) => Outcome::Refused(Refusal::Acl(refusal)),
        }
    }

    fn acl_touch(&mut self, topic: AclTopic, change: &mut Change<'_>) -> Index {
        let at = change.touch(Topic::Acl(topic));
        *self.acl.changed.of(topic) = at;
        at
    }

    fn acl_seed(
        &mut self,
        policies: Vec<PolicyRow>,
        anonymous: TokenRow,
        management: Option<Box<TokenRow>>,
        change: &mut Change<'_>,
    ) {
        for policy in policies {
            let known = self.acl.policies.get(&policy.id);
            let same = known.is_some_and(|known| known.rules == policy.rules && known.name == policy.name);
            let taken = self.acl_policy_named(&policy.name).is_some_and(|other| other.id != policy.id);
            if !same && !taken {
                self.acl_store_policy(policy, change);
            }
        }
        if let Some(token) = management
            && self.acl_can_insert(&token).is_ok()
        {
            self.acl_insert(*token, change);
            if self.acl.changed.bootstrapped == Index::ZERO {
                self.acl.changed.bootstrapped = change.at;
            }
        }
        if self.acl_can_insert(&anonymous).is_ok() {
            self.acl_insert(anonymous, change);
        }
    }

    fn acl_bootstrap(&mut self, token: TokenRow, reset: Option<Index>, change: &mut Change<'_>) -> Done {
        let before = self.acl.changed.bootstrapped;
        if before != Index::ZERO && reset != Some(before) {
            return Err(AclRefusal::Bootstrapped(before));
        }
        self.acl_can_insert(&token)?;
        self.acl_insert(token, change);
        self.acl.changed.bootstrapped = change.at;
        Ok(())
    }

    /// Whether every link leads somewhere.
    fn acl_linked(&self, sources: &Sources, roles: &[Text]) -> Done {
        let policy = sources.policies.iter().find(|id| !self.acl.policies.contains_key(*id));
        let role = roles.iter().find(|id| !self.acl.roles.contains_key(*id));
        match (policy, role) {
            (Some(id), _) => Err(AclRefusal::NoPolicy(id.clone())),
            (None, Some(id)) => Err(AclRefusal::NoRole(id.clone())),
            (None, None) => Ok(()),
        }
    }

    fn acl_can_insert(&self, token: &TokenRow) -> Done {
        if self.acl.tokens.contains_key(&token.accessor) {
            return Err(AclRefusal::AccessorInUse);
        }
        if self.acl.by_secret.contains_key(&token.secret) {
            return Err(AclRefusal::SecretInUse);
        }
        if !token.auth_method.is_empty() && self.acl_auth_method(&token.auth_method).is_none() {
            return Err(AclRefusal::NoAuthMethod(token.auth_method.clone()));
        }
        self.acl_linked(&token.sources, &token.roles)
    }

    fn acl_insert(&mut self, token: TokenRow, change: &mut Change<'_>) {
        let at = self.acl_touch(AclTopic::Tokens, change);
        let token = TokenRow { created: at, modified: at, ..token };
        self.acl.by_secret.insert(token.secret, token.accessor.clone());
        self.acl.tokens.insert(token.accessor.clone(), Arc::new(token));
    }

    fn acl_put_token(&mut self, token: TokenRow, write: Write, change: &mut Change<'_>) -> Done {
        if write == Write::Create {
            self.acl_can_insert(&token)?;
            self.acl_insert(token, change);
            return Ok(());
        }
        let known = self.acl.tokens.get(&token.accessor).ok_or(AclRefusal::NoToken)?;
        self.acl_linked(&token.sources, &token.roles)?;
        let token = TokenRow {
            secret: known.secret,
            local: known.local,
            auth_method: known.auth_method.clone(),
            expires: known.expires,
            created_at: known.created_at,
            created: known.created,
            modified: known.modified,
            ..token
        };
        if **known != token {
            let modified = self.acl_touch(AclTopic::Tokens, change);
            self.acl.tokens.insert(token.accessor.clone(), Arc::new(TokenRow { modified, ..token }));
        }
        Ok(())
    }

    fn acl_delete_tokens(&mut self, accessors: &[Text], change: &mut Change<'_>) -> Done {
        if accessors.iter().any(|accessor| &**accessor == ANONYMOUS) {
            return Err(AclRefusal::Anonymous);
        }
        for accessor in accessors {
            if let Some(token) = self.acl.tokens.remove(accessor) {
                self.acl.by_secret.remove(&token.secret);
                self.acl_touch(AclTopic::Tokens, change);
            }
        }
        Ok(())
    }

    fn acl_put_policy(&mut self, policy: PolicyRow, write: Write, change: &mut Change<'_>) -> Done {
        let named = self.acl_policy_named(&policy.name).is_some_and(|other| other.id != policy.id);
        if named {
            return Err(AclRefusal::NameInUse { kind: "Policy".into(), name: policy.name });
        }
        let known = self.acl.policies.get(&policy.id).cloned();
        let policy = match (&known, write) {
            (Some(_), Write::Create) => return Err(AclRefusal::IdInUse { kind: "Policy".into(), id: policy.id }),
            (None, Write::Update) => return Err(AclRefusal::NoPolicy(policy.id)),
            (Some(known), _) if is_builtin(&known.id) && (known.rules != policy.rules || known.name != policy.name) => {
                return Err(AclRefusal::Builtin { what: "Changing the Rules of".into(), name: known.name.clone() });
            }
            (Some(known), _) => PolicyRow { created: known.created, modified: known.modified, ..policy },
            (None, _) => policy,
        };
        if known.as_deref() == Some(&policy) {
            return Ok(());
        }
        self.acl_store_policy(policy, change);
        Ok(())
    }

    /// Writes a policy that differs from what is there.
    fn acl_store_policy(&mut self, policy: PolicyRow, change: &mut Change<'_>) {
        let modified = self.acl_touch(AclTopic::Policies, change);
        let known = self.acl.policies.get(&policy.id).cloned();
        if known.as_ref().is_some_and(|known| known.name != policy.name) {
            self.acl_renamed(|sources, _| sources.policies.contains(&policy.id), change);
        }
        let created = known.map_or(modified, |known| known.created);
        self.acl.policies.insert(policy.id.clone(), Arc::new(PolicyRow { created, modified, ..policy }));
    }

    /// Rows that show a name change with it.
    fn acl_renamed(&mut self, shows: impl Fn(&Sources, &[Text]) -> bool, change: &mut Change<'_>) {
        let tokens = self.acl.tokens.values().any(|token| shows(&token.sources, &token.roles));
        let roles = self.acl.roles.values().any(|role| shows(&role.sources, &[]));
        if tokens {
            self.acl_touch(AclTopic::Tokens, change);
        }
        if roles {
            self.acl_touch(AclTopic::Roles, change);
        }
    }

    fn acl_delete_policy(&mut self, id: &Text, change: &mut Change<'_>) -> Done {
        let Some(known) = self.acl.policies.get(id) else { return Ok(()) };
        if is_builtin(id) {
            return Err(AclRefusal::Builtin { what: "Delete operation on".into(), name: known.name.clone() });
        }
        self.acl.policies.remove(id);
        self.acl_touch(AclTopic::Policies, change);
        let roles: Vec<_> = self.acl_roles().filter(|role| role.sources.policies.contains(id)).cloned().collect();
        for role in roles {
            let mut role = RoleRow { modified: self.acl_touch(AclTopic::Roles, change), ..(*role).clone() };
            role.sources.policies.retain(|linked| linked != id);
            self.acl.roles.insert(role.id.clone(), Arc::new(role));
        }
        self.acl_unlink(|token| token.sources.policies.retain(|linked| linked != id), change);
        Ok(())
    }

    /// Changes tokens that link to what goes.
    fn acl_unlink(&mut self, unlink: impl Fn(&mut TokenRow), change: &mut Change<'_>) {
        let tokens: Vec<_> = self.acl_tokens().cloned().collect();
        for known in tokens {
            let mut token = (*known).clone();
            unlink(&mut token);
            if token != *known {
                token.modified = self.acl_touch(AclTopic::Tokens, change);
                self.acl.tokens.insert(token.accessor.clone(), Arc::new(token));
            }
        }
    }

    fn acl_put_role(&mut self, role: RoleRow, write: Write, change: &mut Change<'_>) -> Done {
        if self.acl_role_named(&role.name).is_some_and(|other| other.id != role.id) {
            return Err(AclRefusal::NameInUse { kind: "Role".into(), name: role.name });
        }
        self.acl_linked(&role.sources, &[])?;
        let known = self.acl.roles.get(&role.id).cloned();
        let role = match (&known, write) {
            (Some(_), Write::Create) => return Err(AclRefusal::IdInUse { kind: "Role".into(), id: role.id }),
            (None, Write::Update) => return Err(AclRefusal::NoRole(role.id)),
            (Some(known), _) => RoleRow { created: known.created, modified: known.modified, ..role },
            (None, _) => role,
        };
        if known.as_deref() == Some(&role) {
            return Ok(());
        }
        let modified = self.acl_touch(AclTopic::Roles, change);
        let renamed = known.as_ref().is_some_and(|known| known.name != role.name);
        let created = known.map_or(modified, |known| known.created);
        if renamed && self.acl.tokens.values().any(|token| token.roles.contains(&role.id)) {
            self.acl_touch(AclTopic::Tokens, change);
        }
        self.acl.roles.insert(role.id.clone(), Arc::new(RoleRow { created, modified, ..role }));
        Ok(())
    }

    fn acl_delete_role(&mut self, id: &Text, change: &mut Change<'_>) -> Done {
        if self.acl.roles.remove(id).is_some() {
            self.acl_touch(AclTopic::Roles, change);
            self.acl_unlink(|token| token.roles.retain(|linked| linked != id), change);
        }
        Ok(())
    }

    fn acl_put_method(&mut self, method: AuthMethodRow, write: Write, change: &mut Change<'_>) -> Done {
        let place = folded(&method.name);
        let known = self.acl.methods.get(&place).cloned();
        let method = match (&known, write) {
            (Some(_), Write::Create) => {
                return Err(AclRefusal::NameInUse { kind: "AuthMethod".into(), name: method.name });
            }
            (None, Write::Update) => return Err(AclRefusal::NoAuthMethod(method.name)),
            (Some(known), _) if known.kind != method.kind => {
                return Err(AclRefusal::AuthMethodType(known.kind.clone(), method.kind));
            }
            (Some(known), _) => AuthMethodRow { created: known.created, modified: known.modified, ..method },
            (None, _) => method,
        };
        if known.as_deref() != Some(&method) {
            let modified = self.acl_touch(AclTopic::AuthMethods, change);
            let created = known.map_or(modified, |known| known.created);
            self.acl.methods.insert(place, Arc::new(AuthMethodRow { created, modified, ..method }));
        }
        Ok(())
    }

    fn acl_delete_method(&mut self, name: &Text, change: &mut Change<'_>) -> Done {
        let Some(method) = self.acl.methods.remove(&folded(name)) else { return Ok(()) };
        self.acl_touch(AclTopic::AuthMethods, change);
        let of_method = |other: &Text| other.eq_ignore_ascii_case(&method.name);
        let rules: Vec<Text> =
            self.acl_binding_rules().filter(|rule| of_method(&rule.auth_method)).map(|rule| rule.id.clone()).collect();
        for id in rules {
            self.acl_delete_rule(&id, change)?;
        }
        let tokens = self.acl_tokens().filter(|token| of_method(&token.auth_method));
        let tokens: Vec<Text> = tokens.map(|token| token.accessor.clone()).collect();
        self.acl_delete_tokens(&tokens, change)
    }

    fn acl_put_rule(&mut self, rule: BindingRuleRow, write: Write, change: &mut Change<'_>) -> Done {
        if self.acl_auth_method(&rule.auth_method).is_none() {
            return Err(AclRefusal::NoAuthMethod(rule.auth_method));
        }
        let known = self.acl.rules.get(&rule.id).cloned();
        let rule = match (&known, write) {
            (Some(_), Write::Create) => return Err(AclRefusal::IdInUse { kind: "BindingRule".into(), id: rule.id }),
            (None, Write::Update) => return Err(AclRefusal::NoBindingRule(rule.id)),
            (Some(known), _) => BindingRuleRow { created: known.created, modified: known.modified, ..rule },
            (None, _) => rule,
        };
        if known.as_deref() != Some(&rule) {
            let modified = self.acl_touch(AclTopic::BindingRules, change);
            let created = known.map_or(modified, |known| known.created);
            self.acl.rules.insert(rule.id.clone(), Arc::new(BindingRuleRow { created, modified, ..rule }));
        }
        Ok(())
    }

    fn acl_delete_rule(&mut self, id: &Text, change: &mut Change<'_>) -> Done {
        if self.acl.rules.remove(id).is_some() {
            self.acl_touch(AclTopic::BindingRules, change);
        }
        Ok(())
    }
}
