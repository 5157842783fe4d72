//! What the calls of one service share beside its balancer: connections, what is known of its speed, its limit.
//!
//! A service called by its name has one; rules that lead to other services add one for each. [`Way`] is what one call
//! goes by: a lane, a balancer, and the settings that count for it.

use std::time::Duration;

use http_body::Body;

use super::hedge::Hedges;
use super::judge::Judge;
use super::limiter::Limiter;
use super::retry::RetryPolicy;
use super::settings::{BreakerSettings, HttpSettings};
use crate::balance::Balancer;
use crate::endpoint::EndpointKey;
use crate::error::Cause;
use crate::http::{Bounds, Pool};

/// Belongs to one service: an endpoint's key is only its own within the service.
pub(super) struct Lane<B> {
    pub(super) pool: Pool<EndpointKey, B>,
    pub(super) hedges: Option<Hedges>,
    pub(super) limiter: Option<Limiter>,
}

impl<B> Lane<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    pub(super) fn new(settings: &HttpSettings) -> Self {
        Self {
            pool: Pool::new(settings.pool.clone()),
            hedges: settings.hedge.map(Hedges::new),
            limiter: settings.limit.map(Limiter::new),
        }
    }
}

/// What one call goes by.
pub(super) struct Way<'a, B> {
    pub(super) lane: &'a Lane<B>,
    pub(super) balancer: &'a Balancer,
    pub(super) retry: &'a RetryPolicy,
    pub(super) breaker: BreakerSettings,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) call_timeout: Option<Duration>,
    pub(super) judge: Judge,
}

impl<B> Way<'_, B> {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            connections: self.breaker.connections_max,
            opening: self.breaker.pending_max,
            connect_timeout: self.connect_timeout,
        }
    }
}
