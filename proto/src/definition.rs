//! How the status of a check is found out: the definition that a runner works from.
//!
//! Values here are valid: `api::check` turns a request body into one or says which field is wrong.
//! The runner itself lives in the SDK.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{InstanceId, NodeName};
use crate::text::Text;

/// The largest output kept, in bytes, unless a check asks for less.
pub const OUTPUT_MAX: usize = 4096;
/// The shortest time between two runs.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The shortest time after which a critical instance is reaped.
pub const REAP_AFTER_MIN: Duration = Duration::from_secs(60);

/// A complete definition of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckDefinition {
    /// What is done.
    pub probe: Probe,
    /// Time between the end of one run and the start of the next; zero for beats and aliases.
    pub interval: Duration,
    /// How long one run may take; zero means the default of the kind.
    pub timeout: Duration,
    /// How many results in a row change the status.
    pub thresholds: Thresholds,
    /// After how long in critical the whole instance is deregistered.
    pub reap_after: Option<Duration>,
    /// The largest output kept, in bytes.
    pub output_max: usize,
    /// Figures past which the status follows.
    pub limits: Limits,
}

/// What a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Probe {
    /// Nothing: the application beats, and silence for the whole time is critical.
    Ttl {
        /// How long a beat lasts.
        ttl: Duration,
    },
    /// A request; 2xx passes, 429 warns.
    Http(HttpProbe),
    /// A connection.
    Tcp {
        /// `host:port`.
        address: Text,
        /// TLS on it, if any.
        tls: Option<Tls>,
    },
    /// A datagram; an answer or silence passes, a refusal does not.
    Udp {
        /// `host:port`.
        address: Text,
    },
    /// The standard gRPC health service.
    Grpc {
        /// `host:port`.
        address: Text,
        /// The service asked about; empty for the whole server.
        service: Text,
        /// TLS on it, if any.
        tls: Option<Tls>,
    },
    /// An HTTP/2 PING frame.
    H2Ping {
        /// `host:port`.
        address: Text,
        /// TLS on it, if any.
        tls: Option<Tls>,
    },
    /// A program: exit 0 passes, 1 warns.
    Script {
        /// The program and its arguments; no shell in between.
        args: Vec<Text>,
    },
    /// The checks of another instance, taken together.
    Alias {
        /// Its node; none for the same one.
        node: NodeName,
        /// The instance; none for the node itself.
        instance: InstanceId,
    },
}

impl Probe {
    /// The word for the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Probe::Ttl { .. } => "ttl",
            Probe::Http(_) => "http",
            Probe::Tcp { .. } => "tcp",
            Probe::Udp { .. } => "udp",
            Probe::Grpc { .. } => "grpc",
            Probe::H2Ping { .. } => "h2ping",
            Probe::Script { .. } => "script",
            Probe::Alias { .. } => "alias",
        }
    }
}

/// What an HTTP check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// The whole address, `http://` or `https://`.
    pub url: Text,
    /// The method, upper case.
    pub method: Text,
    /// Headers, in order; `Host` is honoured.
    pub header: Vec<(Text, Text)>,
    /// The request's body.
    pub body: Text,
    /// Whether a redirect is followed (up to ten) or is itself the critical answer.
    pub follow_redirects: bool,
    /// How an `https` server is verified.
    pub tls: Tls,
}

/// How a TLS server is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name to ask for and to verify; empty means the host of the address.
    pub server_name: Text,
    /// Takes any certificate.
    pub skip_verify: bool,
}

/// How many results in a row change the status; 0 and 1 both mean the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Good results before passing.
    pub passing: u32,
    /// Bad results before warning.
    pub warning: u32,
    /// Bad results before critical.
    pub critical: u32,
}

/// A figure past which a check warns, and one past which it is critical.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Past it: warning.
    pub warning: Option<f64>,
    /// Past it: critical.
    pub critical: Option<f64>,
}

/// Service-quality limits: how good an instance must be, beyond being up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest time of the probe, in seconds.
    pub latency: Option<LatencyLimit>,
    /// Most resident memory of the process, in bytes.
    pub memory: Option<Limit>,
    /// Most CPU used by the process, in cores (1.5 = one and a half).
    pub cpu: Option<Limit>,
    /// Fewest requests per second, as the application reports them.
    pub throughput_min: Option<Limit>,
    /// Largest share of failed requests (0 to 1), as the application reports them.
    pub error_rate: Option<Limit>,
    /// The process whose memory and CPU count; without it, the one that listens on the instance's port.
    pub pid: Option<u32>,
}

impl Limits {
    /// Whether there is no limit at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Limits { pid: self.pid, ..Limits::default() }
    }
}

/// A limit on a percentile of the probe's latency over its last runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyLimit {
    /// Which percentile, above 0 and at most 100.
    pub percentile: f64,
    /// Over how many of the last runs, 1 to 1000.
    pub window: u32,
    /// In seconds.
    pub limit: Limit,
}

/// What an application reports about its own work, with a beat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase", default)]
pub struct Figures {
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none", alias = "throughput")]
    pub throughput: Option<f64>,
    /// Share of failed requests, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", alias = "errorrate")]
    pub error_rate: Option<f64>,
    /// Latency in seconds.
    #[serde(skip_serializing_if = "Option::is_none", alias = "latency")]
    pub latency: Option<f64>,
    /// Resident memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none", alias = "memory")]
    pub memory: Option<f64>,
    /// CPU in cores.
    #[serde(skip_serializing_if = "Option::is_none", alias = "cpu")]
    pub cpu: Option<f64>,
}
