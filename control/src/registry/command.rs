//! What the log carries: writes, and their answers.
//!
//! A command holds everything its effect depends on; the registry adds neither time nor chance. A
//! command is valid in itself (the door saw to that); whether it fits the present state is answered by
//! its [`Outcome`].

use std::sync::Arc;

use callboard_proto::api::check::NewCheck;
use callboard_proto::config_entry::EntryKind;
use callboard_proto::session::SessionRow;
use callboard_proto::text::Text;
use callboard_proto::{CheckId, CheckStatus, Index, Instance, InstanceId, Node, NodeName};
use serde::{Deserialize, Serialize};

use super::acl::{AclCommand, AclRefusal};
use super::autopilot::AutopilotCommand;
use super::connect::{ConnectCommand, ROOTS_MAX};
use super::coordinate::Place;
use super::query::QueryCommand;
use super::restore::RestoreCommand;
use super::txn::{TxnOp, TxnOutcome};

/// A write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Node, instance and checks, written as one.
    Register(Box<Registration>),
    /// Removes a node and everything on it.
    DeregisterNode {
        /// The node.
        node: NodeName,
    },
    /// Removes an instance and its checks.
    DeregisterInstance {
        /// Its node.
        node: NodeName,
        /// The instance.
        id: InstanceId,
        /// Whether the node goes too when nothing is left on it.
        prune: Prune,
        /// Whether a missing instance is an error (agent routes) or not (catalog).
        missing: Missing,
    },
    /// Removes a check.
    DeregisterCheck {
        /// Its node.
        node: NodeName,
        /// The check.
        id: CheckId,
        /// Whether a missing check is an error (agent routes) or not (catalog).
        missing: Missing,
    },
    /// States what a check found.
    UpdateCheck {
        /// Its node.
        node: NodeName,
        /// The check.
        id: CheckId,
        /// How well it is.
        status: CheckStatus,
        /// What the run said.
        output: Text,
    },
    /// Writes a key.
    KvSet {
        /// The key.
        key: Text,
        /// The value.
        value: Arc<[u8]>,
        /// The client's number.
        flags: u64,
        /// Under which condition.
        condition: KvCondition,
    },
    /// Removes a key.
    KvDelete {
        /// The key.
        key: Text,
        /// Only while it was last changed at this index.
        cas: Option<Index>,
    },
    /// Removes every key with a prefix.
    KvDeletePrefix {
        /// The prefix.
        prefix: Text,
    },
    /// Writes a config entry.
    ConfigSet {
        /// The entry as canonical JSON.
        body: Text,
        /// Only while it was last changed at this index; zero: it does not exist.
        cas: Option<Index>,
    },
    /// Removes a config entry.
    ConfigDelete {
        /// Its kind.
        kind: EntryKind,
        /// Its name.
        name: Text,
        /// Only while it was last changed at this index.
        cas: Option<Index>,
    },
    /// Changes the authority of the mesh, or counts what it signs.
    Connect(ConnectCommand),
    /// Begins a session. Its id is new.
    SessionCreate(Box<SessionRow>),
    /// Ends a session, if it has not ended yet.
    SessionDestroy {
        /// The session.
        id: Text,
    },
    /// Changes who may do what.
    Acl(AclCommand),
    /// Does several things as one, or nothing.
    Txn(Vec<TxnOp>),
    /// Writes prepared queries.
    Query(QueryCommand),
    /// Replaces everything, step by step.
    Restore(RestoreCommand),
    /// Changes how servers are kept in good order.
    Autopilot(AutopilotCommand),
    /// Tells where nodes are.
    Place(Vec<Place>),
}

/// Whether an empty node is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prune {
    /// The node stays.
    Keep,
    /// A node without instances and checks goes.
    EmptyNode,
}

/// What it means when the thing to be removed is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// Nothing: it is as wished.
    Fine,
    /// The caller is told.
    Refused,
}

/// Under which condition a key is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCondition {
    /// None.
    Always,
    /// It was last changed at this index; zero: it does not exist.
    Cas(Index),
    /// The session gets the lock.
    Acquire {
        /// The session.
        session: Text,
        /// The state in which the proposer found no lock delay. If the key changed since, the proposer has to look
        /// again: the registry has no clock, and the key may have been lost in between.
        seen: Index,
    },
    /// The session has the lock, and gives it up.
    Release(Text),
}

/// What is to be done with the node of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeUpdate {
    /// The row is replaced.
    Put,
    /// The row is made if there is none.
    Ensure,
    /// The row must be there, and is left alone.
    Skip,
}

/// Node, instance and checks, written as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The node; only its name counts with [`NodeUpdate::Skip`].
    pub node: Node,
    /// What is to be done with it.
    pub node_update: NodeUpdate,
    /// The instance.
    pub instance: Option<Instance>,
    /// The checks.
    pub checks: Vec<NewCheck>,
    /// Whether checks of the instance that are not listed go.
    pub checks_replace: bool,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is as wished.
    Done,
    /// Whether the condition held, and so whether anything was written.
    Held(bool),
    /// A serial number was given out.
    Serial {
        /// The number.
        number: u64,
        /// When.
        index: Index,
    },
    /// The state moved on since the proposer looked; nothing was written, and it is to look again.
    Overtaken,
    /// It does not fit the present state; nothing was written.
    Refused(Refusal),
    /// What a transaction found, or what failed in it; then nothing was written.
    Txn(TxnOutcome),
}

/// Why a command does not fit the present state. The texts are what clients match on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such instance on the node.
    #[error("Unknown service ID {0:?}. Ensure that the service ID is passed, not the service name.")]
    UnknownInstance(InstanceId),
    /// No such check on the node.
    #[error("Unknown check ID {0:?}. Ensure that the check ID is passed, not the check name.")]
    UnknownCheck(CheckId),
    /// A check of an agent names an instance that is not there.
    #[error("ServiceID {0:?} does not exist")]
    NoSuchInstance(InstanceId),
    /// A check of the catalog names an instance that is not there.
    #[error("Missing service registration")]
    MissingInstance,
    /// The node is to be left alone, and is not there.
    #[error("Missing node registration")]
    MissingNode,
    /// Another node has this name.
    #[error(
        "failed inserting node: Error while renaming Node ID: {id:?}: Node name {name} is reserved by node {holder} with name {name} ({address})"
    )]
    NameReserved {
        /// The id that asked.
        id: Text,
        /// The name asked for.
        name: NodeName,
        /// The id that has it.
        holder: Text,
        /// Its address.
        address: Text,
    },
    /// A check that a session is to depend on is not there.
    #[error("Missing check '{0}' registration")]
    MissingCheck(CheckId),
    /// A check that a session is to depend on is critical.
    #[error("Check '{0}' is in critical state")]
    CriticalCheck(CheckId),
    /// There is a session with this id.
    #[error("session {0:?} exists already")]
    DuplicateSession(Text),
    /// A config entry contradicts another one.
    #[error("{0}")]
    ConfigEntry(String),
    /// More roots of the mesh than are kept at a time.
    #[error("there are {ROOTS_MAX} roots of the mesh already; old ones go when what they signed is over")]
    TooManyRoots,
    /// No such session.
    #[error("invalid session {0:?}")]
    InvalidSession(Text),
    /// A write of access control does not fit.
    #[error(transparent)]
    Acl(#[from] AclRefusal),
    /// No such prepared query.
    #[error("Query not found")]
    UnknownQuery,
    /// A prepared query is wrong, or in the way of another one.
    #[error("{0}")]
    Query(String),
    /// The state cannot take the place of the present one.
    #[error("restoring: {0}")]
    Restore(String),
}
