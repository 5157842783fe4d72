//! What this process learned about one endpoint, in atomics that calls to others hardly slow down.
//!
//! Decides when an endpoint goes aside, comes on trial and comes back. Being aside is a fact (a connection was refused)
//! or an opinion (calls failed, or it compares badly with others); opinions have a share, see `aside`. Survives updates: a snapshot
//! hands it on to the next by instance id and address. Written by the guard of a pick, read by whoever prints statistics;
//! what policies read of it is its `gauge`.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed};

use super::gauge::Mark;
use super::gauges::{Cell, Gauges};
use super::{Aside, Clock, Gauge, Latency, Load, Report};

/// Says why an endpoint goes aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Refused,
    Row,
    Judged,
    Hearsay,
}

/// Identifies an endpoint of one service within this process, across snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey(u32);

impl EndpointKey {
    /// Returns the number behind it: the place in the order in which this process met the endpoints.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.into()
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

/// Counts the calls of one stretch of time that ended with an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that succeeded.
    pub successes: u32,
    /// Those that failed, connections included.
    pub failures: u32,
}

impl Tally {
    /// Returns all of them.
    #[must_use]
    pub fn total(self) -> u64 {
        u64::from(self.successes) + u64::from(self.failures)
    }
}

/// Holds the live statistics of one endpoint.
///
/// Every call reads `cell`, and writes its gauge and `successes` or `failures`. Allocations of this begin at multiples of 16
/// and take 64 bytes with the counts of an `Arc`, so no cache line (64 bytes) holds words of two endpoints that calls
/// write, wherever they were allocated, and nobody pays for that with an alignment of which half would be empty.
#[derive(Debug)]
#[repr(C)]
pub struct EndpointStats {
    cell: Cell,
    successes: AtomicU32,
    failures: AtomicU32,
    failures_in_row: AtomicU16,
    level: AtomicU16,
    key: EndpointKey,
    failures_ever: AtomicU32,
    abandoned: AtomicU32,
}

impl EndpointStats {
    /// Builds the statistics of an endpoint nobody has called, with a gauge among those of its service.
    pub(crate) fn new(gauges: &mut Gauges) -> Self {
        let cell = gauges.cell();
        Self {
            successes: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            failures_ever: AtomicU32::new(0),
            abandoned: AtomicU32::new(0),
            failures_in_row: AtomicU16::new(0),
            level: AtomicU16::new(0),
            key: EndpointKey(cell.shared().next_key()),
            cell,
        }
    }

    /// Returns what picks read of it.
    #[inline]
    #[must_use]
    pub fn gauge(&self) -> &Gauge {
        self.cell.gauge()
    }

    /// Returns where its gauge lies among those of its service.
    #[inline]
    pub(crate) fn cell(&self) -> u32 {
        self.cell.number()
    }

    #[inline]
    fn shared(&self) -> &Aside {
        self.cell.shared()
    }

    /// Returns the identity that a retry names to leave this endpoint out.
    #[inline]
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        self.key
    }

    /// Returns the clock of the service.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.shared().clock()
    }

    /// Returns the calls begun and not ended.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.gauge().in_flight()
    }

    /// Returns the calls begun, ever.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.gauge().calls()
    }

    /// Returns the failures recorded, ever, connections included; wraps after four thousand million.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures_ever.load(Relaxed).into()
    }

    /// Returns the calls that ended without an outcome: cancelled, or their caller panicked.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Relaxed).into()
    }

    /// Returns the failures since the last success; stops at 65,535.
    #[must_use]
    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row.load(Relaxed).into()
    }

    /// Returns the moving averages of how long calls take.
    #[inline]
    #[must_use]
    pub fn latency(&self) -> &Latency {
        self.gauge().latency()
    }

    /// Returns what the server said last of its load; none if it never did.
    #[must_use]
    pub fn report(&self, now: u64) -> Option<Report> {
        self.gauge().report(now)
    }

    /// Notes what the server said of its load at `now`, in milliseconds of the service's clock.
    pub fn note_report(&self, load: Load, now: u64) {
        self.gauge().note_report(load, now);
    }

    /// Takes what was counted since it was last taken. The sweep for outliers does, once per interval.
    #[must_use]
    pub fn take_tally(&self) -> Tally {
        // Read before written: of many endpoints most were not called, and their lines stay shared.
        if self.successes.load(Relaxed) == 0 && self.failures.load(Relaxed) == 0 {
            return Tally::default();
        }
        Tally { successes: self.successes.swap(0, Relaxed), failures: self.failures.swap(0, Relaxed) }
    }

    /// Says whether the endpoint is aside, or on a trial that is not over, at `now` of its clock.
    #[inline]
    #[must_use]
    pub fn is_aside(&self, now: u64) -> bool {
        self.gauge().is_aside(now)
    }

    /// Counts a call that ended without an outcome. Says nothing about the endpoint.
    pub(crate) fn abandon(&self) {
        self.abandoned.fetch_add(1, Relaxed);
    }

    /// Lets one call through to an endpoint whose pause is over, and holds the others back until
    /// the trial has had its time. True when the caller may call: it is not marked, or it is the trial.
    pub(crate) fn claim(&self) -> bool {
        let seen = self.gauge().mark();
        if seen == Mark::NONE {
            return true;
        }
        // Once per trial, so the true time is affordable; the coarse one may have stood still.
        let clock = self.clock();
        let now = clock.exact();
        if seen.until() > now {
            return false;
        }
        let until = now + self.shared().rule().trial();
        let kept = seen.flags(Mark::OPINION | Mark::JUDGED | Mark::HEARSAY);
        let won = self.gauge().settle(seen, Mark::new(until, kept | Mark::TRIAL));
        if won {
            clock.keep_until(until);
        }
        won
    }

    /// Records how a call ended; takes effect at once, for every clone and every snapshot.
    pub fn record(&self, outcome: Outcome) {
        match outcome {
            Outcome::Success => {
                self.successes.fetch_add(1, Relaxed);
                self.clear();
            }
            Outcome::ConnectFailed => {
                self.count_failure();
                self.set_aside(Cause::Refused);
            }
            Outcome::Failed => {
                let row = self.count_failure();
                let on_trial = self.gauge().mark().has(Mark::TRIAL);
                if on_trial || row >= self.shared().rule().failures_max {
                    self.set_aside(Cause::Row);
                }
            }
        }
    }

    /// Returns the failures in a row, this one included.
    fn count_failure(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed);
        self.failures_ever.fetch_add(1, Relaxed);
        let more = |row: u16| Some(row.saturating_add(1));
        let before = self.failures_in_row.fetch_update(Relaxed, Relaxed, more).unwrap_or(u16::MAX);
        u32::from(before.saturating_add(1))
    }

    /// A success forgives everything. Reads before it writes: on a healthy endpoint the line stays shared.
    fn clear(&self) {
        if self.failures_in_row.load(Relaxed) != 0 {
            self.failures_in_row.store(0, Relaxed);
        }
        let seen = self.gauge().mark();
        // One success of a call that began earlier says little about an endpoint that was compared with others.
        if seen == Mark::NONE || seen.flags(Mark::JUDGED | Mark::TRIAL) == Mark::JUDGED {
            return;
        }
        if !self.gauge().settle(seen, Mark::NONE) {
            return;
        }
        if !seen.has(Mark::JUDGED) {
            self.level.store(0, Relaxed);
        }
        if seen.has(Mark::OPINION) {
            self.shared().release();
        }
        self.shared().unmark();
    }

    /// Sets it aside because it compares badly with others; false when it is aside already, or too many are.
    pub(crate) fn eject(&self) -> bool {
        self.set_aside(Cause::Judged)
    }

    /// Sets it aside because enough other clients did; false as [`Self::eject`].
    pub(crate) fn eject_for_all(&self) -> bool {
        self.set_aside(Cause::Hearsay)
    }

    /// Says whether it is marked by what this client saw itself, rather than by hearsay.
    pub(crate) fn is_held_against(&self) -> bool {
        let seen = self.gauge().mark();
        seen != Mark::NONE && !seen.has(Mark::HEARSAY)
    }

    /// Takes one off the length of the next time aside; called for each interval in which nothing was held against it.
    pub(crate) fn relax(&self) {
        if self.gauge().mark() == Mark::NONE && self.level.load(Relaxed) > 0 {
            let less = |level: u16| level.checked_sub(1);
            // Refused only at 0, which is what is wanted.
            let _ = self.level.fetch_update(Relaxed, Relaxed, less);
        }
    }

    fn set_aside(&self, cause: Cause) -> bool {
        let (gauge, shared, clock) = (self.gauge(), self.shared(), self.clock());
        let now = clock.exact();
        let seen = gauge.mark();
        let paused = !seen.has(Mark::TRIAL) && seen.until() > now;
        if paused {
            // Calls begun before the pause fail together; they are one event, not a climb to the cap. But a refused
            // connection is more than an opinion.
            let fact = cause == Cause::Refused && seen.has(Mark::OPINION);
            if fact && gauge.settle(seen, Mark::new(seen.until(), seen.flags(Mark::TRIAL))) {
                shared.release();
            }
            return false;
        }
        let flags = match cause {
            Cause::Refused => 0,
            // Whatever first set it aside still holds after a failed trial, which is no hearsay any more.
            Cause::Hearsay if seen != Mark::NONE => seen.flags(Mark::OPINION | Mark::JUDGED | Mark::HEARSAY),
            _ if seen != Mark::NONE => seen.flags(Mark::OPINION | Mark::JUDGED),
            Cause::Row => Mark::OPINION,
            Cause::Judged => Mark::OPINION | Mark::JUDGED,
            Cause::Hearsay => Mark::OPINION | Mark::JUDGED | Mark::HEARSAY,
        };
        let reserved = !seen.has(Mark::OPINION) && flags & Mark::OPINION != 0;
        if reserved && !shared.reserve() {
            return false;
        }
        let level = self.level.load(Relaxed).saturating_add(1);
        let until = now + shared.rule().pause_for(flags & Mark::JUDGED != 0, level.into(), fastrand::u32(..));
        if !gauge.settle(seen, Mark::new(until, flags)) {
            if reserved {
                shared.release();
            }
            return false;
        }
        self.level.store(level, Relaxed);
        if seen.has(Mark::OPINION) && flags & Mark::OPINION == 0 {
            shared.release();
        }
        if seen == Mark::NONE {
            shared.mark();
        }
        shared.count_ejection();
        clock.keep_until(until);
        true
    }
}

impl Drop for EndpointStats {
    fn drop(&mut self) {
        // An endpoint that left while aside must not keep the others on the slow path.
        let seen = self.gauge().mark();
        if seen != Mark::NONE {
            self.shared().unmark();
        }
        if seen.has(Mark::OPINION) {
            self.shared().release();
        }
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
