//! What a prepared query finds. PURE.
//!
//! It decides which instances are well enough and fit, and which come first; who may see them and how many are shown is
//! decided by the HTTP and DNS front doors, which call it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use callboard_proto::api::query::{NEAR_AGENT, NEAR_IP};
use callboard_proto::prepared::QueryService;
use callboard_proto::text::Meta;
use callboard_proto::{CheckStatus, Instance, InstanceId, Node, NodeName, ServiceName};

use crate::registry::Registry;

/// An instance that a query found.
#[derive(Debug, Clone)]
pub struct Fit<'a> {
    /// Where it runs.
    pub node: &'a Arc<Node>,
    /// What runs.
    pub instance: &'a Arc<Instance>,
    /// The weight that its status gives it.
    pub weight: u16,
}

/// The instances that fit, by node and id.
#[must_use]
pub fn fits<'a>(registry: &'a Registry, wanted: &QueryService) -> Vec<Fit<'a>> {
    let Ok(name) = ServiceName::parse(&wanted.service) else { return Vec::new() };
    let rows: Vec<(&Arc<Node>, &Arc<Instance>)> = match wanted.connect {
        true => registry.mesh_service(&name).collect(),
        false => registry.service(&name).collect(),
    };
    rows.into_iter()
        .filter(|(node, instance)| {
            has_pairs(&node.meta, &wanted.node_meta)
                && has_pairs(&instance.meta, &wanted.service_meta)
                && has_tags(instance, &wanted.tags)
        })
        .filter_map(|(node, instance)| {
            let weight = weight(registry, node, instance, wanted)?;
            Some(Fit { node, instance, weight })
        })
        .collect()
}

/// How many other datacenters a query that found nothing here asks: each once, and none answers, since no other is known.
#[must_use]
pub fn failovers(wanted: &QueryService, ours: &str) -> u64 {
    let failover = &wanted.failover;
    let targets = failover.targets.iter().map(|target| target.datacenter.as_str()).filter(|name| !name.is_empty());
    let mut others: Vec<String> = failover
        .datacenters
        .iter()
        .map(String::as_str)
        .chain(targets)
        .map(str::to_ascii_lowercase)
        .filter(|name| !name.eq_ignore_ascii_case(ours))
        .collect();
    others.sort_unstable();
    others.dedup();
    others.len() as u64
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The node of the agent that is asked.
    pub agent: Option<&'a NodeName>,
    /// The address that the question comes from.
    pub address: Option<IpAddr>,
}

impl Asker<'_> {
    /// The node from which distances count, if a query wants any and the node is there.
    #[must_use]
    pub fn near(&self, registry: &Registry, wanted: &str) -> Option<NodeName> {
        match wanted {
            "" => None,
            NEAR_AGENT => self.agent.cloned(),
            NEAR_IP => {
                let address = self.address?.to_canonical();
                let node = registry.nodes().find(|node| node.address.parse() == Ok(address))?;
                Some(node.name.clone())
            }
            name => registry.node(&NodeName::parse(name).ok()?).map(|node| node.name.clone()),
        }
    }
}

/// Sorts what was found by distance from a node. What is on the node itself comes first even if its place is unknown;
/// rows of one distance keep their order.
pub fn sort_near<T>(registry: &Registry, from: &NodeName, rows: &mut [T], node: impl Fn(&T) -> &NodeName) {
    let own = from.folded();
    rows.sort_by_cached_key(|row| node(row).folded() != own);
    registry.sort_near(from, rows, node);
}

fn has_pairs(meta: &Meta, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| meta.get(key).is_some_and(|found| **found == **value))
}

/// Whether an instance has every tag, and none of those with a `!` in front.
fn has_tags(instance: &Instance, wanted: &[String]) -> bool {
    let has = |wanted: &str| instance.tags.iter().any(|tag| tag.eq_ignore_ascii_case(wanted));
    wanted.iter().all(|tag| match tag.strip_prefix('!') {
        Some(tag) => !has(tag),
        None => has(tag),
    })
}

fn weight(registry: &Registry, node: &Node, instance: &Instance, wanted: &QueryService) -> Option<u16> {
    let of_node = registry.checks_of(&node.name, &InstanceId::none());
    let of_instance = registry.checks_of(&node.name, &instance.id);
    let counts = |id: &str| !wanted.ignore_check_ids.iter().any(|ignored| ignored == id);
    let checks = of_node.chain(of_instance).filter(|check| counts(check.id.as_str()));
    match checks.map(|check| check.status).max().unwrap_or(CheckStatus::Passing) {
        CheckStatus::Passing => Some(instance.weights.passing),
        CheckStatus::Warning if wanted.only_passing => None,
        CheckStatus::Warning => Some(instance.weights.warning),
        CheckStatus::Critical => None,
    }
}
