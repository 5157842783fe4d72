//! User events: a ring of the last ones, in this node's memory.
//!
//! Events do not pass through the log. They are messages to whoever listens now: nothing depends on them, upstream they
//! travel by gossip and are gone with the agents that heard them, and a disk write for each would make the log carry
//! what nobody reads twice. So they are lost with the process, and heard on the node they were fired on. Who calls it:
//! `http` fires and lists.

use std::collections::VecDeque;
use std::sync::Arc;

use callboard_proto::api::event::{EVENTS_MAX, INTERNAL_PREFIX, UserEvent};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The handle; clones share one ring.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    /// Counts the events that were kept.
    changed: watch::Sender<u64>,
}

struct Ring {
    events: VecDeque<Arc<UserEvent>>,
    /// The Lamport clock of this node (Lamport 1978); it begins at 1, as with Consul.
    time: u64,
}

impl Default for Events {
    fn default() -> Events {
        let ring = Ring { events: VecDeque::with_capacity(EVENTS_MAX), time: 1 };
        Events { shared: Arc::new(Shared { ring: Mutex::new(ring), changed: watch::Sender::new(0) }) }
    }
}

impl Events {
    /// Keeps an event, in place of the oldest one when there is no room, and wakes who waits. Internal ones are hidden.
    pub fn keep(&self, event: UserEvent) {
        if event.name.starts_with(INTERNAL_PREFIX) {
            return;
        }
        {
            let mut ring = self.shared.ring.lock();
            ring.time += 1;
            let event = UserEvent { ltime: ring.time, ..event };
            if ring.events.len() == EVENTS_MAX {
                ring.events.pop_front();
            }
            ring.events.push_back(Arc::new(event));
        }
        self.shared.changed.send_modify(|count| *count += 1);
    }

    /// The events with a name, or all, the oldest first.
    #[must_use]
    pub fn list(&self, name: Option<&str>) -> Vec<Arc<UserEvent>> {
        let ring = self.shared.ring.lock();
        ring.events.iter().filter(|event| name.is_none_or(|name| event.name == name)).cloned().collect()
    }

    /// Changes with every event that is kept. Subscribe before listing.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> UserEvent {
        UserEvent { name: name.to_owned(), ..UserEvent::default() }
    }

    #[test]
    fn the_last_events_are_kept_in_order() {
        let events = Events::default();
        for n in 0..300 {
            events.keep(event(&format!("e{}", n % 2)));
        }
        events.keep(event("_rexec"));
        let all = events.list(None);
        assert_eq!(all.len(), EVENTS_MAX);
        assert!(all.is_sorted_by_key(|event| event.ltime));
        assert_eq!(all.last().map(|event| (event.ltime, event.name.as_str())), Some((301, "e1")));
        assert_eq!(events.list(Some("e0")).len(), EVENTS_MAX / 2);
    }

    #[test]
    fn whoever_waits_wakes() {
        let events = Events::default();
        let mut changed = events.subscribe();
        assert!(!changed.has_changed().unwrap());
        events.keep(event("e"));
        assert!(changed.has_changed().unwrap());
        changed.mark_unchanged();
        events.keep(event("_rexec/x"));
        assert!(!changed.has_changed().unwrap());
    }
}
