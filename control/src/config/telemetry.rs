//! The node's numbers: under which names, and for whom.

use std::time::Duration;

use callboard_proto::duration::GoDuration;

use super::keys::keys;

const SCRAPED: &str = "numbers are scraped from /metrics or /v1/agent/metrics, not sent";

keys! {
    pub(super) struct TelemetryKeys {
        pub(super) prometheus_retention_time: Option<GoDuration>,
        pub(super) disable_hostname: Option<bool>,
        pub(super) metrics_prefix: Option<String>,
    }
    unneeded {
        circonus_api_app: SCRAPED,
        circonus_api_token: SCRAPED,
        circonus_api_url: SCRAPED,
        circonus_broker_id: SCRAPED,
        circonus_broker_select_tag: SCRAPED,
        circonus_check_display_name: SCRAPED,
        circonus_check_force_metric_activation: SCRAPED,
        circonus_check_id: SCRAPED,
        circonus_check_instance_id: SCRAPED,
        circonus_check_search_tag: SCRAPED,
        circonus_check_tags: SCRAPED,
        circonus_submission_interval: SCRAPED,
        circonus_submission_url: SCRAPED,
        disable_per_tenancy_usage_metrics: "there is one tenancy",
        dogstatsd_addr: SCRAPED,
        dogstatsd_tags: SCRAPED,
        enable_host_metrics: "numbers of the host are asked for at /v1/agent/host",
        filter_default: "every number is shown",
        prefix_filter: "every number is shown",
        retry_failed_connection: SCRAPED,
        statsd_address: SCRAPED,
        statsite_address: SCRAPED,
    }
}

/// The node's numbers in Consul's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Whether `?format=prometheus` is answered: it is when this is more than nothing.
    pub prometheus_retention: Duration,
    /// Whether gauges are named without the node.
    pub disable_hostname: bool,
    /// What names begin with.
    pub prefix: String,
}

impl TelemetrySettings {
    pub(super) fn resolve(keys: TelemetryKeys) -> TelemetrySettings {
        TelemetrySettings {
            prometheus_retention: keys.prometheus_retention_time.unwrap_or_default().to_std(),
            disable_hostname: keys.disable_hostname.unwrap_or(false),
            prefix: keys.metrics_prefix.unwrap_or_else(|| "consul".to_owned()),
        }
    }
}
