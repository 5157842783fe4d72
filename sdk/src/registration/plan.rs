//! What a registration does next, and what an answer means for that: the reconciler without a socket.
//!
//! The rules: register until it is confirmed; then beat at a third of the TTL, jittered by a tenth, and at once
//! when there is news; compare the row now and then. A beat that is answered 404 means that the registry
//! forgot: register again at once. Any other failure of a beat leads to a full registration after a growing
//! wait, at most half of that between beats, because whoever did not answer may have forgotten too. A beat that was taken over a new
//! connection may have been taken by a server that knows the instance as it was once: the row is compared at once. It
//! never gives up.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// The shortest time between two comparisons, however often the watch of the own service shows something odd.
const AUDIT_EVERY_MIN: Duration = Duration::from_secs(1);

/// Holds the settings of a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanSettings {
    /// How long a beat lasts; none when nobody waits for beats.
    pub ttl: Option<Duration>,
    /// How often the row is compared.
    pub audit_every: Duration,
    /// The waits after failures.
    pub backoff: Backoff,
}

/// Says what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Write the whole registration.
    Register,
    /// Say how well the instance is.
    Beat,
    /// Compare the row with what it should be.
    Audit,
    /// Nothing, until this time or news.
    Rest(Instant),
}

/// Says how an act went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It is as it should be.
    Done,
    /// The registry does not know the instance, or knows it otherwise.
    Missing,
    /// It could not be found out, or not be done.
    Failed,
}

/// Remembers what is known and what is due.
#[derive(Debug)]
pub struct Plan {
    settings: PlanSettings,
    registered: bool,
    // Whether a beat was taken since the registration; one that never is must not make us spin.
    beaten: bool,
    failures: u32,
    news: bool,
    register_at: Instant,
    beat_at: Instant,
    audit_at: Instant,
    // When the row was compared, or written, last.
    audited: Option<Instant>,
    // Whether the last beat was answered over a connection that was opened for it.
    anew: bool,
}

impl Plan {
    /// Builds a plan whose first act is to register.
    #[must_use]
    pub fn new(settings: PlanSettings, now: Instant) -> Self {
        Self {
            settings,
            registered: false,
            beaten: false,
            failures: 0,
            news: false,
            register_at: now,
            beat_at: now,
            audit_at: now,
            audited: None,
            anew: false,
        }
    }

    /// Says whether the registry is believed to know the instance.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Notes that the status changed, so that the next beat is due at once.
    pub fn news(&mut self) {
        self.news = true;
    }

    /// Notes that others may be shown something else than they should be: compares soon, within a second.
    pub fn doubt(&mut self, now: Instant) {
        let soon = self.audited.map_or(now, |then| now.max(then + AUDIT_EVERY_MIN));
        self.audit_at = self.audit_at.min(soon);
    }

    /// Notes whether a beat was answered over a connection that was opened for it, and says whether that is a reason to
    /// compare: a control node that was restarted with an older copy of its data knows the check, and may show another
    /// address. Where every beat has a connection of its own that tells nothing, and the comparisons of old must do.
    pub fn beaten_over(&mut self, fresh: bool, now: Instant) -> bool {
        let doubtful = fresh && !self.anew;
        self.anew = fresh;
        if doubtful {
            self.doubt(now);
        }
        doubtful
    }

    /// Returns what is due.
    #[must_use]
    pub fn next(&self, now: Instant) -> Act {
        if !self.registered {
            return if now >= self.register_at { Act::Register } else { Act::Rest(self.register_at) };
        }
        let rest = match self.settings.ttl {
            Some(_) if self.news || now >= self.beat_at => return Act::Beat,
            Some(_) => self.beat_at.min(self.audit_at),
            None => self.audit_at,
        };
        if now >= self.audit_at { Act::Audit } else { Act::Rest(rest) }
    }

    /// Notes that an act begins: it carries all the news there is.
    pub fn begin(&mut self) {
        self.news = false;
    }

    /// Notes how an act went. `dice` is any random word.
    pub fn told(&mut self, act: Act, told: Told, now: Instant, dice: u32) {
        if matches!(act, Act::Register | Act::Audit) {
            self.audited = Some(now);
        }
        match (act, told) {
            (Act::Rest(_), _) => {}
            (Act::Register, Told::Done) => {
                (self.registered, self.beaten) = (true, false);
                self.beat_at = now + self.beat_after(dice);
                self.audit_at = now + self.settings.audit_every;
            }
            (Act::Beat, Told::Done) => {
                (self.beaten, self.failures) = (true, 0);
                self.beat_at = now + self.beat_after(dice);
            }
            (Act::Beat, Told::Missing) if self.beaten => (self.registered, self.register_at) = (false, now),
            (Act::Audit, Told::Missing) => (self.registered, self.register_at) = (false, now),
            (Act::Audit, Told::Done) => self.audit_at = now + self.settings.audit_every,
            (Act::Audit, Told::Failed) if self.settings.ttl.is_some() => {
                // The next beat will find out.
                self.audit_at = now + self.settings.audit_every;
            }
            (Act::Register | Act::Beat | Act::Audit, Told::Failed | Told::Missing) => {
                self.failures = self.failures.saturating_add(1);
                self.registered = false;
                self.register_at = now + self.backoff().delay(self.failures, dice);
            }
        }
    }

    /// A try costs the registry little more than a beat, so it is made twice as often at least: with the time that a
    /// connection in vain may take before it, the registry has the instance back within a beat of whatever happened.
    fn backoff(&self) -> Backoff {
        let Backoff { base, max } = self.settings.backoff;
        let max = self.settings.ttl.map_or(max, |ttl| max.min(ttl / 6));
        Backoff { base: base.min(max), max }
    }

    /// A third of the TTL, a tenth more or less.
    fn beat_after(&self, dice: u32) -> Duration {
        let third = self.settings.ttl.unwrap_or_default() / 3;
        third.mul_f64(0.9 + 0.2 * f64::from(dice) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(9);

    fn plan(ttl: Option<Duration>) -> (Plan, Instant) {
        let now = Instant::now();
        let settings = PlanSettings { ttl, audit_every: Duration::from_secs(30), backoff: Backoff::default() };
        (Plan::new(settings, now), now)
    }

    fn seconds(from: Instant, act: Act) -> f64 {
        let Act::Rest(until) = act else { panic!("{act:?} is no rest") };
        (until - from).as_secs_f64()
    }

    #[test]
    fn register_then_beat_at_a_third() {
        let (mut plan, now) = plan(Some(TTL));
        assert_eq!(plan.next(now), Act::Register);
        plan.told(Act::Register, Told::Done, now, 0);
        assert!((seconds(now, plan.next(now)) - 2.7).abs() < 0.001);
        let then = now + Duration::from_secs(3);
        assert_eq!(plan.next(then), Act::Beat);
        plan.told(Act::Beat, Told::Done, then, u32::MAX);
        assert!((seconds(then, plan.next(then)) - 3.3).abs() < 0.001);
    }

    #[test]
    fn news_do_not_wait() {
        let (mut plan, now) = plan(Some(TTL));
        plan.told(Act::Register, Told::Done, now, 0);
        plan.news();
        assert_eq!(plan.next(now), Act::Beat);
        plan.begin();
        plan.told(Act::Beat, Told::Done, now, 0);
        assert!(matches!(plan.next(now), Act::Rest(_)));
    }

    #[test]
    fn forgotten_means_again_at_once_and_failed_means_after_a_wait() {
        let (mut plan, now) = plan(Some(TTL));
        plan.told(Act::Register, Told::Done, now, 0);
        plan.told(Act::Beat, Told::Done, now, 0);
        plan.told(Act::Beat, Told::Missing, now, 0);
        assert_eq!(plan.next(now), Act::Register);
        plan.told(Act::Register, Told::Failed, now, 0);
        assert!((seconds(now, plan.next(now)) - 0.1).abs() < 0.001);
        plan.told(Act::Register, Told::Failed, now, 0);
        assert!((seconds(now, plan.next(now)) - 0.2).abs() < 0.001);
        plan.told(Act::Register, Told::Done, now, 0);
        plan.told(Act::Beat, Told::Failed, now, 0);
        assert!(!plan.is_registered());
    }

    #[test]
    fn the_row_is_compared_now_and_then() {
        let (mut plan, now) = plan(None);
        plan.told(Act::Register, Told::Done, now, 0);
        let then = now + Duration::from_secs(30);
        assert_eq!(plan.next(then), Act::Audit);
        plan.told(Act::Audit, Told::Done, then, 0);
        assert!((seconds(then, plan.next(then)) - 30.0).abs() < 0.001);
        plan.told(Act::Audit, Told::Missing, then, 0);
        assert_eq!(plan.next(then), Act::Register);
    }

    #[test]
    fn a_doubt_is_looked_into_soon_and_not_without_end() {
        let (mut plan, now) = plan(Some(TTL));
        plan.told(Act::Register, Told::Done, now, 0);
        plan.doubt(now);
        assert!((seconds(now, plan.next(now)) - 1.0).abs() < 0.001, "the row was written just now");
        let then = now + Duration::from_secs(2);
        plan.doubt(then);
        assert_eq!(plan.next(then), Act::Audit);
        plan.told(Act::Audit, Told::Done, then, 0);
        plan.doubt(then);
        assert!((seconds(then, plan.next(then)) - 0.7).abs() < 0.001, "the next beat comes first");
        assert_eq!(plan.next(then + Duration::from_millis(600)), plan.next(then));
    }

    #[test]
    fn a_new_connection_is_a_reason_to_compare_unless_there_always_is_one() {
        let (mut plan, mut now) = plan(Some(TTL));
        plan.told(Act::Register, Told::Done, now, 0);
        let mut beat = |plan: &mut Plan, fresh| {
            now += Duration::from_secs(3);
            plan.told(Act::Beat, Told::Done, now, 0);
            let doubtful = plan.beaten_over(fresh, now);
            assert_eq!(plan.next(now) == Act::Audit, doubtful);
            if doubtful {
                plan.told(Act::Audit, Told::Done, now, 0);
            }
            doubtful
        };
        assert!(!beat(&mut plan, false), "nothing is new");
        assert!(beat(&mut plan, true), "somebody else may have answered");
        assert!(!beat(&mut plan, true) && !beat(&mut plan, true), "it closes after each answer");
        assert!(!beat(&mut plan, false));
        assert!(beat(&mut plan, true));
    }

    proptest! {
        /// Whatever the answers, there is always a next act, in bounded time, and no two beats are further apart
        /// than half the TTL while all goes well.
        #[test]
        fn it_never_gives_up(answers in proptest::collection::vec((0u8..3, any::<u32>()), 1..80)) {
            let (mut plan, mut now) = plan(Some(TTL));
            for (answer, dice) in answers {
                if let Act::Rest(until) = plan.next(now) {
                    prop_assert!(until > now && until - now <= TTL.mul_f64(1.1 / 3.0));
                    now = until;
                }
                let act = plan.next(now);
                prop_assert!(!matches!(act, Act::Rest(_)), "a rest ends");
                plan.begin();
                let told = [Told::Done, Told::Missing, Told::Failed][usize::from(answer)];
                plan.told(act, told, now, dice);
                if act == Act::Beat && told == Told::Done {
                    prop_assert!(seconds(now, plan.next(now)) <= TTL.as_secs_f64() / 2.0);
                }
            }
        }
    }
}
