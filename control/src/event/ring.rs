//! The last events that a node kept, in the order in which they came. PURE.

use std::collections::VecDeque;
use std::sync::Arc;

use callboard_proto::api::event::{EVENTS_MAX, INTERNAL_PREFIX, UserEvent};

#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Arc<UserEvent>>,
}

impl Ring {
    /// Keeps an event, in place of the oldest one when there is no room; says whether it is new. Internal ones are hidden.
    pub(super) fn keep(&mut self, event: UserEvent) -> bool {
        let known = self.events.iter().any(|other| other.id == event.id);
        if known || event.name.starts_with(INTERNAL_PREFIX) {
            return false;
        }
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Arc::new(event));
        true
    }

    /// The events with a name, or all, the oldest first.
    pub(super) fn list(&self, name: Option<&str>) -> Vec<Arc<UserEvent>> {
        self.events.iter().filter(|event| name.is_none_or(|name| event.name == name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, name: &str) -> UserEvent {
        UserEvent { id: id.to_string(), name: name.to_owned(), ..UserEvent::default() }
    }

    #[test]
    fn the_last_events_are_kept_in_order() {
        let mut ring = Ring::default();
        for n in 0..300 {
            assert!(ring.keep(event(n, &format!("e{}", n % 2))));
        }
        assert!(!ring.keep(event(300, "_rexec")));
        let ids: Vec<_> = ring.list(None).iter().map(|event| event.id.clone()).collect();
        assert_eq!(ids, (300 - EVENTS_MAX..300).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(ring.list(Some("e0")).len(), EVENTS_MAX / 2);
    }

    #[test]
    fn an_event_is_kept_once() {
        let mut ring = Ring::default();
        assert!(ring.keep(event(1, "a")));
        assert!(!ring.keep(event(1, "a")));
        assert_eq!(ring.list(None).len(), 1);
    }
}
