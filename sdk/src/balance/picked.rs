//! The two answers to a pick: a guard on the endpoint to call, or why there is none.
//!
//! The guard counts its call in flight from the pick until it is dropped, however it comes to be
//! dropped. An outcome takes effect when it is recorded; a guard dropped without one (cancelled,
//! panicked) says nothing about the endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Member;
use crate::endpoint::{Endpoint, EndpointKey, EndpointStats, Outcome};

/// What a failed call counts at least, in microseconds: the 5 s that linkerd's load biaser gives it.
const FAILED_MICROS: f32 = 5_000_000.0;

/// Holds one call's place on an endpoint; keep it until the call, its body included, is over.
#[derive(Debug)]
#[must_use = "the call is counted in flight only while this is held"]
pub struct Picked {
    member: Arc<Member>,
    /// When the call began, in microseconds of the service's clock; 0 when nobody asks how long it takes.
    begun: u64,
    recorded: bool,
}

impl Picked {
    #[inline]
    pub(super) fn new(member: Arc<Member>, timed: bool) -> Self {
        let begun = if timed { member.stats().clock().micros() } else { 0 };
        member.stats().begin();
        Self { member, begun, recorded: false }
    }

    /// Returns the endpoint to call.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.member.endpoint()
    }

    /// Returns the endpoint and its statistics, to be kept longer than the call.
    #[must_use]
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Returns the statistics of the endpoint.
    #[must_use]
    pub fn stats(&self) -> &EndpointStats {
        self.member.stats()
    }

    /// Returns what a retry passes to [`super::Ask::without`].
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        self.member.stats().key()
    }

    /// Records how the call went, at once, and how long it took so far if the policy asks for that. A streaming
    /// call may record its head, and later a failure of its body. A failure counts as slow: an endpoint that fails
    /// fast must not look good.
    pub fn record(&mut self, outcome: Outcome) {
        let stats = self.member.stats();
        if self.begun != 0 && !self.recorded {
            let now = stats.clock().micros();
            let took = now.saturating_sub(self.begun) as f32;
            let counted = if outcome == Outcome::Success { took } else { took.max(FAILED_MICROS) };
            stats.latency().observe(counted, now / 1000);
        }
        self.recorded = true;
        stats.record(outcome);
    }

    /// Ends it without a call: none was made after all.
    pub fn release(mut self) {
        self.recorded = true;
    }

    /// Records how the call went, and ends it.
    pub fn finish(mut self, outcome: Outcome) {
        self.record(outcome);
    }
}

impl Drop for Picked {
    #[inline]
    fn drop(&mut self) {
        let stats = self.member.stats();
        stats.end();
        if !self.recorded {
            stats.abandon();
        }
    }
}

/// Says why no endpoint could be picked. Nothing was called and nothing was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoEndpoint {
    /// The service asked for.
    pub service: Arc<str>,
    /// The policy that was asked.
    pub policy: &'static str,
    /// Endpoints the registry lists.
    pub known: u32,
    /// Of these, passing or warning, with a weight above zero.
    pub healthy: u32,
    /// Of the healthy, set aside by this process.
    pub aside: u32,
    /// Endpoints this call had tried before.
    pub tried: u32,
    /// The registry's index of the snapshot; 0 before the first answer.
    pub index: u64,
    /// Time since the registry last confirmed the snapshot.
    pub age: Duration,
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, policy, known, healthy, aside, tried, index, age } = self;
        write!(
            f,
            "no endpoint of {service} to call: {known} known, {healthy} healthy, {aside} set aside, \
             {tried} tried already (policy {policy}, snapshot at index {index}, confirmed {age:.1?} ago)"
        )
    }
}

impl std::error::Error for NoEndpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_it_all() {
        let error = NoEndpoint {
            service: "web".into(),
            policy: "round_robin",
            known: 5,
            healthy: 2,
            aside: 1,
            tried: 2,
            index: 41,
            age: Duration::from_millis(1500),
        };
        assert_eq!(
            error.to_string(),
            "no endpoint of web to call: 5 known, 2 healthy, 1 set aside, 2 tried already \
             (policy round_robin, snapshot at index 41, confirmed 1.5s ago)"
        );
    }
}
