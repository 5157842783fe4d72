//! The rule that sets an endpoint aside after failures, and how many of one service are aside.
//!
//! The rule is pure: level and a random word in, milliseconds out. [`Aside`] is the one thing all
//! endpoints of a service share: a count that lets a pick skip every check while nobody is aside, and the places that
//! opinions may take.
//! What counts as a failure is decided by the caller, who records an [`super::Outcome`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::{Clock, millis};
use super::outlier::Outliers;

/// Holds the settings of passive ejection.
#[derive(Clone, Debug, PartialEq)]
pub struct Ejection {
    /// Failed calls in a row, after a connection was had, that set an endpoint aside. A failed
    /// connection does so at once: nobody listens, and no request was lost by finding out.
    pub failures_max: u32,
    /// The first time aside; doubled with each further one that no success interrupts.
    pub pause_base: Duration,
    /// The longest time aside.
    pub pause_max: Duration,
    /// How many of a service's eligible endpoints may be aside at once because calls to them failed, in percent; one
    /// always may, unless this is 0. What everybody fails at is rarely the fault of each, and the rest has to carry the
    /// load. Refused connections do not count: that nobody listens is a fact, and a call sent there is lost for certain.
    /// At 50, the default, opinions alone never bring about what [`crate::balance::BalancerSettings::panic_threshold`]
    /// is for.
    pub share_max: u32,
    /// The comparison of endpoints with one another; none switches it off.
    pub outliers: Option<Outliers>,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures_max: 5,
            pause_base: Duration::from_secs(1),
            pause_max: Duration::from_secs(30),
            share_max: 50,
            outliers: Some(Outliers::default()),
        }
    }
}

impl Ejection {
    /// Returns how long, in milliseconds, the `level`-th time aside in a row lasts (levels begin
    /// at 1): base doubled per level, capped, less up to a quarter by `random`, so that the clients
    /// that lost an endpoint together do not come back to it together.
    #[must_use]
    pub fn pause(&self, level: u32, random: u32) -> u64 {
        pause(self.pause_base, self.pause_max, level, random)
    }

    /// As [`Self::pause`], or by the times of [`Outliers`] for an endpoint that compared badly.
    pub(super) fn pause_for(&self, judged: bool, level: u32, random: u32) -> u64 {
        match &self.outliers {
            Some(outliers) if judged => pause(outliers.pause_base, outliers.pause_max, level, random),
            _ => self.pause(level, random),
        }
    }

    /// Says what is wrong with the settings: the field, and what would be accepted.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, reason: &str| Err((field, reason.to_owned()));
        if self.failures_max == 0 {
            return wrong("ejection.failures_max", "must be at least 1");
        }
        if self.pause_base.is_zero() || self.pause_max < self.pause_base {
            return wrong("ejection.pause_base", "must be more than 0 and at most pause_max");
        }
        if self.share_max > 100 {
            return wrong("ejection.share_max", "is a percentage: at most 100");
        }
        self.outliers.as_ref().map_or(Ok(()), Outliers::check)
    }

    /// Returns how long, in milliseconds, the single trial call after a time aside may take before
    /// another one is let through.
    #[must_use]
    pub fn trial(&self) -> u64 {
        millis(self.pause_base).max(1)
    }
}

fn pause(base: Duration, max: Duration, level: u32, random: u32) -> u64 {
    let factor = 1u64 << level.saturating_sub(1).min(32);
    let full = millis(base).saturating_mul(factor).min(millis(max)).max(1);
    let spread = u128::from(full / 4) * u128::from(random) / u128::from(u32::MAX);
    full - u64::try_from(spread).unwrap_or(0)
}

/// Counts the endpoints of one service that are aside or on trial; carried from snapshot to snapshot.
#[derive(Debug, Default)]
pub struct Aside {
    rule: Ejection,
    clock: Clock,
    marked: AtomicU32,
    /// Of the marked, those whose mark is an opinion.
    opinions: AtomicU32,
    /// What the share of opinions is a share of.
    eligible: AtomicU32,
    keys: AtomicU32,
    /// When endpoints were last compared, in milliseconds of the clock.
    swept: AtomicU64,
    ejections: AtomicU64,
}

impl Aside {
    /// Builds it for one service.
    #[must_use]
    pub fn new(rule: Ejection, clock: Clock) -> Self {
        Self { rule, clock, ..Self::default() }
    }

    /// Says whether any endpoint carries a mark: the only question a pick asks on its fast path.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        self.marked.load(Relaxed) != 0
    }

    /// Returns the rule.
    #[must_use]
    pub fn rule(&self) -> &Ejection {
        &self.rule
    }

    /// Returns the clock the times aside are measured on.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Counts the endpoints that carry a mark: aside, on trial, or waiting for one.
    #[inline]
    #[must_use]
    pub fn marked(&self) -> u32 {
        self.marked.load(Relaxed)
    }

    /// Returns how often one of the endpoints went aside, ever; a failed trial is one time more.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    pub(super) fn count_ejection(&self) {
        self.ejections.fetch_add(1, Relaxed);
    }

    /// Notes how many endpoints the registry leaves eligible.
    pub(crate) fn set_eligible(&self, len: u32) {
        self.eligible.store(len, Relaxed);
    }

    /// Returns how many more may go aside by opinion.
    pub(crate) fn room(&self) -> u32 {
        self.opinions_max().saturating_sub(self.opinions.load(Relaxed))
    }

    fn opinions_max(&self) -> u32 {
        let share = u64::from(self.eligible.load(Relaxed)) * u64::from(self.rule.share_max.min(100)) / 100;
        if self.rule.share_max == 0 { 0 } else { share.max(1) as u32 }
    }

    /// Takes a place of the share; false when there is none left.
    pub(super) fn reserve(&self) -> bool {
        let max = self.opinions_max();
        let more = |opinions: u32| (opinions < max).then_some(opinions + 1);
        self.opinions.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub(super) fn release(&self) {
        self.opinions.fetch_sub(1, Relaxed);
    }

    /// Says whether it is time to compare endpoints; true for one caller per interval.
    pub(crate) fn sweep_due(&self) -> bool {
        let Some(outliers) = &self.rule.outliers else { return false };
        let (now, then) = (self.clock.exact(), self.swept.load(Relaxed));
        let due = now >= then + millis(outliers.interval);
        due && self.swept.compare_exchange(then, now, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn mark(&self) {
        self.marked.fetch_add(1, Relaxed);
    }

    pub(super) fn unmark(&self) {
        self.marked.fetch_sub(1, Relaxed);
    }

    pub(super) fn next_key(&self) -> u32 {
        self.keys.fetch_add(1, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_its_cap_and_jitter_only_shortens() {
        let rule = Ejection::default();
        let longest: Vec<u64> = (1..=7).map(|level| rule.pause(level, 0)).collect();
        assert_eq!(longest, [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(rule.pause(1, u32::MAX), 750);
        assert_eq!(rule.pause(u32::MAX, 0), 30000);
    }
}
