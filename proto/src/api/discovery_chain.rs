//! `/v1/discovery-chain/`: what the config entries make of a service's name, as a graph of routers, splitters and
//! resolvers that ends in targets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config_entry::{FailoverPolicy, LoadBalancer, Route, Split, Subset};
use crate::duration::GoDuration;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a caller wants to be otherwise than the entries say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct ChainRequest {
    /// The protocol of the whole chain.
    pub override_protocol: String,
    /// How long making a connection may take.
    pub override_connect_timeout: GoDuration,
    /// How traffic to other datacenters goes.
    pub override_mesh_gateway: MeshGateway,
}

/// How traffic to other datacenters goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct MeshGateway {
    #[serde(skip_serializing_if = "is_default")]
    /// `none`, `local`, `remote` or empty.
    pub mode: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct ChainAnswer {
    /// The graph.
    pub chain: Chain,
}

/// A compiled chain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Chain {
    /// The service that is called.
    pub service_name: String,
    /// Always `default`.
    pub namespace: String,
    /// Always `default`.
    pub partition: String,
    /// The datacenter that it is compiled for.
    pub datacenter: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Tells chains apart that callers wanted to be otherwise; empty when nothing is.
    pub customization_hash: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether no entry says anything: the name stands for its instances.
    pub default: bool,
    /// The protocol, from end to end.
    pub protocol: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The service's free key-value pairs, of its defaults.
    pub service_meta: BTreeMap<String, String>,
    /// The key of the node that a call begins at.
    pub start_node: String,
    /// The nodes, by type and name.
    pub nodes: BTreeMap<String, Node>,
    /// The targets, by id.
    pub targets: BTreeMap<String, Target>,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    /// Looks at the request.
    Router,
    /// Divides calls by shares.
    Splitter,
    /// Ends in a target.
    Resolver,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// What it does.
    #[serde(rename = "Type")]
    pub kind: NodeType,
    /// Its name within its type.
    pub name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    /// A router's routes, in order.
    pub routes: Vec<RouteNode>,
    #[serde(default, skip_serializing_if = "is_default")]
    /// A splitter's shares.
    pub splits: Vec<SplitNode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// A resolver's end.
    pub resolver: Option<ResolverNode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// How instances are chosen.
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Map<String, Value>>"))]
    pub load_balancer: Option<LoadBalancer>,
}

/// One route of a router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct RouteNode {
    /// The route, as it was written.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Map<String, Value>"))]
    pub definition: Route,
    /// The key of the node that its calls go on to.
    pub next_node: String,
}

/// One share of a splitter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct SplitNode {
    /// The share, as it was written.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Map<String, Value>"))]
    pub definition: Split,
    /// Percent of the calls, of all splitters on the way together.
    pub weight: f64,
    /// The key of the node that its calls go on to.
    pub next_node: String,
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct ResolverNode {
    #[serde(default, skip_serializing_if = "is_default")]
    /// Whether no entry says anything about the service.
    pub default: bool,
    /// How long making a connection may take.
    pub connect_timeout: GoDuration,
    #[serde(default, skip_serializing_if = "is_default")]
    /// How long a whole call may take.
    pub request_timeout: GoDuration,
    /// The id of the target.
    pub target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Where to turn when no instance of the target is well.
    pub failover: Option<FailoverNode>,
}

/// Where to turn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct FailoverNode {
    /// The ids of targets, in order.
    pub targets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// How the order is found.
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Map<String, Value>>"))]
    pub policy: Option<FailoverPolicy>,
}

/// Instances that a chain can end at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Target {
    #[serde(rename = "ID")]
    /// Its id.
    pub id: String,
    /// Its service.
    pub service: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The subset of that.
    pub service_subset: String,
    /// Always `default`.
    pub namespace: String,
    /// Always `default`.
    pub partition: String,
    /// Its datacenter.
    pub datacenter: String,
    /// How traffic to it goes, if it is in another one.
    pub mesh_gateway: Value,
    /// Which instances are meant.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Map<String, Value>"))]
    pub subset: Subset,
    /// How long making a connection may take.
    pub connect_timeout: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether it is outside the mesh.
    pub external: bool,
    #[serde(rename = "SNI")]
    /// The TLS name that is asked for.
    pub sni: String,
    /// The name that statistics are kept under.
    pub name: String,
}
