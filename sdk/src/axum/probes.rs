//! What an orchestrator asks: does the process live, and should it be sent traffic.
//!
//! Live is whoever answers. Ready is whoever the registry knows as not critical and who is not leaving. A registry that
//! is away changes nothing: what it confirmed last goes on to count, or its outage would empty every load balancer.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::routing::get;
use callboard_proto::CheckStatus;
use http::StatusCode;
use tokio::sync::watch;

use crate::registration::Standing;
use crate::tower::FlightLayer;

/// What the answers are made of.
#[derive(Clone)]
pub(super) struct Probes {
    pub(super) flight: FlightLayer,
    /// Set when the registration was confirmed.
    pub(super) standing: Arc<OnceLock<watch::Receiver<Standing>>>,
}

impl Probes {
    fn ready(&self) -> (StatusCode, &'static str) {
        if self.flight.is_leaving() {
            return (StatusCode::SERVICE_UNAVAILABLE, "leaving\n");
        }
        let Some(standing) = self.standing.get() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "not registered yet\n");
        };
        let standing = standing.borrow();
        match standing.status {
            _ if standing.registrations == 0 => (StatusCode::SERVICE_UNAVAILABLE, "not registered yet\n"),
            Some(CheckStatus::Critical) => (StatusCode::SERVICE_UNAVAILABLE, "critical\n"),
            _ => (StatusCode::OK, "ready\n"),
        }
    }

    /// Adds the routes; they neither count in flight nor pass the router's layers.
    pub(super) fn add(self, router: Router, live: &str, ready: &str) -> Router {
        let answer = move || async move { self.ready() };
        router.route(live, get(|| async { "live\n" })).route(ready, get(answer))
    }
}
