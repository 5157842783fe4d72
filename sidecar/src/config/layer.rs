//! One layer of settings, everything optional: what a file, the flags or the environment say.
//!
//! Layers are laid over one another with [`Layer::or`] and become a [`Config`] with
//! [`Layer::finish`], which is the only place that knows defaults and checks whole settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use callboard_proto::duration::GoDuration;
use serde::{Deserialize, Deserializer};

use super::upstream::{self, Policy, Protocol, UpstreamConfig};
use super::{Config, ControlConfig, OutboundConfig, ServiceConfig, Timeouts};
use crate::error::Error;

/// One layer; the field names are the keys of the settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    #[serde(default)]
    pub(crate) control: Vec<String>,
    #[serde(skip)]
    pub(crate) token: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) datacenter: Option<String>,
    pub(crate) cache_dir: Option<PathBuf>,
    #[serde(default)]
    pub(crate) service: ServiceLayer,
    #[serde(default)]
    pub(crate) upstreams: Vec<UpstreamLayer>,
    pub(crate) outbound: Option<Listen>,
    pub(crate) outbound_policy: Option<Parsed<Policy>>,
    pub(crate) outbound_services_max: Option<usize>,
    pub(crate) domain: Option<String>,
    pub(crate) admin: Option<Listen>,
    pub(crate) threads: Option<usize>,
    pub(crate) connections_max: Option<usize>,
    #[serde(default)]
    pub(crate) timeouts: TimeoutsLayer,
}

/// The local application, as a layer says it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceLayer {
    pub(crate) name: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) id: Option<String>,
    pub(crate) address: Option<String>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) meta: BTreeMap<String, String>,
    pub(crate) check_http: Option<String>,
    pub(crate) check_tcp: Option<bool>,
    pub(crate) check_interval: Option<Time>,
    pub(crate) check_timeout: Option<Time>,
    pub(crate) ttl: Option<Time>,
    pub(crate) node: Option<String>,
    pub(crate) node_address: Option<String>,
}

/// An upstream, in its short form or spelled out.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum UpstreamLayer {
    Short(Parsed<UpstreamConfig>),
    Long(UpstreamLong),
}

/// An upstream spelled out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamLong {
    service: String,
    listen: Listen,
    protocol: Option<Parsed<Protocol>>,
    policy: Option<Parsed<Policy>>,
    #[serde(default)]
    start_empty: bool,
}

/// How long things may take, as a layer says it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeoutsLayer {
    pub(crate) connect: Option<Time>,
    pub(crate) request_header: Option<Time>,
    pub(crate) response_header: Option<Time>,
    pub(crate) per_try: Option<Time>,
    pub(crate) idle: Option<Time>,
    pub(crate) discover: Option<Time>,
    pub(crate) settle: Option<Time>,
    pub(crate) drain: Option<Time>,
}

/// Something read from text by its `FromStr`.
#[derive(Debug, Clone)]
pub(crate) struct Parsed<T>(pub(crate) T);

impl<'de, T: std::str::FromStr<Err = String>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Parsed).map_err(serde::de::Error::custom)
    }
}

/// An address to listen on, or a port alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen(pub(crate) SocketAddr);

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        upstream::listen_address(text).map(Listen)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A duration as text, such as `10s`; never negative.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time(pub(crate) Duration);

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let duration = GoDuration::parse(text).map_err(|error| error.to_string())?;
        if duration.0 < 0 {
            return Err(format!("invalid duration {text:?}: must not be negative"));
        }
        Ok(Time(duration.to_std()))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Takes the upper list when it says anything: lists replace one another, they do not mix.
fn either<T>(upper: Vec<T>, lower: Vec<T>) -> Vec<T> {
    if upper.is_empty() { lower } else { upper }
}

impl Layer {
    /// What Consul's own environment variables say; they rank below ours.
    pub(crate) fn from_consul_environment(get: impl Fn(&str) -> Option<String>) -> Layer {
        Layer {
            control: get("CONSUL_HTTP_ADDR").into_iter().collect(),
            token: get("CALLBOARD_HTTP_TOKEN").or_else(|| get("CONSUL_HTTP_TOKEN")),
            token_file: get("CONSUL_HTTP_TOKEN_FILE").map(PathBuf::from),
            ..Layer::default()
        }
    }

    /// Lays this layer over another: what this one says wins.
    pub(crate) fn or(self, lower: Layer) -> Layer {
        Layer {
            control: either(self.control, lower.control),
            token: self.token.or(lower.token),
            token_file: self.token_file.or(lower.token_file),
            datacenter: self.datacenter.or(lower.datacenter),
            cache_dir: self.cache_dir.or(lower.cache_dir),
            service: self.service.or(lower.service),
            upstreams: either(self.upstreams, lower.upstreams),
            outbound: self.outbound.or(lower.outbound),
            outbound_policy: self.outbound_policy.or(lower.outbound_policy),
            outbound_services_max: self.outbound_services_max.or(lower.outbound_services_max),
            domain: self.domain.or(lower.domain),
            admin: self.admin.or(lower.admin),
            threads: self.threads.or(lower.threads),
            connections_max: self.connections_max.or(lower.connections_max),
            timeouts: self.timeouts.or(lower.timeouts),
        }
    }

    /// Fills in the defaults and checks what only the whole can show.
    pub(crate) fn finish(self) -> Result<Config, Error> {
        let defaults = Config::default();
        let token = match (self.token, self.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(path)) => Some(
                std::fs::read_to_string(&path)
                    .map_err(|source| Error::ReadFile { path: path.clone(), source })?
                    .trim()
                    .to_owned(),
            ),
            (None, None) => None,
        };
        let servers = either(self.control, defaults.control.servers);
        let domain = self.domain.unwrap_or_else(|| "consul".to_owned());
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        if domain.is_empty() {
            return Err(Error::usage("domain must not be empty"));
        }
        let outbound = self.outbound.map(|Listen(listen)| OutboundConfig {
            listen,
            domain,
            policy: self.outbound_policy.map(|Parsed(policy)| policy).unwrap_or_default(),
            services_max: self.outbound_services_max.unwrap_or(1_024),
        });
        let config = Config {
            control: ControlConfig { servers, token, datacenter: self.datacenter, cache_dir: self.cache_dir },
            service: self.service.finish()?,
            upstreams: self.upstreams.into_iter().map(UpstreamLayer::finish).collect(),
            outbound,
            admin: self.admin.map_or(defaults.admin, |Listen(address)| address),
            threads: self.threads.unwrap_or(defaults.threads),
            timeouts: self.timeouts.finish(),
            connections_max: self.connections_max.unwrap_or(defaults.connections_max),
        };
        check(&config)?;
        Ok(config)
    }
}

fn check(config: &Config) -> Result<(), Error> {
    if config.threads == 0 || config.threads > 256 {
        return Err(Error::usage(format!("threads must be between 1 and 256, not {}", config.threads)));
    }
    if config.connections_max == 0 {
        return Err(Error::usage("connections_max must be at least 1"));
    }
    if config.service.is_none() && config.upstreams.is_empty() && config.outbound.is_none() {
        return Err(Error::Usage {
            message: "there is nothing to do: no service, no upstream and no outbound port is set".to_owned(),
            hint: Some("try --service web --port 8080, --upstream payments=127.0.0.1:9101 or --outbound 9100".into()),
        });
    }
    let timeouts = &config.timeouts;
    for (name, value) in [
        ("connect", timeouts.connect),
        ("request_header", timeouts.request_header),
        ("response_header", timeouts.response_header),
        ("per_try", timeouts.per_try.unwrap_or(timeouts.response_header)),
        ("idle", timeouts.idle),
        ("discover", timeouts.discover),
    ] {
        if value.is_zero() {
            return Err(Error::usage(format!("timeouts.{name} must be more than zero")));
        }
    }
    for (index, upstream) in config.upstreams.iter().enumerate() {
        if config.upstreams[..index].iter().any(|other| other.service == upstream.service) {
            return Err(Error::usage(format!("upstream {:?} is given twice", upstream.service)));
        }
    }
    Ok(())
}

impl ServiceLayer {
    fn or(self, lower: ServiceLayer) -> ServiceLayer {
        ServiceLayer {
            name: self.name.or(lower.name),
            port: self.port.or(lower.port),
            id: self.id.or(lower.id),
            address: self.address.or(lower.address),
            tags: either(self.tags, lower.tags),
            meta: if self.meta.is_empty() { lower.meta } else { self.meta },
            check_http: self.check_http.or(lower.check_http),
            check_tcp: self.check_tcp.or(lower.check_tcp),
            check_interval: self.check_interval.or(lower.check_interval),
            check_timeout: self.check_timeout.or(lower.check_timeout),
            ttl: self.ttl.or(lower.ttl),
            node: self.node.or(lower.node),
            node_address: self.node_address.or(lower.node_address),
        }
    }

    fn finish(self) -> Result<Option<ServiceConfig>, Error> {
        let Some(name) = self.name else {
            if self.port.is_some() || self.check_http.is_some() || self.check_tcp.is_some() {
                return Err(Error::usage("a port or a check is given, but no service name"));
            }
            return Ok(None);
        };
        let Some(port) = self.port.filter(|port| *port != 0) else {
            return Err(Error::Usage {
                message: format!("service {name:?} needs the port the application listens on"),
                hint: Some("add --port 8080".to_owned()),
            });
        };
        if let Some(path) = &self.check_http
            && !path.starts_with('/')
        {
            return Err(Error::usage(format!("check_http must be a path such as /health, not {path:?}")));
        }
        let ttl = self.ttl.map_or(Duration::from_secs(10), |Time(ttl)| ttl);
        if ttl < Duration::from_secs(1) {
            return Err(Error::usage("ttl must be at least 1s"));
        }
        let interval = self.check_interval.map_or(Duration::from_secs(2), |Time(interval)| interval);
        if interval.is_zero() {
            return Err(Error::usage("check_interval must be more than zero"));
        }
        Ok(Some(ServiceConfig {
            name,
            port,
            id: self.id,
            address: self.address,
            tags: self.tags,
            meta: self.meta,
            check_http: self.check_http,
            check_tcp: self.check_tcp.unwrap_or(false),
            check_interval: interval,
            check_timeout: self.check_timeout.map_or(Duration::from_secs(1), |Time(timeout)| timeout),
            ttl,
            node: self.node,
            node_address: self.node_address,
        }))
    }
}

impl UpstreamLayer {
    fn finish(self) -> UpstreamConfig {
        match self {
            UpstreamLayer::Short(Parsed(upstream)) => upstream,
            UpstreamLayer::Long(long) => UpstreamConfig {
                service: long.service,
                listen: long.listen.0,
                protocol: long.protocol.map(|Parsed(protocol)| protocol).unwrap_or_default(),
                policy: long.policy.map(|Parsed(policy)| policy).unwrap_or_default(),
                start_empty: long.start_empty,
            },
        }
    }
}

impl TimeoutsLayer {
    fn or(self, lower: TimeoutsLayer) -> TimeoutsLayer {
        TimeoutsLayer {
            connect: self.connect.or(lower.connect),
            request_header: self.request_header.or(lower.request_header),
            response_header: self.response_header.or(lower.response_header),
            per_try: self.per_try.or(lower.per_try),
            idle: self.idle.or(lower.idle),
            discover: self.discover.or(lower.discover),
            settle: self.settle.or(lower.settle),
            drain: self.drain.or(lower.drain),
        }
    }

    fn finish(self) -> Timeouts {
        let defaults = Timeouts::default();
        let or = |set: Option<Time>, default| set.map_or(default, |Time(duration)| duration);
        Timeouts {
            connect: or(self.connect, defaults.connect),
            request_header: or(self.request_header, defaults.request_header),
            response_header: or(self.response_header, defaults.response_header),
            per_try: self.per_try.map(|Time(duration)| duration).or(defaults.per_try),
            idle: or(self.idle, defaults.idle),
            discover: or(self.discover, defaults.discover),
            settle: or(self.settle, defaults.settle),
            drain: or(self.drain, defaults.drain),
        }
    }
}
