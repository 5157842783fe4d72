//! What this process learned about one endpoint, in atomics on a cache line of its own.
//!
//! Decides when an endpoint goes aside, comes on trial and comes back. Survives updates: a snapshot
//! hands it on to the next by instance id and address. Written by the guard of a pick, read by
//! policies and by whoever prints statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::Aside;

/// One call more in the upper 40 bits, one in flight more in the lower 24: both in one instruction.
const ONE_CALL: u64 = (1 << IN_FLIGHT_BITS) | 1;
const IN_FLIGHT_BITS: u32 = 24;
const IN_FLIGHT_MASK: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// The lowest bit of `aside`: the time stored above it is that of a trial, not of a pause.
const TRIAL: u64 = 1;

/// Identifies an endpoint of one service within this process, across snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey(u64);

impl EndpointKey {
    /// Returns the number behind it: the place in the order in which this process met the endpoints.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Says how a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The endpoint answered, and the answer does not speak against it.
    Success,
    /// No connection could be had: the endpoint is set aside at once.
    ConnectFailed,
    /// The call failed after a connection was had: counts towards being set aside.
    Failed,
}

/// Holds the live statistics of one endpoint.
#[derive(Debug)]
#[repr(align(64))]
pub struct EndpointStats {
    calls: AtomicU64,
    aside: AtomicU64,
    failures: AtomicU64,
    abandoned: AtomicU64,
    failures_in_row: AtomicU32,
    level: AtomicU32,
    key: EndpointKey,
    shared: Arc<Aside>,
}

impl EndpointStats {
    /// Builds the statistics of an endpoint nobody has called.
    #[must_use]
    pub fn new(shared: &Arc<Aside>) -> Self {
        Self {
            calls: AtomicU64::new(0),
            aside: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            failures_in_row: AtomicU32::new(0),
            level: AtomicU32::new(0),
            key: EndpointKey(shared.next_key()),
            shared: Arc::clone(shared),
        }
    }

    /// Returns the identity that a retry names to leave this endpoint out.
    #[inline]
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        self.key
    }

    /// Returns the calls begun and not ended.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.calls.load(Relaxed) & IN_FLIGHT_MASK
    }

    /// Returns the calls begun, ever.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed) >> IN_FLIGHT_BITS
    }

    /// Returns the failures recorded, ever, connections included.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Returns the calls that ended without an outcome: cancelled, or their caller panicked.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Relaxed)
    }

    /// Returns the failures since the last success.
    #[must_use]
    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row.load(Relaxed)
    }

    /// Says whether the endpoint is aside, or on a trial that is not over, at `now` of its clock.
    #[inline]
    #[must_use]
    pub fn is_aside(&self, now: u64) -> bool {
        let aside = self.aside.load(Relaxed);
        aside != 0 && aside >> 1 > now
    }

    /// Begins a call.
    #[inline]
    pub(crate) fn begin(&self) {
        self.calls.fetch_add(ONE_CALL, Relaxed);
    }

    /// Ends a call.
    #[inline]
    pub(crate) fn end(&self) {
        self.calls.fetch_sub(1, Relaxed);
    }

    /// Counts a call that ended without an outcome. Says nothing about the endpoint.
    pub(crate) fn abandon(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    /// Lets one call through to an endpoint whose pause is over, and holds the others back until
    /// the trial has had its time. True when the caller may call: it is not marked, or it is the trial.
    pub(crate) fn claim(&self) -> bool {
        let seen = self.aside.load(Relaxed);
        if seen == 0 {
            return true;
        }
        // Once per trial, so the true time is affordable; the coarse one may have stood still.
        let clock = self.shared.clock();
        let now = clock.exact();
        if seen >> 1 > now {
            return false;
        }
        let until = now + self.shared.rule().trial();
        let won = self.aside.compare_exchange(seen, until << 1 | TRIAL, Relaxed, Relaxed);
        if won.is_ok() {
            clock.keep_until(until);
        }
        won.is_ok()
    }

    /// Records how a call ended; takes effect at once, for every clone and every snapshot.
    pub fn record(&self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.clear(),
            Outcome::ConnectFailed => {
                self.failures.fetch_add(1, Relaxed);
                self.failures_in_row.fetch_add(1, Relaxed);
                self.set_aside();
            }
            Outcome::Failed => {
                self.failures.fetch_add(1, Relaxed);
                let row = self.failures_in_row.fetch_add(1, Relaxed).saturating_add(1);
                let on_trial = self.aside.load(Relaxed) & TRIAL != 0;
                if on_trial || row >= self.shared.rule().failures_max {
                    self.set_aside();
                }
            }
        }
    }

    /// A success forgives everything. Reads before it writes: on a healthy endpoint the line stays shared.
    fn clear(&self) {
        if self.failures_in_row.load(Relaxed) != 0 {
            self.failures_in_row.store(0, Relaxed);
        }
        if self.aside.load(Relaxed) != 0 {
            self.level.store(0, Relaxed);
            if self.aside.swap(0, Relaxed) != 0 {
                self.shared.unmark();
            }
        }
    }

    fn set_aside(&self) {
        let clock = self.shared.clock();
        let now = clock.exact();
        let seen = self.aside.load(Relaxed);
        let paused = seen & TRIAL == 0 && seen >> 1 > now;
        if paused {
            // Calls begun before the pause fail together; they are one event, not a climb to the cap.
            return;
        }
        let level = self.level.load(Relaxed).saturating_add(1);
        let until = now + self.shared.rule().pause(level, fastrand::u32(..));
        let next = until << 1;
        if self.aside.compare_exchange(seen, next, Relaxed, Relaxed).is_err() {
            // Another thread settled it a moment ago, on news as fresh as ours.
            return;
        }
        self.level.store(level, Relaxed);
        if seen == 0 {
            self.shared.mark();
        }
        clock.keep_until(until);
    }
}

impl Drop for EndpointStats {
    fn drop(&mut self) {
        // An endpoint that left while aside must not keep the others on the slow path.
        if *self.aside.get_mut() != 0 {
            self.shared.unmark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::endpoint::{Clock, Ejection};

    fn fresh() -> (Clock, Arc<Aside>, EndpointStats) {
        let clock = Clock::manual();
        let shared = Arc::new(Aside::new(Ejection::default(), clock.clone()));
        let stats = EndpointStats::new(&shared);
        (clock, shared, stats)
    }

    #[test]
    fn one_failed_connection_sets_aside_and_one_success_brings_back() {
        let (clock, shared, stats) = fresh();
        stats.record(Outcome::ConnectFailed);
        assert!(stats.is_aside(clock.coarse()) && shared.any());
        assert!(!stats.claim(), "not before its time");
        clock.advance(Duration::from_millis(1000));
        assert!(!stats.is_aside(clock.coarse()));
        assert!(stats.claim(), "one trial");
        assert!(!stats.claim(), "and only one");
        stats.record(Outcome::Success);
        assert!(!stats.is_aside(clock.coarse()) && !shared.any() && stats.claim());
        assert_eq!((stats.failures(), stats.failures_in_row()), (1, 0));
    }

    #[test]
    fn failures_of_one_moment_are_one_event_and_a_failed_trial_doubles() {
        let (clock, _shared, stats) = fresh();
        for _ in 0..100 {
            stats.record(Outcome::ConnectFailed);
        }
        clock.advance(Duration::from_millis(1000));
        assert!(stats.claim());
        stats.record(Outcome::Failed);
        clock.advance(Duration::from_millis(1499));
        assert!(stats.is_aside(clock.coarse()), "2 s less at most a quarter");
        clock.advance(Duration::from_millis(501));
        assert!(!stats.is_aside(clock.coarse()));
    }

    #[test]
    fn failed_calls_need_a_row() {
        let (clock, shared, stats) = fresh();
        for _ in 0..4 {
            stats.record(Outcome::Failed);
        }
        stats.record(Outcome::Success);
        for _ in 0..4 {
            stats.record(Outcome::Failed);
        }
        assert!(!shared.any());
        stats.record(Outcome::Failed);
        assert!(stats.is_aside(clock.coarse()));
    }

    #[test]
    fn leaving_while_aside_frees_the_fast_path() {
        let (_clock, shared, stats) = fresh();
        stats.record(Outcome::ConnectFailed);
        assert!(shared.any());
        drop(stats);
        assert!(!shared.any());
    }

    #[test]
    fn calls_and_in_flight_share_a_word_and_the_line_is_one() {
        let (_clock, _shared, stats) = fresh();
        for _ in 0..3 {
            stats.begin();
        }
        stats.end();
        assert_eq!((stats.calls(), stats.in_flight()), (3, 2));
        assert_eq!(size_of::<EndpointStats>(), 64);
    }
}
