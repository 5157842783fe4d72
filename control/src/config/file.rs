//! Configuration files: Consul's keys, in JSON or TOML, later files over earlier ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use callboard_proto::duration::GoDuration;
use serde::Deserialize;

use super::acl::AclFile;
use super::{AgentFlags, ConfigError};

/// One configuration file, with Consul's keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileConfig {
    pub(super) server: Option<bool>,
    pub(super) bootstrap: Option<bool>,
    pub(super) node_name: Option<String>,
    pub(super) node_meta: BTreeMap<String, String>,
    pub(super) datacenter: Option<String>,
    pub(super) primary_datacenter: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) alt_domain: Option<String>,
    pub(super) bind_addr: Option<String>,
    pub(super) advertise_addr: Option<String>,
    pub(super) client_addr: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) log_level: Option<String>,
    pub(super) log_json: Option<bool>,
    pub(super) ports: Ports,
    pub(super) recursors: Vec<String>,
    pub(super) dns_config: DnsConfig,
    pub(super) enable_script_checks: Option<bool>,
    pub(super) enable_local_script_checks: Option<bool>,
    pub(super) check_update_interval: Option<GoDuration>,
    pub(super) session_ttl_min: Option<GoDuration>,
    pub(super) ui_config: UiConfig,
    pub(super) limits: Limits,
    pub(super) acl: AclFile,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ports {
    pub(super) http: Option<i32>,
    pub(super) dns: Option<i32>,
    pub(super) server: Option<u16>,
    pub(super) serf_lan: Option<u16>,
    pub(super) serf_wan: Option<u16>,
    pub(super) https: Option<i32>,
    pub(super) grpc: Option<i32>,
    pub(super) grpc_tls: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UiConfig {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) http_max_conns_per_client: Option<usize>,
}

/// The keys of `dns_config`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// How long an answer about a node may be kept.
    pub node_ttl: Option<GoDuration>,
    /// How long an answer about a service may be kept: by name, by `prefix*`, or `*`.
    pub service_ttl: BTreeMap<String, GoDuration>,
    /// Leaves warning instances out.
    pub only_passing: Option<bool>,
    /// Says so when an answer was cut.
    pub enable_truncate: Option<bool>,
    /// The most answers over UDP without EDNS.
    pub udp_answer_limit: Option<usize>,
    /// The most addresses in any answer.
    pub a_record_limit: Option<usize>,
    /// How long a recursor may take.
    pub recursor_timeout: Option<GoDuration>,
    /// `sequential` or `random`.
    pub recursor_strategy: Option<String>,
    /// Leaves names uncompressed.
    pub disable_compression: Option<bool>,
    /// Adds a node's pairs as TXT.
    pub enable_additional_node_meta_txt: Option<bool>,
    /// The start-of-authority record.
    pub soa: SoaConfig,
}

/// The keys of `dns_config.soa`, in seconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoaConfig {
    /// How often secondaries refresh.
    pub refresh: Option<u32>,
    /// How soon they retry.
    pub retry: Option<u32>,
    /// When they give up.
    pub expire: Option<u32>,
    /// How long a "no" may be kept.
    pub min_ttl: Option<u32>,
}

/// The files to read, in order.
pub(super) fn files(flags: &AgentFlags) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = flags.config_file.clone();
    for dir in &flags.config_dir {
        let listed = std::fs::read_dir(dir).map_err(|source| ConfigError::Read { path: dir.clone(), source })?;
        let mut found = Vec::new();
        for entry in listed {
            let path = entry.map_err(|source| ConfigError::Read { path: dir.clone(), source })?.path();
            if path.extension().is_some_and(|ending| ending == "json" || ending == "toml") {
                found.push(path);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Reads one file, by its ending as JSON or TOML.
pub(super) fn read(path: &Path) -> Result<FileConfig, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let toml = path.extension().is_some_and(|ending| ending == "toml");
    let parsed = if toml {
        toml::from_str(&text).map_err(|error| error.to_string())
    } else {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    parsed.map_err(|reason| ConfigError::Parse { path: path.to_owned(), reason: nearest(reason) })
}

/// Replaces the list of all known keys by the one that was probably meant.
pub(super) fn nearest(reason: String) -> String {
    let Some((head, list)) = reason.split_once(", expected one of ") else { return reason };
    let Some(unknown) = head.split('`').nth(1) else { return reason };
    let known = list.split('`').skip(1).step_by(2);
    match known.min_by_key(|known| strsim::damerau_levenshtein(unknown, known)) {
        Some(known) => format!("{head}; did you mean `{known}`?"),
        None => reason,
    }
}

impl FileConfig {
    /// Takes over what a later file says: values replace, maps merge, lists append.
    pub(super) fn merge(&mut self, later: FileConfig) {
        macro_rules! take {
            ($($field:ident).+) => {
                if later.$($field).+.is_some() {
                    self.$($field).+ = later.$($field).+;
                }
            };
        }
        take!(server);
        take!(bootstrap);
        take!(node_name);
        take!(datacenter);
        take!(primary_datacenter);
        take!(domain);
        take!(alt_domain);
        take!(bind_addr);
        take!(advertise_addr);
        take!(client_addr);
        take!(data_dir);
        take!(pid_file);
        take!(log_level);
        take!(log_json);
        take!(ports.http);
        take!(ports.dns);
        take!(ports.server);
        take!(ports.serf_lan);
        take!(ports.serf_wan);
        take!(ports.https);
        take!(ports.grpc);
        take!(ports.grpc_tls);
        take!(enable_script_checks);
        take!(enable_local_script_checks);
        take!(check_update_interval);
        take!(session_ttl_min);
        take!(ui_config.enabled);
        take!(limits.http_max_conns_per_client);
        take!(dns_config.node_ttl);
        take!(dns_config.only_passing);
        take!(dns_config.enable_truncate);
        take!(dns_config.udp_answer_limit);
        take!(dns_config.a_record_limit);
        take!(dns_config.recursor_timeout);
        take!(dns_config.recursor_strategy);
        take!(dns_config.disable_compression);
        take!(dns_config.enable_additional_node_meta_txt);
        take!(dns_config.soa.refresh);
        take!(dns_config.soa.retry);
        take!(dns_config.soa.expire);
        take!(dns_config.soa.min_ttl);
        self.acl.merge(later.acl);
        self.node_meta.extend(later.node_meta);
        self.dns_config.service_ttl.extend(later.dns_config.service_ttl);
        self.recursors.extend(later.recursors);
    }
}
