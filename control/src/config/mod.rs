//! Settings: flag over environment over file over default.
//!
//! [`AgentFlags`] is the command line; `file` and the files of its nouns hold the keys that a configuration file may
//! have (JSON, HCL or TOML, with Consul's names); `sources` reads and joins them; [`Config`] is what comes out, valid
//! as a whole. Nothing below `server` sees any of them.

use std::path::PathBuf;
use std::time::Duration;

use callboard_proto::api::session::{TTL_MAX, TTL_MIN};
use callboard_proto::config_entry::ConfigEntry;
use callboard_proto::duration::GoDuration;
use callboard_proto::{NodeName, api};

mod acl;
mod cluster;
mod connect;
mod definitions;
mod dns;
mod environment;
mod file;
mod flags;
mod keys;
mod limits;
mod log;
mod merge;
mod net;
mod resolve;
mod restart;
mod sources;
mod telemetry;
mod template;
#[cfg(test)]
mod tests;
mod tls;

pub use acl::AclConfig;
pub use cluster::ClusterSettings;
pub use connect::{CaConfig, ConnectSettings};
pub use definitions::Definitions;
pub use dns::{DnsConfig, SoaConfig};
pub use flags::AgentFlags;
pub use limits::{HttpSettings, LimitSettings, QuerySettings, RateMode, RequestRates};
pub use log::{LogFile, LogSettings, parse_level};
pub use net::{Address, NetSettings, PortRange, SocketRights};
pub use sources::Origin;
pub use telemetry::TelemetrySettings;
pub use tls::{TlsInterface, TlsSettings, TlsVersion};

/// Why the settings cannot be used. Nothing was started or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("reading configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file is not in its notation, or has an unknown key.
    #[error("configuration {origin}: {reason}")]
    Parse {
        /// The file, or the flag.
        origin: Origin,
        /// What is wrong, and where.
        reason: String,
    },
    /// A value is wrong.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// What would be accepted.
        reason: String,
    },
    /// A node that is not for developers needs a folder.
    #[error("data_dir cannot be empty; give -data-dir, or -dev to keep everything in memory")]
    NoDataDir,
    /// The interfaces of the host cannot be listed.
    #[error("listing the addresses of this host")]
    Host(#[source] std::io::Error),
}

/// Complete settings of a control node.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// In memory, for developers.
    pub dev: bool,
    /// The name of this node.
    pub node_name: NodeName,
    /// Its UUID, if it was given.
    pub node_id: Option<String>,
    /// Its free key-value pairs.
    pub node_meta: callboard_proto::text::Meta,
    /// Where it is.
    pub datacenter: String,
    /// The DNS domain, without dots around it.
    pub domain: String,
    /// A second DNS domain.
    pub alt_domain: Option<String>,
    /// Addresses and ports.
    pub net: NetSettings,
    /// The folder for log and checkpoints; none keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// The log of the program.
    pub log: LogSettings,
    /// DNS servers for other domains.
    pub recursors: Vec<std::net::SocketAddr>,
    /// Whether they are asked in random order instead of as listed.
    pub recursors_at_random: bool,
    /// Details of DNS.
    pub dns: DnsConfig,
    /// How long readers wait.
    pub queries: QuerySettings,
    /// Whether checks that are registered over HTTP may run programs.
    pub scripts: bool,
    /// Whether checks that files define may.
    pub scripts_local: bool,
    /// Whether programs are run for whoever may ask for it from elsewhere.
    pub remote_exec: bool,
    /// How long a change of a check's output alone is held back.
    pub check_update_interval: Duration,
    /// The most bytes of a check's output that are kept; 0 keeps none.
    pub check_output_max: usize,
    /// The shortest time to live that a session may ask for.
    pub session_ttl_min: Duration,
    /// Instances and checks that files define.
    pub definitions: Definitions,
    /// Config entries that are written when there are none of their name.
    pub config_entries: Vec<ConfigEntry>,
    /// The part of this node in the cluster.
    pub cluster: ClusterSettings,
    /// Access control.
    pub acl: AclConfig,
    /// TLS.
    pub tls: TlsSettings,
    /// The certificate authority of the mesh.
    pub connect: ConnectSettings,
    /// Bounds on what clients ask for.
    pub limits: LimitSettings,
    /// What is answered, and with which headers.
    pub http: HttpSettings,
    /// The node's numbers.
    pub telemetry: TelemetrySettings,
    /// Whether the console is served.
    pub console: bool,
    /// Whether files are read again when they change.
    pub auto_reload: bool,
    /// What was given and is not needed: a line each, to be logged once.
    pub notes: Vec<String>,
}

fn invalid(key: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), reason: reason.into() }
}

impl Config {
    /// Reads files and folders alone, as if an agent were started with them.
    ///
    /// # Errors
    /// As [`Self::load`], but a missing data folder is none.
    pub fn check(paths: Vec<PathBuf>, format: Option<String>) -> Result<Config, ConfigError> {
        let host = template::Host::read().map_err(ConfigError::Host)?;
        let flags = AgentFlags { config_file: paths, config_format: format, ..AgentFlags::default() };
        let mut sources = resolve::gather(&flags, &environment::Environment::default())?;
        if !sources.says("data_dir") {
            let stand_in = serde_json::json!({"data_dir": "."});
            sources.tree(Origin::Given("validate"), stand_in)?;
        }
        resolve::resolve(false, sources, &host)
    }

    /// Puts flags over the environment over files over defaults.
    ///
    /// # Errors
    /// Names the file or the setting, and what would be accepted.
    pub fn load(flags: &AgentFlags) -> Result<Config, ConfigError> {
        let host = template::Host::read().map_err(ConfigError::Host)?;
        let environment = environment::Environment::read();
        let sources = resolve::gather(flags, &environment)?;
        resolve::resolve(flags.is_dev(), sources, &host)
    }
}
