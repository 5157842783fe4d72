//! Which services gateways carry, and through which instances. PURE; called by the HTTP and DNS front doors.

use std::sync::Arc;

use callboard_proto::api::gateway::{GatewayService, Named, WILDCARD, carried};
use callboard_proto::config_entry::EntryKind;
use callboard_proto::{Index, Instance, Node, ServiceName};

use crate::identity::CONSUL_SERVICE;
use crate::registry::{Registry, Topic};

const KINDS: [EntryKind; 2] = [EntryKind::IngressGateway, EntryKind::TerminatingGateway];

/// What can change the services that a gateway carries.
#[must_use]
pub fn topics() -> Vec<Topic> {
    KINDS.map(Topic::Config).into_iter().chain([Topic::Services]).collect()
}

/// When they last changed.
#[must_use]
pub fn index(registry: &Registry) -> Index {
    KINDS.into_iter().map(|kind| registry.config_index(kind)).fold(registry.services_index(), Ord::max)
}

/// What can change the ingress gateways of a service, their nodes and their checks.
#[must_use]
pub fn ingress_topics() -> Vec<Topic> {
    topics().into_iter().chain([Topic::Nodes, Topic::Checks]).collect()
}

/// When they last changed.
#[must_use]
pub fn ingress_index(registry: &Registry) -> Index {
    index(registry).max(registry.nodes_index()).max(registry.checks_index())
}

/// What a gateway carries; where its entry says every service, each that there is.
#[must_use]
pub fn services(registry: &Registry, gateway: &str) -> Vec<GatewayService> {
    let entries = KINDS.into_iter().filter_map(|kind| registry.config(kind, gateway));
    let rows = entries.flat_map(|row| carried(&row.entry, row.created, row.modified));
    rows.flat_map(|row| match row.service.name.as_str() {
        WILDCARD => plain_services(registry)
            .map(|name| GatewayService { service: Named { name: name.to_string() }, ..row.clone() })
            .collect(),
        _ => vec![row],
    })
    .collect()
}

/// Services that are called by name: no proxies, no gateways, not the control nodes.
fn plain_services(registry: &Registry) -> impl Iterator<Item = &ServiceName> {
    registry
        .services()
        .filter(|row| row.name.as_str() != CONSUL_SERVICE)
        .filter(|row| registry.members(row).any(|(_, instance)| instance.kind.is_empty()))
        .map(|row| &row.name)
}

/// The instances of the ingress gateways that carry a service, by gateway, node and id.
#[must_use]
pub fn ingress<'a>(registry: &'a Registry, service: &str) -> Vec<(&'a Arc<Node>, &'a Arc<Instance>)> {
    let carries = |name: &str| name == WILDCARD || name.eq_ignore_ascii_case(service);
    let gateways = registry
        .configs(EntryKind::IngressGateway)
        .filter(|row| carried(&row.entry, row.created, row.modified).iter().any(|row| carries(&row.service.name)));
    let names = gateways.filter_map(|row| ServiceName::parse(row.entry.name()).ok());
    let rows = names.flat_map(|name| registry.service(&name));
    rows.filter(|(_, instance)| &*instance.kind == EntryKind::IngressGateway.as_str()).collect()
}
