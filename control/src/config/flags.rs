//! The command line of `agent`.
//!
//! A flag stands for the key of a file, and is joined like the last of the files: values replace, lists append.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::merge::merge;

/// The command line of `agent`. A flag that is on or off may be written `-flag`, `-flag=true` or `-flag=false`.
#[derive(Debug, Clone, Default, Args)]
#[command(rename_all = "kebab-case")]
pub struct AgentFlags {
    /// Keep everything in memory, on loopback: for developers
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub dev: Option<bool>,
    /// Hold a vote in the cluster
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub server: Option<bool>,
    /// Be a cluster of one from the start
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub bootstrap: Option<bool>,
    /// Begin when so many servers know each other
    #[arg(long = "bootstrap-expect", value_name = "COUNT")]
    pub bootstrap_expect: Option<u64>,
    /// The name of this node [default: the host's]
    #[arg(long, env = "CALLBOARD_NODE")]
    pub node: Option<String>,
    /// The UUID of this node [default: made once, at random]
    #[arg(long = "node-id", value_name = "UUID")]
    pub node_id: Option<String>,
    /// A free key:value pair of this node; may be repeated
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
    /// The same, shown to other datacenters
    #[arg(long = "advertise-wan", value_name = "ADVERTISE")]
    pub advertise_wan: Option<String>,
    /// The address for gossip [default: the bind address]
    #[arg(long = "serf-lan-bind", value_name = "BIND")]
    pub serf_lan_bind: Option<String>,
    /// The addresses for clients: HTTP and DNS [default: 127.0.0.1]
    #[arg(long, env = "CALLBOARD_CLIENT")]
    pub client: Option<String>,
    /// The folder for log and checkpoints
    #[arg(long = "data-dir", env = "CALLBOARD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A configuration file, or a folder of them; may be repeated, later ones win
    #[arg(long = "config-file", value_name = "FILE")]
    pub config_file: Vec<PathBuf>,
    /// A folder of configuration files (*.json, *.hcl, *.toml), read in lexical order; may be repeated
    #[arg(long = "config-dir", value_name = "DIR")]
    pub config_dir: Vec<PathBuf>,
    /// The notation of all files: hcl, json or toml [default: by their ending]
    #[arg(long = "config-format", value_name = "FORMAT")]
    pub config_format: Option<String>,
    /// A piece of configuration, as in a file; may be repeated
    #[arg(long, value_name = "FRAGMENT")]
    pub hcl: Vec<String>,
    /// Reload when a configuration file changes
    #[arg(long = "auto-reload-config", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub auto_reload_config: Option<bool>,
    /// Where to write the process id
    #[arg(long = "pid-file", value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// trace, debug, info, warn or err [default: info, with -dev debug]
    #[arg(long = "log-level", env = "CALLBOARD_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log as JSON
    #[arg(long = "log-json", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub log_json: Option<bool>,
    /// A file that the log is written to besides
    #[arg(long = "log-file", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// How many bytes it may have before a new one is begun
    #[arg(long = "log-rotate-bytes", value_name = "BYTES")]
    pub log_rotate_bytes: Option<u64>,
    /// How old it may be before a new one is begun [default: 24h]
    #[arg(long = "log-rotate-duration", value_name = "DURATION")]
    pub log_rotate_duration: Option<String>,
    /// How many that were put aside are kept; 0 keeps all, -1 none
    #[arg(long = "log-rotate-max-files", value_name = "COUNT", allow_negative_numbers = true)]
    pub log_rotate_max_files: Option<i64>,
    /// 0 takes any free port, -1 turns it off [default: 8500]
    #[arg(long = "http-port", env = "CALLBOARD_HTTP_PORT", allow_negative_numbers = true, value_name = "PORT")]
    pub http_port: Option<i64>,
    /// 0 takes any free port, -1 turns it off [default: -1]
    #[arg(long = "https-port", env = "CALLBOARD_HTTPS_PORT", allow_negative_numbers = true, value_name = "PORT")]
    pub https_port: Option<i64>,
    /// 0 takes any free port, -1 turns it off [default: 8600]
    #[arg(long = "dns-port", env = "CALLBOARD_DNS_PORT", allow_negative_numbers = true, value_name = "PORT")]
    pub dns_port: Option<i64>,
    /// The port for other control nodes [default: 8300]
    #[arg(long = "server-port", value_name = "PORT")]
    pub server_port: Option<i64>,
    /// The port for gossip [default: 8301]
    #[arg(long = "serf-lan-port", value_name = "PORT")]
    pub serf_lan_port: Option<i64>,
    /// The port for gossip between datacenters, as it is shown [default: 8302]
    #[arg(long = "serf-wan-port", allow_negative_numbers = true, value_name = "PORT")]
    pub serf_wan_port: Option<i64>,
    /// A node to join at start; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub join: Vec<String>,
    /// A node to join, tried until it answers; may be repeated
    #[arg(long = "retry-join", value_name = "ADDRESS")]
    pub retry_join: Vec<String>,
    /// How often it is tried [default: 30s]
    #[arg(long = "retry-interval", value_name = "DURATION")]
    pub retry_interval: Option<String>,
    /// How many times it is tried; 0 never gives up
    #[arg(long = "retry-max", value_name = "COUNT")]
    pub retry_max: Option<u64>,
    /// Join again after having left
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub rejoin: Option<bool>,
    /// A DNS server to ask about other domains; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub recursor: Vec<String>,
    /// Let checks run programs
    #[arg(long = "enable-script-checks", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub enable_script_checks: Option<bool>,
    /// Let checks that files define run programs
    #[arg(long = "enable-local-script-checks", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub enable_local_script_checks: Option<bool>,
    /// The most bytes of a check's output that are kept [default: 4096]
    #[arg(long = "check_output_max_size", alias = "check-output-max-size", value_name = "BYTES")]
    pub check_output_max_size: Option<u64>,
    /// What gossip is sealed with: base64 of 16, 24 or 32 bytes
    #[arg(long, value_name = "KEY")]
    pub encrypt: Option<EncryptKey>,
    /// Keep the ring of keys out of the data folder
    #[arg(long = "disable-keyring-file", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub disable_keyring_file: Option<bool>,
    /// Serve the console (the default)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub ui: Option<bool>,
    /// How long a blocking read waits that does not say [default: 300s]
    #[arg(long = "default-query-time", value_name = "DURATION")]
    pub default_query_time: Option<String>,
    /// How long a blocking read may wait [default: 600s]
    #[arg(long = "max-query-time", value_name = "DURATION")]
    pub max_query_time: Option<String>,
    /// Hold the registry without ever voting
    #[arg(long = "read-replica", alias = "non-voting-server", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub read_replica: Option<bool>,
    /// A network from which anything but GET is answered; may be repeated [default: all]
    #[arg(long = "allow-write-http-from", value_name = "CIDR")]
    pub allow_write_http_from: Vec<String>,
    /// Taken, and not needed
    #[command(flatten)]
    pub unneeded: UnneededFlags,
}

/// Flags that are taken and left aside, as their keys are.
#[derive(Debug, Clone, Default, Args)]
#[command(rename_all = "kebab-case")]
pub struct UnneededFlags {
    /// Not needed: gRPC is not served
    #[arg(long = "grpc-port", allow_negative_numbers = true, hide = true)]
    grpc_port: Option<i64>,
    /// Not needed: gRPC is not served
    #[arg(long = "grpc-tls-port", allow_negative_numbers = true, hide = true)]
    grpc_tls_port: Option<i64>,
    /// Not needed: there is one datacenter
    #[arg(long = "join-wan", hide = true)]
    join_wan: Vec<String>,
    /// Not needed: there is one datacenter
    #[arg(long = "retry-join-wan", hide = true)]
    retry_join_wan: Vec<String>,
    /// Not needed: there is one datacenter
    #[arg(long = "retry-interval-wan", hide = true)]
    retry_interval_wan: Option<String>,
    /// Not needed: there is one datacenter
    #[arg(long = "retry-max-wan", hide = true)]
    retry_max_wan: Option<i64>,
    /// Not needed: there is one datacenter
    #[arg(long = "serf-wan-bind", hide = true)]
    serf_wan_bind: Option<String>,
    /// Not needed: there is one datacenter
    #[arg(long = "primary-gateway", hide = true)]
    primary_gateway: Vec<String>,
    /// Not needed: the node's id is made at random
    #[arg(long = "disable-host-node-id", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    disable_host_node_id: Option<bool>,
    /// Not needed: the log goes to standard error
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    syslog: Option<bool>,
    /// Not needed: the console is built in
    #[arg(long = "ui-dir", hide = true)]
    ui_dir: Option<String>,
    /// Not needed: the console is served under /ui/
    #[arg(long = "ui-content-path", hide = true)]
    ui_content_path: Option<String>,
    /// Not needed: there is one version of the protocol
    #[arg(long, hide = true)]
    protocol: Option<i64>,
    /// Not needed: the log is another engine's
    #[arg(long = "raft-protocol", hide = true)]
    raft_protocol: Option<i64>,
    /// Not needed: it belongs to the commercial product
    #[arg(long, hide = true)]
    segment: Option<String>,
}

/// A key on the command line, which is not shown again.
#[derive(Clone)]
pub struct EncryptKey(String);

impl std::str::FromStr for EncryptKey {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<EncryptKey, Self::Err> {
        Ok(EncryptKey(text.to_owned()))
    }
}

impl std::fmt::Debug for EncryptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

impl AgentFlags {
    /// Whether the node is for developers.
    pub(super) fn is_dev(&self) -> bool {
        self.dev.unwrap_or(false)
    }

    /// What the flags say, as a file would.
    ///
    /// # Errors
    /// When a pair is none.
    pub(super) fn tree(&self) -> Result<Value, super::ConfigError> {
        let mut meta = Map::new();
        for pair in &self.node_meta {
            let split = pair.split_once(':').or_else(|| pair.split_once('='));
            let (key, value) =
                split.ok_or_else(|| super::invalid("node_meta", format!("{pair:?} is not key:value")))?;
            meta.insert(key.to_owned(), json!(value));
        }
        // What was not given is null, and says nothing.
        let mut tree = json!({
            "server": self.server, "bootstrap": self.bootstrap, "bootstrap_expect": self.bootstrap_expect,
            "node_name": self.node, "node_id": self.node_id, "node_meta": meta, "datacenter": self.datacenter,
            "domain": self.domain, "alt_domain": self.alt_domain, "bind_addr": self.bind,
            "advertise_addr": self.advertise, "advertise_addr_wan": self.advertise_wan,
            "serf_lan": self.serf_lan_bind, "client_addr": self.client, "data_dir": self.data_dir,
            "pid_file": self.pid_file,
            "ports": {
                "http": self.http_port, "https": self.https_port, "dns": self.dns_port, "server": self.server_port,
                "serf_lan": self.serf_lan_port, "serf_wan": self.serf_wan_port,
            },
            "start_join": self.join, "retry_join": self.retry_join, "retry_interval": self.retry_interval,
            "retry_max": self.retry_max, "rejoin_after_leave": self.rejoin, "recursors": self.recursor,
            "encrypt": self.encrypt.as_ref().map(|key| &key.0), "disable_keyring_file": self.disable_keyring_file,
            "read_replica": self.read_replica,
        });
        merge(&mut tree, self.tree_of_the_agent());
        merge(&mut tree, self.unneeded.tree());
        Ok(tree)
    }

    /// What is about this process alone.
    fn tree_of_the_agent(&self) -> Value {
        json!({
            "auto_reload_config": self.auto_reload_config, "log_level": self.log_level, "log_json": self.log_json,
            "log_file": self.log_file, "log_rotate_bytes": self.log_rotate_bytes,
            "log_rotate_duration": self.log_rotate_duration, "log_rotate_max_files": self.log_rotate_max_files,
            "enable_script_checks": self.enable_script_checks,
            "enable_local_script_checks": self.enable_local_script_checks,
            "check_output_max_size": self.check_output_max_size, "ui_config": {"enabled": self.ui},
            "default_query_time": self.default_query_time, "max_query_time": self.max_query_time,
            "http_config": {"allow_write_http_from": self.allow_write_http_from},
        })
    }
}

impl UnneededFlags {
    fn tree(&self) -> Value {
        json!({
            "ports": {"grpc": self.grpc_port, "grpc_tls": self.grpc_tls_port},
            "start_join_wan": some(&self.join_wan), "retry_join_wan": some(&self.retry_join_wan),
            "retry_interval_wan": self.retry_interval_wan, "retry_max_wan": self.retry_max_wan,
            "serf_wan": self.serf_wan_bind, "primary_gateways": some(&self.primary_gateway),
            "disable_host_node_id": self.disable_host_node_id, "enable_syslog": self.syslog, "ui_dir": self.ui_dir,
            "ui_content_path": self.ui_content_path, "protocol": self.protocol, "raft_protocol": self.raft_protocol,
            "segment": self.segment,
        })
    }
}

/// A list that says nothing when it is empty.
fn some(list: &[String]) -> Option<&[String]> {
    (!list.is_empty()).then_some(list)
}
