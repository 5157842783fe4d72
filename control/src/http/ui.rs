//! What consoles ask for: `/v1/internal/ui/…`; and the lists of what is shared with other clusters, which are empty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::catalog::NodeService;
use callboard_proto::api::health::HealthCheck;
use callboard_proto::text::Text;
use callboard_proto::{Check, CheckStatus, Index, Instance, InstanceId, Node, NodeName};
use serde_json::{Value, json};

use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::permit::of_check;
use super::reply::{self, Failure, Response, encode};
use super::request::Call;
use super::routes::{Route, get, now};
use super::select::node_name;
use crate::acl::Access;
use crate::registry::{Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/internal/ui/nodes",
        operations: &[get("The nodes with all that is on them", |call| Box::pin(ask(call, What::Nodes)))
            .with(&[READ])
            .gives(Body::Objects(NODE))],
    },
    Route {
        path: "/v1/internal/ui/node/",
        operations: &[get("A node with all that is on it", |call| Box::pin(node(call)))
            .of("node")
            .with(&[READ])
            .gives(Body::Object(NODE))],
    },
    Route {
        path: "/v1/internal/ui/services",
        operations: &[get("The services, and how many of their checks are well", |call| {
            Box::pin(ask(call, What::Services))
        })
        .with(&[READ])
        .gives(Body::Objects(SERVICE))],
    },
    Route {
        path: "/v1/internal/ui/catalog-overview",
        operations: &[get("How many nodes, services and checks are well", |call| Box::pin(ask(call, What::Overview)))
            .with(&[READ])
            .gives(Body::Object(OVERVIEW))],
    },
    Route {
        path: "/v1/internal/ui/exported-services",
        operations: &[get("The services that other clusters may call: none", |call| now(none(call))).gives(NOTHING)],
    },
    Route {
        path: "/v1/exported-services",
        operations: &[get("The services that other clusters may call: none", |call| now(none(call))).gives(NOTHING)],
    },
    Route {
        path: "/v1/imported-services",
        operations: &[get("The services of other clusters: none", |call| now(none(call))).gives(NOTHING)],
    },
    Route {
        path: "/v1/peerings",
        operations: &[get("The other clusters: none", |call| now(none(call))).gives(NOTHING)],
    },
];

const NODE: &[Member] = &[
    ("ID", Kind::Text),
    ("Node", Kind::Text),
    ("Address", Kind::Text),
    ("TaggedAddresses", Kind::Object),
    ("Meta", Kind::Object),
    ("Services", Kind::List),
    ("Checks", Kind::List),
];
const SERVICE: &[Member] = &[
    ("Name", Kind::Text),
    ("Datacenter", Kind::Text),
    ("Tags", Kind::List),
    ("Nodes", Kind::List),
    ("ExternalSources", Kind::List),
    ("InstanceCount", Kind::Number),
    ("ChecksPassing", Kind::Number),
    ("ChecksWarning", Kind::Number),
    ("ChecksCritical", Kind::Number),
];
const OVERVIEW: &[Member] = &[("Nodes", Kind::List), ("Services", Kind::List), ("Checks", Kind::List)];

/// A list of which there is nothing.
fn none(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    call.permit(Resource::Peering, "", Level::Read)?;
    Ok(reply::json::<[Value]>(&[], call.pretty()))
}

enum What {
    Nodes,
    Node(NodeName),
    Services,
    Overview,
}

struct Dump {
    what: What,
    datacenter: Text,
    pretty: bool,
}

async fn ask(call: &Call<'_>, what: What) -> Result<Response, Failure> {
    let question = Dump { what, datacenter: call.api.datacenter().clone(), pretty: call.pretty() };
    read(call, &call.read_options()?, &question).await
}

async fn node(call: &Call<'_>) -> Result<Response, Failure> {
    let name = node_name(call.argument("Missing node name")?)?;
    ask(call, What::Node(name)).await
}

impl Question for Dump {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Nodes, Topic::Services, Topic::Checks]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.nodes_index().max(registry.services_index()).max(registry.checks_index())
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        matches!(&self.what, What::Node(name) if registry.node(name).is_none())
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let seen = |node: &&Arc<Node>| access.allows(Resource::Node, node.name.as_str(), Level::Read);
        let body = match &self.what {
            What::Nodes => {
                let nodes: Vec<Value> =
                    registry.nodes().filter(seen).map(|node| show_node(registry, access, node)).collect();
                encode(&nodes, self.pretty)
            }
            What::Node(name) => match registry.node(name).filter(seen) {
                Some(node) => encode(&show_node(registry, access, node), self.pretty),
                None => return Answer::Absent,
            },
            What::Services => encode(&services(registry, access, &self.datacenter), self.pretty),
            What::Overview => encode(&overview(registry, access), self.pretty),
        };
        Answer::Json(body)
    }
}

fn may_see_check(access: &Access, check: &Check) -> bool {
    let (resource, name) = of_check(check);
    access.allows(resource, name, Level::Read)
}

fn may_see_instance(access: &Access, instance: &Instance) -> bool {
    access.allows(Resource::Service, instance.service.as_str(), Level::Read)
}

fn show_node(registry: &Registry, access: &Access, node: &Node) -> Value {
    let instances = registry.instances_on(&node.name).filter(|instance| may_see_instance(access, instance));
    let services: Vec<NodeService> = instances.map(|instance| NodeService::of(instance)).collect();
    let checks = registry.checks_on(&node.name).filter(|check| may_see_check(access, check));
    let checks: Vec<HealthCheck> = checks.map(|check| HealthCheck::of(check)).collect();
    json!({
        "ID": node.id, "Node": node.name, "Address": node.address, "TaggedAddresses": node.tagged_addresses,
        "Meta": node.meta, "Services": services, "Checks": checks,
    })
}

/// How many checks, or things by their worst check, are how well.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    passing: usize,
    warning: usize,
    critical: usize,
}

impl Counts {
    fn add(&mut self, status: CheckStatus) {
        match status {
            CheckStatus::Passing => self.passing += 1,
            CheckStatus::Warning => self.warning += 1,
            CheckStatus::Critical => self.critical += 1,
        }
    }

    fn show(self, name: Option<&str>) -> Value {
        let total = self.passing + self.warning + self.critical;
        let mut shown =
            json!({"Total": total, "Passing": self.passing, "Warning": self.warning, "Critical": self.critical});
        if let Some(name) = name {
            shown["Name"] = name.into();
        }
        shown
    }
}

/// The checks that an instance depends on.
fn checks_of<'a>(
    registry: &'a Registry,
    node: &Node,
    instance: &Instance,
) -> impl Iterator<Item = &'a Arc<Check>> + use<'a> {
    registry.checks_of(&node.name, &InstanceId::none()).chain(registry.checks_of(&node.name, &instance.id))
}

fn services(registry: &Registry, access: &Access, datacenter: &Text) -> Vec<Value> {
    let may_see = |name: &str| access.allows(Resource::Service, name, Level::Read);
    let seen = registry.services().filter(|row| may_see(row.name.as_str()));
    seen.map(|row| {
        let (mut counts, mut instances, mut kind) = (Counts::default(), 0, Text::default());
        let (mut tags, mut nodes, mut sources) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut proxied, mut gated) = (false, false);
        for (node, instance) in registry.members(row) {
            instances += 1;
            kind = instance.kind.clone();
            tags.extend(instance.tags.iter().cloned());
            nodes.insert(node.name.as_str());
            sources.extend(instance.meta.get("external-source").cloned());
            checks_of(registry, node, instance).for_each(|check| counts.add(check.status));
        }
        for (_, instance) in registry.mesh_service(&row.name) {
            proxied |= &*instance.kind == "connect-proxy";
            gated |= instance.kind.ends_with("-gateway");
        }
        let mut shown = json!({
            "Name": row.name, "Datacenter": datacenter, "Tags": tags, "Nodes": nodes, "ExternalSources": sources,
            "InstanceCount": instances, "ChecksPassing": counts.passing, "ChecksWarning": counts.warning,
            "ChecksCritical": counts.critical, "GatewayConfig": {}, "TransparentProxy": false,
            "ConnectedWithGateway": gated, "ConnectedWithProxy": proxied,
        });
        if !kind.is_empty() {
            shown["Kind"] = (*kind).into();
        }
        shown
    })
    .collect()
}

fn overview(registry: &Registry, access: &Access) -> Value {
    let worst = |statuses: &mut dyn Iterator<Item = CheckStatus>| statuses.max().unwrap_or(CheckStatus::Passing);
    let mut nodes = Counts::default();
    for node in registry.nodes().filter(|node| access.allows(Resource::Node, node.name.as_str(), Level::Read)) {
        let checks = registry.checks_of(&node.name, &InstanceId::none());
        nodes.add(worst(&mut checks.map(|check| check.status)));
    }
    let mut services: BTreeMap<&str, Counts> = BTreeMap::new();
    for row in registry.services() {
        for (node, instance) in registry.members(row).filter(|(_, instance)| may_see_instance(access, instance)) {
            let status = worst(&mut checks_of(registry, node, instance).map(|check| check.status));
            services.entry(row.name.as_str()).or_default().add(status);
        }
    }
    let mut checks: BTreeMap<&str, Counts> = BTreeMap::new();
    for check in registry.checks().filter(|check| may_see_check(access, check)) {
        checks.entry(&check.name).or_default().add(check.status);
    }
    let list = |counts: BTreeMap<&str, Counts>| -> Vec<Value> {
        counts.into_iter().map(|(name, counts)| counts.show(Some(name))).collect()
    };
    json!({"Nodes": [nodes.show(None)], "Services": list(services), "Checks": list(checks)})
}
