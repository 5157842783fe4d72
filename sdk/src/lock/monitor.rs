//! How long what is held may go unseen, beside the time of its session. Pure.
//!
//! Consul's clients give a lock up when its key cannot be read so often in a row, a second apart; here the pause is half of
//! that to all of it, so that not all holders ask at once. That is never later than
//! what the session's TTL proves, since the session is watched as well. Called by `mutex` and `semaphore`.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::watch::{CursorSettings, of_the_leader};

/// The longest pause after a read that failed, where failures are counted.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts the reads of a held key that failed in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Monitor {
    failures: u32,
    // Any number is borne when there is none.
    failures_max: Option<u32>,
}

impl Monitor {
    /// Builds a monitor that bears so many failures in a row; none: any number, so that the session's time alone counts.
    pub(super) fn new(failures_max: Option<u32>) -> Self {
        Self { failures: 0, failures_max }
    }

    /// Returns how the key is to be read: from the leader, and where failures are counted, with Consul's pause between them.
    pub(super) fn settings(&self, settings: CursorSettings) -> CursorSettings {
        let settings = of_the_leader(settings);
        match self.failures_max {
            Some(_) => CursorSettings { backoff: Backoff { base: PAUSE, max: PAUSE }, ..settings },
            None => settings,
        }
    }

    /// Notes that there was an answer.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// Notes that there was none; says whether that is borne.
    #[must_use]
    pub(super) fn bears_failure(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures_max.is_none_or(|max| self.failures <= max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_failures_in_a_row_are_borne() {
        let mut monitor = Monitor::new(Some(2));
        assert!(monitor.bears_failure() && monitor.bears_failure());
        monitor.answered();
        assert!(monitor.bears_failure() && monitor.bears_failure() && !monitor.bears_failure());
        assert!(!Monitor::new(Some(0)).bears_failure());
        let mut patient = Monitor::new(None);
        assert!((0..1000).all(|_| patient.bears_failure()));
    }
}
