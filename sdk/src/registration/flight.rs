//! A count of what is being served, so that a drain knows when the last of it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts what is in flight; clones count together.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    shared: Arc<Counter>,
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicUsize,
    idle: Notify,
}

/// Counts as one in flight until it is dropped.
#[derive(Debug)]
#[must_use = "it counts only while it is held"]
pub struct Moving {
    shared: Arc<Counter>,
}

impl InFlight {
    /// Counts one more, for as long as the returned value is held.
    pub fn enter(&self) -> Moving {
        self.shared.count.fetch_add(1, Ordering::AcqRel);
        Moving { shared: Arc::clone(&self.shared) }
    }

    /// Returns how many are in flight.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
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

impl Drop for Moving {
    fn drop(&mut self) {
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
    }
}
