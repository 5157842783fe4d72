//! One running copy of a service, as the registry stores it.

use serde::{Deserialize, Serialize};

use crate::index::Index;
use crate::name::{InstanceId, ServiceName};
use crate::text::{Map, Meta, Tags, Text};

/// The key of an instance's meta that says when its process first signed in, in seconds since 1970. Set by the SDK, read
/// by callers that let newcomers begin slowly.
pub const STARTED_META: &str = "callboard-started";

/// How often an instance is chosen, relative to its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weights {
    /// While all its checks pass.
    #[serde(rename = "Passing")]
    pub passing: u16,
    /// While a check warns.
    #[serde(rename = "Warning")]
    pub warning: u16,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { passing: 1, warning: 1 }
    }
}

/// Where an instance is reached from one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServiceAddress {
    /// IP or host name.
    #[serde(rename = "Address")]
    pub address: Text,
    /// Port.
    #[serde(rename = "Port", default)]
    pub port: u16,
}

/// An instance row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Unique on its node.
    pub id: InstanceId,
    /// The name callers ask for.
    pub service: ServiceName,
    /// Empty for a plain service, else `connect-proxy`, `mesh-gateway`, …
    pub kind: Text,
    /// In the order in which they were registered.
    pub tags: Tags,
    /// IP or host name; empty means the node's address.
    pub address: Text,
    /// Addresses by network.
    pub tagged_addresses: Map<ServiceAddress>,
    /// Free key-value pairs.
    pub meta: Meta,
    /// Port, 0 when it has none.
    pub port: u16,
    /// A Unix socket instead of address and port.
    pub socket_path: Text,
    /// How often it is chosen.
    pub weights: Weights,
    /// Whether others may change the tags.
    pub enable_tag_override: bool,
    /// The proxy settings as the client wrote them: a JSON object as text, or empty. Kept as text because
    /// the registry never looks inside.
    pub proxy: Text,
    /// Whether it speaks mesh TLS itself.
    pub connect_native: bool,
    /// When it was first registered.
    pub created: Index,
    /// When the row last changed.
    pub modified: Index,
}

impl Instance {
    /// The service that it takes mesh TLS for: its own, natively, or as the proxy of another.
    #[must_use]
    pub fn mesh_service(&self) -> Option<ServiceName> {
        if &*self.kind != "connect-proxy" {
            return self.connect_native.then(|| self.service.clone());
        }
        let proxy: serde_json::Value = serde_json::from_str(&self.proxy).ok()?;
        let destination = ["DestinationServiceName", "destination_service_name"].iter().find_map(|key| proxy.get(key));
        ServiceName::parse(destination?.as_str()?).ok()
    }

    /// Whether the other row says the same, whatever its place in history.
    #[must_use]
    pub fn same_as(&self, other: &Instance) -> bool {
        let stamped = Instance { created: self.created, modified: self.modified, ..other.clone() };
        *self == stamped
    }
}
