//! The sidecar's errors: what it was doing, and what is true afterwards.
//!
//! Only starting and running fail with these. What goes wrong with one request is an answer to its
//! caller (`forward::answer`), never an error of the process.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the sidecar did not start, or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings contradict themselves or cannot be read; nothing was started.
    #[error("{message}")]
    Usage {
        /// What is wrong, naming the setting.
        message: String,
        /// What to do about it, when it can be guessed.
        hint: Option<String>,
    },
    /// A settings or token file could not be read; nothing was started.
    #[error("reading {path}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// An address could not be listened on; nothing was started.
    #[error("listening on {address} for {what}")]
    Listen {
        /// What the listener was for: `admin`, `outbound` or `upstream NAME`.
        what: String,
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A thread or its runtime could not be started; what had started was stopped.
    #[error("starting worker thread {index}")]
    Worker {
        /// Which of the worker threads.
        index: usize,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A worker thread ended before it was told to; requests in flight on it are lost.
    #[error("a worker thread ended unexpectedly")]
    WorkerLost,
    /// The client of the control node could not be built; nothing was started.
    #[error("preparing the client of the control node")]
    Client(#[source] callboard::Error),
    /// The control node refused the registration of the local application; it is not in the catalog.
    #[error("registering service {service}")]
    Register {
        /// The service.
        service: String,
        /// What the control node answered.
        #[source]
        source: std::sync::Arc<callboard::Error>,
    },
}

impl Error {
    /// Builds a usage error without a hint.
    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::Usage { message: message.into(), hint: None }
    }

    /// The exit code of the process: 2 when the caller should change how it was started, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage { .. } => 2,
            _ => 1,
        }
    }

    /// Tells whether starting again, with the same settings, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Error::Usage { .. } | Error::Client(_) | Error::Register { .. })
    }

    /// What to do next, when it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Usage { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }
}
