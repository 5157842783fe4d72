//! What one configuration file may say: Consul's keys, those of a noun of their own in the file of that noun.
//!
//! A key is used, or taken and left aside for a reason that is logged once at start; any other is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use callboard_proto::duration::GoDuration;
use serde_json::Value;

use super::acl::AclKeys;
use super::cluster::{AutopilotKeys, PerformanceKeys};
use super::connect::ConnectKeys;
use super::dns::DnsConfig;
use super::keys::keys;
use super::limits::{HttpKeys, LimitKeys};
use super::net::{AddressKeys, PortKeys, SocketKeys};
use super::telemetry::TelemetryKeys;
use super::tls::TlsKeys;

/// There is one datacenter.
const ONE_DATACENTER: &str = "there is one datacenter, so nothing is joined over the wide area";
/// The log is our own.
const OWN_LOG: &str = "the log is another engine's, which is not tuned by it";
/// Gossip is our own.
const OWN_GOSSIP: &str = "gossip between control nodes keeps its own times";
/// A feature of the commercial product.
const COMMERCIAL: &str = "it belongs to the commercial product";
/// Nothing calls home.
const NO_CALL_HOME: &str = "nothing is reported to anybody";

keys! {
    /// The console.
    pub(super) struct UiKeys {
        pub(super) enabled: Option<bool>,
    }
    unneeded {
        dir: "the console is built in",
        content_path: "the console is served under /ui/",
        metrics_provider: "the console shows this node's own numbers",
        metrics_provider_files: "the console shows this node's own numbers",
        metrics_provider_options_json: "the console shows this node's own numbers",
        metrics_proxy: "the console shows this node's own numbers",
        dashboard_url_templates: "the console links to no dashboard",
    }
}

keys! {
    /// Config entries that are written when there are none of their name.
    pub(super) struct EntryKeys {
        pub(super) bootstrap: Vec<Value>,
    }
}

keys! {
    /// One configuration file, or all of them joined.
    pub(super) struct FileConfig {
        // Names and places.
        pub(super) node_name: Option<String>,
        pub(super) node_id: Option<String>,
        pub(super) node_meta: BTreeMap<String, String>,
        pub(super) datacenter: Option<String>,
        pub(super) primary_datacenter: Option<String>,
        pub(super) domain: Option<String>,
        pub(super) alt_domain: Option<String>,
        pub(super) data_dir: Option<PathBuf>,
        pub(super) pid_file: Option<PathBuf>,
        // Addresses and ports.
        pub(super) bind_addr: Option<String>,
        pub(super) advertise_addr: Option<String>,
        pub(super) advertise_addr_wan: Option<String>,
        pub(super) client_addr: Option<String>,
        pub(super) serf_lan: Option<String>,
        pub(super) addresses: AddressKeys,
        pub(super) ports: PortKeys,
        pub(super) unix_sockets: SocketKeys,
        pub(super) translate_wan_addrs: Option<bool>,
        // The log of the program.
        pub(super) log_level: Option<String>,
        pub(super) log_json: Option<bool>,
        pub(super) log_file: Option<PathBuf>,
        pub(super) log_rotate_bytes: Option<u64>,
        pub(super) log_rotate_duration: Option<GoDuration>,
        pub(super) log_rotate_max_files: Option<i64>,
        // DNS.
        pub(super) recursors: Vec<String>,
        pub(super) dns_config: DnsConfig,
        // Reads.
        pub(super) default_query_time: Option<GoDuration>,
        pub(super) max_query_time: Option<GoDuration>,
        // Checks, and what is defined.
        pub(super) enable_script_checks: Option<bool>,
        pub(super) enable_local_script_checks: Option<bool>,
        pub(super) disable_remote_exec: Option<bool>,
        pub(super) check_update_interval: Option<GoDuration>,
        pub(super) check_output_max_size: Option<u64>,
        pub(super) discard_check_output: Option<bool>,
        pub(super) session_ttl_min: Option<GoDuration>,
        pub(super) service: Vec<Value>,
        pub(super) services: Vec<Value>,
        pub(super) check: Vec<Value>,
        pub(super) checks: Vec<Value>,
        pub(super) config_entries: EntryKeys,
        // The cluster.
        pub(super) server: Option<bool>,
        pub(super) bootstrap: Option<bool>,
        pub(super) bootstrap_expect: Option<u64>,
        pub(super) start_join: Vec<String>,
        pub(super) retry_join: Vec<String>,
        pub(super) retry_interval: Option<GoDuration>,
        pub(super) retry_max: Option<u64>,
        pub(super) disable_coordinates: Option<bool>,
        pub(super) reconnect_timeout: Option<GoDuration>,
        pub(super) leave_on_terminate: Option<bool>,
        pub(super) skip_leave_on_interrupt: Option<bool>,
        pub(super) non_voting_server: Option<bool>,
        pub(super) read_replica: Option<bool>,
        pub(super) encrypt: Option<String>,
        pub(super) encrypt_verify_incoming: Option<bool>,
        pub(super) encrypt_verify_outgoing: Option<bool>,
        pub(super) disable_keyring_file: Option<bool>,
        pub(super) autopilot: AutopilotKeys,
        pub(super) performance: PerformanceKeys,
        // Who may do what, and in which words it is said.
        pub(super) acl: AclKeys,
        pub(super) tls: TlsKeys,
        pub(super) ca_file: Option<PathBuf>,
        pub(super) ca_path: Option<PathBuf>,
        pub(super) cert_file: Option<PathBuf>,
        pub(super) key_file: Option<PathBuf>,
        pub(super) tls_min_version: Option<String>,
        pub(super) verify_incoming: Option<bool>,
        pub(super) verify_incoming_https: Option<bool>,
        pub(super) verify_incoming_rpc: Option<bool>,
        pub(super) verify_outgoing: Option<bool>,
        pub(super) verify_server_hostname: Option<bool>,
        pub(super) server_name: Option<String>,
        pub(super) connect: ConnectKeys,
        pub(super) default_intention_policy: Option<String>,
        // Bounds.
        pub(super) limits: LimitKeys,
        pub(super) http_config: HttpKeys,
        pub(super) disable_http_unprintable_char_filter: Option<bool>,
        pub(super) telemetry: TelemetryKeys,
        pub(super) ui: Option<bool>,
        pub(super) ui_config: UiKeys,
        pub(super) auto_reload_config: Option<bool>,
    }
    unneeded {
        advertise_addr_ipv4: "one advertised address is enough; its family is shown",
        advertise_addr_ipv6: "one advertised address is enough; its family is shown",
        advertise_addr_wan_ipv4: "one advertised address is enough; its family is shown",
        advertise_addr_wan_ipv6: "one advertised address is enough; its family is shown",
        advertise_reconnect_timeout: "reconnect_timeout decides for all",
        audit: COMMERCIAL,
        auto_config: "certificates and tokens are given in files",
        auto_encrypt: "certificates are given in files",
        cache: "every read is answered from this node's own copy",
        cloud: NO_CALL_HOME,
        disable_anonymous_signature: NO_CALL_HOME,
        disable_host_node_id: "the node's id is always made at random",
        disable_update_check: NO_CALL_HOME,
        discovery_max_stale: "readers say themselves how old an answer may be",
        enable_acl_replication: ONE_DATACENTER,
        enable_agent_tls_for_checks: "checks use the certificates of their own definition",
        enable_central_service_config: "config entries are always served",
        enable_debug: "no profiling endpoints are served",
        enable_syslog: "the log goes to standard error, from where the service manager takes it",
        experiments: "there are none to choose from",
        gossip_lan: OWN_GOSSIP,
        gossip_wan: ONE_DATACENTER,
        license_path: COMMERCIAL,
        locality: COMMERCIAL,
        partition: COMMERCIAL,
        peering: ONE_DATACENTER,
        primary_gateways: ONE_DATACENTER,
        primary_gateways_interval: ONE_DATACENTER,
        protocol: "there is one version of the protocol between control nodes",
        raft_boltdb: OWN_LOG,
        raft_logstore: OWN_LOG,
        raft_protocol: OWN_LOG,
        raft_snapshot_interval: OWN_LOG,
        raft_snapshot_threshold: OWN_LOG,
        raft_trailing_logs: OWN_LOG,
        reconnect_timeout_wan: ONE_DATACENTER,
        rejoin_after_leave: "a node that left is joined again by retry_join, or by hand",
        reporting: NO_CALL_HOME,
        retry_interval_wan: ONE_DATACENTER,
        retry_join_wan: ONE_DATACENTER,
        retry_max_wan: ONE_DATACENTER,
        rpc: "readers are woken by the registry itself",
        segment: COMMERCIAL,
        segments: COMMERCIAL,
        serf_lan_allowed_cidrs: "gossip is sealed by `encrypt` instead",
        serf_wan: ONE_DATACENTER,
        serf_wan_allowed_cidrs: ONE_DATACENTER,
        server_rejoin_age_max: "a server that comes back is told what it missed, however long it was away",
        start_join_wan: ONE_DATACENTER,
        syslog_facility: "the log goes to standard error, from where the service manager takes it",
        tls_cipher_suites: "only suites that are strong are offered",
        tls_prefer_server_cipher_suites: "only suites that are strong are offered",
        ui_content_path: "the console is served under /ui/",
        ui_dir: "the console is built in",
        use_streaming_backend: "readers are woken by the registry itself",
        watches: "the agent runs no handlers; run `callboard watch` with the same words beside it",
        xds: "Envoy's configuration protocol is not served",
    }
}
