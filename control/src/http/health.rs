//! `/v1/health/…`: who is well.

use std::sync::Arc;

use callboard_proto::api::catalog::{NodeService, NodeShown};
use callboard_proto::api::health::{HealthCheck, ServiceEntry};
use callboard_proto::api::query::{ReadOptions, SLOTS_PARAM, passing};
use callboard_proto::filter::Filter;
use callboard_proto::text::Text;
use callboard_proto::{Check, CheckStatus, Index, Instance, InstanceId, Node, NodeName, ServiceName};

use super::blocking::{Answer, Question, common_key, read};
use super::central::Central;
use super::describe::*;
use super::reply::{Failure, Response, encode};
use super::request::Call;
use super::routes::{Route, get};
use super::select::{
    filter, has_meta, has_tags, node_name, sees, sees_check, service_index, service_name, service_rows, service_topics,
    sort_near, tags,
};
use crate::acl::Access;
use crate::registry::{Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/health/service/",
        operations: &[get("The instances of a service with their checks", |call| Box::pin(service(call)))
            .of("service")
            .with(&[READ, FILTER, NODES, TAGS, PASSING, CENTRAL])
            .gives(shaped::<Vec<ServiceEntry>>())],
    },
    Route {
        path: "/v1/health/connect/",
        operations: &[get("The instances that speak mesh TLS for a service, with their checks", |call| {
            Box::pin(connect(call))
        })
        .of("service")
        .with(&[READ, FILTER, NODES, TAGS, PASSING, CENTRAL])
        .gives(shaped::<Vec<ServiceEntry>>())],
    },
    Route {
        path: "/v1/health/node/",
        operations: &[get("The checks on a node", |call| Box::pin(node(call)))
            .of("node")
            .with(&[READ, FILTER])
            .gives(shaped::<Vec<HealthCheck>>())],
    },
    Route {
        path: "/v1/health/checks/",
        operations: &[get("The checks of a service's instances", |call| Box::pin(checks(call)))
            .of("service")
            .with(&[READ, FILTER, NODES])
            .gives(shaped::<Vec<HealthCheck>>())],
    },
    Route {
        path: "/v1/health/state/",
        operations: &[get("The checks in a state", |call| Box::pin(state(call)))
            .of("state")
            .with(&[READ, FILTER, NODES])
            .gives(shaped::<Vec<HealthCheck>>())],
    },
];

/// The instances of a service, with their health.
struct ServiceHealth {
    name: ServiceName,
    tags: Vec<String>,
    /// Only what speaks mesh TLS for it.
    connect: bool,
    passing: bool,
    /// Whether each instance is shown with its slot.
    slots: bool,
    central: Central,
    options: ReadOptions,
    filter: Filter<ServiceEntry>,
    datacenter: Text,
    pretty: bool,
}

impl Question for ServiceHealth {
    fn topics(&self) -> Vec<Topic> {
        self.central.topics(service_topics(&self.name, self.connect))
    }

    fn index(&self, registry: &Registry) -> Index {
        self.central.index(registry, service_index(registry, &self.name, self.connect))
    }

    fn key(&self) -> Option<String> {
        let kind = if self.connect { "health-connect" } else { "health" };
        let mut key = common_key(kind, self.name.as_str(), &self.options, self.pretty);
        if self.passing {
            key.push_str("\nP");
        }
        if self.slots {
            key.push_str("\nS");
        }
        self.central.mark(&mut key);
        for tag in &self.tags {
            key.push_str("\nt");
            key.push_str(tag);
        }
        Some(key)
    }

    fn is_cacheable(&self) -> bool {
        true
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let mut merger = self.central.merger(registry);
        let mut entries: Vec<ServiceEntry> = service_rows(registry, &self.name, self.connect)
            .filter(|(node, instance)| sees(access, node, instance))
            .filter(|(node, instance)| has_tags(instance, &self.tags) && has_meta(node, &self.options.node_meta))
            .map(|(node, instance)| {
                let mut entry = entry(registry, node, instance, &self.datacenter);
                merger.merge(&instance.kind, &mut entry.service.proxy);
                entry.service.slot = if self.slots { registry.slot(&node.name, instance) } else { None };
                entry
            })
            .filter(|entry| !self.passing || entry.checks.iter().all(|check| check.status == CheckStatus::Passing))
            .filter(|entry| self.filter.matches(entry))
            .collect();
        sort_near(registry, &self.options, &mut entries, |entry| &entry.node.node);
        Answer::Json(encode(&entries, self.pretty))
    }
}

/// An instance with its node and the checks of both.
pub(super) fn entry(
    registry: &Registry,
    node: &Arc<Node>,
    instance: &Arc<Instance>,
    datacenter: &Text,
) -> ServiceEntry {
    let of_node = registry.checks_of(&node.name, &InstanceId::none());
    let of_instance = registry.checks_of(&node.name, &instance.id);
    ServiceEntry {
        node: NodeShown::of(node, datacenter),
        service: NodeService::of(instance),
        checks: of_node.chain(of_instance).map(|check| HealthCheck::of(check)).collect(),
    }
}

async fn service(call: &Call<'_>) -> Result<Response, Failure> {
    service_health(call, false).await
}

async fn service_health(call: &Call<'_>, connect: bool) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let question = ServiceHealth {
        name: service_name(call.argument("Missing service name")?)?,
        tags: tags(call),
        connect,
        passing: passing(&call.params)?,
        slots: !connect && call.params.has(SLOTS_PARAM),
        central: Central::of(call),
        filter: filter(&options)?,
        datacenter: call.api.datacenter().clone(),
        pretty: call.pretty(),
        options,
    };
    read(call, &question.options, &question).await
}

/// What speaks mesh TLS for a service.
async fn connect(call: &Call<'_>) -> Result<Response, Failure> {
    service_health(call, true).await
}

/// A list of checks.
struct CheckList {
    which: Which,
    options: ReadOptions,
    filter: Filter<HealthCheck>,
    pretty: bool,
}

enum Which {
    Node(NodeName),
    Service(ServiceName),
    State(Option<CheckStatus>),
    Nothing,
}

impl Question for CheckList {
    fn topics(&self) -> Vec<Topic> {
        if self.options.node_meta.is_empty() { vec![Topic::Checks] } else { vec![Topic::Checks, Topic::Nodes] }
    }

    fn index(&self, registry: &Registry) -> Index {
        if self.options.node_meta.is_empty() {
            registry.checks_index()
        } else {
            registry.checks_index().max(registry.nodes_index())
        }
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let meta = &self.options.node_meta;
        let on_wanted_node =
            |check: &Check| meta.is_empty() || registry.node(&check.node).is_some_and(|node| has_meta(node, meta));
        let rows: Box<dyn Iterator<Item = &Arc<Check>>> = match &self.which {
            Which::Node(name) => Box::new(registry.checks_on(name)),
            Which::Service(name) => Box::new(
                registry.service(name).flat_map(|(node, instance)| registry.checks_of(&node.name, &instance.id)),
            ),
            Which::State(status) => {
                let status = *status;
                Box::new(registry.checks().filter(move |check| status.is_none_or(|status| check.status == status)))
            }
            Which::Nothing => Box::new(std::iter::empty()),
        };
        let mut checks: Vec<HealthCheck> = rows
            .filter(|check| on_wanted_node(check) && sees_check(access, check))
            .map(|check| HealthCheck::of(check))
            .filter(|check| self.filter.matches(check))
            .collect();
        sort_near(registry, &self.options, &mut checks, |check| &check.node);
        Answer::Json(encode(&checks, self.pretty))
    }
}

async fn list(call: &Call<'_>, which: Which) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let question = CheckList { which, filter: filter(&options)?, pretty: call.pretty(), options };
    read(call, &question.options, &question).await
}

async fn node(call: &Call<'_>) -> Result<Response, Failure> {
    let name = node_name(call.argument("Missing node name")?)?;
    list(call, Which::Node(name)).await
}

async fn checks(call: &Call<'_>) -> Result<Response, Failure> {
    let name = service_name(call.argument("Missing service name")?)?;
    list(call, Which::Service(name)).await
}

async fn state(call: &Call<'_>) -> Result<Response, Failure> {
    let which = match call.argument("Missing check state")? {
        "any" => Which::State(None),
        text => text.parse().map_or(Which::Nothing, |status| Which::State(Some(status))),
    };
    list(call, which).await
}
