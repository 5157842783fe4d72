//! Instances and checks: how they are written, with their nodes, and read.
//!
//! Holds the index rules of a service: its index moves with its instances, their checks, and the rows
//! and node-level checks of the nodes they run on; when the last instance goes, the row goes too and the
//! extinction index takes over.

use std::sync::Arc;

use callboard_proto::api::check::NewCheck;
use callboard_proto::check::CheckOwner;
use callboard_proto::text::Text;
use callboard_proto::{Check, CheckId, CheckStatus, Index, Instance, InstanceId, Node, NodeName, ServiceName};
use imbl::OrdSet;
use imbl::ordmap::DiffItem;

use super::command::{Missing, NodeUpdate, Outcome, Prune, Refusal, Registration};
use super::{Change, Registry, Topic};

/// The instances of one service.
#[derive(Debug, Clone)]
pub struct ServiceRow {
    /// The name as it was first written.
    pub name: ServiceName,
    /// When anything that its health shows last changed.
    pub index: Index,
    /// Its instances, by node and id.
    pub(super) members: OrdSet<(NodeName, InstanceId)>,
}

/// One difference between the checks of two states.
#[derive(Debug)]
pub enum CheckChange<'a> {
    /// It is new.
    Added(&'a Arc<Check>),
    /// Its row changed.
    Updated {
        /// As it was.
        before: &'a Arc<Check>,
        /// As it is.
        after: &'a Arc<Check>,
    },
    /// It is gone.
    Removed(&'a Arc<Check>),
}

// How it is written.
impl Registry {
    pub(super) fn register(&mut self, registration: Registration, change: &mut Change<'_>) -> Outcome {
        let Registration { node, node_update, instance, checks, checks_replace } = registration;
        let key = node.name.folded();
        if let Err(refusal) = self.fits(&key, &node, node_update, instance.as_ref(), &checks) {
            return Outcome::Refused(refusal);
        }
        match node_update {
            NodeUpdate::Put => {
                if let Some(before) = self.namesake(&key, &node).map(|before| before.name.clone()) {
                    self.deregister_node(&before, change);
                }
                self.put_node(&key, node, change);
            }
            NodeUpdate::Ensure if !self.nodes.contains_key(&key) => self.put_node(&key, node, change),
            NodeUpdate::Ensure | NodeUpdate::Skip => {}
        }
        if let Some(instance) = instance {
            if checks_replace {
                self.drop_unlisted_checks(&key, &instance.id, &checks, change);
            }
            self.put_instance(&key, instance, change);
        }
        for new in checks {
            self.put_check(&key, new, change);
        }
        Outcome::Done
    }

    /// Everything that can be refused, before anything is written.
    fn fits(
        &self,
        key: &NodeName,
        node: &Node,
        update: NodeUpdate,
        instance: Option<&Instance>,
        checks: &[NewCheck],
    ) -> Result<(), Refusal> {
        self.fits_node(key, node, update)?;
        for new in checks {
            let wanted = &new.check.instance;
            let registered = wanted.is_none()
                || instance.is_some_and(|instance| instance.id == *wanted)
                || self.instances.contains_key(&(key.clone(), wanted.clone()));
            if !registered {
                return Err(match new.check.owner {
                    CheckOwner::Agent => Refusal::NoSuchInstance(wanted.clone()),
                    CheckOwner::Catalog => Refusal::MissingInstance,
                });
            }
        }
        Ok(())
    }

    fn put_instance(&mut self, key: &NodeName, mut instance: Instance, change: &mut Change<'_>) {
        let place = (key.clone(), instance.id.clone());
        let known = self.instances.get(&place).cloned();
        if known.as_ref().is_some_and(|known| known.same_as(&instance)) {
            return;
        }
        instance.created = known.as_ref().map_or(change.at, |known| known.created);
        instance.modified = change.touch(Topic::Services);
        self.tables.services = change.at;
        if let Some(known) = &known
            && known.service.folded() != instance.service.folded()
        {
            self.leave_service(&known.service, &place, change);
        }
        let service = instance.service.folded();
        let row = self.services.entry(service).or_insert_with(|| ServiceRow {
            name: instance.service.clone(),
            index: change.at,
            members: OrdSet::new(),
        });
        if row.members.insert(place.clone()).is_none() {
            self.slots.join(&instance.service.folded(), &place);
        }
        self.bump_service(&instance.service, change);
        if let Some(known) = &known {
            self.mesh.leave(&place, known);
        }
        self.mesh.join(&place, &instance);
        if known.is_some_and(|known| known.service != instance.service || known.tags != instance.tags) {
            self.relabel_checks(&place, &instance, change);
        }
        self.instances.insert(place, Arc::new(instance));
    }

    fn relabel_checks(&mut self, place: &(NodeName, InstanceId), instance: &Instance, change: &mut Change<'_>) {
        let checks: Vec<_> = self.checks_of(&place.0, &place.1).cloned().collect();
        for check in checks {
            let mut check = (*check).clone();
            check.service = instance.service.clone();
            check.service_tags = instance.tags.clone();
            check.modified = change.touch(Topic::Checks);
            self.tables.checks = change.at;
            self.checks.insert((place.0.clone(), place.1.clone(), check.id.clone()), Arc::new(check));
        }
    }

    fn put_check(&mut self, key: &NodeName, new: NewCheck, change: &mut Change<'_>) {
        let NewCheck { mut check, status_given } = new;
        if let Some(instance) = self.instances.get(&(key.clone(), check.instance.clone())) {
            check.service = instance.service.clone();
            check.service_tags = instance.tags.clone();
        }
        let known = self.check(key, check.id.as_str()).cloned();
        if let Some(known) = &known {
            if check.owner == CheckOwner::Agent && !status_given {
                // Registering again must not flap an instance that is well to critical.
                check.status = known.status;
                check.output = known.output.clone();
            }
            if known.same_as(&check) {
                return;
            }
            if known.instance != check.instance {
                self.take_check(key, &known.id, change);
            }
        }
        check.created = known.map_or(change.at, |known| known.created);
        check.modified = change.touch(Topic::Checks);
        self.tables.checks = change.at;
        self.bump_for_check(key, &check, change);
        self.check_owners.insert((key.clone(), check.id.clone()), check.instance.clone());
        if check.status == CheckStatus::Critical {
            self.end_sessions_of_check(key, &check.id, change);
        }
        self.checks.insert((key.clone(), check.instance.clone(), check.id.clone()), Arc::new(check));
    }

    fn drop_unlisted_checks(&mut self, key: &NodeName, id: &InstanceId, listed: &[NewCheck], change: &mut Change<'_>) {
        let gone: Vec<CheckId> = self
            .checks_of(key, id)
            .filter(|check| !listed.iter().any(|new| new.check.id == check.id))
            .map(|check| check.id.clone())
            .collect();
        for id in gone {
            self.remove_check(key, &id, change);
        }
    }

    pub(super) fn update_check(
        &mut self,
        node: &NodeName,
        id: &CheckId,
        status: CheckStatus,
        output: Text,
        change: &mut Change<'_>,
    ) -> Outcome {
        let key = node.folded();
        let Some(known) = self.check(&key, id.as_str()) else {
            return Outcome::Refused(Refusal::UnknownCheck(id.clone()));
        };
        if known.status == status && known.output == output {
            return Outcome::Done;
        }
        let mut check = (**known).clone();
        check.status = status;
        check.output = output;
        check.modified = change.touch(Topic::Checks);
        self.tables.checks = change.at;
        self.bump_for_check(&key, &check, change);
        if status == CheckStatus::Critical {
            self.end_sessions_of_check(&key, id, change);
        }
        self.checks.insert((key, check.instance.clone(), check.id.clone()), Arc::new(check));
        Outcome::Done
    }

    pub(super) fn deregister_instance(
        &mut self,
        node: &NodeName,
        id: &InstanceId,
        prune: Prune,
        missing: Missing,
        change: &mut Change<'_>,
    ) -> Outcome {
        let key = node.folded();
        if !self.remove_instance(&key, id, change) && missing == Missing::Refused {
            return Outcome::Refused(Refusal::UnknownInstance(id.clone()));
        }
        let empty = self.instances_on(&key).next().is_none() && self.checks_on(&key).next().is_none();
        if prune == Prune::EmptyNode && empty {
            return self.deregister_node(node, change);
        }
        Outcome::Done
    }

    pub(super) fn deregister_check(
        &mut self,
        node: &NodeName,
        id: &CheckId,
        missing: Missing,
        change: &mut Change<'_>,
    ) -> Outcome {
        if !self.remove_check(&node.folded(), id, change) && missing == Missing::Refused {
            return Outcome::Refused(Refusal::UnknownCheck(id.clone()));
        }
        Outcome::Done
    }

    pub(super) fn remove_instance(&mut self, key: &NodeName, id: &InstanceId, change: &mut Change<'_>) -> bool {
        let place = (key.clone(), id.clone());
        let Some(instance) = self.instances.remove(&place) else { return false };
        let checks: Vec<_> = self.checks_of(key, id).map(|check| check.id.clone()).collect();
        for check in checks {
            self.remove_check(key, &check, change);
        }
        self.tables.services = change.touch(Topic::Services);
        self.mesh.leave(&place, &instance);
        self.leave_service(&instance.service, &place, change);
        true
    }

    pub(super) fn remove_check(&mut self, key: &NodeName, id: &CheckId, change: &mut Change<'_>) -> bool {
        self.end_sessions_of_check(key, id, change);
        self.take_check(key, id, change)
    }

    /// Takes a check from its place; whoever depends on it goes on.
    fn take_check(&mut self, key: &NodeName, id: &CheckId, change: &mut Change<'_>) -> bool {
        let Some(instance) = self.check_owners.remove(&(key.clone(), id.clone())) else { return false };
        if let Some(check) = self.checks.remove(&(key.clone(), instance, id.clone())) {
            self.bump_for_check(key, &check, change);
        }
        self.tables.checks = change.touch(Topic::Checks);
        true
    }

    fn leave_service(&mut self, service: &ServiceName, place: &(NodeName, InstanceId), change: &mut Change<'_>) {
        let folded = service.folded();
        let Some(row) = self.services.get_mut(&folded) else { return };
        row.members.remove(place);
        self.slots.leave(&folded, place, change.at);
        row.index = change.at;
        if row.members.is_empty() {
            self.services.remove(&folded);
            self.tables.extinction = change.at;
        }
        change.touch(Topic::Service(folded));
    }

    fn bump_service(&mut self, service: &ServiceName, change: &mut Change<'_>) {
        let folded = service.folded();
        if let Some(row) = self.services.get_mut(&folded) {
            row.index = change.touch(Topic::Service(folded));
        }
    }

    pub(super) fn bump_services_on(&mut self, key: &NodeName, change: &mut Change<'_>) {
        let services: Vec<ServiceName> = self.instances_on(key).map(|instance| instance.service.clone()).collect();
        for service in services {
            self.bump_service(&service, change);
        }
    }

    fn bump_for_check(&mut self, key: &NodeName, check: &Check, change: &mut Change<'_>) {
        if check.instance.is_none() {
            self.bump_services_on(key, change);
        } else {
            self.bump_service(&check.service, change);
        }
    }
}

// How it is read. Every `key` is a folded name.
impl Registry {
    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &ServiceRow> {
        self.services.values()
    }

    /// The instances of a service with their nodes, by node and id.
    pub fn service<'a>(
        &'a self,
        name: &ServiceName,
    ) -> impl Iterator<Item = (&'a Arc<Node>, &'a Arc<Instance>)> + use<'a> {
        self.services.get(&name.folded()).into_iter().flat_map(|row| self.members(row))
    }

    /// The same, from its row.
    pub fn members<'a>(&'a self, row: &'a ServiceRow) -> impl Iterator<Item = (&'a Arc<Node>, &'a Arc<Instance>)> {
        row.members.iter().filter_map(|place| Some((self.nodes.get(&place.0)?, self.instances.get(place)?)))
    }

    /// One instance.
    #[must_use]
    pub fn instance(&self, node: &NodeName, id: &str) -> Option<&Arc<Instance>> {
        self.instances.get(&(node.folded(), InstanceId::parse(id).ok()?))
    }

    /// The instances on a node, by id.
    pub fn instances_on<'a>(&'a self, node: &NodeName) -> impl Iterator<Item = &'a Arc<Instance>> + use<'a> {
        let key = node.folded();
        self.instances
            .range((key.clone(), InstanceId::none())..)
            .take_while(move |((node, _), _)| *node == key)
            .map(|(_, instance)| instance)
    }

    /// One check of a node.
    #[must_use]
    pub fn check(&self, node: &NodeName, id: &str) -> Option<&Arc<Check>> {
        let place = (node.folded(), CheckId::parse(id).ok()?);
        let instance = self.check_owners.get(&place)?;
        self.checks.get(&(place.0, instance.clone(), place.1))
    }

    /// The checks of one instance, by id; of the node itself when the instance is none.
    pub fn checks_of<'a>(
        &'a self,
        node: &NodeName,
        instance: &InstanceId,
    ) -> impl Iterator<Item = &'a Arc<Check>> + use<'a> {
        let place = (node.folded(), instance.clone());
        self.checks
            .range((place.0.clone(), place.1.clone(), CheckId::none())..)
            .take_while(move |((node, instance, _), _)| *node == place.0 && *instance == place.1)
            .map(|(_, check)| check)
    }

    /// All checks on a node, by id.
    pub fn checks_on<'a>(&'a self, node: &NodeName) -> impl Iterator<Item = &'a Arc<Check>> + use<'a> {
        let key = node.folded();
        let end = key.clone();
        self.check_owners
            .range((key, CheckId::none())..)
            .take_while(move |((node, _), _)| *node == end)
            .filter_map(|((node, id), instance)| self.checks.get(&(node.clone(), instance.clone(), id.clone())))
    }

    /// All checks, by node and id.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.check_owners
            .iter()
            .filter_map(|((node, id), instance)| self.checks.get(&(node.clone(), instance.clone(), id.clone())))
    }

    /// How the checks differ from those of an earlier state. Cheap when the two share most of their rows.
    pub fn checks_since<'a>(&'a self, earlier: &'a Registry) -> impl Iterator<Item = CheckChange<'a>> {
        earlier.checks.diff(&self.checks).map(|item| match item {
            DiffItem::Add(_, check) => CheckChange::Added(check),
            DiffItem::Update { old: (_, before), new: (_, after) } => CheckChange::Updated { before, after },
            DiffItem::Remove(_, check) => CheckChange::Removed(check),
        })
    }

    /// When any instance last changed.
    #[must_use]
    pub fn services_index(&self) -> Index {
        self.tables.services
    }

    /// When any check last changed.
    #[must_use]
    pub fn checks_index(&self) -> Index {
        self.tables.checks
    }

    /// When anything that the health of a service shows last changed.
    #[must_use]
    pub fn service_index(&self, name: &ServiceName) -> Index {
        match self.services.get(&name.folded()) {
            Some(row) => row.index,
            None if self.tables.extinction > Index::ZERO => self.tables.extinction,
            None => self.tables.nodes.max(self.tables.services).max(self.tables.checks),
        }
    }
}
