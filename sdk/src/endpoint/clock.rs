//! A coarse clock that costs one relaxed load to read: milliseconds since the process first looked.
//!
//! It has one use on the pick path: is an endpoint's time aside over? Reading `Instant::now` there
//! would cost more than the whole pick, so somebody must tick. A thread does, and only while an
//! endpoint is aside; otherwise it is parked and costs nothing. Not a tokio task: a balancer may
//! outlive the runtime it was built on, be shared by several, or be used from none, and a runtime
//! blocked by the application would stop time exactly when calls fail.
//! Decisions that happen rarely (a failure, a trial) read the true time themselves and refresh the tick.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds in the millisecond at which clocks begin, so that 0 can mean "never".
const MICROS: u64 = 1000;
/// How stale the tick may be while anybody needs it.
const TICK: Duration = Duration::from_millis(5);

static STARTED: OnceLock<Instant> = OnceLock::new();
static TICKED: AtomicU64 = AtomicU64::new(1);
static NEEDED_UNTIL: AtomicU64 = AtomicU64::new(0);
static TICKER: OnceLock<Option<Thread>> = OnceLock::new();

/// Tells the time in milliseconds, coarsely and cheaply; the process's own or one moved by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    // In microseconds.
    manual: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// What a manual clock says of the time of day when it begins, in seconds since 1970.
    pub const MANUAL_EPOCH: u64 = 1_700_000_000;

    /// Returns the clock of this process.
    #[must_use]
    pub fn process() -> Self {
        Self::default()
    }

    /// Returns a clock that stands still until [`Clock::advance`]; clones share it.
    #[must_use]
    pub fn manual() -> Self {
        Self { manual: Some(Arc::new(AtomicU64::new(MICROS))) }
    }

    /// Moves a manual clock on; does nothing to the clock of the process.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            manual.fetch_add(micros(by), Relaxed);
        }
    }

    /// Reads the last tick: never ahead of the true time, and at most some 10 ms behind it while an
    /// endpoint is aside.
    #[inline]
    #[must_use]
    pub fn coarse(&self) -> u64 {
        match &self.manual {
            None => TICKED.load(Relaxed),
            Some(manual) => manual.load(Relaxed) / MICROS,
        }
    }

    /// Reads the true time, and ticks.
    #[must_use]
    pub fn exact(&self) -> u64 {
        match &self.manual {
            None => refresh(),
            Some(manual) => manual.load(Relaxed) / MICROS,
        }
    }

    /// Reads the true time in microseconds, on the same scale: for the length of calls. Ticks once a millisecond, so
    /// that the coarse clock goes on wherever calls are timed.
    #[inline]
    #[must_use]
    pub fn micros(&self) -> u64 {
        match &self.manual {
            None => {
                let now = micros(STARTED.get_or_init(Instant::now).elapsed()) + MICROS;
                if now / MICROS > TICKED.load(Relaxed) {
                    TICKED.fetch_max(now / MICROS, Relaxed);
                }
                now
            }
            Some(manual) => manual.load(Relaxed),
        }
    }

    /// Reads the time of day, in milliseconds since 1970. May go back, and other machines may see another one: fit for
    /// ages of minutes, not for order. Not for the pick.
    #[must_use]
    pub fn wall(&self) -> u64 {
        match &self.manual {
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis),
            Some(manual) => Self::MANUAL_EPOCH * 1000 + (manual.load(Relaxed) - MICROS) / MICROS,
        }
    }

    /// Keeps the tick going until `until`, in this clock's milliseconds.
    pub(crate) fn keep_until(&self, until: u64) {
        if self.manual.is_some() {
            return;
        }
        NEEDED_UNTIL.fetch_max(until, SeqCst);
        if let Some(ticker) = TICKER.get_or_init(spawn_ticker) {
            ticker.unpark();
        }
    }
}

/// Converts to whole milliseconds, saturating.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Converts to whole microseconds, saturating.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn refresh() -> u64 {
    let now = millis(STARTED.get_or_init(Instant::now).elapsed()) + 1;
    TICKED.fetch_max(now, Relaxed).max(now)
}

/// Starts the ticking thread. Where none can be had the tick still moves on every failure and trial.
fn spawn_ticker() -> Option<Thread> {
    let spawned = thread::Builder::new().name("callboard-clock".into()).stack_size(64 * 1024).spawn(|| {
        loop {
            // One more refresh happens after the need has passed, so the last waiter sees its time come.
            let now = refresh();
            if now > NEEDED_UNTIL.load(SeqCst) {
                thread::park();
            } else {
                thread::sleep(TICK);
            }
        }
    });
    spawned.ok().map(|handle| handle.thread().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_by_hand_and_is_shared() {
        let clock = Clock::manual();
        let other = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(other.coarse(), 2001);
        assert_eq!(other.exact(), 2001);
        clock.advance(Duration::from_micros(1500));
        assert_eq!((other.exact(), other.micros()), (2002, 2_002_500));
        assert_eq!(other.wall(), Clock::MANUAL_EPOCH * 1000 + 2001);
    }

    #[test]
    fn the_process_clock_never_goes_back_and_coarse_never_leads() {
        let clock = Clock::process();
        let mut last = 0;
        for _ in 0..1000 {
            let (coarse, exact) = (clock.coarse(), clock.exact());
            assert!(coarse <= exact && exact >= last);
            last = exact;
        }
    }
}
