//! Which rows a read is about: names in the path, tags, pairs of the node, the filter.

use std::sync::Arc;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::query::ReadOptions;
use callboard_proto::filter::{Fields, Filter};
use callboard_proto::{Check, Index, Instance, Node, NodeName, ServiceName};

use super::reply::Failure;
use super::request::Call;
use crate::acl::Access;
use crate::registry::{Registry, Topic};

/// The tags that an instance must all have.
pub(super) fn tags(call: &Call<'_>) -> Vec<String> {
    call.params.all("tag").filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// Whether an instance has every tag, without regard to case.
pub(super) fn has_tags(instance: &Instance, tags: &[String]) -> bool {
    tags.iter().all(|wanted| instance.tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted)))
}

/// Whether a node has every pair.
pub(super) fn has_meta(node: &Node, pairs: &[(String, String)]) -> bool {
    pairs.iter().all(|(key, value)| node.meta.get(key).is_some_and(|found| **found == **value))
}

/// Whether a caller may see a node.
pub(super) fn sees_node(access: &Access, node: &Node) -> bool {
    access.allows(Resource::Node, node.name.as_str(), Level::Read)
}

/// Whether a caller may see an instance and the node that it is on.
pub(super) fn sees(access: &Access, node: &Node, instance: &Instance) -> bool {
    sees_node(access, node) && access.allows(Resource::Service, instance.service.as_str(), Level::Read)
}

/// Whether a caller may see a check: its node, and its service if it is of one.
pub(super) fn sees_check(access: &Access, check: &Check) -> bool {
    access.allows(Resource::Node, check.node.as_str(), Level::Read)
        && (check.instance.is_none() || access.allows(Resource::Service, check.service.as_str(), Level::Read))
}

/// Sorts rows by the distance of their nodes from the one that a read names, if it names one whose place is known.
pub(super) fn sort_near<T>(registry: &Registry, options: &ReadOptions, rows: &mut [T], node: impl Fn(&T) -> &NodeName) {
    if let Some(near) = options.near.as_deref().and_then(|near| NodeName::parse(near).ok()) {
        registry.sort_near(&near, rows, node);
    }
}

/// The filter of a read, bound to the rows that it shows.
pub(super) fn filter<R: Fields>(options: &ReadOptions) -> Result<Filter<R>, Failure> {
    match &options.filter {
        // No other cluster shares anything with this one.
        _ if options.peer.is_some() => Ok(Filter::none()),
        None => Ok(Filter::all()),
        Some(text) => Ok(Filter::parse(text)?),
    }
}

/// A service name in a path.
pub(super) fn service_name(text: &str) -> Result<ServiceName, Failure> {
    ServiceName::parse(text).map_err(|error| Failure::BadRequest(format!("Invalid service name: {error}")))
}

/// A node name in a path.
pub(super) fn node_name(text: &str) -> Result<NodeName, Failure> {
    NodeName::parse(text).map_err(|error| Failure::BadRequest(format!("Invalid node name: {error}")))
}

/// What can change the rows of a service, or of what speaks mesh TLS for it.
pub(super) fn service_topics(name: &ServiceName, connect: bool) -> Vec<Topic> {
    let mut topics = vec![Topic::Service(name.folded())];
    if connect {
        // Proxies of a service are instances of other services.
        topics.push(Topic::Services);
    }
    topics
}

/// The place in history of those rows.
pub(super) fn service_index(registry: &Registry, name: &ServiceName, connect: bool) -> Index {
    let index = registry.service_index(name);
    if connect { index.max(registry.services_index()) } else { index }
}

/// Those rows.
pub(super) fn service_rows<'a>(
    registry: &'a Registry,
    name: &'a ServiceName,
    connect: bool,
) -> Box<dyn Iterator<Item = (&'a Arc<Node>, &'a Arc<Instance>)> + 'a> {
    if connect { Box::new(registry.mesh_service(name)) } else { Box::new(registry.service(name)) }
}
