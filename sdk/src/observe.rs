//! What is told about calls while they happen: events for `tracing`, counters for the facade `metrics`.
//!
//! Only of what is rare (a try that failed, a retry); what happens on every call is counted in
//! [`crate::endpoint::EndpointStats`] anyway and read from there. Messages are constant, values are fields. Called by
//! whatever retries.

use crate::balance::Balancer;
use crate::call::Attempt;

/// A try failed.
#[cold]
pub(crate) fn try_failed(balancer: &Balancer, attempt: &Attempt) {
    let snapshot = balancer.snapshot();
    tracing::debug!(
        service = &**snapshot.service(),
        policy = balancer.policy().name(),
        instance = attempt.instance,
        authority = attempt.authority,
        reason = attempt.reason.as_str(),
        "try failed"
    );
    #[cfg(feature = "metrics")]
    crate::metrics::try_failed(snapshot.service(), balancer.policy().name(), attempt.reason);
}

/// A further try was asked for; the budget granted it or not.
#[cold]
pub(crate) fn retry(balancer: &Balancer, granted: bool) {
    if !granted {
        let snapshot = balancer.snapshot();
        let policy = balancer.policy().name();
        tracing::warn!(service = &**snapshot.service(), policy, "retry refused: too many calls are being retried");
    }
    #[cfg(feature = "metrics")]
    crate::metrics::retry(balancer.snapshot().service(), balancer.policy().name(), granted);
}
