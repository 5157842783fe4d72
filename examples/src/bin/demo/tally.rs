//! Counts calls by instance and by way, and remembers what went wrong.
//!
//! Decides nothing. Written by `load`, read by `play` and `screen`.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;

/// How many failures are kept with their text.
const FAILURES_KEPT: usize = 10;

/// Which way a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the SDK, in this process.
    Sdk,
    /// By a port of localhost, through the sidecar.
    Sidecar,
}

/// Counts, from all callers.
#[derive(Default)]
pub(crate) struct Tally {
    counts: Mutex<Counts>,
}

/// What was counted so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// By the instance that answered.
    pub(crate) instances: BTreeMap<String, Row>,
    /// Calls made, by way.
    pub(crate) made: [u64; 2],
    /// Calls that failed, by way.
    pub(crate) failed: [u64; 2],
    /// Why, the first few.
    pub(crate) failures: Vec<String>,
}

/// What one instance answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    /// Calls answered, by way.
    pub(crate) calls: [u64; 2],
    /// The first answer, by way.
    pub(crate) first: [Option<Instant>; 2],
}

impl Tally {
    /// Counts a call: who answered, or why nobody did.
    pub(crate) fn count(&self, way: Way, outcome: Result<String, String>) {
        let way_number = way as usize;
        let mut counts = self.counts.lock();
        counts.made[way_number] += 1;
        match outcome {
            Ok(instance) => {
                let row = counts.instances.entry(instance).or_default();
                row.calls[way_number] += 1;
                row.first[way_number].get_or_insert_with(Instant::now);
            }
            Err(why) => {
                counts.failed[way_number] += 1;
                if counts.failures.len() < FAILURES_KEPT {
                    counts.failures.push(format!("{way:?}: {why}"));
                }
            }
        }
    }

    /// Returns what was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }
}

impl Counts {
    /// Calls made, either way.
    pub(crate) fn made_in_all(&self) -> u64 {
        self.made.iter().sum()
    }

    /// Calls that failed, either way.
    pub(crate) fn failed_in_all(&self) -> u64 {
        self.failed.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted_once() {
        let tally = Tally::default();
        tally.count(Way::Sdk, Ok("a".into()));
        tally.count(Way::Sidecar, Ok("a".into()));
        for _ in 0..20 {
            tally.count(Way::Sidecar, Err("refused".into()));
        }
        let counts = tally.counts();
        assert_eq!((counts.made, counts.failed), ([1, 21], [0, 20]));
        assert_eq!(counts.instances["a"].calls, [1, 1]);
        assert_eq!(counts.failures.len(), FAILURES_KEPT);
    }
}
