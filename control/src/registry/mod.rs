//! The registry: one deterministic state, fed by commands.
//!
//! `apply` is the only way to change it. It has no clock, no dice and no settings, so every replica
//! that applies the same commands holds the same bytes. Rows live in persistent maps: a clone costs
//! nothing, and a reader keeps the state it began with. Who calls it: `cluster::machine` applies,
//! everyone else reads.

mod acl;
mod audit;
mod autopilot;
mod catalog;
mod checkpoint;
pub mod command;
mod config_entry;
mod connect;
mod coordinate;
mod free;
mod kv;
mod mesh;
mod node;
mod query;
pub mod restore;
mod session;
mod slots;
pub mod topic;
pub mod txn;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use callboard_proto::kv::KvEntry;
use callboard_proto::session::SessionRow;
use callboard_proto::text::Text;
use callboard_proto::{Check, CheckId, Index, Instance, InstanceId, Node, NodeName, ServiceName};
use imbl::{OrdMap, OrdSet};

use acl::AclTables;
use config_entry::ConfigTable;
use connect::ConnectTable;
use coordinate::CoordinateTable;
use mesh::MeshTable;
use query::QueryTable;
use slots::SlotTable;

pub use acl::{AclCommand, AclRefusal, AclTopic, Write};
pub use autopilot::{AutopilotCommand, AutopilotRow, AutopilotSettings, CommercialSettings};
pub use catalog::{CheckChange, ServiceRow};
pub use checkpoint::CheckpointError;
pub use command::{Command, KvCondition, Missing, NodeUpdate, Outcome, Prune, Refusal, Registration};
pub use config_entry::ConfigRow;
pub use connect::{CaRoot, CaSettings, ConnectCommand, Hidden, ROOTS_MAX};
pub use coordinate::{PLACES_MAX, Place};
pub use query::{QueryBody, QueryCommand, QueryRow, Resolved};
pub use session::SessionChange;
pub use topic::{Topic, Touched};
pub use txn::{TxnFault, TxnOp, TxnOutcome, TxnRow};

/// The whole state. Keys that are names are folded; rows keep the case in which they were written.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    index: Index,
    nodes: OrdMap<NodeName, Arc<Node>>,
    /// The ids of nodes that have one, each with its node.
    node_ids: OrdSet<(Text, NodeName)>,
    instances: OrdMap<(NodeName, InstanceId), Arc<Instance>>,
    services: OrdMap<ServiceName, ServiceRow>,
    /// By node, instance (none for node-level checks) and id.
    checks: OrdMap<(NodeName, InstanceId, CheckId), Arc<Check>>,
    /// The instance of each check, because ids are unique on a node.
    check_owners: OrdMap<(NodeName, CheckId), InstanceId>,
    kv: OrdMap<Text, Arc<KvEntry>>,
    sessions: OrdMap<Text, Arc<SessionRow>>,
    /// The sessions of each node.
    sessions_on: OrdSet<(NodeName, Text)>,
    /// The keys that each session holds.
    locks: OrdSet<(Text, Text)>,
    graves: Graves,
    config: ConfigTable,
    acl: AclTables,
    connect: ConnectTable,
    slots: SlotTable,
    queries: QueryTable,
    autopilot: Option<AutopilotRow>,
    coordinates: CoordinateTable,
    mesh: MeshTable,
    staged: Option<restore::Staged>,
    tables: Tables,
    /// How often this process replaced the state whole. Not part of the state, and never written.
    lineage: u64,
}

/// When each kind of row last changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Tables {
    nodes: Index,
    services: Index,
    checks: Index,
    kv: Index,
    sessions: Index,
    /// When the last instance of any service went.
    extinction: Index,
}

/// When keys went, so that the index of a prefix does not go backwards.
#[derive(Debug, Clone, Default)]
struct Graves {
    by_key: OrdMap<Text, Index>,
    by_index: OrdSet<(Index, Text)>,
    /// The index of the youngest grave that was given up.
    floor: Index,
}

/// What one command did, while it is being applied.
struct Change<'a> {
    /// The index that the command gets if it changes anything.
    at: Index,
    changed: bool,
    touched: &'a mut Touched,
}

impl Change<'_> {
    fn touch(&mut self, topic: Topic) -> Index {
        self.changed = true;
        self.touched.add(topic);
        self.at
    }
}

impl Registry {
    /// Applies one command. If it changes nothing, no index moves and no topic is touched.
    pub fn apply(&mut self, command: Command, touched: &mut Touched) -> Outcome {
        let mut change = Change { at: self.index.next(), changed: false, touched };
        let outcome = match command {
            Command::Register(registration) => self.register(*registration, &mut change),
            Command::DeregisterNode { node } => self.deregister_node(&node, &mut change),
            Command::DeregisterInstance { node, id, prune, missing } => {
                self.deregister_instance(&node, &id, prune, missing, &mut change)
            }
            Command::DeregisterCheck { node, id, missing } => self.deregister_check(&node, &id, missing, &mut change),
            Command::UpdateCheck { node, id, status, output } => {
                self.update_check(&node, &id, status, output, &mut change)
            }
            Command::KvSet { key, value, flags, condition } => self.kv_set(key, value, flags, condition, &mut change),
            Command::KvDelete { key, cas } => self.kv_delete(&key, cas, &mut change),
            Command::KvDeletePrefix { prefix } => self.kv_delete_prefix(&prefix, &mut change),
            Command::SessionCreate(session) => self.create_session(*session, &mut change),
            Command::ConfigSet { body, cas } => self.set_config(body, cas, &mut change),
            Command::ConfigDelete { kind, name, cas } => self.delete_config(kind, &name, cas, &mut change),
            Command::Connect(command) => self.connect(command, &mut change),
            Command::SessionDestroy { id } => self.end_session(&id, &mut change),
            Command::Acl(command) => self.write_acl(command, &mut change),
            Command::Query(command) => self.apply_query(command, &mut change),
            Command::Restore(command) => self.apply_restore(command, change.touched),
            Command::Place(places) => self.place(places, &mut change),
            Command::Txn(ops) => self.apply_txn(ops, &mut change),
            Command::Autopilot(command) => self.apply_autopilot(command, &mut change),
        };
        if change.changed {
            self.index = change.at;
        }
        outcome
    }

    /// Makes this state the successor of another that it replaces whole.
    #[must_use]
    pub fn replacing(self, other: &Registry) -> Registry {
        Registry { lineage: other.lineage + 1, ..self }
    }

    /// Which of the states that this process replaced one another by whole this one comes from: indexes of
    /// different ones cannot be compared.
    #[must_use]
    pub fn lineage(&self) -> u64 {
        self.lineage
    }

    /// The place in history: how many commands changed something.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }
}
