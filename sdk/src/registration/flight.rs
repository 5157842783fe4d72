//! A count of what is being served, so that a drain knows when the last of it is done, and a measure of how well it
//! went.
//!
//! Decides nothing about what failed: whoever enters says so. For servers of tower services that is
//! `tower::FlightLayer`; others call [`InFlight::enter`] themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::quality::{Meter, Quality};

/// Counts what is in flight; clones count together.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    shared: Arc<Counter>,
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicUsize,
    idle: Notify,
    meter: Mutex<Meter>,
}

/// Counts as one in flight until it is dropped; then its time is added to the measure.
#[derive(Debug)]
#[must_use = "it counts only while it is held"]
pub struct Moving {
    shared: Arc<Counter>,
    began: Instant,
    failed: bool,
}

impl InFlight {
    /// Counts one more, for as long as the returned value is held.
    pub fn enter(&self) -> Moving {
        self.shared.count.fetch_add(1, Ordering::AcqRel);
        Moving { shared: Arc::clone(&self.shared), began: Instant::now(), failed: false }
    }

    /// Returns how many are in flight.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
    }

    /// Tells how well the last half minute was served; none before the first request has ended.
    #[must_use]
    pub fn quality(&self) -> Option<Quality> {
        self.shared.meter.lock().quality(Instant::now())
    }

    /// Waits until none is in flight.
    pub async fn idle(&self) {
        loop {
            // Begins to listen before it looks, or the last one could leave in between.
            let idle = self.shared.idle.notified();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Moving {
    /// Notes that it failed by the fault of this process.
    pub fn fail(&mut self) {
        self.failed = true;
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let now = Instant::now();
        self.shared.meter.lock().record(now.saturating_duration_since(self.began), self.failed, now);
        if self.shared.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_one_out_is_noticed() {
        let flight = InFlight::default();
        flight.idle().await;
        let (first, second) = (flight.enter(), flight.clone().enter());
        let waiting = tokio::spawn({
            let flight = flight.clone();
            async move { flight.idle().await }
        });
        drop(first);
        assert_eq!(flight.count(), 1);
        drop(second);
        waiting.await.unwrap();
        assert_eq!(flight.quality().unwrap().requests, 2);
    }
}
