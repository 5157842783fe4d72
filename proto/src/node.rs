//! A host that carries instances, as the registry stores it.

use serde::{Deserialize, Serialize};

use crate::index::Index;
use crate::name::NodeName;
use crate::text::{Meta, Text};

/// A node row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// A UUID, or empty for nodes that were registered without one.
    pub id: Text,
    /// The name, in the case in which it was registered.
    pub name: NodeName,
    /// The address that instances without one of their own are called at.
    pub address: Text,
    /// Addresses by network: `lan`, `wan`, `lan_ipv4`, …
    pub tagged_addresses: Meta,
    /// Free key-value pairs.
    pub meta: Meta,
    /// When the node was first registered.
    pub created: Index,
    /// When the row last changed.
    pub modified: Index,
}

impl Node {
    /// Whether the other row says the same, whatever its place in history.
    #[must_use]
    pub fn same_as(&self, other: &Node) -> bool {
        self.id == other.id
            && self.name == other.name
            && self.address == other.address
            && self.tagged_addresses == other.tagged_addresses
            && self.meta == other.meta
    }
}
