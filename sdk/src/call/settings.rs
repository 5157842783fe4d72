//! The settings of calls: values handed over when a service is built.

use std::time::Duration;

use super::hedge::HedgeSettings;
use super::judge::Judge;
use super::limit::LimitSettings;
use super::retry::RetryPolicy;
use crate::http::PoolSettings;

/// Holds the settings of calls.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The connections.
    pub pool: PoolSettings,
    /// The time from sending a request to the head of its response; none waits for ever. A call that is cut off by it is
    /// not tried again: see [`RetryPolicy::per_try_timeout`].
    pub response_timeout: Option<Duration>,
    /// The time from the beginning of a call to the head of its response, with all tries and waits; none by default.
    /// The earliest counts of this, a [`super::Deadline`] among the request's extensions, the one in its headers, and
    /// the one that the task inherits.
    pub call_timeout: Option<Duration>,
    /// What is tried again.
    pub retry: RetryPolicy,
    /// When a second server is asked because the first takes long; off by default.
    pub hedge: Option<HedgeSettings>,
    /// A limit on calls under way that is learned from how long they take; off by default.
    pub limit: Option<LimitSettings>,
    /// The bounds of each endpoint.
    pub breaker: BreakerSettings,
    /// Whose rules tell a success from a failure.
    pub judge: Judge,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            pool: PoolSettings::default(),
            response_timeout: Some(Duration::from_secs(30)),
            call_timeout: None,
            retry: RetryPolicy::default(),
            hedge: None,
            limit: None,
            breaker: BreakerSettings::default(),
            judge: Judge::default(),
        }
    }
}

/// Bounds what may be under way to one endpoint at once. A call passes over an endpoint that has reached one, and fails
/// with [`super::Reason::Overloaded`] when all have. No bounds by default, besides those of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Requests in flight, counted over the whole process.
    pub requests_max: u32,
    /// Connections of this service's pool.
    pub connections_max: u32,
    /// Requests of this service that wait for a connection.
    pub pending_max: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { requests_max: u32::MAX, connections_max: u32::MAX, pending_max: u32::MAX }
    }
}
