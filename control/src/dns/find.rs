//! Finds the rows that a name asks for. PURE.
//!
//! Holds the rule of health: an instance with any critical check, of its own or of its node, is never found. What
//! is made of the rows is decided in `callboard_proto::dns`. Rows of services are kept by [`Rows`] while the state
//! of the registry stays the same, because walking its tables costs more than answering. Called by `respond`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::dns::{Found, InstanceRow, Lookup, NodeRow, Order, Settings};
use callboard_proto::{CheckStatus, Instance, InstanceId, Node, NodeName, ServiceName};

use super::Seen;
use crate::acl::{Access, Secret};
use crate::gateway::ingress;
use crate::identity::CONSUL_SERVICE;
use crate::query::{Asker, Fit, fits, sort_near};
use crate::registry::{Registry, Resolved};

/// How many sets of rows are kept; with more, all are dropped and found again.
const SETS_MAX: usize = 4096;
/// How many rows all kept sets have at most, for the same reason.
const ROWS_MAX: usize = 1 << 18;

/// A healthy instance.
#[derive(Debug, Clone)]
pub(super) struct HealthyInstance {
    node: Arc<Node>,
    instance: Arc<Instance>,
    /// The weight that its status gives it.
    weight: u16,
}

/// The healthy instances of services in one state of the registry.
pub(super) struct Rows {
    seen: Seen,
    only_passing: bool,
    sets: HashMap<Wanted, Arc<[HealthyInstance]>>,
    kept: usize,
}

/// Which instances are wanted; names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Wanted {
    Service { service: String, tag: Option<String> },
    Connect { service: String },
    Query { query: String },
    Ingress { service: String },
}

impl Rows {
    /// Begins with a state of the registry; `only_passing` leaves out instances with warnings too.
    pub(super) fn new(seen: Seen, only_passing: bool) -> Rows {
        Rows { seen, only_passing, sets: HashMap::new(), kept: 0 }
    }

    /// Goes on to another state, unless it is the same.
    pub(super) fn follow(&mut self, seen: Seen) {
        if !Arc::ptr_eq(&self.seen.registry, &seen.registry) || !self.seen.access.is_same(&seen.access) {
            self.seen = seen;
            self.forget();
        }
    }

    /// The state that is answered from.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    fn forget(&mut self) {
        self.sets.clear();
        self.kept = 0;
    }

    /// Finds the healthy instances for a lookup that asks for instances.
    pub(super) fn healthy(&mut self, lookup: &Lookup) -> Arc<[HealthyInstance]> {
        let wanted = match lookup {
            Lookup::Service { service, tag } => Wanted::Service { service: service.clone(), tag: tag.clone() },
            Lookup::Connect { service } => Wanted::Connect { service: service.clone() },
            Lookup::Ingress { service } => Wanted::Ingress { service: service.clone() },
            Lookup::Query { query } => Wanted::Query { query: query.clone() },
            Lookup::Apex | Lookup::NameServers => Wanted::Service { service: CONSUL_SERVICE.to_owned(), tag: None },
            _ => return Arc::default(),
        };
        if let Some(rows) = self.sets.get(&wanted) {
            return rows.clone();
        }
        let rows = find(&self.seen, &wanted, self.only_passing);
        if self.sets.len() >= SETS_MAX || self.kept + rows.len() > ROWS_MAX {
            self.forget();
        }
        self.kept += rows.len();
        self.sets.insert(wanted, rows.clone());
        rows
    }
}

fn find(seen: &Seen, wanted: &Wanted, only_passing: bool) -> Arc<[HealthyInstance]> {
    let (service, tag) = match wanted {
        Wanted::Service { service, tag } => (service, tag.as_deref()),
        Wanted::Connect { service } | Wanted::Ingress { service } => (service, None),
        Wanted::Query { query } => return find_query(seen, query),
    };
    let Seen { registry, access, .. } = seen;
    let Ok(name) = ServiceName::parse(service) else { return Arc::default() };
    let healthy = |(node, instance): (&Arc<Node>, &Arc<Instance>)| {
        if !may_see(access, node, instance) {
            return None;
        }
        let weight = weight(registry, &node.name, instance, only_passing)?;
        Some(HealthyInstance { node: node.clone(), instance: instance.clone(), weight })
    };
    match wanted {
        Wanted::Connect { .. } => return registry.mesh_service(&name).filter_map(healthy).collect(),
        Wanted::Ingress { .. } => return ingress(registry, service).into_iter().filter_map(healthy).collect(),
        Wanted::Service { .. } | Wanted::Query { .. } => {}
    }
    let tagged =
        |instance: &Instance| tag.is_none_or(|wanted| instance.tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted)));
    registry.service(&name).filter(|(_, instance)| tagged(instance)).filter_map(healthy).collect()
}

/// Finds what a prepared query finds. It has its own rule for warnings, and may have a token of its own.
fn find_query(Seen { registry, access, acl }: &Seen, query: &str) -> Arc<[HealthyInstance]> {
    let Ok(Some(Resolved { query, .. })) = registry.resolve_query(query) else { return Arc::default() };
    let captured = match acl {
        Some(acl) if !query.token.0.is_empty() => match acl.access(registry, Some(&Secret::new(&query.token.0))) {
            Ok(access) => Some(access),
            // Nobody has the token any more, so nobody may see anything with it.
            Err(_) => return Arc::default(),
        },
        _ => None,
    };
    let access = captured.as_ref().unwrap_or(access);
    let found = fits(registry, &query.service).into_iter().filter(|fit| may_see(access, fit.node, fit.instance));
    let healthy =
        |fit: Fit<'_>| HealthyInstance { node: fit.node.clone(), instance: fit.instance.clone(), weight: fit.weight };
    found.map(healthy).collect()
}

/// Whether an instance and its node may be told of.
fn may_see(access: &Access, node: &Node, instance: &Instance) -> bool {
    may_see_node(access, node) && access.may(Resource::Service, instance.service.as_str(), Level::Read)
}

fn may_see_node(access: &Access, node: &Node) -> bool {
    access.may(Resource::Node, node.name.as_str(), Level::Read)
}

/// Says which weight an instance has; none if it is not to be called.
fn weight(registry: &Registry, node: &NodeName, instance: &Instance, only_passing: bool) -> Option<u16> {
    let of_node = registry.checks_of(node, &InstanceId::none());
    let of_instance = registry.checks_of(node, &instance.id);
    let worst = of_node.chain(of_instance).map(|check| check.status).max().unwrap_or(CheckStatus::Passing);
    match worst {
        CheckStatus::Passing => Some(instance.weights.passing),
        CheckStatus::Warning if only_passing => None,
        CheckStatus::Warning => Some(instance.weights.warning),
        CheckStatus::Critical => None,
    }
}

/// Finds what a lookup asks for; `healthy` are the rows that [`Rows::healthy`] has for it.
pub(super) fn found<'a>(
    Seen { registry, access, .. }: &'a Seen,
    settings: &Settings,
    lookup: &Lookup,
    healthy: &'a [HealthyInstance],
    asker: Asker<'_>,
    dice: &mut fastrand::Rng,
) -> Found<'a> {
    match lookup {
        Lookup::Apex | Lookup::NameServers => Found::Servers(servers(healthy)),
        Lookup::Node { name } => {
            let node = NodeName::parse(name).ok().and_then(|name| registry.node(&name));
            let node = node.filter(|node| may_see_node(access, node));
            node.map_or(Found::Nothing, |node| Found::Node(node_row(node)))
        }
        Lookup::Service { service, .. } | Lookup::Connect { service } | Lookup::Ingress { service } => {
            Found::Instances {
                rows: healthy.iter().map(instance_row).collect(),
                order: Order::Shuffled,
                ttl: settings.service_ttl.of(service),
            }
        }
        Lookup::Query { query } => match registry.resolve_query(query) {
            Ok(Some(Resolved { query, .. })) => {
                let mut rows: Vec<&HealthyInstance> = healthy.iter().collect();
                let near = asker.near(registry, &query.service.near);
                if let Some(near) = &near {
                    // Those of one distance share the load.
                    dice.shuffle(&mut rows);
                    sort_near(registry, near, &mut rows, |row| &row.node.name);
                }
                Found::Instances {
                    rows: rows.into_iter().map(instance_row).collect(),
                    order: if near.is_some() { Order::Given } else { Order::Shuffled },
                    ttl: query.dns_ttl().unwrap_or_else(|| settings.service_ttl.of(&query.service.service)),
                }
            }
            Ok(None) | Err(_) => Found::Nothing,
        },
        Lookup::Reverse(address) => names(registry, access, *address),
        Lookup::Virtual { service } => {
            virtual_address(registry, access, service).map_or(Found::Nothing, Found::Address)
        }
        // An address is in the name itself.
        Lookup::Address(_) => Found::Nothing,
        Lookup::ForeignDatacenter { .. } | Lookup::Unknown | Lookup::OutsideDomain => Found::Nothing,
    }
}

/// The address that stands for a service in the mesh, for whoever may know the service.
fn virtual_address(registry: &Registry, access: &Access, service: &str) -> Option<IpAddr> {
    let name = ServiceName::parse(service).ok()?;
    let seen = access.allows(Resource::Service, name.as_str(), Level::Read);
    registry.virtual_address(&name).filter(|_| seen).map(IpAddr::from)
}

fn node_row(node: &Node) -> NodeRow<'_> {
    NodeRow { name: node.name.as_str(), address: &node.address, meta: &node.meta }
}

fn instance_row(row: &HealthyInstance) -> InstanceRow<'_> {
    InstanceRow {
        node: node_row(&row.node),
        address: &row.instance.address,
        port: row.instance.port,
        weight: row.weight,
    }
}

/// The nodes of the control nodes, each once: rows are sorted by node.
fn servers(healthy: &[HealthyInstance]) -> Vec<NodeRow<'_>> {
    healthy.chunk_by(|one, two| one.node.name == two.node.name).map(|rows| node_row(&rows[0].node)).collect()
}

fn names<'a>(registry: &'a Registry, access: &Access, address: IpAddr) -> Found<'a> {
    let is_at = |text: &str| text.parse() == Ok(address);
    let nodes = registry.nodes().filter(|node| is_at(&node.address) && may_see_node(access, node));
    let nodes: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    let mut services = Vec::new();
    if nodes.is_empty() {
        let at_address = |row: &&_| {
            registry.members(row).any(|(node, instance)| is_at(&instance.address) && may_see(access, node, instance))
        };
        services = registry.services().filter(at_address).map(|row| row.name.as_str()).collect();
    }
    Found::Names { nodes, services }
}
