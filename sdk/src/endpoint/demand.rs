//! How much is picked by replies, and who is to be woken for it: what a pool of replies and its prober share.
//!
//! A prober sleeps while nothing is picked, and the first pick wakes it. Used by `replies` alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Waker;

use arc_swap::ArcSwapOption;

/// Counts picks, on cache lines of its own: every pick writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Demand {
    picks: AtomicU64,
    asleep: AtomicBool,
    employed: AtomicBool,
    waker: ArcSwapOption<Waker>,
}

impl Demand {
    /// Counts a pick, and wakes whoever sleeps until there is one.
    #[inline]
    pub(super) fn count(&self) {
        // Two threads at once may count as one, and a pick as one falls asleep may not wake it: the next one does.
        let picks = self.picks.load(Relaxed).wrapping_add(1);
        self.picks.store(picks, Relaxed);
        if self.asleep.load(Relaxed) {
            self.wake();
        }
    }

    /// Returns how many picks there were, ever.
    pub(super) fn picks(&self) -> u64 {
        self.picks.load(Relaxed)
    }

    /// Makes the caller the one prober, to be woken by the first pick after [`Self::sleep`]. False when there is one.
    pub(super) fn employ(&self, waker: &Waker) -> bool {
        let vacant = !self.employed.swap(true, SeqCst);
        if vacant {
            self.waker.store(Some(Arc::new(waker.clone())));
        }
        vacant
    }

    /// Lets the prober go.
    pub(super) fn dismiss(&self) {
        self.waker.store(None);
        self.asleep.store(false, SeqCst);
        self.employed.store(false, SeqCst);
    }

    /// Says that the prober goes to sleep until the next pick. False, and no sleep, when there were picks beyond `picks`.
    pub(super) fn sleep(&self, picks: u64) -> bool {
        self.asleep.store(true, SeqCst);
        let idle = self.picks.load(SeqCst) == picks;
        if !idle {
            self.asleep.store(false, SeqCst);
        }
        idle
    }

    #[cold]
    fn wake(&self) {
        if self.asleep.swap(false, SeqCst)
            && let Some(waker) = &*self.waker.load()
        {
            waker.wake_by_ref();
        }
    }
}
