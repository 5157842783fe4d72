//! Counts the calls under way and refuses those above the limit, which follows what they take.
//!
//! Taking and giving back a place is two atomic operations; every second, whoever ends a call hands what was seen to
//! [`Gradient`]. Used on the caller's side per service (`sequence`) and on the server's side (`shed`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limit::{Gradient, LimitSettings, Seen};

/// A window is at least so long, in microseconds, and holds at least so many calls.
const WINDOW: u64 = 1_000_000;
const CALLS_MIN: u32 = 10;

/// Holds a limit on calls under way; clones share it.
#[derive(Debug, Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: AtomicU32,
    in_flight: AtomicU32,
    refused: AtomicU64,
    // What the present window saw.
    took: AtomicU64,
    calls: AtomicU32,
    most: AtomicU32,
    lost: AtomicBool,
    ends: AtomicU64,
    began: Instant,
    gradient: Mutex<Gradient>,
}

impl Limiter {
    /// Builds a limiter that starts with the initial limit.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        let gradient = Gradient::new(settings);
        Self {
            shared: Arc::new(Shared {
                limit: AtomicU32::new(gradient.limit()),
                in_flight: AtomicU32::new(0),
                refused: AtomicU64::new(0),
                took: AtomicU64::new(0),
                calls: AtomicU32::new(0),
                most: AtomicU32::new(0),
                lost: AtomicBool::new(false),
                ends: AtomicU64::new(WINDOW),
                began: Instant::now(),
                gradient: Mutex::new(gradient),
            }),
        }
    }

    /// Returns the limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.shared.limit.load(Relaxed)
    }

    /// Returns the calls under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.shared.in_flight.load(Relaxed)
    }

    /// Returns the calls refused, ever.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }

    /// Takes a place for a call; none when as many are under way as may be. Dropped without [`Place::done`], a place
    /// says nothing about how long calls take.
    #[must_use]
    pub fn enter(&self) -> Option<Place> {
        let limit = self.limit();
        let more = |in_flight: u32| (in_flight < limit).then_some(in_flight + 1);
        match self.shared.in_flight.fetch_update(Relaxed, Relaxed, more) {
            Ok(before) => {
                self.shared.most.fetch_max(before + 1, Relaxed);
                Some(Place { shared: Arc::clone(&self.shared), begun: Instant::now() })
            }
            Err(_) => {
                self.shared.refused.fetch_add(1, Relaxed);
                // A refusal is proof that the limit is what holds calls back.
                self.shared.most.fetch_max(limit, Relaxed);
                None
            }
        }
    }
}

/// Holds the place of one call under way.
#[derive(Debug)]
#[must_use = "the call is counted only while this is held"]
pub struct Place {
    shared: Arc<Shared>,
    begun: Instant,
}

impl Place {
    /// Notes that the call was answered after the time since it took its place, or that it was `lost`: it took too long, or
    /// the server was overloaded. The place is kept until it is dropped.
    pub fn done(&self, lost: bool) {
        let now = Instant::now();
        self.shared.seen(now.duration_since(self.begun), lost, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    fn seen(&self, took: Duration, lost: bool, now: Instant) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.took.fetch_add(micros(took).max(1), Relaxed);
        let calls = self.calls.fetch_add(1, Relaxed) + 1;
        if lost {
            self.lost.store(true, Relaxed);
        }
        let now = micros(now.duration_since(self.began));
        if calls < CALLS_MIN || now < self.ends.load(Relaxed) {
            return;
        }
        // Whoever comes second leaves it to the first.
        let Some(mut gradient) = self.gradient.try_lock() else { return };
        if now < self.ends.load(Relaxed) {
            return;
        }
        self.ends.store(now + WINDOW, Relaxed);
        let (took, calls) = (self.took.swap(0, Relaxed), self.calls.swap(0, Relaxed));
        let most = self.most.swap(self.in_flight.load(Relaxed), Relaxed);
        let lost = self.lost.swap(false, Relaxed);
        let seen = Seen { took: took as f64 / f64::from(calls.max(1)), in_flight: most, lost };
        self.limit.store(gradient.update(seen), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(initial: u32) -> Limiter {
        Limiter::new(LimitSettings { initial, min: 1, ..LimitSettings::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn above_the_limit_is_refused_and_a_place_comes_back() {
        let limiter = limiter(2);
        let (first, second) = (limiter.enter(), limiter.enter());
        assert!(first.is_some() && second.is_some() && limiter.enter().is_none());
        drop(first);
        assert_eq!((limiter.in_flight(), limiter.refused()), (1, 1));
        assert!(limiter.enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_calls_moves_the_limit() {
        let limiter = limiter(10);
        let round = async |time| {
            let places: Vec<Place> = (0..10).filter_map(|_| limiter.enter()).collect();
            tokio::time::advance(Duration::from_millis(time)).await;
            places.iter().for_each(|place| place.done(false));
        };
        for _ in 0..12 {
            round(100).await;
        }
        let grown = limiter.limit();
        assert_eq!(grown, 10, "one window adds less than one: 0.8");
        for _ in 0..30 {
            round(100).await;
        }
        assert!(limiter.limit() > grown, "{}", limiter.limit());
        let before = limiter.limit();
        for _ in 0..5 {
            round(2_000).await;
        }
        assert!(limiter.limit() < before, "{} of {before}", limiter.limit());
    }
}
