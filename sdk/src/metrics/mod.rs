//! Figures for the facade `metrics`, whatever recorder the program installed; none is kept here.
//!
//! Failed tries and retries are counted when they happen. Everything else is read at intervals from the statistics that
//! balancing keeps anyway, by a [`Reporter`], so that a pick pays nothing for it. Labels are names of services, policies
//! and constant words, never input. The endpoints of a service are shared by all its policies, so what is read from them
//! has the label `service` alone.

mod reporter;

use std::sync::Arc;

use metrics::{counter, describe_counter, describe_gauge};

pub use reporter::Reporter;

use crate::tower::Reason;

/// Counter by `service`: endpoints picked for a call, each try being one.
pub const PICKS: &str = "callboard_client_picks_total";
/// Counter by `service`: calls that were cancelled or dropped without an outcome.
pub const ABANDONED: &str = "callboard_client_abandoned_total";
/// Counter by `service`: outcomes recorded against endpoints, failing statuses and broken bodies included.
pub const OUTCOMES_FAILED: &str = "callboard_client_outcomes_failed_total";
/// Counter by `service`, `policy` and `reason`: tries that ended without an answer.
pub const TRIES_FAILED: &str = "callboard_client_tries_failed_total";
/// Counter by `service` and `policy`: calls begun, however many tries each took.
pub const CALLS: &str = "callboard_client_calls_total";
/// Counter by `service`, `policy` and `reason`: calls that ended without an answer, refused ones (`overloaded`)
/// included.
pub const CALLS_FAILED: &str = "callboard_client_calls_failed_total";
/// Counter by `service` and `policy`: second servers asked because the first took long.
pub const HEDGES: &str = "callboard_client_hedges_total";
/// Counter by `service` and `policy`: of these, the ones that answered first.
pub const HEDGES_WON: &str = "callboard_client_hedges_won_total";
/// Counter by `service`: times that an endpoint was set aside.
pub const EJECTIONS: &str = "callboard_client_ejections_total";
/// Counter by `service`, `policy` and `granted` (`true`, `false`): further tries asked of the retry budget.
pub const RETRIES: &str = "callboard_client_retries_total";
/// Gauge by `service`: calls in flight.
pub const IN_FLIGHT: &str = "callboard_client_in_flight";
/// Gauge by `service` and `state` (`healthy`, `unhealthy`, `aside`): endpoints that may be called; all others the
/// registry lists; of the healthy, such as this process has set aside.
pub const ENDPOINTS: &str = "callboard_client_endpoints";
/// Gauge by `service` and `policy`: seconds since the registry last confirmed the snapshot.
pub const SNAPSHOT_AGE: &str = "callboard_client_snapshot_age_seconds";

/// Tells the recorder what the figures are. A [`Reporter`] does it when it is built.
pub fn describe() {
    describe_counter!(PICKS, "endpoints picked, by try");
    describe_counter!(ABANDONED, "calls dropped without an outcome");
    describe_counter!(OUTCOMES_FAILED, "outcomes against endpoints");
    describe_counter!(TRIES_FAILED, "tries that ended without an answer");
    describe_counter!(CALLS, "calls begun");
    describe_counter!(CALLS_FAILED, "calls that ended without an answer");
    describe_counter!(HEDGES, "second servers asked because the first took long");
    describe_counter!(HEDGES_WON, "second servers that answered first");
    describe_counter!(EJECTIONS, "times that an endpoint was set aside");
    describe_counter!(RETRIES, "further tries asked of the retry budget");
    describe_gauge!(IN_FLIGHT, "calls in flight");
    describe_gauge!(ENDPOINTS, "endpoints of a service by state");
    describe_gauge!(SNAPSHOT_AGE, metrics::Unit::Seconds, "time since the registry confirmed the snapshot");
}

pub(crate) fn try_failed(service: &Arc<str>, policy: &'static str, reason: Reason) {
    counter!(TRIES_FAILED, "service" => Arc::clone(service), "policy" => policy, "reason" => reason.as_str())
        .increment(1);
}

pub(crate) fn retry(service: &Arc<str>, policy: &'static str, granted: bool) {
    let granted = if granted { "true" } else { "false" };
    counter!(RETRIES, "service" => Arc::clone(service), "policy" => policy, "granted" => granted).increment(1);
}
