//! Why a control node does not start, or stops.

use std::io;

use crate::acl::UnwritableTokens;
use crate::config::{Address, ConfigError};

/// What was being done, and what is true afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings are wrong. Nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port is taken or not ours. Nothing was started.
    #[error("binding {what} to {address}")]
    Bind {
        /// Which port.
        what: &'static str,
        /// Where.
        address: Address,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A socket that was handed over is broken.
    #[error("using the {what} socket")]
    Socket {
        /// Which.
        what: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The registry cannot be opened. What it holds is untouched.
    #[error("opening the registry")]
    Open(#[from] callboard_consensus::Error),
    /// The certificates of a port cannot be used. Nothing was started.
    #[error("certificates")]
    Tls(#[from] crate::tls::TlsError),
    /// `tls.internal_rpc.server_name` is no name of a host. Nothing was started.
    #[error("tls.internal_rpc.server_name: {0}")]
    ServerName(String),
    /// The tokens that this node was given before cannot be read. Nothing was started.
    #[error("reading what access control kept")]
    Tokens(#[from] UnwritableTokens),
    /// The key of gossip is none, or cannot be kept. Nothing was started.
    #[error("encrypt")]
    Keyring(#[from] crate::cluster::KeyError),
    /// None of the members that were to be joined answers.
    #[error("joining the cluster")]
    Join(#[source] crate::cluster::JoinError),
    /// What files defined before cannot be read. Nothing was started.
    #[error(transparent)]
    Definitions(#[from] crate::definitions::DefinitionError),
    /// The log cannot be written any more. What was acknowledged is on disk; nothing else was acknowledged.
    #[error("the log failed: {reason}")]
    LogFailed {
        /// The engine's reason.
        reason: String,
    },
    /// The file for the log cannot be written. Nothing was started.
    #[error("writing the log to {path}")]
    LogFile {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file for the process id cannot be written.
    #[error("writing the process id to {path}")]
    PidFile {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}
