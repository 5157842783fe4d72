//! Whether the application's runtime still runs what is given to it: sick, not dead.
//!
//! A small task is handed to it again and again; while one has not run for longer than the limit, the instance is
//! critical and the beat says why. The beat itself comes from a thread of its own (`thread`), so that callers are told at
//! once instead of waiting for a missing beat, and nobody takes the process for gone. [`Pulse`] is pure.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::state::Shared;

/// How often the pulse is felt, at most and at least, within a limit.
const EVERY_MAX: Duration = Duration::from_secs(1);
const EVERY_MIN: Duration = Duration::from_millis(20);

/// Long enough to mean never, and short enough to be added to a time.
const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Remembers the task that was handed over and has not run.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    limit: Duration,
    asked: Option<Instant>,
}

impl Pulse {
    /// Builds one that takes a runtime for stuck after this time.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit: limit.clamp(EVERY_MIN, NEVER), asked: None }
    }

    /// Notes that a task was handed over.
    pub fn ask(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// Notes that it ran.
    pub fn answered(&mut self) {
        self.asked = None;
    }

    /// Returns since when the runtime is stuck, if it is.
    #[must_use]
    pub fn stuck_since(&self, now: Instant) -> Option<Instant> {
        self.asked.filter(|asked| now.saturating_duration_since(*asked) >= self.limit)
    }

    /// Returns when the runtime will be stuck unless it answers.
    #[must_use]
    pub fn stuck_at(&self) -> Option<Instant> {
        self.asked.map(|asked| asked + self.limit)
    }

    /// Returns the time between two tasks: a quarter of the limit, at most a second.
    #[must_use]
    pub fn every(&self) -> Duration {
        (self.limit / 4).clamp(EVERY_MIN, EVERY_MAX)
    }
}

/// Feels the pulse of a runtime until it is gone, and tells `shared`.
pub(super) async fn feel(runtime: Handle, shared: Arc<Shared>, mut pulse: Pulse) {
    loop {
        let ran = runtime.spawn(async {});
        tokio::pin!(ran);
        let asked = Instant::now();
        pulse.ask(asked);
        let stuck_at = pulse.stuck_at().unwrap_or_else(Instant::now);
        let answer = match tokio::time::timeout_at(stuck_at, &mut ran).await {
            Ok(answer) => answer,
            Err(_) => {
                let since = pulse.stuck_since(Instant::now());
                warn!(instance = shared.instance, limit = ?pulse.limit, "the application's runtime does not answer");
                shared.set_stuck(since);
                let answer = ran.await;
                info!(
                    instance = shared.instance,
                    after_ms = since.map_or(0, |since| since.elapsed().as_millis() as u64),
                    "the application's runtime answers again"
                );
                shared.set_stuck(None);
                answer
            }
        };
        pulse.answered();
        if answer.is_err() {
            // The runtime was shut down: there is nothing left to be stuck.
            return;
        }
        shared.set_lag(asked.elapsed());
        tokio::time::sleep(pulse.every()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stuck_after_the_limit_and_not_before() {
        let (mut pulse, now) = (Pulse::new(Duration::from_secs(10)), Instant::now());
        assert_eq!((pulse.stuck_since(now), pulse.stuck_at()), (None, None));
        pulse.ask(now);
        pulse.ask(now + Duration::from_secs(9));
        assert_eq!(pulse.stuck_at(), Some(now + Duration::from_secs(10)));
        assert_eq!(pulse.stuck_since(now + Duration::from_millis(9_999)), None);
        assert_eq!(pulse.stuck_since(now + Duration::from_secs(10)), Some(now));
        pulse.answered();
        assert_eq!(pulse.stuck_since(now + Duration::from_secs(99)), None);
        assert_eq!(pulse.every(), EVERY_MAX);
        assert_eq!(Pulse::new(Duration::ZERO).every(), EVERY_MIN);
        let mut never = Pulse::new(Duration::MAX);
        never.ask(now);
        assert_eq!(never.stuck_since(now + Duration::from_secs(1 << 24)), None);
    }
}
