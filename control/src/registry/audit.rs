//! Every invariant of the registry, as code.
//!
//! Run by the property tests after each command and by start-up after reading a checkpoint.

use callboard_proto::CheckStatus;

use super::Registry;
use super::config_entry::folded;

impl Registry {
    /// Checks everything that must always hold.
    ///
    /// # Errors
    /// Says which fact does not hold, and where.
    pub fn audit(&self) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        let tables = self.tables;
        for table in [tables.nodes, tables.services, tables.checks, tables.kv, tables.sessions, tables.extinction] {
            fact(table <= self.index, &|| format!("a table is at {table}, past the index {}", self.index))?;
        }
        for (key, node) in &self.nodes {
            fact(*key == node.name.folded(), &|| format!("node {} stands under {key}", node.name))?;
            fact(node.modified <= tables.nodes, &|| format!("node {} is newer than its table", node.name))?;
            let noted = node.id.is_empty() || self.node_ids.contains(&(node.id.clone(), key.clone()));
            fact(noted, &|| format!("node {} is not found by its id", node.name))?;
        }
        let with_id = self.nodes.values().filter(|node| !node.id.is_empty()).count();
        fact(self.node_ids.len() == with_id, &|| "an id is of no node".to_owned())?;
        for ((node, id), instance) in &self.instances {
            fact(*id == instance.id, &|| format!("instance {} stands under {id}", instance.id))?;
            fact(self.nodes.contains_key(node), &|| format!("instance {id} is on the unknown node {node}"))?;
            fact(instance.modified <= tables.services, &|| format!("instance {id} is newer than its table"))?;
            let row = self.services.get(&instance.service.folded());
            let member = row.is_some_and(|row| row.members.contains(&(node.clone(), id.clone())));
            fact(member, &|| format!("instance {id} is missing from service {}", instance.service))?;
            fact(self.slot(node, instance).is_some(), &|| format!("instance {id} has no slot"))?;
            let newest = self
                .checks_of(node, id)
                .map(|check| check.modified)
                .chain(self.nodes.get(node).map(|node| node.modified))
                .chain(self.checks_of(node, &callboard_proto::InstanceId::none()).map(|check| check.modified))
                .fold(instance.modified, Ord::max);
            let index = row.map(|row| row.index).unwrap_or_default();
            fact(index >= newest, &|| format!("service {} is at {index}, its rows at {newest}", instance.service))?;
        }
        let members: usize = self.services.values().map(|row| row.members.len()).sum();
        fact(members == self.instances.len(), &|| format!("{members} members, {} instances", self.instances.len()))?;
        for row in self.services.values() {
            fact(!row.members.is_empty(), &|| format!("service {} has no instance", row.name))?;
            fact(row.index <= self.index, &|| format!("service {} is past the index", row.name))?;
        }
        fact(self.checks.len() == self.check_owners.len(), &|| "a check without its owner".to_owned())?;
        for ((node, instance, id), check) in &self.checks {
            let placed = *id == check.id && *instance == check.instance && *node == check.node.folded();
            fact(placed, &|| format!("check {} stands under {node}/{instance}/{id}", check.id))?;
            let owner = self.check_owners.get(&(node.clone(), id.clone()));
            fact(owner == Some(instance), &|| format!("check {id} has another owner"))?;
            fact(self.nodes.contains_key(node), &|| format!("check {id} is on the unknown node {node}"))?;
            let attached = instance.is_none() || self.instances.contains_key(&(node.clone(), instance.clone()));
            fact(attached, &|| format!("check {id} is of the unknown instance {instance}"))?;
            fact(check.modified <= tables.checks, &|| format!("check {id} is newer than its table"))?;
        }
        for (key, entry) in &self.kv {
            fact(*key == entry.key, &|| format!("key {} stands under {key}", entry.key))?;
            fact(entry.modified <= tables.kv, &|| format!("key {key} is newer than its table"))?;
            fact(!self.graves.by_key.contains_key(key), &|| format!("key {key} lives and is buried"))?;
        }
        fact(self.graves.by_key.len() == self.graves.by_index.len(), &|| "graves disagree".to_owned())?;
        self.slots.audit()?;
        fact(self.slots.held() == members, &|| "a slot is held by nobody".to_owned())?;
        self.acl.audit(self.index)?;
        self.audit_sessions()?;
        self.audit_queries()?;
        self.audit_coordinates()?;
        self.audit_config()?;
        self.audit_autopilot()?;
        self.audit_mesh()?;
        self.audit_connect()
    }

    /// Every entry stands where it belongs, and asks nothing of another that is not so.
    fn audit_config(&self) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        for ((kind, name), row) in &self.config.rows {
            let placed = row.entry.kind() == *kind && folded(row.entry.name()) == *name;
            fact(placed, &|| format!("config entry {} stands under {kind}/{name}", row.entry.name()))?;
            fact(row.modified <= self.config_index(*kind), &|| format!("{kind}/{name} is newer than its kind"))?;
        }
        for (kind, changed) in &self.config.changed {
            fact(*changed <= self.index, &|| format!("{kind} is past the index"))?;
        }
        self.config.check().map_err(|error| error.0)
    }

    /// Every lock is held by a session that is, and every session depends on what is and is well.
    fn audit_sessions(&self) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        let mut locked = 0;
        for entry in self.kv.values().filter(|entry| !entry.session.is_empty()) {
            let (key, session) = (&entry.key, &entry.session);
            locked += 1;
            fact(self.sessions.contains_key(session), &|| format!("key {key} is held by no session: {session}"))?;
            let noted = self.locks.contains(&(session.clone(), key.clone()));
            fact(noted, &|| format!("key {key} is missing from the locks of {session}"))?;
            fact(entry.lock_index > 0, &|| format!("key {key} is held and was never taken"))?;
        }
        fact(self.locks.len() == locked, &|| format!("{} locks, {locked} locked keys", self.locks.len()))?;
        fact(self.sessions.len() == self.sessions_on.len(), &|| "a session without its node".to_owned())?;
        for (id, session) in &self.sessions {
            fact(*id == session.id, &|| format!("session {} stands under {id}", session.id))?;
            fact(session.modified <= self.tables.sessions, &|| format!("session {id} is newer than its table"))?;
            let node = session.node.folded();
            fact(self.nodes.contains_key(&node), &|| format!("session {id} is on the unknown node {node}"))?;
            let placed = self.sessions_on.contains(&(node.clone(), id.clone()));
            fact(placed, &|| format!("session {id} is missing from node {node}"))?;
            for check in session.node_checks.iter().chain(&session.service_checks) {
                let known = self.check(&node, check.as_str());
                fact(known.is_some(), &|| format!("session {id} depends on the unknown check {check}"))?;
                let well = known.is_some_and(|check| check.status != CheckStatus::Critical);
                fact(well, &|| format!("session {id} depends on the critical check {check}"))?;
            }
        }
        Ok(())
    }
}
