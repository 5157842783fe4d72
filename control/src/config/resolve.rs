//! From what was read to what holds: the order of the sources, defaults, and what each value may be.
//!
//! Pure but for the reading of files: the host and the environment are arguments.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callboard_proto::config_entry::ConfigEntry;
use callboard_proto::definition::OUTPUT_MAX;

use super::environment::Environment;
use super::sources::{Format, Origin, Sources};
use super::template::Host;
use super::{
    AgentFlags, ClusterSettings, Config, ConfigError, ConnectSettings, GoDuration, HttpSettings, LimitSettings,
    LogSettings, NetSettings, NodeName, QuerySettings, TTL_MAX, TTL_MIN, TelemetrySettings, TlsSettings, api, invalid,
};

/// Reads everything, the weakest first.
pub(super) fn gather(flags: &AgentFlags, environment: &Environment) -> Result<Sources, ConfigError> {
    let format = flags.config_format.as_deref().map(Format::parse).transpose()?;
    let mut sources = Sources::default();
    if let Some(folder) = &environment.config_dir {
        sources.paths(std::slice::from_ref(folder), format)?;
    }
    sources.paths(&flags.config_file, format)?;
    sources.paths(&flags.config_dir, format)?;
    if let Some(text) = &environment.local_config {
        sources.text(Origin::Given("CONSUL_LOCAL_CONFIG"), text, Format::Hcl)?;
    }
    for text in &flags.hcl {
        sources.text(Origin::Given("-hcl"), text, Format::Hcl)?;
    }
    sources.tree(Origin::Given("the environment"), environment.tree())?;
    sources.tree(Origin::Given("the command line"), flags.tree()?)?;
    if environment.privileged_ports {
        let reason = "the right to low ports is given to the program by the system";
        sources.unneeded.insert("CONSUL_ALLOW_PRIVILEGED_PORTS".to_owned(), reason);
    }
    Ok(sources)
}

/// Makes settings of it that are valid as a whole.
pub(super) fn resolve(dev: bool, sources: Sources, host: &Host) -> Result<Config, ConfigError> {
    let (file, unneeded, definitions) = sources.finish()?;
    let data_dir = file.data_dir.clone().filter(|path| !path.as_os_str().is_empty());
    if data_dir.is_none() && !dev {
        return Err(ConfigError::NoDataDir);
    }
    let node_name = file.node_name.clone().or_else(|| host.name.clone());
    let node_name = node_name.ok_or_else(|| invalid("node_name", "the host has no name; give -node"))?;
    let datacenter = file.datacenter.clone().unwrap_or_else(|| "dc1".to_owned()).to_lowercase();
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if datacenter.is_empty() || !plain(&datacenter) {
        return Err(invalid("datacenter", format!("{datacenter:?} must be letters, digits, - and _")));
    }
    if file
        .primary_datacenter
        .as_ref()
        .is_some_and(|primary| !primary.is_empty() && primary.to_lowercase() != datacenter)
    {
        let reason = "there is only one datacenter, so it must be the same as datacenter";
        return Err(invalid("primary_datacenter", reason));
    }
    let scripts = file.enable_script_checks.unwrap_or(false);
    let scripts_local = scripts || file.enable_local_script_checks.unwrap_or(false);
    if let Some(reason) = definitions.contradiction(scripts_local) {
        return Err(invalid("services", reason));
    }
    let domain = file.domain.clone().unwrap_or_else(|| "consul".to_owned());
    let recursors = file.recursors.iter().filter(|text| !text.trim().is_empty());
    let notes = unneeded.iter().map(|(key, reason)| format!("{key}: {reason}")).collect();
    Ok(Config {
        dev,
        node_name: NodeName::parse(&node_name).map_err(|error| invalid("node_name", error.to_string()))?,
        node_id: node_id(file.node_id.as_deref())?,
        node_meta: node_meta(&file.node_meta)?,
        datacenter,
        domain: domain.trim_matches('.').to_lowercase(),
        alt_domain: file
            .alt_domain
            .as_ref()
            .map(|domain| domain.trim_matches('.').to_lowercase())
            .filter(|domain| !domain.is_empty()),
        net: NetSettings::resolve(&file, dev, host)?,
        data_dir,
        pid_file: file.pid_file.clone().filter(|path| !path.as_os_str().is_empty()),
        log: LogSettings::resolve(&file, dev)?,
        recursors: recursors.map(|text| recursor(text.trim())).collect::<Result<_, _>>()?,
        recursors_at_random: match file.dns_config.recursor_strategy.as_deref() {
            None | Some("sequential" | "") => false,
            Some("random") => true,
            Some(other) => {
                let reason = format!("{other:?} is none of sequential, random");
                return Err(invalid("dns_config.recursor_strategy", reason));
            }
        },
        queries: QuerySettings::resolve(&file)?,
        scripts,
        scripts_local,
        remote_exec: !file.disable_remote_exec.unwrap_or(true),
        check_update_interval: file.check_update_interval.map_or(Duration::from_secs(300), GoDuration::to_std),
        check_output_max: match (file.discard_check_output, file.check_output_max_size) {
            (Some(true), _) => 0,
            (_, None) => OUTPUT_MAX,
            (_, Some(size)) => match usize::try_from(size) {
                Ok(size @ 1..=OUTPUT_MAX) => size,
                _ => {
                    let reason = format!("{size} bytes; 1 to {OUTPUT_MAX} are accepted");
                    return Err(invalid("check_output_max_size", reason));
                }
            },
        },
        session_ttl_min: match file.session_ttl_min.unwrap_or_default().to_std() {
            Duration::ZERO => TTL_MIN,
            min if min <= TTL_MAX => min,
            _ => return Err(invalid("session_ttl_min", "must be at most 24h")),
        },
        definitions,
        cluster: ClusterSettings::resolve(&file, dev)?,
        tls: TlsSettings::resolve(&file)?,
        connect: ConnectSettings::resolve(&file)?,
        limits: LimitSettings::resolve(&file)?,
        http: HttpSettings::resolve(&file)?,
        console: file.ui_config.enabled.or(file.ui).unwrap_or(true),
        auto_reload: file.auto_reload_config.unwrap_or(false),
        acl: file.acl.resolve()?,
        telemetry: TelemetrySettings::resolve(file.telemetry),
        config_entries: entries(&file.config_entries.bootstrap)?,
        dns: file.dns_config,
        notes,
    })
}

fn node_id(text: Option<&str>) -> Result<Option<String>, ConfigError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => match uuid::Uuid::parse_str(text) {
            Ok(id) => Ok(Some(id.to_string())),
            Err(_) => Err(invalid("node_id", format!("{text:?} is not a UUID"))),
        },
    }
}

fn node_meta(pairs: &BTreeMap<String, String>) -> Result<callboard_proto::text::Meta, ConfigError> {
    api::valid::validate_meta("Node Meta", pairs).map_err(|error| invalid("node_meta", error.0))
}

fn recursor(text: &str) -> Result<SocketAddr, ConfigError> {
    let with_port = text.parse::<SocketAddr>();
    with_port
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
        .map_err(|_| invalid("recursors", format!("{text:?} is not an IP address, with or without a port")))
}

/// The rules that a new cluster begins with.
fn entries(given: &[serde_json::Value]) -> Result<Vec<ConfigEntry>, ConfigError> {
    let read = |(place, value): (usize, &serde_json::Value)| {
        let entry = ConfigEntry::parse(value.to_string().as_bytes());
        entry.map_err(|error| invalid(&format!("config_entries.bootstrap[{place}]"), error.to_string()))
    };
    given.iter().enumerate().map(read).collect()
}
