//! The command line of `agent`.

use std::path::PathBuf;

use clap::Args;

/// The command line of `agent`.
#[derive(Debug, Clone, Default, Args)]
#[command(rename_all = "kebab-case")]
pub struct AgentFlags {
    /// Keep everything in memory, on loopback: for developers
    #[arg(long)]
    pub dev: bool,
    /// Hold the registry (every control node does)
    #[arg(long)]
    pub server: bool,
    /// Be a cluster of one (the default)
    #[arg(long)]
    pub bootstrap: bool,
    /// The name of this node [default: the host's]
    #[arg(long, env = "CALLBOARD_NODE")]
    pub node: Option<String>,
    /// Free key:value pairs of this node
    #[arg(long = "node-meta", value_name = "KEY:VALUE")]
    pub node_meta: Vec<String>,
    /// Where this node is [default: dc1]
    #[arg(long, env = "CALLBOARD_DATACENTER")]
    pub datacenter: Option<String>,
    /// The DNS domain that is answered for [default: consul]
    #[arg(long, env = "CALLBOARD_DOMAIN")]
    pub domain: Option<String>,
    /// A second DNS domain
    #[arg(long = "alt-domain")]
    pub alt_domain: Option<String>,
    /// The address for other nodes [default: 0.0.0.0, with -dev 127.0.0.1]
    #[arg(long, env = "CALLBOARD_BIND")]
    pub bind: Option<String>,
    /// The address that this node is found under [default: the bind address]
    #[arg(long, env = "CALLBOARD_ADVERTISE")]
    pub advertise: Option<String>,
    /// The address for clients: HTTP and DNS [default: 127.0.0.1]
    #[arg(long, env = "CALLBOARD_CLIENT")]
    pub client: Option<String>,
    /// The folder for log and checkpoints
    #[arg(long = "data-dir", env = "CALLBOARD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// A configuration file, JSON or TOML; may be repeated, later ones win
    #[arg(long = "config-file", value_name = "FILE")]
    pub config_file: Vec<PathBuf>,
    /// A folder of configuration files, read in lexical order
    #[arg(long = "config-dir", value_name = "DIR")]
    pub config_dir: Vec<PathBuf>,
    /// Where to write the process id
    #[arg(long = "pid-file", value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// trace, debug, info, warn or err [default: info]
    #[arg(long = "log-level", env = "CALLBOARD_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// Log as JSON
    #[arg(long = "log-json")]
    pub log_json: bool,
    /// 0 takes any free port [default: 8500]
    #[arg(long = "http-port", env = "CALLBOARD_HTTP_PORT")]
    pub http_port: Option<i32>,
    /// 0 takes any free port, -1 turns it off [default: 8600]
    #[arg(long = "dns-port", env = "CALLBOARD_DNS_PORT", allow_negative_numbers = true)]
    pub dns_port: Option<i32>,
    /// The port for other control nodes [default: 8300]
    #[arg(long = "server-port")]
    pub server_port: Option<u16>,
    /// A DNS server to ask about other domains; may be repeated
    #[arg(long)]
    pub recursor: Vec<String>,
    /// Let checks run programs
    #[arg(long = "enable-script-checks")]
    pub enable_script_checks: bool,
    /// Serve the console (the default)
    #[arg(long)]
    pub ui: bool,
}
