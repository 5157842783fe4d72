//! Keeps what was published before until no reader has it, so that it is never a pick that takes it apart.
//!
//! A reader that holds the old value while a new one is published may be the last to let go of it, and taking 100,000
//! endpoints apart costs milliseconds. So the publisher keeps a share of each old value, and lets go of those that
//! nobody else has: at once as a rule, else when it publishes or confirms the next time. Used by `Balancer` alone.

use std::sync::{Arc, Mutex, PoisonError};

/// Holds what readers may still have.
#[derive(Debug)]
pub(super) struct Retired<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Retired<T> {
    /// Takes over what no reader can newly come to.
    pub(super) fn keep(&self, old: Arc<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        self.sweep();
    }

    /// Lets go of what no reader has any more.
    pub(super) fn sweep(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (held, free): (Vec<_>, Vec<_>) = kept.drain(..).partition(|old| Arc::strong_count(old) > 1);
        *kept = held;
        // Taken apart after the lock: another publisher need not wait for it.
        drop(kept);
        drop(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_has_is_kept_and_goes_with_the_next_sweep() {
        let retired = Retired::default();
        let old = Arc::new(7);
        let reader = Arc::clone(&old);
        let watch = Arc::downgrade(&old);
        retired.keep(old);
        drop(reader);
        assert!(watch.upgrade().is_some(), "the reader was not the last");
        retired.sweep();
        assert!(watch.upgrade().is_none());
        let alone = Arc::new(8);
        let watch = Arc::downgrade(&alone);
        retired.keep(alone);
        assert!(watch.upgrade().is_none(), "nobody had it");
    }
}
