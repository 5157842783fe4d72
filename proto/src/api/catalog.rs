//! `/v1/catalog/…`: what there is, well or not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::agent::{AddressRequest, ConnectRequest, WeightsRequest};
use super::decode::Ignored;
use crate::index::Index;
use crate::instance::{Instance, ServiceAddress, Weights};
use crate::name::{InstanceId, NodeName, ServiceName};
use crate::node::Node;
use crate::text::{Map, Meta, Tags, Text};

/// A node in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct NodeShown {
    #[serde(rename = "ID", default)]
    /// A UUID, or empty.
    pub id: Text,
    /// Its name.
    pub node: NodeName,
    /// Its address.
    pub address: Text,
    #[serde(default)]
    /// Where it is.
    pub datacenter: Text,
    #[serde(default, deserialize_with = "null_as_default")]
    /// Addresses by network.
    pub tagged_addresses: Meta,
    #[serde(default, deserialize_with = "null_as_default")]
    /// Free key-value pairs.
    pub meta: Meta,
    #[serde(default)]
    /// When it was first registered.
    pub create_index: Index,
    #[serde(default)]
    /// When the row last changed.
    pub modify_index: Index,
}

impl NodeShown {
    /// Shows a row.
    #[must_use]
    pub fn of(node: &Node, datacenter: &Text) -> NodeShown {
        NodeShown {
            id: node.id.clone(),
            node: node.name.clone(),
            address: node.address.clone(),
            datacenter: datacenter.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            meta: node.meta.clone(),
            create_index: node.created,
            modify_index: node.modified,
        }
    }
}

/// Reads null, which some servers send for an empty map or list, as the empty value.
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What a plain service shows as its proxy settings.
fn no_proxy() -> serde_json::Value {
    serde_json::json!({"Mode": "", "MeshGateway": {}, "Expose": {}})
}

fn proxy_of(instance: &Instance) -> serde_json::Value {
    serde_json::from_str(&instance.proxy).unwrap_or_else(|_| no_proxy())
}

fn connect_of(instance: &Instance) -> serde_json::Value {
    match instance.connect_native {
        true => serde_json::json!({"Native": true}),
        false => serde_json::Value::Object(serde_json::Map::new()),
    }
}

/// An instance below its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct NodeService {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    /// Empty for a plain service.
    pub kind: Text,
    #[serde(rename = "ID")]
    /// Unique on its node.
    pub id: InstanceId,
    /// The name callers ask for.
    pub service: ServiceName,
    #[serde(default, deserialize_with = "null_as_default")]
    /// Labels.
    pub tags: Tags,
    #[serde(default)]
    /// IP or host name; the node's when empty.
    pub address: Text,
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "null_as_default")]
    /// Addresses by network.
    pub tagged_addresses: Map<ServiceAddress>,
    #[serde(default, deserialize_with = "null_as_default")]
    /// Free key-value pairs.
    pub meta: Meta,
    #[serde(default)]
    /// Port, 0 for none.
    pub port: u16,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    /// A Unix socket instead.
    pub socket_path: Text,
    #[serde(default)]
    /// How often it is chosen.
    pub weights: Weights,
    #[serde(default)]
    /// Whether others may change the tags.
    pub enable_tag_override: bool,
    #[serde(default)]
    /// Proxy settings.
    pub proxy: serde_json::Value,
    #[serde(default)]
    /// Mesh settings.
    pub connect: serde_json::Value,
    #[serde(default)]
    /// Empty: no peer clusters.
    pub peer_name: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Its stable small number among the instances of its service; only in answers to reads with
    /// [`SLOTS_PARAM`](super::query::SLOTS_PARAM).
    pub slot: Option<u32>,
    #[serde(default)]
    /// When it was first registered.
    pub create_index: Index,
    #[serde(default)]
    /// When the row last changed.
    pub modify_index: Index,
}

impl NodeService {
    /// Shows a row.
    #[must_use]
    pub fn of(instance: &Instance) -> NodeService {
        NodeService {
            kind: instance.kind.clone(),
            id: instance.id.clone(),
            service: instance.service.clone(),
            tags: instance.tags.clone(),
            address: instance.address.clone(),
            tagged_addresses: instance.tagged_addresses.clone(),
            meta: instance.meta.clone(),
            port: instance.port,
            socket_path: instance.socket_path.clone(),
            weights: instance.weights,
            enable_tag_override: instance.enable_tag_override,
            proxy: proxy_of(instance),
            connect: connect_of(instance),
            peer_name: Text::default(),
            slot: None,
            create_index: instance.created,
            modify_index: instance.modified,
        }
    }
}

/// An element of `GET /v1/catalog/service/:name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct CatalogService {
    #[serde(rename = "ID", default)]
    /// The node's UUID, or empty.
    pub id: Text,
    /// The node.
    pub node: NodeName,
    /// The node's address.
    pub address: Text,
    #[serde(default)]
    /// Where it is.
    pub datacenter: Text,
    #[serde(default, deserialize_with = "null_as_default")]
    /// The node's addresses by network.
    pub tagged_addresses: Meta,
    #[serde(default, deserialize_with = "null_as_default")]
    /// The node's key-value pairs.
    pub node_meta: Meta,
    #[serde(default)]
    /// Empty for a plain service.
    pub service_kind: Text,
    #[serde(rename = "ServiceID")]
    /// Unique on its node.
    pub service_id: InstanceId,
    /// The name callers ask for.
    pub service_name: ServiceName,
    #[serde(default, deserialize_with = "null_as_default")]
    /// Labels.
    pub service_tags: Tags,
    #[serde(default)]
    /// IP or host name; the node's when empty.
    pub service_address: Text,
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "null_as_default")]
    /// Addresses by network.
    pub service_tagged_addresses: Map<ServiceAddress>,
    #[serde(default)]
    /// How often it is chosen.
    pub service_weights: Weights,
    #[serde(default, deserialize_with = "null_as_default")]
    /// Free key-value pairs.
    pub service_meta: Meta,
    #[serde(default)]
    /// Port, 0 for none.
    pub service_port: u16,
    #[serde(default)]
    /// A Unix socket instead.
    pub service_socket_path: Text,
    #[serde(default)]
    /// Whether others may change the tags.
    pub service_enable_tag_override: bool,
    #[serde(default)]
    /// Proxy settings.
    pub service_proxy: serde_json::Value,
    #[serde(default)]
    /// Mesh settings.
    pub service_connect: serde_json::Value,
    #[serde(default)]
    /// Always null.
    pub service_locality: serde_json::Value,
    #[serde(default)]
    /// When the instance was first registered.
    pub create_index: Index,
    #[serde(default)]
    /// When its row last changed.
    pub modify_index: Index,
}

impl CatalogService {
    /// Shows an instance with its node.
    #[must_use]
    pub fn of(node: &Node, instance: &Instance, datacenter: &Text) -> CatalogService {
        CatalogService {
            id: node.id.clone(),
            node: node.name.clone(),
            address: node.address.clone(),
            datacenter: datacenter.clone(),
            tagged_addresses: node.tagged_addresses.clone(),
            node_meta: node.meta.clone(),
            service_kind: instance.kind.clone(),
            service_id: instance.id.clone(),
            service_name: instance.service.clone(),
            service_tags: instance.tags.clone(),
            service_address: instance.address.clone(),
            service_tagged_addresses: instance.tagged_addresses.clone(),
            service_weights: instance.weights,
            service_meta: instance.meta.clone(),
            service_port: instance.port,
            service_socket_path: instance.socket_path.clone(),
            service_enable_tag_override: instance.enable_tag_override,
            service_proxy: proxy_of(instance),
            service_connect: connect_of(instance),
            service_locality: serde_json::Value::Null,
            create_index: instance.created,
            modify_index: instance.modified,
        }
    }
}

/// The answer of `GET /v1/catalog/node/:node`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct CatalogNode {
    /// The node.
    pub node: NodeShown,
    /// Its instances by id.
    pub services: BTreeMap<InstanceId, NodeService>,
}

/// The answer of `GET /v1/catalog/node-services/:node`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct CatalogNodeServices {
    /// The node; null when unknown.
    pub node: Option<NodeShown>,
    /// Its instances, by id.
    pub services: Vec<NodeService>,
}

/// A service in a catalog registration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
#[allow(missing_docs, reason = "the fields are those of ServiceRequest, under the catalog's names")]
pub struct CatalogServiceRequest {
    #[serde(rename(serialize = "ID", deserialize = "id"))]
    pub id: String,
    pub service: String,
    pub tags: Vec<String>,
    pub address: String,
    #[serde(rename(serialize = "TaggedAddresses", deserialize = "taggedaddresses"))]
    pub tagged_addresses: BTreeMap<String, AddressRequest>,
    pub meta: BTreeMap<String, String>,
    pub port: u16,
    #[serde(rename(serialize = "SocketPath", deserialize = "socketpath"))]
    pub socket_path: String,
    pub weights: Option<WeightsRequest>,
    #[serde(rename(serialize = "EnableTagOverride", deserialize = "enabletagoverride"))]
    pub enable_tag_override: bool,
    pub kind: String,
    pub proxy: Option<serde_json::Value>,
    pub connect: Option<ConnectRequest>,
    #[serde(rename(serialize = "ModifyIndex", deserialize = "modifyindex"))]
    pub modify_index: u64,
}

/// A check in a catalog registration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct CatalogCheckRequest {
    /// The node, if it is stated again.
    pub node: String,
    #[serde(rename(serialize = "CheckID", deserialize = "checkid"), alias = "id")]
    /// Unique on the node; the name when empty.
    pub id: String,
    /// For people.
    pub name: String,
    /// For people.
    pub notes: String,
    /// How well it is; critical when empty.
    pub status: String,
    /// For people.
    pub output: String,
    #[serde(rename(serialize = "ServiceID", deserialize = "serviceid"))]
    /// The instance it is about.
    pub service_id: String,
    #[serde(rename(serialize = "Type", deserialize = "type"))]
    /// The kind, for show.
    pub kind: String,
    /// How its status is to be found out, by whoever runs it.
    pub definition: Option<serde_json::Value>,
    #[serde(rename(serialize = "ModifyIndex", deserialize = "modifyindex"))]
    /// When it last changed; counts only in transactions that ask for it.
    pub modify_index: u64,
}

/// Body of `PUT /v1/catalog/register`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct RegisterRequest {
    #[serde(rename(serialize = "ID", deserialize = "id"))]
    /// The node's UUID.
    pub id: String,
    /// The node.
    pub node: String,
    /// The node's address.
    pub address: String,
    /// Must be ours when given.
    pub datacenter: String,
    #[serde(rename(serialize = "TaggedAddresses", deserialize = "taggedaddresses"))]
    /// The node's addresses by network.
    pub tagged_addresses: BTreeMap<String, String>,
    #[serde(rename(serialize = "NodeMeta", deserialize = "nodemeta"))]
    /// The node's key-value pairs.
    pub node_meta: BTreeMap<String, String>,
    /// An instance on it.
    pub service: Option<CatalogServiceRequest>,
    /// A check.
    pub check: Option<CatalogCheckRequest>,
    /// More checks.
    pub checks: Vec<CatalogCheckRequest>,
    #[serde(rename(serialize = "SkipNodeUpdate", deserialize = "skipnodeupdate"))]
    /// Leaves the node's row alone.
    pub skip_node_update: bool,
    #[serde(rename(serialize = "WriteRequest", deserialize = "writerequest"))]
    /// Carries a token; passed over.
    pub write_request: Ignored,
}

/// Body of `PUT /v1/catalog/deregister`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct DeregisterRequest {
    /// The node.
    pub node: String,
    /// Must be ours when given.
    pub datacenter: String,
    #[serde(rename(serialize = "ServiceID", deserialize = "serviceid"))]
    /// Only this instance.
    pub service_id: String,
    #[serde(rename(serialize = "CheckID", deserialize = "checkid"))]
    /// Only this check.
    pub check_id: String,
}
