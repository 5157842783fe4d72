//! Whether an answer that takes nearly everybody away is believed: a registry may have lost its data, be half restored,
//! or have been misled, while those it no longer lists serve as well as before.
//!
//! The rule: when more than a share of those that may be called vanish at once, the leader is asked, and a few of the
//! missing are dialled. If none of them answers, they are gone. If one does, the old snapshot stays until the registry
//! lists them all again, none of them answers any more, or the hold is over: a deliberate removal goes through in bounded
//! time. A registry whose index went backwards is known to have lost something: it is doubted however few are missing, so
//! that one which fills up again takes nobody away in between. Instances that went critical before they left, as a drain does, are never missed.
//! An instance that is listed at another address is missed where it was: the registry may be an older copy of itself, whatever
//! its index says. One that answers where it is listed now has moved, and nothing is lost.
//! Pure: time and the results of dialling are arguments. Called by `poll`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::{Member, Snapshot};
use crate::endpoint::Endpoint;

/// The first and the longest wait between two looks at what is doubted.
const LOOK_FIRST: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(8);

/// Holds the settings of the doubt. [`DoubtSettings::NONE`] believes everything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DoubtSettings {
    /// The share of the endpoints that may be called which must vanish at once, 0.7 by default. Rollouts and the loss
    /// of one of three zones stay below it. That all vanish is doubted however few there were.
    pub share: f64,
    /// With fewer endpoints than this only the loss of all is doubted: 3 by default.
    pub least: usize,
    /// How long at most the old snapshot is held, 30 s by default: instances whose registry lost its data are back
    /// within the longest wait between two tries of a registration (15 s) and a beat.
    pub hold: Duration,
    /// How many of the missing are dialled at each look, 3 by default; there are at most seven looks in 30 s.
    pub samples: usize,
    /// The time for one of these connections, 1 s by default.
    pub connect_timeout: Duration,
}

impl DoubtSettings {
    /// Believes whatever the leader says, at once.
    pub const NONE: Self =
        Self { share: 1.0, least: usize::MAX, hold: Duration::ZERO, samples: 0, connect_timeout: Duration::ZERO };
}

impl Default for DoubtSettings {
    fn default() -> Self {
        Self {
            share: 0.7,
            least: 3,
            hold: Duration::from_secs(30),
            samples: 3,
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// Counts what came of dialling some of the missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dialled {
    /// Those that answer where they were, and do not where they are listed now.
    pub answered: usize,
    /// Those that are gone, or have moved: where they were the connection was refused or took too long, or where they
    /// are listed now one was had.
    pub failed: usize,
}

/// Says what to do with the doubted answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Publish it.
    Believe,
    /// Keep the old snapshot, and look again after this time.
    Hold(Duration),
}

/// Remembers what is doubted.
#[derive(Debug)]
pub struct Doubt {
    settings: DoubtSettings,
    since: Option<Instant>,
    looks: u32,
}

impl Doubt {
    /// Builds it without a doubt.
    #[must_use]
    pub fn new(settings: DoubtSettings) -> Self {
        Self { settings, since: None, looks: 0 }
    }

    /// Returns the endpoints that `rows`, as of `index`, leave out or list at another address, if so many of them at once
    /// are suspicious; otherwise nothing. Newcomers count against the missing: a fleet that was replaced was not lost.
    #[must_use]
    pub fn missing(&self, old: &Snapshot, rows: &[Endpoint], index: u64) -> Vec<Arc<Member>> {
        let callable = old.eligible_len() as usize;
        let all = old.members().len();
        let went_back = self.since.is_some() || index < old.index();
        let limit = match callable < self.settings.least {
            // A single one is too many where something was lost before.
            _ if went_back => 0.0,
            true => 1.0,
            false => self.settings.share,
        };
        let bound = limit * callable as f64;
        if self.settings.hold.is_zero() || callable == 0 {
            return Vec::new();
        }
        // No more can be gone than are not seen where they were. The usual answer ends here, after a part of its rows.
        let mut unseen = all;
        for row in rows {
            let is_known = |member: &Arc<Member>| member.endpoint().authority() == row.authority();
            unseen -= usize::from(unseen > 0 && old.find(row.id(), row.node()).is_some_and(is_known));
            if (unseen as f64) < bound {
                return Vec::new();
            }
        }
        let listed: HashMap<(&str, &str), &str> = rows.iter().map(|row| (row.identity(), row.authority())).collect();
        let is_listed = |endpoint: &Endpoint| listed.get(&endpoint.identity()) == Some(&endpoint.authority());
        let known = old.members().iter().filter(|member| listed.contains_key(&member.endpoint().identity())).count();
        let come = listed.len() - known;
        let is_missing = |member: &&Arc<Member>| is_callable(member) && !is_listed(member.endpoint());
        let missing: Vec<Arc<Member>> = old.members().iter().filter(is_missing).map(Arc::clone).collect();
        let lost = missing.len().saturating_sub(come);
        if lost == callable || lost as f64 > bound { missing } else { Vec::new() }
    }

    /// Weighs a doubted answer that the leader gave. Nobody dialled counts as nobody there: the leader's word is all
    /// there is.
    pub fn weigh(&mut self, dialled: Dialled, now: Instant) -> Verdict {
        let since = *self.since.get_or_insert(now);
        let left = self.settings.hold.saturating_sub(now.saturating_duration_since(since));
        if dialled.answered == 0 || left.is_zero() {
            self.settle();
            return Verdict::Believe;
        }
        let look = LOOK_FIRST.saturating_mul(1 << self.looks.min(8)).min(LOOK_MAX);
        self.looks = self.looks.saturating_add(1);
        Verdict::Hold(look.min(left))
    }

    /// Notes that there is nothing to doubt any more.
    pub fn settle(&mut self) {
        (self.since, self.looks) = (None, 0);
    }

    /// Returns since when an answer is held back, if one is.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.since
    }
}

fn is_callable(member: &Member) -> bool {
    member.endpoint().weight_effective() > 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::Health;

    fn rows(ids: impl IntoIterator<Item = usize>) -> Vec<Endpoint> {
        ids.into_iter().map(|id| Endpoint::new(&format!("web-{id}"), "10.0.0.1", 80)).collect()
    }

    fn missing(old: Vec<Endpoint>, new: &[Endpoint]) -> usize {
        let old = Snapshot::empty("web").next(old, 1);
        Doubt::new(DoubtSettings::default()).missing(&old, new, 2).len()
    }

    #[test]
    fn what_is_suspicious() {
        assert_eq!(missing(rows(0..1), &[]), 1, "all of one");
        assert_eq!(missing(rows(0..2), &rows(0..1)), 0, "one of two is usual");
        assert_eq!(missing(rows(0..10), &rows(0..3)), 0, "70 %");
        assert_eq!(missing(rows(0..10), &rows(0..2)), 8, "more than 70 %");
        assert_eq!(missing(rows(0..10), &rows(20..30)), 0, "replaced");
        assert_eq!(missing(rows(0..10), &rows(20..21)), 10, "hardly replaced");
        assert_eq!(missing(Vec::new(), &[]), 0, "nothing to lose");
    }

    #[test]
    fn who_is_listed_elsewhere_is_missed_where_it_was_whatever_the_index() {
        let moved = |ids| {
            let mut moved: Vec<Endpoint> = rows(ids);
            moved.iter_mut().for_each(|row| *row = Endpoint::new(row.id(), "10.0.0.1", 81));
            moved
        };
        let old = Snapshot::empty("web").next(rows(0..5), 9);
        let missing = |rows: &[Endpoint], index| Doubt::new(DoubtSettings::default()).missing(&old, rows, index).len();
        assert_eq!((missing(&moved(0..5), 10), missing(&moved(0..5), 8)), (5, 5));
        let one = [moved(0..1), rows(1..5)].concat();
        assert_eq!((missing(&one, 10), missing(&one, 8)), (0, 1), "one of five is a restart");
        assert_eq!(missing(&[moved(0..4), rows(4..5)].concat(), 10), 4, "more than 70 %");
        assert_eq!(missing(&[moved(0..4), rows(4..6)].concat(), 10), 0, "with a newcomer it is not");
    }

    #[test]
    fn who_went_critical_before_is_not_missed() {
        let drained = |id| rows(id..id + 1).remove(0).with_health(Health::Critical);
        assert_eq!(missing(vec![drained(0), drained(1)], &[]), 0);
        let mut mixed = rows(0..3);
        mixed.extend([drained(3), drained(4), drained(5)]);
        assert_eq!(missing(mixed.clone(), &mixed[3..]), 3, "those left cannot be called");
        assert_eq!(missing(mixed.clone(), &mixed[..3]), 0);
    }

    #[test]
    fn a_registry_that_fills_up_again_takes_nobody_away() {
        let old = Snapshot::empty("web").next(rows(0..10), 70);
        let mut doubt = Doubt::new(DoubtSettings::default());
        assert_eq!(doubt.missing(&old, &rows(0..8), 71).len(), 0);
        assert_eq!(doubt.missing(&old, &rows(0..8), 3).len(), 2, "its index went backwards");
        assert_eq!(doubt.missing(&old, &rows(0..10), 3).len(), 0);
        doubt.weigh(Dialled { answered: 1, failed: 0 }, Instant::now());
        assert_eq!(doubt.missing(&old, &rows(0..8), 71).len(), 2, "it is doubted already");
        doubt.settle();
        assert_eq!(doubt.missing(&old, &rows(0..8), 71).len(), 0);
    }

    #[test]
    fn it_believes_in_the_end() {
        let mut doubt = Doubt::new(DoubtSettings::default());
        let start = Instant::now();
        let mut now = start;
        let mut looks = 1;
        while let Verdict::Hold(after) = doubt.weigh(Dialled { answered: 1, failed: 2 }, now) {
            assert!(!after.is_zero() && doubt.since() == Some(start));
            now += after;
            looks += 1;
        }
        assert_eq!((now - start, looks), (Duration::from_secs(30), 7));
        assert_eq!(doubt.since(), None);
    }

    #[test]
    fn silence_is_believed_at_once() {
        let mut doubt = Doubt::new(DoubtSettings::default());
        let now = Instant::now();
        assert_eq!(doubt.weigh(Dialled { answered: 0, failed: 3 }, now), Verdict::Believe);
        assert_eq!(doubt.weigh(Dialled { answered: 3, failed: 0 }, now), Verdict::Hold(LOOK_FIRST));
        assert_eq!(doubt.weigh(Dialled::default(), now), Verdict::Believe);
        let old = Snapshot::empty("web").next(rows(0..9), 1);
        assert!(Doubt::new(DoubtSettings::NONE).missing(&old, &[], 1).is_empty());
    }

    proptest! {
        /// The short cut never hides what the whole comparison finds.
        #[test]
        fn missing_is_what_the_definition_says(
            old in proptest::collection::btree_map(0usize..12, any::<bool>(), 0..12),
            new in proptest::collection::btree_map(0usize..24, any::<bool>(), 0..12),
        ) {
            let health = |well| if well { Health::Passing } else { Health::Critical };
            let before = old.iter().map(|(id, well)| rows([*id]).remove(0).with_health(health(*well))).collect();
            let after: Vec<Endpoint> =
                new.iter().map(|(id, moved)| Endpoint::new(&format!("web-{id}"), "10.0.0.1", 80 + u16::from(*moved))).collect();
            let callable = old.values().filter(|well| **well).count();
            let gone = old.iter().filter(|(id, well)| **well && new.get(id) != Some(&false)).count();
            let lost = gone.saturating_sub(new.keys().filter(|id| !old.contains_key(id)).count());
            let suspicious = callable > 0
                && (lost == callable || callable >= 3 && lost as f64 > 0.7 * callable as f64);
            prop_assert_eq!(missing(before, &after), if suspicious { gone } else { 0 });
        }
    }
}
