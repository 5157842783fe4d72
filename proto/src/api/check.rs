//! Check definitions as clients send them, and what is wrong with them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decode::{Ignored, Secret};
use crate::check::Check;
use crate::definition::Figures;
use crate::duration::GoDuration;

/// A check as a request body states it; alone, or inside a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CheckRequest {
    #[serde(
        rename(serialize = "CheckID", deserialize = "id"),
        alias = "checkid",
        skip_serializing_if = "String::is_empty"
    )]
    /// Its id; empty means: after the service, or the name.
    pub id: String,
    #[serde(rename(serialize = "Name", deserialize = "name"), skip_serializing_if = "String::is_empty")]
    /// For people.
    pub name: String,
    #[serde(rename(serialize = "Notes", deserialize = "notes"), skip_serializing_if = "String::is_empty")]
    /// For people.
    pub notes: String,
    #[serde(rename(serialize = "Status", deserialize = "status"), skip_serializing_if = "String::is_empty")]
    /// The status to begin with.
    pub status: String,
    #[serde(rename(serialize = "ServiceID", deserialize = "serviceid"), skip_serializing_if = "String::is_empty")]
    /// The instance it is about; only when it is registered alone.
    pub service_id: String,
    #[serde(
        rename(serialize = "Args", deserialize = "args"),
        alias = "scriptargs",
        skip_serializing_if = "Vec::is_empty"
    )]
    /// A program and its arguments.
    pub args: Vec<String>,
    #[serde(rename(serialize = "Interval", deserialize = "interval"), skip_serializing_if = "is_zero")]
    /// Time between runs.
    pub interval: GoDuration,
    #[serde(rename(serialize = "Timeout", deserialize = "timeout"), skip_serializing_if = "is_zero")]
    /// Time for one run.
    pub timeout: GoDuration,
    #[serde(rename(serialize = "TTL", deserialize = "ttl"), skip_serializing_if = "is_zero")]
    /// How long a beat lasts.
    pub ttl: GoDuration,
    #[serde(rename(serialize = "HTTP", deserialize = "http"), skip_serializing_if = "String::is_empty")]
    /// A URL.
    pub http: String,
    #[serde(rename(serialize = "Method", deserialize = "method"), skip_serializing_if = "String::is_empty")]
    /// Its method.
    pub method: String,
    #[serde(rename(serialize = "Header", deserialize = "header"), skip_serializing_if = "BTreeMap::is_empty")]
    /// Its headers.
    pub header: BTreeMap<String, Vec<String>>,
    #[serde(rename(serialize = "Body", deserialize = "body"), skip_serializing_if = "String::is_empty")]
    /// Its body.
    pub body: String,
    #[serde(
        rename(serialize = "DisableRedirects", deserialize = "disableredirects"),
        skip_serializing_if = "is_false"
    )]
    /// Whether a redirect is itself the (critical) answer.
    pub disable_redirects: bool,
    #[serde(
        rename(serialize = "TLSServerName", deserialize = "tlsservername"),
        skip_serializing_if = "String::is_empty"
    )]
    /// The name to verify.
    pub tls_server_name: String,
    #[serde(rename(serialize = "TLSSkipVerify", deserialize = "tlsskipverify"), skip_serializing_if = "is_false")]
    /// Takes any certificate.
    pub tls_skip_verify: bool,
    #[serde(rename(serialize = "TCP", deserialize = "tcp"), skip_serializing_if = "String::is_empty")]
    /// `host:port`.
    pub tcp: String,
    #[serde(rename(serialize = "TCPUseTLS", deserialize = "tcpusetls"), skip_serializing_if = "is_false")]
    /// TLS on it.
    pub tcp_use_tls: bool,
    #[serde(rename(serialize = "UDP", deserialize = "udp"), skip_serializing_if = "String::is_empty")]
    /// `host:port`.
    pub udp: String,
    #[serde(rename(serialize = "GRPC", deserialize = "grpc"), skip_serializing_if = "String::is_empty")]
    /// `host:port`, then optionally `/service`.
    pub grpc: String,
    #[serde(rename(serialize = "GRPCUseTLS", deserialize = "grpcusetls"), skip_serializing_if = "is_false")]
    /// TLS on it.
    pub grpc_use_tls: bool,
    #[serde(rename(serialize = "H2PING", deserialize = "h2ping"), skip_serializing_if = "String::is_empty")]
    /// `host:port`.
    pub h2ping: String,
    #[serde(rename(serialize = "H2PingUseTLS", deserialize = "h2pingusetls"), skip_serializing_if = "Option::is_none")]
    /// TLS on it; on unless said otherwise.
    pub h2ping_use_tls: Option<bool>,
    #[serde(rename(serialize = "AliasNode", deserialize = "aliasnode"), skip_serializing_if = "String::is_empty")]
    /// The node of the instance whose health is taken over.
    pub alias_node: String,
    #[serde(
        rename(serialize = "AliasService", deserialize = "aliasservice"),
        skip_serializing_if = "String::is_empty"
    )]
    /// The id of the instance whose health is taken over.
    pub alias_service: String,
    #[serde(
        rename(serialize = "SuccessBeforePassing", deserialize = "successbeforepassing"),
        skip_serializing_if = "is_none"
    )]
    /// Good results before passing.
    pub success_before_passing: u32,
    #[serde(
        rename(serialize = "FailuresBeforeWarning", deserialize = "failuresbeforewarning"),
        skip_serializing_if = "is_none"
    )]
    /// Bad results before warning; 0 means as many as before critical.
    pub failures_before_warning: u32,
    #[serde(
        rename(serialize = "FailuresBeforeCritical", deserialize = "failuresbeforecritical"),
        skip_serializing_if = "is_none"
    )]
    /// Bad results before critical.
    pub failures_before_critical: u32,
    #[serde(
        rename(serialize = "DeregisterCriticalServiceAfter", deserialize = "deregistercriticalserviceafter"),
        skip_serializing_if = "is_zero"
    )]
    /// After how long in critical the instance is deregistered; at least a minute.
    pub deregister_critical_service_after: GoDuration,
    #[serde(rename(serialize = "OutputMaxSize", deserialize = "outputmaxsize"), skip_serializing_if = "is_zero_size")]
    /// The largest output kept, in bytes.
    pub output_max_size: i64,
    #[serde(rename(serialize = "MaxLatency", deserialize = "maxlatency"), skip_serializing_if = "Option::is_none")]
    /// Ours: how long the probe may take.
    pub max_latency: Option<LatencyRequest>,
    #[serde(rename(serialize = "MaxMemory", deserialize = "maxmemory"), skip_serializing_if = "Option::is_none")]
    /// Ours: resident bytes of the process.
    pub max_memory: Option<LimitRequest>,
    #[serde(rename(serialize = "MaxCPU", deserialize = "maxcpu"), skip_serializing_if = "Option::is_none")]
    /// Ours: cores used by the process.
    pub max_cpu: Option<LimitRequest>,
    #[serde(
        rename(serialize = "MinThroughput", deserialize = "minthroughput"),
        skip_serializing_if = "Option::is_none"
    )]
    /// Ours: requests per second.
    pub min_throughput: Option<LimitRequest>,
    #[serde(rename(serialize = "MaxErrorRate", deserialize = "maxerrorrate"), skip_serializing_if = "Option::is_none")]
    /// Ours: share of failed requests, 0 to 1.
    pub max_error_rate: Option<LimitRequest>,
    #[serde(rename(serialize = "Pid", deserialize = "pid"), skip_serializing_if = "Option::is_none")]
    /// Ours: the process that memory and CPU are of.
    pub pid: Option<u32>,
    #[serde(rename(deserialize = "dockercontainerid"), skip_serializing)]
    /// Refused: no container engine is driven.
    pub docker_container_id: String,
    #[serde(rename(deserialize = "osservice"), skip_serializing)]
    /// Refused: no service manager is asked.
    pub os_service: String,
    #[serde(rename(deserialize = "shell"), skip_serializing)]
    /// Only of use with containers.
    pub shell: String,
    #[serde(rename(deserialize = "token"), skip_serializing)]
    /// Taken, and of no use while there are no rules.
    pub token: Secret,
    #[serde(
        rename(deserialize = "proxyhttp"),
        alias = "proxygrpc",
        alias = "namespace",
        alias = "partition",
        skip_serializing
    )]
    /// Taken and passed over.
    pub ignored: Ignored,
}

/// A warning and a critical limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LimitRequest {
    #[serde(rename(serialize = "Warning", deserialize = "warning"), skip_serializing_if = "Option::is_none")]
    /// Past it: warning.
    pub warning: Option<f64>,
    #[serde(rename(serialize = "Critical", deserialize = "critical"), skip_serializing_if = "Option::is_none")]
    /// Past it: critical.
    pub critical: Option<f64>,
}

/// A limit on a percentile of the probe's latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LatencyRequest {
    #[serde(rename(serialize = "Percentile", deserialize = "percentile"), skip_serializing_if = "Option::is_none")]
    /// 99 unless said otherwise.
    pub percentile: Option<f64>,
    #[serde(rename(serialize = "Window", deserialize = "window"), skip_serializing_if = "Option::is_none")]
    /// Over how many of the last runs; 20 unless said otherwise.
    pub window: Option<u32>,
    #[serde(rename(serialize = "Warning", deserialize = "warning"), skip_serializing_if = "is_zero")]
    /// Past it: warning.
    pub warning: GoDuration,
    #[serde(rename(serialize = "Critical", deserialize = "critical"), skip_serializing_if = "is_zero")]
    /// Past it: critical.
    pub critical: GoDuration,
}

fn is_zero(duration: &GoDuration) -> bool {
    duration.0 == 0
}

fn is_none(number: &u32) -> bool {
    *number == 0
}

fn is_zero_size(number: &i64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Body of `PUT /v1/agent/check/update/:id`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct CheckUpdate {
    #[serde(rename(serialize = "Status", deserialize = "status"))]
    /// One of the three statuses.
    pub status: String,
    #[serde(rename(serialize = "Output", deserialize = "output"))]
    /// For people.
    pub output: String,
    #[serde(rename(serialize = "Figures", deserialize = "figures"), skip_serializing_if = "Option::is_none")]
    /// Ours: what the application measured, for limits on it.
    pub figures: Option<Figures>,
}

/// A valid check to be registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewCheck {
    /// The row; index and service texts are filled in when it is applied.
    pub check: Check,
    /// Whether the request said which status to begin with; else a known check keeps its own.
    pub status_given: bool,
}
