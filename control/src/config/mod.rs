//! Settings: flag over environment over file over default.
//!
//! [`AgentFlags`] is the command line, `FileConfig` one configuration file (JSON or TOML, with Consul's
//! keys), [`Config`] what comes out. Nothing below `server` sees any of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use callboard_proto::api::session::{TTL_MAX, TTL_MIN};
use callboard_proto::duration::GoDuration;
use callboard_proto::{NodeName, api};

mod acl;
mod file;
mod flags;

pub use acl::AclConfig;
pub use file::{DnsConfig, SoaConfig};
pub use flags::AgentFlags;

use file::FileConfig;

/// Why the settings cannot be used. Nothing was started.
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
    /// A file is not in its format, or has an unknown key.
    #[error("configuration {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A value is wrong.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// What would be accepted.
        reason: String,
    },
    /// A node that is not for developers needs a folder.
    #[error("data_dir cannot be empty; give -data-dir, or -dev to keep everything in memory")]
    NoDataDir,
}

/// Complete settings of a control node.
#[derive(Debug, Clone)]
pub struct Config {
    /// In memory, for developers.
    pub dev: bool,
    /// The name of this node.
    pub node_name: NodeName,
    /// Its free key-value pairs.
    pub node_meta: callboard_proto::text::Meta,
    /// Where it is.
    pub datacenter: String,
    /// The DNS domain, without dots around it.
    pub domain: String,
    /// A second DNS domain.
    pub alt_domain: Option<String>,
    /// The address for other nodes.
    pub bind: IpAddr,
    /// The address it is found under.
    pub advertise: IpAddr,
    /// The address for clients.
    pub client: IpAddr,
    /// The folder for log and checkpoints; none keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// What is logged.
    pub log_level: String,
    /// Whether the log is JSON.
    pub log_json: bool,
    /// 0 takes any free port.
    pub http_port: u16,
    /// 0 takes any free port; none turns DNS off.
    pub dns_port: Option<u16>,
    /// The port for other control nodes, as it is shown.
    pub server_port: u16,
    /// The gossip port, as it is shown.
    pub serf_port: u16,
    /// The wide-area gossip port, as it is shown.
    pub serf_wan_port: u16,
    /// DNS servers for other domains.
    pub recursors: Vec<SocketAddr>,
    /// Whether they are asked in random order instead of as listed.
    pub recursors_at_random: bool,
    /// Details of DNS.
    pub dns: DnsConfig,
    /// Whether checks may run programs.
    pub scripts: bool,
    /// How long a change of a check's output alone is held back.
    pub check_update_interval: Duration,
    /// The shortest time to live that a session may ask for.
    pub session_ttl_min: Duration,
    /// Whether the console is served.
    pub console: bool,
    /// The most HTTP connections from one address.
    pub connections_per_client: usize,
    /// Who may do what.
    pub acl: AclConfig,
}

fn invalid(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key, reason: reason.into() }
}

impl Config {
    /// Puts flags over files over defaults.
    ///
    /// # Errors
    /// Names the file or the setting, and what would be accepted.
    pub fn load(flags: &AgentFlags) -> Result<Config, ConfigError> {
        let mut merged = FileConfig::default();
        for path in file::files(flags)? {
            merged.merge(file::read(&path)?);
        }
        resolve(flags, merged)
    }
}

fn resolve(flags: &AgentFlags, file: FileConfig) -> Result<Config, ConfigError> {
    let data_dir = flags.data_dir.clone().or(file.data_dir);
    if data_dir.is_none() && !flags.dev {
        return Err(ConfigError::NoDataDir);
    }
    let node_name = match flags.node.clone().or(file.node_name) {
        Some(name) => name,
        None => host_name()?,
    };
    let bind_default = if flags.dev { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let bind = address("bind_addr", flags.bind.as_deref().or(file.bind_addr.as_deref()), bind_default.into())?;
    let advertise_default = if bind.is_unspecified() { outward_address() } else { bind };
    let advertise = flags.advertise.as_deref().or(file.advertise_addr.as_deref());
    let datacenter = flags.datacenter.clone().or(file.datacenter).unwrap_or_else(|| "dc1".to_owned()).to_lowercase();
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if datacenter.is_empty() || !plain(&datacenter) {
        return Err(invalid("datacenter", format!("{datacenter:?} must be letters, digits, - and _")));
    }
    if file.primary_datacenter.is_some_and(|primary| !primary.is_empty() && primary.to_lowercase() != datacenter) {
        return Err(invalid(
            "primary_datacenter",
            "there is only one datacenter, so it must be the same as datacenter",
        ));
    }
    for (key, port) in
        [("ports.https", file.ports.https), ("ports.grpc", file.ports.grpc), ("ports.grpc_tls", file.ports.grpc_tls)]
    {
        if port.is_some_and(|port| port > 0) {
            return Err(invalid(key, "is not served yet; leave it out or set it to -1"));
        }
    }
    let http_port = flags.http_port.or(file.ports.http).unwrap_or(8500);
    let dns_port = flags.dns_port.or(file.ports.dns).unwrap_or(8600);
    let domain = flags.domain.clone().or(file.domain).unwrap_or_else(|| "consul".to_owned());
    let recursors = if flags.recursor.is_empty() { &file.recursors } else { &flags.recursor };
    Ok(Config {
        dev: flags.dev,
        node_name: NodeName::parse(&node_name).map_err(|error| invalid("node_name", error.to_string()))?,
        node_meta: node_meta(flags, file.node_meta)?,
        datacenter,
        domain: domain.trim_matches('.').to_lowercase(),
        alt_domain: flags.alt_domain.clone().or(file.alt_domain).map(|domain| domain.trim_matches('.').to_lowercase()),
        bind,
        advertise: address("advertise_addr", advertise, advertise_default)?,
        client: address(
            "client_addr",
            flags.client.as_deref().or(file.client_addr.as_deref()),
            Ipv4Addr::LOCALHOST.into(),
        )?,
        data_dir,
        pid_file: flags.pid_file.clone().or(file.pid_file),
        log_level: log_level(flags.log_level.clone().or(file.log_level))?,
        log_json: flags.log_json || file.log_json.unwrap_or(false),
        http_port: u16::try_from(http_port).map_err(|_| invalid("ports.http", "must be 0 to 65535"))?,
        dns_port: match dns_port {
            -1 => None,
            port => Some(u16::try_from(port).map_err(|_| invalid("ports.dns", "must be -1 to 65535"))?),
        },
        server_port: flags.server_port.or(file.ports.server).unwrap_or(8300),
        serf_port: file.ports.serf_lan.unwrap_or(8301),
        serf_wan_port: file.ports.serf_wan.unwrap_or(8302),
        recursors: recursors.iter().map(|text| recursor(text)).collect::<Result<_, _>>()?,
        recursors_at_random: match file.dns_config.recursor_strategy.as_deref() {
            None | Some("sequential") => false,
            Some("random") => true,
            Some(other) => {
                return Err(invalid(
                    "dns_config.recursor_strategy",
                    format!("{other:?} is none of sequential, random"),
                ));
            }
        },
        dns: file.dns_config,
        scripts: flags.enable_script_checks
            || file.enable_script_checks.or(file.enable_local_script_checks).unwrap_or(false),
        check_update_interval: file.check_update_interval.map_or(Duration::from_secs(300), GoDuration::to_std),
        session_ttl_min: match file.session_ttl_min.unwrap_or_default().to_std() {
            Duration::ZERO => TTL_MIN,
            min if min <= TTL_MAX => min,
            _ => return Err(invalid("session_ttl_min", "must be at most 24h")),
        },
        console: file.ui_config.enabled.unwrap_or(true),
        connections_per_client: file.limits.http_max_conns_per_client.unwrap_or(200).max(1),
        acl: file.acl.resolve()?,
    })
}

fn node_meta(
    flags: &AgentFlags,
    mut pairs: BTreeMap<String, String>,
) -> Result<callboard_proto::text::Meta, ConfigError> {
    for pair in &flags.node_meta {
        let split = pair.split_once(':').or_else(|| pair.split_once('='));
        let (key, value) = split.ok_or_else(|| invalid("node_meta", format!("{pair:?} is not key:value")))?;
        pairs.insert(key.to_owned(), value.to_owned());
    }
    api::valid::validate_meta("Node Meta", &pairs).map_err(|error| invalid("node_meta", error.0))
}

fn address(key: &'static str, text: Option<&str>, default: IpAddr) -> Result<IpAddr, ConfigError> {
    match text {
        None => Ok(default),
        Some(text) => text.trim().parse().map_err(|_| invalid(key, format!("{text:?} is not an IP address"))),
    }
}

fn recursor(text: &str) -> Result<SocketAddr, ConfigError> {
    let with_port = text.parse::<SocketAddr>();
    with_port
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| invalid("recursors", format!("{text:?} is not an IP address, with or without a port")))
}

fn log_level(text: Option<String>) -> Result<String, ConfigError> {
    let text = text.unwrap_or_else(|| "info".to_owned()).to_lowercase();
    match text.as_str() {
        "trace" | "debug" | "info" | "warn" => Ok(text),
        "err" | "error" => Ok("error".to_owned()),
        _ => Err(invalid("log_level", format!("{text:?} is none of trace, debug, info, warn, err"))),
    }
}

fn host_name() -> Result<String, ConfigError> {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let name = read.or_else(|| std::env::var("HOSTNAME").ok()).filter(|name| !name.is_empty());
    name.ok_or_else(|| invalid("node_name", "the host has no name; give -node"))
}

/// The address that packets to the outside would come from; loopback when there is no outside.
fn outward_address() -> IpAddr {
    // Connecting a UDP socket sends nothing: it only asks the routing table.
    let probe = || -> std::io::Result<IpAddr> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

#[cfg(test)]
mod tests {
    use super::file::nearest;
    use super::*;

    fn from_toml(text: &str) -> Result<FileConfig, String> {
        toml::from_str(text).map_err(|error| nearest(error.to_string()))
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = from_toml("datacentre = \"x\"").unwrap_err();
        assert!(error.contains("did you mean `datacenter`?"), "{error}");
    }

    #[test]
    fn flags_win_over_files_and_files_over_defaults() {
        let flags = AgentFlags { dev: true, http_port: Some(0), node: Some("n1".into()), ..AgentFlags::default() };
        let file =
            from_toml("datacenter = \"DC7\"\nbind_addr = \"127.0.0.9\"\nports = { http = 9, dns = -1 }").unwrap();
        let config = resolve(&flags, file).unwrap();
        assert_eq!((config.http_port, config.dns_port), (0, None));
        assert_eq!(config.datacenter, "dc7");
        assert_eq!(config.advertise.to_string(), "127.0.0.9");
        assert_eq!(config.client.to_string(), "127.0.0.1");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |flags: AgentFlags, text: &str, part: &str| {
            let error = resolve(&flags, from_toml(text).unwrap()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        let dev = || AgentFlags { dev: true, node: Some("n".into()), ..AgentFlags::default() };
        check(AgentFlags::default(), "", "data_dir cannot be empty");
        check(dev(), "bind_addr = \"x\"", "bind_addr: \"x\" is not an IP address");
        check(dev(), "datacenter = \"a b\"", "datacenter");
        check(dev(), "log_level = \"loud\"", "log_level");
        check(dev(), "ports = { http = 70000 }", "ports.http");
        check(dev(), "recursors = [\"dns.example\"]", "recursors");
    }

    #[test]
    fn later_files_replace_merge_and_append() {
        let mut file = from_toml("domain = \"a\"\nrecursors = [\"1.1.1.1\"]\n[node_meta]\na = \"1\"").unwrap();
        file.merge(from_toml("domain = \"b\"\nrecursors = [\"2.2.2.2\"]\n[node_meta]\nb = \"2\"").unwrap());
        assert_eq!(file.domain.as_deref(), Some("b"));
        assert_eq!(file.recursors.len(), 2);
        assert_eq!(file.node_meta.len(), 2);
    }
}
