//! What this process learned about one endpoint, in atomics that calls to others do not slow down.
//!
//! Decides when an endpoint goes aside, comes on trial and comes back. Being aside is a fact (a connection was refused)
//! or an opinion (calls failed, or it compares badly with others); opinions have a share, see `aside`. Survives updates: a snapshot
//! hands it on to the next by instance id and address. Written by the guard of a pick, read by
//! policies and by whoever prints statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{Aside, Clock, Latency};

/// One call more in the upper 40 bits, one in flight more in the lower 24: both in one instruction.
const ONE_CALL: u64 = (1 << IN_FLIGHT_BITS) | 1;
const IN_FLIGHT_BITS: u32 = 24;
const IN_FLIGHT_MASK: u64 = (1 << IN_FLIGHT_BITS) - 1;

const REPORT_TIME_BITS: u32 = 24;
const REPORT_MASK: u64 = (1 << REPORT_TIME_BITS) - 1;
const REPORT_LATENCY_UNIT: u32 = 4;

/// Bits of `aside` below its time. The time is that of a trial, not of a pause.
const TRIAL: u64 = 1;
/// An opinion set it aside (calls that failed), not a fact (nobody listens): it takes of the share that opinions have.
const OPINION: u64 = 2;
/// Somebody who compared it with others set it aside: only a trial brings it back.
const JUDGED: u64 = 4;
/// Other clients said so; this one has seen nothing itself.
const HEARSAY: u64 = 8;
const TIME_BIT: u32 = 4;

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

/// Tells how busy a server said it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests in flight on the server, of all its clients; capped at 65,535.
    pub in_flight: u32,
    /// How long a request takes there at present, in microseconds; exact to 4, capped at 67 s.
    pub latency: u32,
}

/// A report of a server's load, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was reported.
    pub load: Load,
    /// Its age in milliseconds when it was read. Ages beyond 4.6 hours begin anew.
    pub age: u32,
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
/// Every call writes the first words and no others. They lie within 24 bytes, and those of another endpoint at least 80
/// bytes on, for that is what an `Arc` of this takes: so no cache line (64 bytes) holds such words of two endpoints, wherever they
/// were allocated, and nobody pays for that with an alignment of which half would be empty. The first two, all that choosing by
/// load reads, are always on one line, since allocations begin at multiples of 16.
#[derive(Debug)]
#[repr(C)]
pub struct EndpointStats {
    calls: AtomicU64,
    latency: Latency,
    successes: AtomicU32,
    failures: AtomicU32,
    /// In flight (16 bits), latency in units of 4 µs (24), time of arrival in ms (24); 0: never.
    report: AtomicU64,
    aside: AtomicU64,
    failures_ever: AtomicU32,
    abandoned: AtomicU32,
    failures_in_row: AtomicU16,
    level: AtomicU16,
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
            latency: Latency::default(),
            report: AtomicU64::new(0),
            successes: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            failures_ever: AtomicU32::new(0),
            abandoned: AtomicU32::new(0),
            failures_in_row: AtomicU16::new(0),
            level: AtomicU16::new(0),
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

    /// Returns the clock of the service.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.shared.clock()
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
        &self.latency
    }

    /// Returns what the server said last of its load; none if it never did.
    #[inline]
    #[must_use]
    pub fn report(&self, now: u64) -> Option<Report> {
        let word = self.report.load(Relaxed);
        (word != 0).then(|| Report {
            load: Load {
                in_flight: (word >> 48) as u32,
                latency: ((word >> REPORT_TIME_BITS) as u32 & REPORT_MASK as u32) * REPORT_LATENCY_UNIT,
            },
            age: now.wrapping_sub(word) as u32 & REPORT_MASK as u32,
        })
    }

    /// Notes what the server said of its load at `now`, in milliseconds of the service's clock.
    pub fn note_report(&self, load: Load, now: u64) {
        let in_flight = u64::from(load.in_flight.min(u32::from(u16::MAX)));
        let latency = u64::from(load.latency / REPORT_LATENCY_UNIT).min(REPORT_MASK);
        // A word of nothing means never; the report of an idle server at time zero moves on by one.
        let word = in_flight << 48 | latency << REPORT_TIME_BITS | now & REPORT_MASK;
        self.report.store(word.max(1), Relaxed);
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
        let aside = self.aside.load(Relaxed);
        aside != 0 && aside >> TIME_BIT > now
    }

    /// Says whether it is aside by what calls say of it, rather than because nobody listens there.
    #[inline]
    pub(crate) fn is_opinion(&self) -> bool {
        self.aside.load(Relaxed) & OPINION != 0
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
        if seen >> TIME_BIT > now {
            return false;
        }
        let until = now + self.shared.rule().trial();
        let next = until << TIME_BIT | seen & (OPINION | JUDGED | HEARSAY) | TRIAL;
        let won = self.aside.compare_exchange(seen, next, Relaxed, Relaxed);
        if won.is_ok() {
            clock.keep_until(until);
        }
        won.is_ok()
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
                let on_trial = self.aside.load(Relaxed) & TRIAL != 0;
                if on_trial || row >= self.shared.rule().failures_max {
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
        let seen = self.aside.load(Relaxed);
        // One success of a call that began earlier says little about an endpoint that was compared with others.
        if seen == 0 || seen & (JUDGED | TRIAL) == JUDGED {
            return;
        }
        if self.aside.compare_exchange(seen, 0, Relaxed, Relaxed).is_err() {
            // Another thread settled it a moment ago, on news as fresh as ours.
            return;
        }
        if seen & JUDGED == 0 {
            self.level.store(0, Relaxed);
        }
        if seen & OPINION != 0 {
            self.shared.release();
        }
        self.shared.unmark();
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
        let seen = self.aside.load(Relaxed);
        seen != 0 && seen & HEARSAY == 0
    }

    /// Takes one off the length of the next time aside; called for each interval in which nothing was held against it.
    pub(crate) fn relax(&self) {
        if self.aside.load(Relaxed) == 0 && self.level.load(Relaxed) > 0 {
            let less = |level: u16| level.checked_sub(1);
            // Refused only at 0, which is what is wanted.
            let _ = self.level.fetch_update(Relaxed, Relaxed, less);
        }
    }

    fn set_aside(&self, cause: Cause) -> bool {
        let clock = self.shared.clock();
        let now = clock.exact();
        let seen = self.aside.load(Relaxed);
        let paused = seen & TRIAL == 0 && seen >> TIME_BIT > now;
        if paused {
            // Calls begun before the pause fail together; they are one event, not a climb to the cap. But a refused
            // connection is more than an opinion.
            let fact = cause == Cause::Refused && seen & OPINION != 0;
            if fact && self.aside.compare_exchange(seen, seen & !(OPINION | JUDGED | HEARSAY), Relaxed, Relaxed).is_ok()
            {
                self.shared.release();
            }
            return false;
        }
        let flags = match cause {
            Cause::Refused => 0,
            // Whatever first set it aside still holds after a failed trial, which is no hearsay any more.
            Cause::Hearsay if seen != 0 => seen & (OPINION | JUDGED | HEARSAY),
            _ if seen != 0 => seen & (OPINION | JUDGED),
            Cause::Row => OPINION,
            Cause::Judged => OPINION | JUDGED,
            Cause::Hearsay => OPINION | JUDGED | HEARSAY,
        };
        let reserved = seen & OPINION == 0 && flags & OPINION != 0;
        if reserved && !self.shared.reserve() {
            return false;
        }
        let level = self.level.load(Relaxed).saturating_add(1);
        let until = now + self.shared.rule().pause_for(flags & JUDGED != 0, level.into(), fastrand::u32(..));
        if self.aside.compare_exchange(seen, until << TIME_BIT | flags, Relaxed, Relaxed).is_err() {
            // Another thread settled it a moment ago, on news as fresh as ours.
            if reserved {
                self.shared.release();
            }
            return false;
        }
        self.level.store(level, Relaxed);
        if seen & OPINION != 0 && flags & OPINION == 0 {
            self.shared.release();
        }
        if seen == 0 {
            self.shared.mark();
        }
        self.shared.count_ejection();
        clock.keep_until(until);
        true
    }
}

impl Drop for EndpointStats {
    fn drop(&mut self) {
        // An endpoint that left while aside must not keep the others on the slow path.
        let seen = *self.aside.get_mut();
        if seen != 0 {
            self.shared.unmark();
        }
        if seen & OPINION != 0 {
            self.shared.release();
        }
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
