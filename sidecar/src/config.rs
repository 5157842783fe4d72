//! What a sidecar is told: the finished settings, every default filled in.
//!
//! Flags over environment over file over default (`config/layer.rs` merges, `config/flags.rs` and
//! `config/file.rs` read). Configuration stops at constructors: below `server.rs` only the small
//! values of this file travel, never the whole [`Config`].

mod file;
mod flags;
mod layer;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use flags::Flags;
pub use upstream::{Hash, HashBy, Policy, Protocol, UpstreamConfig};

use crate::error::Error;

/// Everything a sidecar is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// How the control nodes are reached.
    pub control: ControlConfig,
    /// The local application to sign in, if any.
    pub service: Option<ServiceConfig>,
    /// The services with a local port of their own.
    pub upstreams: Vec<UpstreamConfig>,
    /// The shared outbound port.
    pub outbound: Option<OutboundConfig>,
    /// Where `/ready`, `/live` and `/metrics` are served.
    pub admin: SocketAddr,
    /// Worker threads, each with listeners and connections of its own.
    pub threads: usize,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Client connections open at once, over all threads; more wait in the kernel's queue.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            control: ControlConfig::default(),
            service: None,
            upstreams: Vec::new(),
            outbound: None,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            timeouts: Timeouts::default(),
            connections_max: 10_000,
        }
    }
}

impl Config {
    /// Reads flags, the environment and the file they name.
    ///
    /// # Errors
    /// [`Error::Usage`] when a setting is unknown, malformed or contradicts another;
    /// [`Error::ReadFile`] when the file cannot be read. Nothing was started.
    pub fn load(flags: Flags) -> Result<Config, Error> {
        let file = match &flags.config {
            Some(path) => file::read(path)?,
            None => layer::Layer::default(),
        };
        let consul = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        flags.into_layer()?.or(layer::Layer::from_consul_environment(consul)).or(file).finish()
    }

    /// Reads a settings file's text alone, as [`Config::load`] would without any flag.
    ///
    /// # Errors
    /// [`Error::Usage`] as for [`Config::load`].
    pub fn from_toml(text: &str) -> Result<Config, Error> {
        file::parse(text, file::Format::Toml)?.finish()
    }
}

/// How the control nodes are reached.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Addresses of control nodes (or Consul agents), tried in order of health.
    pub servers: Vec<String>,
    /// The token that is sent with every call.
    pub token: Option<String>,
    /// The datacenter to ask; the control node's own when absent.
    pub datacenter: Option<String>,
    /// Where the last good catalog is kept, so that a start without a control node can serve.
    pub cache_dir: Option<PathBuf>,
}

impl Default for ControlConfig {
    fn default() -> ControlConfig {
        ControlConfig {
            servers: vec!["http://127.0.0.1:8500".to_owned()],
            token: None,
            datacenter: None,
            cache_dir: None,
        }
    }
}

/// The local application, as it is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The service's name.
    pub name: String,
    /// The port the application listens on.
    pub port: u16,
    /// The instance's id; the SDK's choice when absent.
    pub id: Option<String>,
    /// The address others reach it by; the node's when absent.
    pub address: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
    /// A path that must answer 2xx.
    pub check_http: Option<String>,
    /// Whether the port must accept connections.
    pub check_tcp: bool,
    /// Time between two runs of a check.
    pub check_interval: Duration,
    /// How long one run of a check may take.
    pub check_timeout: Duration,
    /// How long the registration stays good without a beat.
    pub ttl: Duration,
    /// The node the instance runs on.
    pub node: Option<String>,
    /// That node's address.
    pub node_address: Option<String>,
}

/// The shared outbound port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The domain of the catalog's names, lower case, without dots at its ends.
    pub domain: String,
    /// How a service met here is balanced.
    pub policy: Policy,
    /// How many services may be followed at once for this port.
    pub services_max: usize,
}

/// How long things may take. Each bound is on one step, none on a whole exchange: streams may be endless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Establishing a connection to an instance.
    pub connect: Duration,
    /// From the first byte of a request head to its last; enforced within twice this.
    pub request_header: Duration,
    /// From a request handed over to the head of its response.
    pub response_header: Duration,
    /// One try, after which a request that may be sent twice goes to another instance as well; none: no bound of its own.
    pub per_try: Option<Duration>,
    /// How long a client connection may sit between requests, or a tunnel without a byte.
    pub idle: Duration,
    /// The longest wait for the first news of a service first asked for on the outbound port.
    pub discover: Duration,
    /// While draining: between saying critical and closing the listeners.
    pub settle: Duration,
    /// While draining: the longest wait for requests in flight.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(2),
            request_header: Duration::from_secs(30),
            response_header: Duration::from_secs(60),
            per_try: None,
            idle: Duration::from_secs(600),
            discover: Duration::from_secs(3),
            settle: Duration::from_secs(2),
            drain: Duration::from_secs(30),
        }
    }
}
