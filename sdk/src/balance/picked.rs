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
    answered: bool,
    recorded: bool,
}

impl Picked {
    #[inline]
    pub(super) fn new(member: Arc<Member>, timed: bool) -> Self {
        let begun = if timed { member.stats().clock().micros() } else { 0 };
        member.stats().gauge().begin();
        Self { member, begun, answered: false, recorded: false }
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

    /// Notes that the answer begins: the call took so long, if the policy asks for that, however long its body lasts.
    /// For calls whose outcome is known only at their end, as that of gRPC is; whoever records an outcome at once need
    /// not.
    pub fn answered(&mut self) {
        if !self.answered && !self.recorded {
            self.observe(0.0);
        }
        self.answered = true;
    }

    /// Records how the call went, at once, and how long it took so far if the policy asks for that and
    /// [`Self::answered`] did not. A streaming call may record its head, and later a failure of its body. The first
    /// outcome, if it is a failure, counts as slow: an endpoint that fails fast must not look good.
    pub fn record(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Success if self.answered || self.recorded => {}
            Outcome::Success => self.observe(0.0),
            Outcome::Failed | Outcome::ConnectFailed if self.recorded => {}
            Outcome::Failed | Outcome::ConnectFailed => self.observe(FAILED_MICROS),
        }
        self.recorded = true;
        self.member.stats().record(outcome);
    }

    /// Tells the statistics how long the call took so far, at least so many microseconds.
    fn observe(&self, least: f32) {
        if self.begun != 0 {
            let stats = self.member.stats();
            let now = stats.clock().micros();
            stats.latency().observe((now.saturating_sub(self.begun) as f32).max(least), now / 1000);
        }
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
        stats.gauge().end();
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
    use crate::catalog::Snapshot;
    use crate::endpoint::{Clock, Ejection};

    /// A clock, its catalog's one endpoint, and a timed guard on it.
    fn timed() -> (Clock, Arc<Member>, Picked) {
        let clock = Clock::manual();
        clock.advance(Duration::from_secs(1));
        let before = Snapshot::empty_with("web", Ejection::default(), clock.clone());
        let snapshot = before.next([Endpoint::new("web-1", "127.0.0.1", 1)], 1);
        let member = Arc::clone(snapshot.members().first().unwrap());
        (clock, Arc::clone(&member), Picked::new(member, true))
    }

    #[test]
    fn a_long_body_does_not_make_an_endpoint_slow() {
        let (clock, member, mut picked) = timed();
        clock.advance(Duration::from_millis(3));
        picked.answered();
        assert_eq!(member.stats().latency().average(), 3_000.0);
        clock.advance(Duration::from_secs(60));
        picked.answered();
        picked.record(Outcome::Success);
        assert_eq!(member.stats().latency().average(), 3_000.0, "the head says how long it took");
        let (clock, member, mut picked) = timed();
        clock.advance(Duration::from_millis(3));
        picked.record(Outcome::Success);
        clock.advance(Duration::from_secs(60));
        picked.record(Outcome::Failed);
        assert_eq!(member.stats().latency().average(), 3_000.0, "only the first outcome says how long");
    }

    #[test]
    fn a_failure_told_at_the_end_counts_as_slow_all_the_same() {
        let (clock, member, mut picked) = timed();
        clock.advance(Duration::from_millis(1));
        picked.answered();
        picked.finish(Outcome::Failed);
        assert_eq!(member.stats().latency().average(), FAILED_MICROS);
    }

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
