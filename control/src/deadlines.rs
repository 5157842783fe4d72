//! When things run out that live only while somebody says so: beaten checks, sessions, lock delays. Pure: time is an
//! argument.
//!
//! The leader keeps these in memory only: a beat that changes nothing never reaches the log, and a new
//! leader starts every one afresh.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The deadlines of all things of one kind, by their keys.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    by_key: HashMap<K, Deadline>,
    queue: BTreeSet<(Instant, K)>,
}

#[derive(Debug)]
struct Deadline {
    at: Instant,
    ttl: Duration,
    /// Whether it ran out, and the expiry may be on its way to the log.
    expired: bool,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines { by_key: HashMap::new(), queue: BTreeSet::new() }
    }
}

/// What a beat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beaten {
    /// It was in time.
    InTime,
    /// It had run out: what the registry says about it may be about to change.
    Late,
}

impl<K: Clone + Ord + Hash> Deadlines<K> {
    /// Starts the time of one afresh.
    pub(crate) fn start(&mut self, key: K, ttl: Duration, now: Instant) {
        self.remove(&key);
        let at = now + ttl;
        self.queue.insert((at, key.clone()));
        self.by_key.insert(key, Deadline { at, ttl, expired: false });
    }

    /// Notes a beat; unknown ones are none of our business.
    pub(crate) fn beat(&mut self, key: &K, now: Instant) -> Option<Beaten> {
        let deadline = self.by_key.get_mut(key)?;
        self.queue.remove(&(deadline.at, key.clone()));
        deadline.at = now + deadline.ttl;
        self.queue.insert((deadline.at, key.clone()));
        let late = std::mem::take(&mut deadline.expired);
        Some(if late { Beaten::Late } else { Beaten::InTime })
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(deadline) = self.by_key.remove(key) {
            self.queue.remove(&(deadline.at, key.clone()));
        }
    }

    /// Takes those whose time is over.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<K> {
        let mut due = Vec::new();
        while self.queue.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.queue.pop_first() else { break };
            if let Some(deadline) = self.by_key.get_mut(&key) {
                deadline.expired = true;
            }
            due.push(key);
        }
        due
    }

    /// When the next one runs out.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Whether it ran out, and nobody beat it since.
    pub(crate) fn is_over(&self, key: &K) -> bool {
        self.by_key.get(key).is_some_and(|deadline| deadline.expired)
    }

    /// Whether it is known, in time or not.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_beat_moves_the_deadline_and_tells_when_it_was_late() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut deadlines = Deadlines::<u8>::default();
        deadlines.start(1, 2 * second, begin);
        assert_eq!(deadlines.beat(&1, begin + second), Some(Beaten::InTime));
        assert!(deadlines.due(begin + 2 * second).is_empty());
        assert_eq!(deadlines.due(begin + 3 * second), [1]);
        assert!(deadlines.due(begin + 9 * second).is_empty());
        assert_eq!(deadlines.beat(&1, begin + 9 * second), Some(Beaten::Late));
        assert_eq!(deadlines.next(), Some(begin + 11 * second));
        deadlines.remove(&1);
        assert_eq!(deadlines.next(), None);
        assert_eq!(deadlines.beat(&1, begin), None);
    }

    proptest! {
        #[test]
        fn a_check_is_due_exactly_when_its_last_beat_is_too_old(steps in proptest::collection::vec((0u8..4, 0u64..2000), 1..60)) {
            let begin = Instant::now();
            let ttl = Duration::from_millis(500);
            let mut deadlines = Deadlines::<u8>::default();
            let mut model: HashMap<u8, Option<Instant>> = HashMap::new();
            let mut now = begin;
            for (id, millis) in steps {
                now += Duration::from_millis(millis);
                let mut due = deadlines.due(now);
                due.sort();
                let mut expected: Vec<u8> =
                    model.iter().filter(|(_, at)| at.is_some_and(|at| at + ttl <= now)).map(|(key, _)| *key).collect();
                expected.sort();
                prop_assert_eq!(&due, &expected);
                for key in due {
                    model.insert(key, None);
                }
                if model.contains_key(&id) {
                    deadlines.beat(&id, now);
                } else {
                    deadlines.start(id, ttl, now);
                }
                model.insert(id, Some(now));
                prop_assert_eq!(deadlines.queue.len() + model.values().filter(|at| at.is_none()).count(), deadlines.len());
            }
        }
    }
}
