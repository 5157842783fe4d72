//! `service-defaults`: what holds for a service as a whole, above all its protocol.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rules::{InvalidEntry, Rules, is_default};
use crate::duration::GoDuration;

/// What holds for a service as a whole. Fields that only proxies of a mesh follow are kept as they were written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceDefaults {
    /// The service.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `tcp` (also when empty), `http`, `http2`, `grpc`; anything else is treated as `tcp`.
    pub protocol: String,
    #[serde(skip_serializing_if = "is_default")]
    /// How traffic reaches its proxy.
    pub mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// How calls of this service to others are made.
    pub upstream_config: Option<UpstreamConfiguration>,
    #[serde(skip_serializing_if = "is_default")]
    /// The most connections one instance takes; 0 for no bound.
    pub max_inbound_connections: u32,
    #[serde(skip_serializing_if = "is_default")]
    /// How long a connection to the instance may take, in milliseconds; 0 for the default.
    pub local_connect_timeout_ms: u64,
    #[serde(skip_serializing_if = "is_default")]
    /// How long a request to the instance may take, in milliseconds; 0 for the default.
    pub local_request_timeout_ms: u64,
    #[serde(skip_serializing_if = "is_default")]
    /// How a proxy shares connections among its threads.
    pub balance_inbound_connections: String,
    #[serde(rename = "ExternalSNI", skip_serializing_if = "is_default")]
    /// The TLS name of a service outside the mesh.
    pub external_sni: String,
    #[serde(rename = "MutualTLSMode", skip_serializing_if = "is_default")]
    /// How strictly mesh TLS is asked for.
    pub mutual_tls_mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For proxies.
    pub transparent_proxy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For proxies.
    pub mesh_gateway: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For proxies.
    pub expose: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For proxies.
    pub destination: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For proxies.
    pub rate_limits: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For proxies.
    pub envoy_extensions: Option<Value>,
    #[serde(skip_serializing_if = "is_default")]
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
}

/// How calls to other services are made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpstreamConfiguration {
    #[serde(skip_serializing_if = "is_default")]
    /// For single services, by their name.
    pub overrides: Vec<UpstreamConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For all others.
    pub defaults: Option<UpstreamConfig>,
}

/// How calls to one service are made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpstreamConfig {
    #[serde(skip_serializing_if = "is_default")]
    /// The service that is called; empty in the defaults.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no peer clusters.
    pub peer: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its protocol, where it differs from its own defaults.
    pub protocol: String,
    #[serde(skip_serializing_if = "is_default")]
    /// How long making a connection may take, in milliseconds; 0 for the default.
    pub connect_timeout_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Bounds of what may be going on at once.
    pub limits: Option<UpstreamLimits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// When an instance that fails is left out.
    pub passive_health_check: Option<PassiveHealthCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For proxies.
    pub mesh_gateway: Option<Value>,
    #[serde(skip_serializing_if = "is_default")]
    /// How a proxy shares connections among its threads.
    pub balance_outbound_connections: String,
    #[serde(rename = "EnvoyListenerJSON", skip_serializing_if = "is_default")]
    /// For proxies.
    pub envoy_listener_json: String,
    #[serde(rename = "EnvoyClusterJSON", skip_serializing_if = "is_default")]
    /// For proxies.
    pub envoy_cluster_json: String,
}

/// Bounds of what may be going on at once; none for no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpstreamLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Connections.
    pub max_connections: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Requests in flight.
    pub max_concurrent_requests: Option<u32>,
}

/// When an instance that fails is left out for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PassiveHealthCheck {
    #[serde(skip_serializing_if = "is_default")]
    /// How often it is decided.
    pub interval: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    /// After how many failures in a row; 0 for the default.
    pub max_failures: u32,
    #[serde(rename = "EnforcingConsecutive5xx", skip_serializing_if = "Option::is_none")]
    /// How often the decision counts, in percent.
    pub enforcing_consecutive_5xx: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// The largest share of instances that are left out, in percent.
    pub max_ejection_percent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// For how long at first.
    pub base_ejection_time: Option<GoDuration>,
}

impl ServiceDefaults {
    pub(super) fn normalise(&mut self) {
        self.protocol.make_ascii_lowercase();
    }

    pub(super) fn validate(&self) -> Result<(), InvalidEntry> {
        let rules = Rules("");
        rules.require(self.protocol.len() <= 64, "Protocol is longer than 64 bytes")?;
        let balance = matches!(self.balance_inbound_connections.as_str(), "" | "exact_balance");
        rules.require(balance, "BalanceInboundConnections is neither empty nor exact_balance")?;
        let Some(upstreams) = &self.upstream_config else { return Ok(()) };
        if let Some(defaults) = &upstreams.defaults {
            Rules("UpstreamConfig.Defaults").require(defaults.name.is_empty(), "Name must be empty")?;
            defaults.validate("UpstreamConfig.Defaults")?;
        }
        for (number, upstream) in upstreams.overrides.iter().enumerate() {
            let place = format!("UpstreamConfig.Overrides[{number}]");
            Rules(&place).require(!upstream.name.is_empty(), "Name is missing")?;
            upstream.validate(&place)?;
        }
        Ok(())
    }
}

impl UpstreamConfig {
    fn validate(&self, place: &str) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        rules.only_default("Namespace", &self.namespace)?;
        rules.only_default("Partition", &self.partition)?;
        rules.absent("Peer", &self.peer)?;
        if let Some(check) = &self.passive_health_check {
            rules.not_negative("PassiveHealthCheck.Interval", check.interval)?;
            rules.not_negative("PassiveHealthCheck.BaseEjectionTime", check.base_ejection_time.unwrap_or_default())?;
            for (field, percent) in [
                ("EnforcingConsecutive5xx", check.enforcing_consecutive_5xx),
                ("MaxEjectionPercent", check.max_ejection_percent),
            ] {
                if percent.is_some_and(|percent| percent > 100) {
                    return rules.broken(format!("PassiveHealthCheck.{field} must be 0 to 100"));
                }
            }
        }
        Ok(())
    }
}
