//! Everything that can go wrong in this package, and what is true afterwards.
//!
//! It does not choose HTTP codes or exit codes; the caller does, from the variant.

use std::io;
use std::path::PathBuf;

use crate::status::Peer;

/// What was being done, and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process works in this folder. Nothing was touched.
    #[error("data folder {path} is in use by another process")]
    DataDirLocked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder cannot be created, read or written.
    #[error("data folder {path} cannot be used")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The log file cannot be opened or read. It was not changed.
    #[error("log file {path} cannot be read")]
    ReadLog {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The folder belongs to another node: an identity must never move to another disk's history.
    #[error("data folder {path} belongs to node {found:016x}, not {wanted:016x}")]
    NodeIdMismatch {
        /// The folder.
        path: PathBuf,
        /// The identity asked for.
        wanted: u64,
        /// The identity stored.
        found: u64,
    },
    /// No readable checkpoint reaches back to where the log begins, so the state cannot be rebuilt.
    /// The damaged files were set aside as `*.bad`; restore the folder from a backup, or empty it and let
    /// the node join the cluster again under a new identity.
    #[error("no readable checkpoint in {path}, and the log begins only after entry {purged}")]
    CheckpointsLost {
        /// The folder.
        path: PathBuf,
        /// The last log entry that is no longer in the log.
        purged: u64,
    },
    /// A checkpoint is intact but the state refuses it: most likely a newer version wrote it.
    #[error("checkpoint {path} is intact but was refused")]
    RestoreCheckpoint {
        /// The file.
        path: PathBuf,
        /// The state's reason.
        #[source]
        source: io::Error,
    },
    /// The settings contradict each other.
    #[error("invalid consensus settings: {reason}")]
    Settings {
        /// Which, and how.
        reason: String,
    },
    /// This node does not lead. The write was not accepted here and may be sent to the leader.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<Peer>,
    },
    /// Leadership changed while the write was under way: it may or may not take effect.
    #[error("the leader changed during the write; its outcome is unknown")]
    OutcomeUnknown {
        /// Who leads now, as far as this node knows.
        leader: Option<Peer>,
    },
    /// No quorum of voters answers. Nothing was accepted.
    #[error("no quorum of voters answers")]
    NoQuorum,
    /// The entry is longer than one entry may be. Nothing was accepted.
    #[error("an entry of {len} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Length of the refused entry, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// As much is waiting to be proposed as may wait. Nothing was accepted.
    #[error("no more than {max} {what} may wait at once")]
    Busy {
        /// What is counted.
        what: &'static str,
        /// The bound that was hit.
        max: usize,
    },
    /// A change of members was refused. The members are what they were.
    #[error("change of members refused: {reason}")]
    Membership {
        /// Why.
        reason: String,
    },
    /// A message of another node could not be understood. Nothing changed.
    #[error("malformed message of another node: {reason}")]
    Malformed {
        /// What was wrong.
        reason: String,
    },
    /// A checkpoint could not be written. The older ones and the log stand, so nothing is lost.
    #[error("writing a checkpoint")]
    WriteCheckpoint(#[source] io::Error),
    /// A checkpoint sent by the leader could not be stored. The old state stands.
    #[error("receiving a checkpoint")]
    ReceiveCheckpoint(#[source] io::Error),
    /// The node stopped for good: its disk failed, it met a bug, or it was shut down. What was
    /// acknowledged stands; nothing will be acknowledged any more. The process should exit.
    #[error("consensus stopped: {reason}")]
    Fatal {
        /// What stopped it.
        reason: String,
    },
}

impl Error {
    /// Returns whether the same call may succeed when made again, on this node or on the leader.
    ///
    /// [`Error::OutcomeUnknown`] is retryable only for writes that may safely happen twice, so it says no.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotLeader { .. } | Self::NoQuorum | Self::Busy { .. })
    }
}
