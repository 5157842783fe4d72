//! What a pick reads of one endpoint, in four words: calls in flight, how long they take, what the server reports of
//! itself, and until when it is aside.
//!
//! The rest of what this process learned about it is in `stats`, where no pick looks. Where gauges lie is decided by
//! `gauges`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Latency;

/// One call more in the upper 40 bits, one in flight more in the lower 24: both in one instruction.
const ONE_CALL: u64 = (1 << IN_FLIGHT_BITS) | 1;
const IN_FLIGHT_BITS: u32 = 24;
const IN_FLIGHT_MASK: u64 = (1 << IN_FLIGHT_BITS) - 1;

const REPORT_TIME_BITS: u32 = 24;
const REPORT_MASK: u64 = (1 << REPORT_TIME_BITS) - 1;
const REPORT_LATENCY_UNIT: u32 = 4;

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

/// Says until when an endpoint is aside or on trial, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// Of an endpoint that nothing speaks against.
    pub(super) const NONE: Self = Self(0);
    /// The time is that of a trial, not of a pause.
    pub(super) const TRIAL: u64 = 1;
    /// An opinion set it aside (calls that failed), not a fact (nobody listens): it takes of the share that opinions have.
    pub(super) const OPINION: u64 = 2;
    /// Somebody who compared it with others set it aside: only a trial brings it back.
    pub(super) const JUDGED: u64 = 4;
    /// Other clients said so; this one has seen nothing itself.
    pub(super) const HEARSAY: u64 = 8;
    const TIME_BIT: u32 = 4;

    /// Builds one that lasts until `until`, in milliseconds of the service's clock.
    pub(super) fn new(until: u64, flags: u64) -> Self {
        Self(until << Self::TIME_BIT | flags)
    }

    /// Returns the end of the pause or the trial.
    #[inline]
    pub(super) fn until(self) -> u64 {
        self.0 >> Self::TIME_BIT
    }

    /// Returns those of `flags` that it has.
    #[inline]
    pub(super) fn flags(self, flags: u64) -> u64 {
        self.0 & flags
    }

    /// Says whether it has one of `flags`.
    #[inline]
    pub(super) fn has(self, flags: u64) -> bool {
        self.flags(flags) != 0
    }
}

/// Holds what a pick reads of one endpoint. Every call writes the first two words.
#[derive(Debug, Default)]
#[repr(C, align(32))]
pub struct Gauge {
    calls: AtomicU64,
    latency: Latency,
    /// In flight (16 bits), latency in units of 4 µs (24), time of arrival in ms (24); 0: never.
    report: AtomicU64,
    mark: AtomicU64,
}

impl Gauge {
    /// Returns the calls begun and not ended.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.calls.load(Relaxed) & IN_FLIGHT_MASK
    }

    /// Returns the calls begun, ever; wraps after 2^40.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed) >> IN_FLIGHT_BITS
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

    /// Says whether the endpoint is aside, or on a trial that is not over, at `now` of its clock.
    #[inline]
    #[must_use]
    pub fn is_aside(&self, now: u64) -> bool {
        self.mark().until() > now
    }

    /// Says whether it is aside by what calls say of it, rather than because nobody listens there.
    #[inline]
    pub(crate) fn is_opinion(&self) -> bool {
        self.mark().has(Mark::OPINION)
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

    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark(self.mark.load(Relaxed))
    }

    /// Replaces the mark that was seen; false when another thread settled it a moment ago, on news as fresh.
    pub(super) fn settle(&self, seen: Mark, next: Mark) -> bool {
        self.mark.compare_exchange(seen.0, next.0, Relaxed, Relaxed).is_ok()
    }

    /// Forgets everything; for the next endpoint that it is given to.
    pub(super) fn reset(&self) {
        self.calls.store(0, Relaxed);
        self.latency.reset();
        self.report.store(0, Relaxed);
        self.mark.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_kept_with_its_age() {
        let gauge = Gauge::default();
        assert_eq!(gauge.report(7), None);
        gauge.note_report(Load { in_flight: 0, latency: 0 }, 0);
        assert!(gauge.report(0).is_some(), "idle is something to say");
        let load = Load { in_flight: 17, latency: 12_344 };
        let late = (1 << 24) - 1;
        gauge.note_report(load, late);
        assert_eq!(gauge.report(late + 250), Some(Report { load, age: 250 }), "over the end of the counter");
        gauge.note_report(Load { in_flight: u32::MAX, latency: u32::MAX }, 5);
        let most = Load { in_flight: 65_535, latency: ((1 << 24) - 1) * 4 };
        assert_eq!(gauge.report(5).map(|report| report.load), Some(most));
    }

    #[test]
    fn calls_and_in_flight_share_a_word() {
        let gauge = Gauge::default();
        for _ in 0..3 {
            gauge.begin();
        }
        gauge.end();
        assert_eq!((gauge.calls(), gauge.in_flight()), (3, 2));
        gauge.reset();
        assert_eq!((gauge.calls(), gauge.in_flight()), (0, 0));
    }
}
