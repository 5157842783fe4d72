//! The one instantiation of openraft's generic types. Nothing here is public.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Proposed bytes. Cloned on the way to the disk and to other nodes, hence reference counted.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Data(pub(crate) Bytes);

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Data,
        R = Vec<u8>,
        NodeId = u64,
        Node = openraft::BasicNode,
);

pub(crate) type LogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type Membership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type Meta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<Types, crate::checkpoint::Checkpoint>;
pub(crate) type Engine = openraft::Raft<Types, crate::state::State>;
pub(crate) type Metrics = openraft::RaftMetrics<Types>;
