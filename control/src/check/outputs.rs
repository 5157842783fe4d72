//! Outputs that changed while the status did not. Pure: time is an argument.
//!
//! They are shown at once where they were found, and written to the registry only after a while: a check
//! that prints the time of day must not wake every reader at every run.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use callboard_proto::text::Text;

use super::Key;

/// The outputs that the registry does not have yet.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    pending: HashMap<Key, Pending>,
    queue: BTreeSet<(Instant, Key)>,
}

#[derive(Debug)]
struct Pending {
    output: Text,
    due: Instant,
}

impl Outputs {
    /// Notes a newer output; it becomes due when the first unwritten one does.
    pub(super) fn put(&mut self, key: Key, output: Text, due: Instant) {
        if let Some(pending) = self.pending.get_mut(&key) {
            pending.output = output;
            return;
        }
        self.queue.insert((due, key.clone()));
        self.pending.insert(key, Pending { output, due });
    }

    /// Forgets what is pending: the registry has something newer, or the check is gone.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(pending) = self.pending.remove(key) {
            self.queue.remove(&(pending.due, key.clone()));
        }
    }

    /// The newest output, if the registry does not have it.
    pub(super) fn newest(&self, key: &Key) -> Option<Text> {
        self.pending.get(key).map(|pending| pending.output.clone())
    }

    /// When the next output is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Takes what is due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Key, Text)> {
        let mut due = Vec::new();
        while self.queue.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.queue.pop_first() else { break };
            if let Some(pending) = self.pending.remove(&key) {
                due.push((key, pending.output));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use callboard_proto::{CheckId, NodeName};

    use super::*;

    #[test]
    fn the_newest_output_is_written_when_the_first_is_due() {
        let key: Key = (NodeName::parse("n").unwrap(), CheckId::parse("c").unwrap());
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        let mut outputs = Outputs::default();
        outputs.put(key.clone(), "one".into(), now + minute);
        outputs.put(key.clone(), "two".into(), now + 2 * minute);
        assert_eq!(outputs.newest(&key).as_deref(), Some("two"));
        assert!(outputs.due(now).is_empty());
        assert_eq!(outputs.due(now + minute), [(key.clone(), "two".into())]);
        assert!(outputs.newest(&key).is_none());
        assert_eq!(outputs.next(), None);
        outputs.put(key.clone(), "three".into(), now);
        outputs.remove(&key);
        assert!(outputs.due(now).is_empty());
    }
}
