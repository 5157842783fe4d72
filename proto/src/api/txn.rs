//! `/v1/txn`: several operations as one.
//!
//! Bodies and answers only; what an operation means is decided by whoever runs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::catalog::{CatalogCheckRequest, CatalogServiceRequest, NodeService, NodeShown};
use super::health::HealthCheck;
use super::kv::{Base64, KvShown};

/// The most operations in one transaction.
pub const OPS_MAX: usize = 128;

/// One operation: exactly one of its fields is there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnOpRequest {
    /// On a key.
    #[serde(rename(serialize = "KV", deserialize = "kv"))]
    pub kv: Option<TxnKvRequest>,
    /// On a node.
    pub node: Option<TxnNodeRequest>,
    /// On an instance.
    pub service: Option<TxnServiceRequest>,
    /// On a check.
    pub check: Option<TxnCheckRequest>,
    /// On a session.
    pub session: Option<TxnSessionRequest>,
}

/// An operation on a key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnKvRequest {
    /// What is done.
    pub verb: String,
    /// The key, or a prefix.
    pub key: String,
    /// The value.
    pub value: Base64,
    /// A number for the client's own use.
    pub flags: u64,
    /// For verbs with a condition.
    pub index: u64,
    /// For verbs about locks.
    pub session: String,
}

/// An operation on a node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnNodeRequest {
    /// What is done.
    pub verb: String,
    /// The node.
    pub node: TxnNode,
}

/// A node in an operation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnNode {
    /// Its UUID.
    #[serde(rename(serialize = "ID", deserialize = "id"))]
    pub id: String,
    /// Its name.
    pub node: String,
    /// Its address.
    pub address: String,
    /// Must be ours when given.
    pub datacenter: String,
    #[serde(rename(serialize = "TaggedAddresses", deserialize = "taggedaddresses"))]
    /// Addresses by network.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
    #[serde(rename(serialize = "ModifyIndex", deserialize = "modifyindex"))]
    /// For verbs with a condition.
    pub modify_index: u64,
}

/// An operation on an instance.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnServiceRequest {
    /// What is done.
    pub verb: String,
    /// The node that it runs on.
    pub node: String,
    /// The instance.
    pub service: CatalogServiceRequest,
}

/// An operation on a check.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnCheckRequest {
    /// What is done.
    pub verb: String,
    /// The check.
    pub check: CatalogCheckRequest,
}

/// An operation on a session.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnSessionRequest {
    /// What is done.
    pub verb: String,
    /// The session.
    pub session: TxnSession,
}

/// A session in an operation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all(serialize = "PascalCase"))]
pub struct TxnSession {
    /// Its id.
    #[serde(rename(serialize = "ID", deserialize = "id"))]
    pub id: String,
}

impl TxnOpRequest {
    /// Whether it changes something. What nobody knows changes nothing.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let is_row = |verb: &str| ["set", "cas", "delete", "delete-cas"].contains(&verb);
        let is_key = |verb: &str| is_row(verb) || ["lock", "unlock", "delete-tree"].contains(&verb);
        self.kv.as_ref().is_some_and(|op| is_key(&op.verb))
            || self.node.as_ref().is_some_and(|op| is_row(&op.verb))
            || self.service.as_ref().is_some_and(|op| is_row(&op.verb))
            || self.check.as_ref().is_some_and(|op| is_row(&op.verb))
            || self.session.is_some()
    }
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct TxnShown {
    /// What the operations found and made, in their order; none when one failed.
    pub results: Option<Vec<TxnResult>>,
    /// The operations that failed; none when all is done.
    pub errors: Option<Vec<TxnError>>,
}

/// The answer to a transaction that only reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct TxnReadShown {
    /// What was found.
    #[serde(flatten)]
    pub shown: TxnShown,
    /// Always 1: nobody waits on a transaction.
    pub index: u64,
    /// How long ago the leader was heard of, in milliseconds.
    pub last_contact: u64,
    /// Whether there is a leader.
    pub known_leader: bool,
    /// Always empty.
    pub consistency_level: String,
    /// Always false.
    pub not_modified: bool,
    /// Always 0.
    pub backend: u64,
}

/// One row of the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TxnResult {
    /// A key.
    #[serde(rename = "KV")]
    Kv(KvShown),
    /// A node.
    Node(NodeShown),
    /// An instance.
    Service(NodeService),
    /// A check.
    Check(HealthCheck),
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct TxnError {
    /// Its place, from zero.
    pub op_index: usize,
    /// Why.
    pub what: String,
}
