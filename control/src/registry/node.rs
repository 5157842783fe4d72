//! Nodes: how they are written, read, renamed and removed.
//!
//! A name belongs to whoever has it as long as the agents hear of that node. An id goes with its node: under another name
//! it takes the place of the node that it was, which goes with all that is on it.

use std::sync::Arc;

use callboard_proto::check::SERF_HEALTH;
use callboard_proto::{CheckStatus, Index, Node, NodeName};

use super::command::{NodeUpdate, Outcome, Refusal};
use super::{Change, Registry, Topic};

// How they are written.
impl Registry {
    /// Whether a node may be written under its name.
    pub(super) fn fits_node(&self, key: &NodeName, node: &Node, update: NodeUpdate) -> Result<(), Refusal> {
        let known = self.nodes.get(key);
        match update {
            NodeUpdate::Skip if known.is_none() => return Err(Refusal::MissingNode),
            NodeUpdate::Skip | NodeUpdate::Ensure => return Ok(()),
            NodeUpdate::Put => {}
        }
        let reserved = |name: &NodeName, by: &Node| {
            let (id, name, holder, address) = (node.id.clone(), name.clone(), by.id.clone(), by.address.clone());
            Err(Refusal::NameReserved { id, name, holder, address })
        };
        if let Some(known) = known
            && !node.id.is_empty()
            && !known.id.is_empty()
            && node.id != known.id
            && self.is_alive(key)
        {
            return reserved(&node.name, known);
        }
        match self.namesake(key, node) {
            Some(before) if self.is_alive(&before.name.folded()) => reserved(&before.name, before),
            _ => Ok(()),
        }
    }

    /// The node that this one was until now: it has the same id and another name.
    pub(super) fn namesake(&self, key: &NodeName, node: &Node) -> Option<&Arc<Node>> {
        if node.id.is_empty() {
            return None;
        }
        let same = self.node_ids.range((node.id.clone(), NodeName::none())..).take_while(|(id, _)| *id == node.id);
        same.map(|(_, other)| other).find(|other| *other != key).and_then(|other| self.nodes.get(other))
    }

    /// Whether the agents hear of a node.
    fn is_alive(&self, key: &NodeName) -> bool {
        self.check(key, SERF_HEALTH).is_some_and(|check| check.status != CheckStatus::Critical)
    }

    pub(super) fn put_node(&mut self, key: &NodeName, mut node: Node, change: &mut Change<'_>) {
        let known = self.nodes.get(key).cloned();
        if known.as_ref().is_some_and(|known| known.same_as(&node)) {
            return;
        }
        node.created = known.as_ref().map_or(change.at, |known| known.created);
        node.modified = change.touch(Topic::Nodes);
        self.tables.nodes = change.at;
        if let Some(known) = known {
            self.node_ids.remove(&(known.id.clone(), key.clone()));
        }
        if !node.id.is_empty() {
            self.node_ids.insert((node.id.clone(), key.clone()));
        }
        self.nodes.insert(key.clone(), Arc::new(node));
        self.bump_services_on(key, change);
    }

    pub(super) fn deregister_node(&mut self, node: &NodeName, change: &mut Change<'_>) -> Outcome {
        let key = node.folded();
        if !self.nodes.contains_key(&key) {
            return Outcome::Done;
        }
        // First, so that no check has to look for those that depend on it.
        self.end_sessions_on(&key, change);
        let instances: Vec<_> = self.instances_on(&key).map(|instance| instance.id.clone()).collect();
        for id in instances {
            self.remove_instance(&key, &id, change);
        }
        let checks: Vec<_> = self.checks_on(&key).map(|check| check.id.clone()).collect();
        for id in checks {
            self.remove_check(&key, &id, change);
        }
        self.displace(&key, change);
        if let Some(node) = self.nodes.remove(&key) {
            self.node_ids.remove(&(node.id.clone(), key));
        }
        self.tables.nodes = change.touch(Topic::Nodes);
        Outcome::Done
    }
}

// How they are read.
impl Registry {
    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Arc<Node>> {
        self.nodes.get(&name.folded())
    }

    /// When any node last changed.
    #[must_use]
    pub fn nodes_index(&self) -> Index {
        self.tables.nodes
    }
}
