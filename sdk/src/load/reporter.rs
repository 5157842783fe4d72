//! What a server knows of its own load: requests in flight, and how long they take at that load.
//!
//! One reporter per instance, shared by all that serve for it. Each request is held as a [`Serving`] until its response,
//! body included, is done. Who asks for the load, and how, is decided in `layer` and `responder`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::bound::admits;
use super::samples::Samples;
use crate::endpoint::{Clock, Load};

/// Measures the load of one instance; clones measure together.
#[derive(Clone, Debug, Default)]
pub struct LoadReporter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    clock: Clock,
    in_flight: AtomicU32,
    samples: Samples,
}

/// One request being served: counts until it is dropped, and is a sample of how long requests take.
#[derive(Debug)]
#[must_use = "the request counts only while this is held"]
pub struct Serving {
    shared: Arc<Shared>,
    /// Requests in flight when it came, itself included.
    load: u32,
    /// When it came, in microseconds of the clock.
    begun: u64,
    counts: bool,
}

impl LoadReporter {
    /// Builds a reporter that measures by the clock of the process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds a reporter with a clock of the caller's, for tests and simulations.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { clock, ..Shared::default() }) }
    }

    /// Begins to serve a request.
    pub fn begin(&self) -> Serving {
        let before = self.shared.in_flight.fetch_add(1, Relaxed);
        self.serving(before)
    }

    /// Begins to serve a request whose caller allows so many in flight, itself included; none when that many are, by
    /// [`super::admits`]. However many come at once, no more begin.
    pub fn begin_within(&self, bound: u32) -> Option<Serving> {
        let more = |in_flight| admits(in_flight, bound).then(|| in_flight + 1);
        self.shared.in_flight.fetch_update(Relaxed, Relaxed, more).ok().map(|before| self.serving(before))
    }

    fn serving(&self, before: u32) -> Serving {
        let shared = Arc::clone(&self.shared);
        Serving { load: before.saturating_add(1), begun: shared.clock.micros(), shared, counts: true }
    }

    /// Says the load of this moment: what is in flight, and the time that recent requests took which came at such a
    /// load; 0 µs while nothing is known.
    #[must_use]
    pub fn load(&self) -> Load {
        let in_flight = self.shared.in_flight.load(Relaxed);
        let now = self.shared.clock.micros() / 1000;
        Load { in_flight, latency: self.shared.samples.estimate(in_flight.saturating_add(1), now) }
    }
}

impl Serving {
    /// Leaves the request out of how long requests take, for it failed: failures are fast, and say nothing.
    pub fn fail(&mut self) {
        self.counts = false;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Relaxed);
        if self.counts {
            let now = self.shared.clock.micros();
            let took = u32::try_from(now.saturating_sub(self.begun)).unwrap_or(u32::MAX);
            self.shared.samples.note(self.load, took, now / 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_begin_than_the_caller_allows() {
        let reporter = LoadReporter::new();
        let held: Vec<Serving> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..50).filter_map(|_| reporter.begin_within(7)).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((held.len(), reporter.load().in_flight), (7, 7));
        assert!(reporter.begin_within(8).is_some());
        drop(held);
        assert!(reporter.begin_within(7).is_some());
    }

    #[test]
    fn what_is_in_flight_counts_and_what_is_done_says_how_long_it_took() {
        let clock = Clock::manual();
        let reporter = LoadReporter::with_clock(clock.clone());
        assert_eq!(reporter.load(), Load { in_flight: 0, latency: 0 });
        for _ in 0..3 {
            let serving = reporter.clone().begin();
            assert_eq!(reporter.load().in_flight, 1);
            clock.advance(Duration::from_millis(10));
            drop(serving);
        }
        assert_eq!(reporter.load(), Load { in_flight: 0, latency: 10_000 });
        for _ in 0..9 {
            reporter.begin().fail();
        }
        assert_eq!(reporter.load(), Load { in_flight: 0, latency: 10_000 }, "failures are no samples");
    }
}
