//! What control nodes ask each other beside the log's own messages, and how it is written.
//!
//! Every body begins with a version byte, because postcard does not describe itself. Decides no routes and no order.

use std::sync::Arc;

use callboard_consensus::{Barrier, Peer};
use callboard_proto::text::Text;
use callboard_proto::{CheckId, NodeName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cluster::Health;
use crate::registry::{Refusal, TxnOp, TxnOutcome};

/// First byte of every body.
const FORMAT: u8 = 1;

/// Why another node did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refused {
    /// It cannot now, mostly because it does not lead. Nothing happened; ask the leader, or again.
    #[error("{0}")]
    NotNow(String),
    /// It does not fit the present state. Nothing happened.
    #[error(transparent)]
    Refusal(Refusal),
    /// It failed for good. Nothing happened.
    #[error("{0}")]
    Failed(String),
    /// It may or may not have happened.
    #[error("{0}")]
    Unknown(String),
}

impl From<&callboard_consensus::Error> for Refused {
    fn from(error: &callboard_consensus::Error) -> Refused {
        use callboard_consensus::Error;
        match error {
            Error::NotLeader { .. } | Error::NoQuorum | Error::Busy { .. } => Refused::NotNow(error.to_string()),
            Error::OutcomeUnknown { .. } | Error::Fatal { .. } => Refused::Unknown(error.to_string()),
            _ => Refused::Failed(error.to_string()),
        }
    }
}

/// An entry that was written for another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cluster) struct Written {
    /// The machine's answer.
    pub(in crate::cluster) answer: Vec<u8>,
    /// Where it stands in the log.
    pub(in crate::cluster) log_index: u64,
}

/// How sure a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::cluster) enum Sure {
    /// The leader's lease.
    Lease,
    /// A quorum, asked now.
    Quorum,
}

impl From<Sure> for Barrier {
    fn from(sure: Sure) -> Barrier {
        match sure {
            Sure::Lease => Barrier::Lease,
            Sure::Quorum => Barrier::Quorum,
        }
    }
}

/// What is for the leader to do because only it has it in memory, or may do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::cluster) enum Errand {
    /// Takes a lock, unless its delay is not over.
    Acquire { key: Text, value: Arc<[u8]>, flags: u64, session: Text },
    /// Does a transaction, unless the delay of one of its locks is not over.
    Transact { ops: Vec<TxnOp> },
    /// Starts the time of a session afresh.
    Renew { id: Text },
    /// Starts the time of a beaten check afresh.
    Beat { node: NodeName, id: CheckId },
    /// Starts the time of checks that were registered.
    Registered { node: NodeName, ids: Vec<CheckId> },
    /// Has another voter lead.
    HandOver { heir: Option<u64> },
    /// Takes a member out of the log's members, and its node, by name and id, out of the catalog.
    Dismiss { raft_id: u64, node: Option<(NodeName, String)> },
    /// Says how each server is.
    Health,
}

/// What came of an errand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::cluster) struct Run {
    /// The result.
    pub(in crate::cluster) outcome: Errands,
    /// Up to where the leader had applied the log then.
    pub(in crate::cluster) log_index: u64,
}

/// The results of errands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::cluster) enum Errands {
    /// It is done.
    Done,
    /// Whether the session has the lock, or lives.
    Held(bool),
    /// What the beat found.
    Beaten(Beaten),
    /// What the transaction did.
    Transacted(TxnOutcome),
    /// How all servers are.
    Health(Health),
}

/// What the leader knows of a check that was beaten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beaten {
    /// The beat was in time.
    InTime,
    /// The time had run out: what the registry says about the check may be about to change.
    Late,
    /// No time runs for it.
    Unknown,
}

/// A member of a cluster that is to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cluster) struct Founder {
    pub(in crate::cluster) id: u64,
    pub(in crate::cluster) address: String,
}

impl From<&Founder> for Peer {
    fn from(founder: &Founder) -> Peer {
        Peer { id: founder.id, address: founder.address.clone() }
    }
}

/// Writes a message.
pub(in crate::cluster) fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(message, vec![FORMAT]).expect("messages are plain data and always encode")
}

/// Reads a message.
pub(in crate::cluster) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    match body.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| error.to_string()),
        Some((format, _)) => Err(format!("a message of version {format}, known is {FORMAT}")),
        None => Err("an empty message".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_and_others_are_refused() {
        let errand = Errand::Beat { node: NodeName::parse("n").unwrap(), id: CheckId::parse("c").unwrap() };
        assert_eq!(decode::<Errand>(&encode(&errand)).unwrap(), errand);
        assert!(decode::<Errand>(&[]).is_err());
        assert!(decode::<Errand>(&[FORMAT + 1, 0]).unwrap_err().contains("version"));
        assert!(decode::<Errand>(&[FORMAT, 99]).is_err());
    }
}
