//! What goes wrong with the replicated registry.

use std::sync::Arc;

use crate::registry::Refusal;

/// What went wrong, and what is true afterwards.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No leader is known. Nothing was written.
    #[error("No cluster leader")]
    NoLeader,
    /// The log refused the write or cannot tell whether it took it.
    #[error("write failed: {0}")]
    Propose(Arc<callboard_consensus::Error>),
    /// It was passed on to the leader, and failed there or on the way. It may or may not take effect.
    #[error("write failed: {0}")]
    Forwarded(Arc<str>),
    /// It was done, but this node did not hear of it in time: reads here may not show it yet.
    #[error("written, but this node lags behind the leader")]
    Behind,
    /// The command does not fit the state. Nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node is stopping. The write may or may not take effect.
    #[error("the control node is stopping")]
    Stopping,
}
