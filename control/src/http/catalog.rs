//! Reads of `/v1/catalog/…`: what there is, well or not.

use std::collections::{BTreeMap, BTreeSet};

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::catalog::{CatalogNode, CatalogNodeServices, CatalogService, NodeService, NodeShown};
use callboard_proto::api::query::ReadOptions;
use callboard_proto::filter::Filter;
use callboard_proto::text::Text;
use callboard_proto::{Index, NodeName, ServiceName};

use super::blocking::{Answer, Question, common_key, read, stamp_cache};
use super::central::Central;
use super::describe::*;
use super::reply::{Failure, Response, encode, json};
use super::request::Call;
use super::routes::{Route, get, now};
use super::select::{
    filter, has_meta, has_tags, node_name, sees, sees_node, service_index, service_name, service_rows, service_topics,
    sort_near, tags,
};
use crate::acl::Access;
use crate::registry::{Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/catalog/datacenters",
        operations: &[get("The datacenters that are known", |call| now(datacenters(call))).gives(shaped::<Vec<Text>>())],
    },
    Route {
        path: "/v1/catalog/nodes",
        operations: &[get("The nodes", |call| Box::pin(nodes(call)))
            .with(&[READ, FILTER, NODES])
            .gives(shaped::<Vec<NodeShown>>())],
    },
    Route {
        path: "/v1/catalog/services",
        operations: &[get("The names of the services, with their tags", |call| Box::pin(services(call)))
            .with(&[READ, FILTER, NODES])
            .gives(shaped::<BTreeMap<Text, Vec<Text>>>())],
    },
    Route {
        path: "/v1/catalog/service/",
        operations: &[get("The instances of a service", |call| Box::pin(service(call)))
            .of("service")
            .with(&[READ, FILTER, NODES, TAGS, CENTRAL])
            .gives(shaped::<Vec<CatalogService>>())],
    },
    Route {
        path: "/v1/catalog/connect/",
        operations: &[get("The instances that speak mesh TLS for a service", |call| Box::pin(connect(call)))
            .of("service")
            .with(&[READ, FILTER, NODES, TAGS, CENTRAL])
            .gives(shaped::<Vec<CatalogService>>())],
    },
    Route {
        path: "/v1/catalog/node/",
        operations: &[get("A node with its instances, by id", |call| Box::pin(node(call)))
            .of("node")
            .with(&[READ, FILTER])
            .gives(shaped::<Option<CatalogNode>>())],
    },
    Route {
        path: "/v1/catalog/node-services/",
        operations: &[get("A node with the list of its instances", |call| Box::pin(node_services(call)))
            .of("node")
            .with(&[READ, FILTER, CENTRAL])
            .gives(shaped::<CatalogNodeServices>())],
    },
];

fn datacenters(call: &Call<'_>) -> Result<Response, Failure> {
    let mut response = json(&[call.api.datacenter()], call.pretty());
    if call.params.has("cached") {
        stamp_cache(&mut response);
    }
    Ok(response)
}

struct Nodes {
    options: ReadOptions,
    filter: Filter<NodeShown>,
    datacenter: Text,
    pretty: bool,
}

impl Question for Nodes {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Nodes]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.nodes_index()
    }

    fn key(&self) -> Option<String> {
        Some(common_key("nodes", "", &self.options, self.pretty))
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let mut nodes: Vec<NodeShown> = registry
            .nodes()
            .filter(|node| sees_node(access, node))
            .filter(|node| has_meta(node, &self.options.node_meta))
            .map(|node| NodeShown::of(node, &self.datacenter))
            .filter(|node| self.filter.matches(node))
            .collect();
        sort_near(registry, &self.options, &mut nodes, |node| &node.node);
        Answer::Json(encode(&nodes, self.pretty))
    }
}

async fn nodes(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let datacenter = call.api.datacenter().clone();
    let question = Nodes { filter: filter(&options)?, datacenter, pretty: call.pretty(), options };
    read(call, &question.options, &question).await
}

struct Services {
    options: ReadOptions,
    filter: Filter<CatalogService>,
    datacenter: Text,
    pretty: bool,
}

impl Services {
    /// Whether rows of nodes decide what is shown.
    fn looks_at_nodes(&self) -> bool {
        !self.options.node_meta.is_empty() || self.options.filter.is_some() || self.options.peer.is_some()
    }
}

impl Question for Services {
    fn topics(&self) -> Vec<Topic> {
        if self.looks_at_nodes() { vec![Topic::Services, Topic::Nodes] } else { vec![Topic::Services] }
    }

    fn index(&self, registry: &Registry) -> Index {
        if self.looks_at_nodes() {
            registry.services_index().max(registry.nodes_index())
        } else {
            registry.services_index()
        }
    }

    fn key(&self) -> Option<String> {
        Some(common_key("services", "", &self.options, self.pretty))
    }

    fn is_cacheable(&self) -> bool {
        true
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let mut services: BTreeMap<&ServiceName, BTreeSet<&Text>> = BTreeMap::new();
        for row in registry.services().filter(|row| access.allows(Resource::Service, row.name.as_str(), Level::Read)) {
            for (node, instance) in registry.members(row) {
                let shown = !self.looks_at_nodes()
                    || (sees_node(access, node)
                        && has_meta(node, &self.options.node_meta)
                        && self.filter.matches(&CatalogService::of(node, instance, &self.datacenter)));
                if shown {
                    services.entry(&row.name).or_default().extend(instance.tags.iter());
                }
            }
        }
        Answer::Json(encode(&services, self.pretty))
    }
}

async fn services(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let datacenter = call.api.datacenter().clone();
    let question = Services { filter: filter(&options)?, datacenter, pretty: call.pretty(), options };
    read(call, &question.options, &question).await
}

struct ServiceNodes {
    name: ServiceName,
    tags: Vec<String>,
    /// Only what speaks mesh TLS for it.
    connect: bool,
    central: Central,
    options: ReadOptions,
    filter: Filter<CatalogService>,
    datacenter: Text,
    pretty: bool,
}

impl Question for ServiceNodes {
    fn topics(&self) -> Vec<Topic> {
        self.central.topics(service_topics(&self.name, self.connect))
    }

    fn index(&self, registry: &Registry) -> Index {
        self.central.index(registry, service_index(registry, &self.name, self.connect))
    }

    fn key(&self) -> Option<String> {
        let kind = if self.connect { "catalog-connect" } else { "catalog" };
        let mut key = common_key(kind, self.name.as_str(), &self.options, self.pretty);
        for tag in &self.tags {
            key.push_str("\nt");
            key.push_str(tag);
        }
        self.central.mark(&mut key);
        Some(key)
    }

    fn is_cacheable(&self) -> bool {
        true
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let mut merger = self.central.merger(registry);
        let mut services: Vec<CatalogService> = service_rows(registry, &self.name, self.connect)
            .filter(|(node, instance)| sees(access, node, instance))
            .filter(|(node, instance)| has_tags(instance, &self.tags) && has_meta(node, &self.options.node_meta))
            .map(|(node, instance)| {
                let mut shown = CatalogService::of(node, instance, &self.datacenter);
                merger.merge(&instance.kind, &mut shown.service_proxy);
                shown
            })
            .filter(|service| self.filter.matches(service))
            .collect();
        sort_near(registry, &self.options, &mut services, |service| &service.node);
        Answer::Json(encode(&services, self.pretty))
    }
}

async fn service_nodes(call: &Call<'_>, connect: bool) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let question = ServiceNodes {
        name: service_name(call.argument("Missing service name")?)?,
        tags: tags(call),
        connect,
        central: Central::of(call),
        filter: filter(&options)?,
        datacenter: call.api.datacenter().clone(),
        pretty: call.pretty(),
        options,
    };
    read(call, &question.options, &question).await
}

async fn service(call: &Call<'_>) -> Result<Response, Failure> {
    service_nodes(call, false).await
}

async fn connect(call: &Call<'_>) -> Result<Response, Failure> {
    service_nodes(call, true).await
}

/// One node with its instances, as a map or as a list.
struct OneNode {
    name: NodeName,
    as_list: bool,
    /// Only the list is asked for in that way.
    central: Central,
    options: ReadOptions,
    filter: Filter<NodeService>,
    datacenter: Text,
    pretty: bool,
}

impl Question for OneNode {
    fn topics(&self) -> Vec<Topic> {
        self.central.topics(vec![Topic::Nodes, Topic::Services])
    }

    fn index(&self, registry: &Registry) -> Index {
        self.central.index(registry, registry.nodes_index().max(registry.services_index()))
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let local = self.options.peer.is_none();
        let node = registry.node(&self.name).filter(|node| local && sees_node(access, node));
        let shown = node.is_some();
        let node = node.map(|node| NodeShown::of(node, &self.datacenter));
        let mut merger = self.central.merger(registry);
        let services = registry
            .instances_on(&self.name)
            .filter(|instance| shown && access.allows(Resource::Service, instance.service.as_str(), Level::Read))
            .map(|instance| {
                let mut shown = NodeService::of(instance);
                merger.merge(&instance.kind, &mut shown.proxy);
                shown
            })
            .filter(|service| self.filter.matches(service));
        Answer::Json(if self.as_list {
            encode(&CatalogNodeServices { node, services: services.collect() }, self.pretty)
        } else {
            let services = services.map(|service| (service.id.clone(), service)).collect();
            encode(&node.map(|node| CatalogNode { node, services }), self.pretty)
        })
    }
}

async fn one_node(call: &Call<'_>, as_list: bool) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let question = OneNode {
        name: node_name(call.argument("Missing node name")?)?,
        as_list,
        central: if as_list { Central::of(call) } else { Central::Apart },
        filter: filter(&options)?,
        datacenter: call.api.datacenter().clone(),
        pretty: call.pretty(),
        options,
    };
    read(call, &question.options, &question).await
}

async fn node(call: &Call<'_>) -> Result<Response, Failure> {
    one_node(call, false).await
}

async fn node_services(call: &Call<'_>) -> Result<Response, Failure> {
    one_node(call, true).await
}
