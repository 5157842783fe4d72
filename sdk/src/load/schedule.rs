//! How many probes are due: so many per pick, less what responses said unasked, within a bound per process.
//!
//! Pure: times and counts come as arguments. [`super::Prober`] asks it and sends what it says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::endpoint::Clock;

/// More than this is never owed: by then the pool has been replaced twice over.
const OWED_MAX: f64 = 32.0;

/// Says how many probes the picks of one service are worth.
#[derive(Debug)]
pub struct Schedule {
    per_pick: f64,
    owed: f64,
    picks: u64,
    replies: u64,
    /// Replies that were noted and are this prober's own doing.
    own: u64,
}

impl Schedule {
    /// Builds a schedule of so many probes per pick.
    #[must_use]
    pub fn new(per_pick: u32) -> Self {
        Self { per_pick: per_pick.into(), owed: 0.0, picks: 0, replies: 0, own: 0 }
    }

    /// Returns how many probes are due, given how many picks there were and replies came in since the beginning.
    #[must_use]
    pub fn due(&self, picks: u64, replies: u64) -> u32 {
        self.owe(picks, replies) as u32
    }

    /// Notes that so many of the due were sent; what is not sent is owed on.
    pub fn sent(&mut self, count: u32, picks: u64, replies: u64) {
        self.owed = self.owe(picks, replies) - f64::from(count);
        (self.picks, self.replies, self.own) = (picks, replies, 0);
    }

    /// Notes that a reply came to a probe.
    pub fn replied(&mut self) {
        self.own += 1;
    }

    fn owe(&self, picks: u64, replies: u64) -> f64 {
        let picks = picks.wrapping_sub(self.picks) as f64;
        let unasked = replies.wrapping_sub(self.replies).saturating_sub(self.own) as f64;
        (self.owed + picks * self.per_pick - unasked).clamp(0.0, OWED_MAX)
    }
}

/// Bounds the probes that a process sends per second, over all services.
#[derive(Debug)]
pub struct ProbeBudget {
    clock: Clock,
    /// Microseconds between two probes.
    every: u64,
    /// When the next probe would be due if they went out evenly; a second's worth may go at once.
    next: AtomicU64,
}

impl ProbeBudget {
    /// What may go at once, in microseconds of the even rate: 20 ms' worth.
    const BURST: u64 = 20_000;

    /// Builds a budget of so many probes per second, at least one.
    #[must_use]
    pub fn new(per_second: u32, clock: Clock) -> Self {
        Self { clock, every: 1_000_000 / u64::from(per_second.clamp(1, 1_000_000)), next: AtomicU64::new(0) }
    }

    /// Takes up to `wanted` probes, and returns how many may be sent now.
    pub fn take(&self, wanted: u32) -> u32 {
        let now = self.clock.micros();
        let mut next = self.next.load(Relaxed);
        loop {
            let from = next.max(now.saturating_sub(Self::BURST));
            let fits = now.saturating_sub(from) / self.every;
            let granted = u64::from(wanted).min(fits);
            if granted == 0 {
                return 0;
            }
            match self.next.compare_exchange_weak(next, from + granted * self.every, Relaxed, Relaxed) {
                Ok(_) => return granted as u32,
                Err(newer) => next = newer,
            }
        }
    }

    /// Returns how long until one more may be sent.
    #[must_use]
    pub fn pause(&self) -> Duration {
        let due = self.next.load(Relaxed) + self.every;
        Duration::from_micros(due.saturating_sub(self.clock.micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_is_worth_three_probes_less_what_came_unasked() {
        let mut schedule = Schedule::new(3);
        assert_eq!(schedule.due(0, 0), 0);
        assert_eq!(schedule.due(2, 0), 6);
        schedule.sent(6, 2, 0);
        assert_eq!(schedule.due(2, 0), 0);
        (0..6).for_each(|_| schedule.replied());
        assert_eq!(schedule.due(4, 8), 4, "two of the eight came with responses");
        assert_eq!(schedule.due(1_000, 8), 32);
        schedule.sent(30, 1_000, 8);
        assert_eq!(schedule.due(1_000, 8), 2, "what was not sent is owed");
        assert_eq!(schedule.due(1_000, 50), 0);
    }

    #[test]
    fn the_budget_holds_over_any_second() {
        let clock = Clock::manual();
        let budget = ProbeBudget::new(2_000, clock.clone());
        clock.advance(Duration::from_secs(10));
        let mut sent = budget.take(1_000);
        assert_eq!(sent, 40, "20 ms' worth at once after a rest");
        assert!(budget.pause() > Duration::ZERO);
        for _ in 0..1_000 {
            clock.advance(Duration::from_millis(1));
            sent += budget.take(1_000);
        }
        assert_eq!(sent, 2_040);
    }
}
