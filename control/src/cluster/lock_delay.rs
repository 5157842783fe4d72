//! For how long nobody may take a key whose holder's session ended.
//!
//! The former holder may not know yet that it lost the lock; the delay gives it time to notice. Kept in the leader's
//! memory only, as time to live is: the machine notes a loss before anyone can see it, [`super::Cluster::acquire`]
//! looks before it proposes. Holds no more than the locks that were lost within the longest delay, one minute.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use callboard_consensus::Status;
use callboard_proto::text::Text;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::deadlines::Deadlines;

/// The delays; clones share them.
#[derive(Clone, Default)]
pub(super) struct LockDelays {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    delays: Mutex<Deadlines<Text>>,
    /// What the node presently is; not known before the log is open.
    status: OnceLock<watch::Receiver<Status>>,
}

impl LockDelays {
    /// From now on, losses are noted while the node leads. Those that are read again from the log happened long ago.
    pub(super) fn keep_while_leading(&self, status: watch::Receiver<Status>) {
        // Called once, by whoever starts the node.
        let _ = self.shared.status.set(status);
    }

    /// Notes locks that were just lost.
    pub(super) fn begin(&self, lost: &[(Text, Duration)]) {
        let leads = || self.shared.status.get().is_some_and(|status| status.borrow().ready);
        if !lost.is_empty() && leads() {
            let now = Instant::now();
            let mut delays = self.shared.delays.lock();
            lost.iter().for_each(|(key, delay)| delays.start(key.clone(), *delay, now));
        }
    }

    /// Whether nobody may take a key yet.
    pub(super) fn holds_back(&self, key: &Text, now: Instant) -> bool {
        let mut delays = self.shared.delays.lock();
        for over in delays.due(now) {
            delays.remove(&over);
        }
        delays.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_holds_a_key_back_until_it_is_over_and_only_where_the_node_leads() {
        let delays = LockDelays::default();
        let lost = [(Text::from("k"), Duration::from_secs(15))];
        delays.begin(&lost);
        assert!(!delays.holds_back(&"k".into(), Instant::now()), "the log is being read");
        let (_sender, status) = watch::channel(Status { ready: true, ..Status::default() });
        delays.keep_while_leading(status);
        delays.begin(&lost);
        let now = Instant::now();
        assert!(delays.holds_back(&"k".into(), now));
        assert!(!delays.holds_back(&"other".into(), now));
        assert!(!delays.holds_back(&"k".into(), now + Duration::from_secs(15)));
        assert_eq!(delays.shared.delays.lock().len(), 0);
    }
}
