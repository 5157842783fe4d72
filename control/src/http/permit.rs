//! What a write of the catalog asks of its caller.
//!
//! An instance needs `service:write` on its service, also on the one whose instance it replaces; a check needs what it is
//! of; a node needs `node:write` if its row changes, so that a service may register again on a node that is known.
//! Whoever may write a node may remove what is on it. Called by the routes of agent and catalog.

use callboard_proto::acl::{Level, Resource};
use callboard_proto::{Check, CheckId, Instance, InstanceId, Node, NodeName};

use super::reply::Failure;
use super::request::Call;
use crate::acl::{Access, Denial};
use crate::registry::{NodeUpdate, Registration, Registry};

/// Whether a check may be seen or changed: by its service, or by its node.
pub(super) fn of_check(check: &Check) -> (Resource, &str) {
    match check.instance.is_none() {
        true => (Resource::Node, check.node.as_str()),
        false => (Resource::Service, check.service.as_str()),
    }
}

fn write_check(access: &Access, check: &Check) -> Result<(), Denial> {
    let (resource, name) = of_check(check);
    access.permit(resource, name, Level::Write)
}

fn find<'a>(registry: &'a Registry, node: &NodeName, id: &InstanceId) -> Option<&'a Instance> {
    registry.instance(node, id.as_str()).map(|instance| &**instance)
}

/// Whether writing the row would change it.
fn changes(registry: &Registry, node: &Node) -> bool {
    registry.node(&node.name).is_none_or(|known| {
        let id = node.id.is_empty() || node.id == known.id;
        !id || known.address != node.address
            || known.tagged_addresses != node.tagged_addresses
            || known.meta != node.meta
    })
}

impl Call<'_> {
    /// Refuses a registration that the caller may not write.
    pub(super) fn permit_registration(&self, registration: &Registration) -> Result<(), Failure> {
        if !self.api.acl.is_enabled() {
            return Ok(());
        }
        let registry = self.api.cluster.registry();
        let access = self.access_in(&registry)?;
        let node = &registration.node.name;
        if registration.node_update == NodeUpdate::Put && changes(&registry, &registration.node) {
            access.permit(Resource::Node, node.as_str(), Level::Write)?;
        }
        if let Some(instance) = &registration.instance {
            access.permit(Resource::Service, instance.service.as_str(), Level::Write)?;
            if let Some(known) = find(&registry, node, &instance.id) {
                access.permit(Resource::Service, known.service.as_str(), Level::Write)?;
            }
        }
        for new in &registration.checks {
            let own = registration.instance.as_ref().filter(|instance| instance.id == new.check.instance);
            if new.check.instance.is_none() {
                access.permit(Resource::Node, node.as_str(), Level::Write)?;
            } else if let (None, Some(of)) = (own, find(&registry, node, &new.check.instance)) {
                access.permit(Resource::Service, of.service.as_str(), Level::Write)?;
            }
            if let Some(known) = registry.check(node, new.check.id.as_str()) {
                write_check(&access, known)?;
            }
        }
        Ok(())
    }

    /// Refuses the removal or a change of an instance. An unknown one is for others to refuse.
    pub(super) fn permit_instance(&self, node: &NodeName, id: &InstanceId) -> Result<(), Failure> {
        if !self.api.acl.is_enabled() {
            return Ok(());
        }
        let registry = self.api.cluster.registry();
        let access = self.access_in(&registry)?;
        if let Some(instance) = find(&registry, node, id) {
            access.permit(Resource::Service, instance.service.as_str(), Level::Write)?;
        }
        Ok(())
    }

    /// Refuses the removal or a change of a check. An unknown one is for others to refuse.
    pub(super) fn permit_check(&self, node: &NodeName, id: &CheckId) -> Result<(), Failure> {
        if !self.api.acl.is_enabled() {
            return Ok(());
        }
        let registry = self.api.cluster.registry();
        let access = self.access_in(&registry)?;
        if let Some(check) = registry.check(node, id.as_str()) {
            write_check(&access, check)?;
        }
        Ok(())
    }

    /// Refuses a removal from the catalog. Whoever may write the node may remove anything on it, known or not.
    pub(super) fn permit_removal(
        &self,
        node: &NodeName,
        instance: Option<&InstanceId>,
        check: Option<&CheckId>,
    ) -> Result<(), Failure> {
        if !self.api.acl.is_enabled() {
            return Ok(());
        }
        let registry = self.api.cluster.registry();
        let access = self.access_in(&registry)?;
        if access.may(Resource::Node, node.as_str(), Level::Write) {
            return Ok(());
        }
        if let Some(known) = instance.and_then(|id| find(&registry, node, id)) {
            return Ok(access.permit(Resource::Service, known.service.as_str(), Level::Write)?);
        }
        if let Some(known) = check.and_then(|id| registry.check(node, id.as_str())) {
            return Ok(write_check(&access, known)?);
        }
        Ok(access.permit(Resource::Node, node.as_str(), Level::Write)?)
    }
}
