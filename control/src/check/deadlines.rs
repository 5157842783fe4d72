//! When the beaten checks run out. Pure: time is an argument.
//!
//! The leader keeps these in memory only: a beat that changes nothing never reaches the log, and a new
//! leader starts every check afresh.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::Key;

/// The deadlines of all beaten checks.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_check: HashMap<Key, Deadline>,
    queue: BTreeSet<(Instant, Key)>,
}

#[derive(Debug)]
struct Deadline {
    at: Instant,
    ttl: Duration,
    /// Whether it ran out, and the expiry may be on its way to the log.
    expired: bool,
}

/// What a beat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beaten {
    /// The check was in time.
    InTime,
    /// It had run out: what the registry says about it may be about to change.
    Late,
}

impl Deadlines {
    /// Starts a check's time afresh.
    pub(super) fn start(&mut self, key: Key, ttl: Duration, now: Instant) {
        self.remove(&key);
        let at = now + ttl;
        self.queue.insert((at, key.clone()));
        self.by_check.insert(key, Deadline { at, ttl, expired: false });
    }

    /// Notes a beat; unknown checks are none of our business.
    pub(super) fn beat(&mut self, key: &Key, now: Instant) -> Option<Beaten> {
        let deadline = self.by_check.get_mut(key)?;
        self.queue.remove(&(deadline.at, key.clone()));
        deadline.at = now + deadline.ttl;
        self.queue.insert((deadline.at, key.clone()));
        let late = std::mem::take(&mut deadline.expired);
        Some(if late { Beaten::Late } else { Beaten::InTime })
    }

    /// Forgets a check.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(deadline) = self.by_check.remove(key) {
            self.queue.remove(&(deadline.at, key.clone()));
        }
    }

    /// Takes the checks whose time is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        while self.queue.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.queue.pop_first() else { break };
            if let Some(deadline) = self.by_check.get_mut(&key) {
                deadline.expired = true;
            }
            due.push(key);
        }
        due
    }

    /// When the next check runs out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// How many checks are beaten.
    pub(super) fn len(&self) -> usize {
        self.by_check.len()
    }
}

#[cfg(test)]
mod tests {
    use callboard_proto::{CheckId, NodeName};
    use proptest::prelude::*;

    use super::*;

    fn key(id: u8) -> Key {
        (NodeName::parse("n").unwrap(), CheckId::parse(&format!("c{id}")).unwrap())
    }

    #[test]
    fn a_beat_moves_the_deadline_and_tells_when_it_was_late() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut deadlines = Deadlines::default();
        deadlines.start(key(1), 2 * second, begin);
        assert_eq!(deadlines.beat(&key(1), begin + second), Some(Beaten::InTime));
        assert_eq!(deadlines.due(begin + 2 * second), []);
        assert_eq!(deadlines.due(begin + 3 * second), [key(1)]);
        assert_eq!(deadlines.due(begin + 9 * second), []);
        assert_eq!(deadlines.beat(&key(1), begin + 9 * second), Some(Beaten::Late));
        assert_eq!(deadlines.next(), Some(begin + 11 * second));
        deadlines.remove(&key(1));
        assert_eq!(deadlines.next(), None);
        assert_eq!(deadlines.beat(&key(1), begin), None);
    }

    proptest! {
        #[test]
        fn a_check_is_due_exactly_when_its_last_beat_is_too_old(steps in proptest::collection::vec((0u8..4, 0u64..2000), 1..60)) {
            let begin = Instant::now();
            let ttl = Duration::from_millis(500);
            let mut deadlines = Deadlines::default();
            let mut model: HashMap<Key, Option<Instant>> = HashMap::new();
            let mut now = begin;
            for (id, millis) in steps {
                now += Duration::from_millis(millis);
                let mut due = deadlines.due(now);
                due.sort();
                let mut expected: Vec<Key> =
                    model.iter().filter(|(_, at)| at.is_some_and(|at| at + ttl <= now)).map(|(key, _)| key.clone()).collect();
                expected.sort();
                prop_assert_eq!(&due, &expected);
                for key in due {
                    model.insert(key, None);
                }
                if model.contains_key(&key(id)) {
                    deadlines.beat(&key(id), now);
                } else {
                    deadlines.start(key(id), ttl, now);
                }
                model.insert(key(id), Some(now));
                prop_assert_eq!(deadlines.queue.len() + model.values().filter(|at| at.is_none()).count(), deadlines.len());
            }
        }
    }
}
