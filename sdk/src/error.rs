//! What can go wrong, said so that the reader knows what was being done and what is true afterwards.
//!
//! One enum for the crate. [`Error::is_retryable`] answers whether the same call may succeed later
//! without anybody changing it. Calls to a service fail with [`Error::Call`], which lists every try.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::call::CallError;

/// The cause of an error, whatever library it came from.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Lists what can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting cannot be used. Nothing was started.
    #[error("setting {setting}: {reason}")]
    Config {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it and what would be accepted.
        reason: String,
    },
    /// No server could be connected to, or none answered in time. A read changed nothing; a write may
    /// have been done if the connection broke after it was sent.
    #[error("{doing}: no answer from {server}")]
    Unreachable {
        /// What was being done.
        doing: String,
        /// The server that was tried last.
        server: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The server did not answer in time. A write may or may not have been done.
    #[error("{doing}: {server} did not answer within {after:?}")]
    Timeout {
        /// What was being done.
        doing: String,
        /// The server.
        server: String,
        /// The time it was given.
        after: Duration,
    },
    /// The server answered with an error. With a 4xx nothing was done.
    #[error("{doing}: {server} answered {status}: {text}")]
    Status {
        /// What was being done.
        doing: String,
        /// The server.
        server: String,
        /// The status.
        status: StatusCode,
        /// The text of the answer, cut at 1 KiB.
        text: String,
    },
    /// The server's answer is not what the interface says. Nothing of it was used.
    #[error("{doing}: the answer cannot be used")]
    Answer {
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A bound was reached. Nothing was done.
    #[error("{what}: the bound of {max} was reached")]
    Bound {
        /// Which bound.
        what: &'static str,
        /// Its value.
        max: usize,
    },
    /// The client was shut down. Nothing was done.
    #[error("the client was shut down")]
    Closed,
    /// A name is not one.
    #[error("{doing}: {source}")]
    Name {
        /// What was being done.
        doing: &'static str,
        /// What is wrong with it.
        #[source]
        source: callboard_proto::name::NameError,
    },
    /// The registration was not confirmed within the time that the caller was ready to wait. Nobody
    /// keeps it up any more.
    #[error("registering {instance}: not confirmed within {after:?}")]
    NotRegistered {
        /// The instance.
        instance: String,
        /// The time the caller was ready to wait.
        after: Duration,
        /// The last failure.
        #[source]
        source: Option<Arc<Error>>,
    },
    /// Fewer endpoints than wanted were known in time. The watch goes on.
    #[error("waiting for {service}: {known} of {wanted} endpoints after {after:?}")]
    NotReady {
        /// The service.
        service: String,
        /// How many endpoints may be called.
        known: usize,
        /// How many were wanted.
        wanted: usize,
        /// The time given.
        after: Duration,
    },
    /// The registry no longer lists most of a service's endpoints, and some of them still answer. The old snapshot is
    /// kept for now.
    #[error(
        "watching {service}: the registry lists {listed} and misses {missing} endpoints, of which {answered} of {dialled} dialled still answer; the old snapshot is held"
    )]
    Doubted {
        /// The service.
        service: String,
        /// How many endpoints the registry lists.
        listed: usize,
        /// How many of those known before it leaves out.
        missing: usize,
        /// How many of those dialled answered.
        answered: usize,
        /// How many of the missing were dialled.
        dialled: usize,
    },
    /// A value is not what the application reads from or writes to this key. A last good value stays.
    #[error("the value of {key:?} cannot be used")]
    Decode {
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The key is used for something else than a lock, or for a semaphore of another size. Nothing was changed.
    #[error("{key:?} is used for something else than what was asked for")]
    LockConflict {
        /// The key.
        key: String,
    },
    /// The lock was not to be had within the time that the caller was ready to wait. Nothing is held.
    #[error("locking {key:?}: held by others for {after:?}")]
    NotLocked {
        /// The key.
        key: String,
        /// The time given.
        after: Duration,
    },
    /// A call to a service failed; every try is listed.
    #[error(transparent)]
    Call(#[from] Box<CallError>),
}

impl Error {
    /// Says whether the same call may succeed later without anybody changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Unreachable { .. }
            | Error::Timeout { .. }
            | Error::NotRegistered { .. }
            | Error::Doubted { .. }
            | Error::NotReady { .. }
            | Error::NotLocked { .. } => true,
            Error::Status { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Error::Call(call) => call.is_retryable(),
            Error::Answer { .. } => true,
            Error::Config { .. }
            | Error::Bound { .. }
            | Error::Closed
            | Error::Name { .. }
            | Error::Decode { .. }
            | Error::LockConflict { .. } => false,
        }
    }

    /// Returns the status of the answer, if a server answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Error::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Writes an error with all its causes on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        // Wrappers like to repeat their source in their own text.
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}
