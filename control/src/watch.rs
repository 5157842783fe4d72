//! Wakes waiting readers by topic.
//!
//! A reader subscribes first, reads the registry, and waits if the answer is not new: a change between
//! the two is never lost. Only topics that somebody waits on have a slot, and a slot goes with its last
//! reader. Publishing only notes which slots to wake; a task of its own wakes them, so that a crowd of
//! waiters never holds up the log. Who calls it: the machine publishes, blocking reads wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard_proto::text::Text;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::registry::{Topic, Touched};

/// The meeting point of writers and waiting readers.
#[derive(Clone, Default)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    slots: Mutex<Slots>,
    /// Slots to wake, and whether there are any.
    due: Mutex<Vec<Arc<Slot>>>,
    dirty: Notify,
    wakeups: AtomicU64,
}

#[derive(Default)]
struct Slots {
    by_topic: HashMap<Topic, Arc<Slot>>,
    /// Key prefixes that are waited on; a key wakes those that it begins with.
    prefixes: HashMap<Text, Arc<Slot>>,
}

/// One topic's waiters. The value only counts wake-ups.
struct Slot {
    wake: watch::Sender<u64>,
}

impl Hub {
    /// A hub, and the task that wakes its readers; it runs until the hub is dropped with all readers.
    pub fn new() -> (Hub, impl Future<Output = ()> + Send + 'static) {
        let hub = Hub::default();
        let shared = Arc::downgrade(&hub.shared);
        let waker = async move {
            loop {
                let Some(strong) = shared.upgrade() else { return };
                let due = std::mem::take(&mut *strong.due.lock());
                if due.is_empty() {
                    strong.dirty.notified().await;
                    continue;
                }
                for slot in due {
                    strong.wakeups.fetch_add(slot.wake.receiver_count() as u64, Ordering::Relaxed);
                    slot.wake.send_modify(|count| *count += 1);
                }
            }
        };
        (hub, waker)
    }

    /// Joins the readers of some topics. Read the state only afterwards.
    #[must_use]
    pub fn subscribe(&self, topics: &[Topic]) -> Subscription {
        let mut slots = self.shared.slots.lock();
        let receivers = topics
            .iter()
            .map(|topic| {
                let slot = slots.slot(topic);
                (topic.clone(), slot.wake.subscribe())
            })
            .collect();
        Subscription { receivers, hub: self.shared.clone() }
    }

    /// Wakes the readers of the topics that a batch touched. Publish the new state first.
    pub fn publish(&self, touched: &Touched) {
        if touched.is_empty() {
            return;
        }
        let mut due = Vec::new();
        {
            let slots = self.shared.slots.lock();
            for topic in touched.iter() {
                due.extend(slots.by_topic.get(topic).cloned());
                if let Topic::Key(key) = topic {
                    slots.above(key, &mut due);
                }
            }
        }
        self.shared.wake(due);
    }

    /// Wakes everyone: the state was replaced whole.
    pub fn abandon(&self) {
        let all = {
            let slots = self.shared.slots.lock();
            slots.by_topic.values().chain(slots.prefixes.values()).cloned().collect()
        };
        self.shared.wake(all);
    }

    /// How many readers were ever woken.
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.shared.wakeups.load(Ordering::Relaxed)
    }
}

impl Slots {
    fn slot(&mut self, topic: &Topic) -> &Arc<Slot> {
        let new = || Arc::new(Slot { wake: watch::Sender::new(0) });
        match topic {
            Topic::KeyPrefix(prefix) => self.prefixes.entry(prefix.clone()).or_insert_with(new),
            topic => self.by_topic.entry(topic.clone()).or_insert_with(new),
        }
    }

    /// Finds the prefixes that a key begins with: by looking each beginning up, or each prefix at, whatever is less.
    fn above(&self, key: &str, due: &mut Vec<Arc<Slot>>) {
        if self.prefixes.len() <= key.len() {
            due.extend(
                self.prefixes.iter().filter(|(prefix, _)| key.starts_with(&***prefix)).map(|(_, slot)| slot.clone()),
            );
        } else {
            let beginnings = key.char_indices().map(|(end, _)| end).chain([key.len()]).map(|end| &key[..end]);
            due.extend(beginnings.filter_map(|beginning| self.prefixes.get(beginning)).cloned());
        }
    }

    fn forget_if_idle(&mut self, topic: &Topic) {
        let idle = |slot: &Arc<Slot>| slot.wake.receiver_count() == 0;
        match topic {
            Topic::KeyPrefix(prefix) => {
                if self.prefixes.get(prefix).is_some_and(idle) {
                    self.prefixes.remove(prefix);
                }
            }
            topic => {
                if self.by_topic.get(topic).is_some_and(idle) {
                    self.by_topic.remove(topic);
                }
            }
        }
    }
}

impl Shared {
    fn wake(&self, slots: Vec<Arc<Slot>>) {
        if !slots.is_empty() {
            self.due.lock().extend(slots);
            self.dirty.notify_one();
        }
    }
}

/// One reader's place among the waiters; leaving is dropping it.
pub struct Subscription {
    receivers: Vec<(Topic, watch::Receiver<u64>)>,
    hub: Arc<Shared>,
}

impl Subscription {
    /// Waits until one of the topics was touched since the subscription, or since this last returned.
    pub async fn changed(&mut self) {
        // The slot outlives its receivers, so the error of a dropped sender cannot occur.
        match &mut self.receivers[..] {
            [] => std::future::pending().await,
            [(_, one)] => {
                let _ = one.changed().await;
            }
            several => {
                let waits = several.iter_mut().map(|(_, receiver)| Box::pin(receiver.changed()));
                let _ = futures_util::future::select_all(waits).await;
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let topics: Vec<Topic> = self.receivers.drain(..).map(|(topic, _)| topic).collect();
        let mut slots = self.hub.slots.lock();
        for topic in topics {
            slots.forget_if_idle(&topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn touched(topic: Topic) -> Touched {
        let mut touched = Touched::default();
        touched.add(topic);
        touched
    }

    #[tokio::test]
    async fn a_change_after_subscribing_is_never_lost() {
        let (hub, waker) = Hub::new();
        let waker = tokio::spawn(waker);
        let mut subscription = hub.subscribe(&[Topic::Nodes, Topic::Services]);
        hub.publish(&touched(Topic::Services));
        subscription.changed().await;
        assert!(subscription.changed().now_or_never().is_none());
        hub.abandon();
        subscription.changed().await;
        waker.abort();
    }

    #[tokio::test]
    async fn only_readers_of_the_topic_wake() {
        let (hub, waker) = Hub::new();
        let waker = tokio::spawn(waker);
        let mut other = hub.subscribe(&[Topic::Key("b".into())]);
        let mut prefix = hub.subscribe(&[Topic::KeyPrefix("a/".into())]);
        let mut everything = hub.subscribe(&[Topic::KeyPrefix("".into())]);
        hub.publish(&touched(Topic::Key("a/x".into())));
        prefix.changed().await;
        everything.changed().await;
        assert!(other.changed().now_or_never().is_none());
        assert_eq!(hub.wakeups(), 2);
        waker.abort();
    }

    #[test]
    fn both_ways_to_find_prefixes_agree() {
        let (hub, _waker) = Hub::new();
        let few: Vec<_> =
            ["", "a", "aé", "aéb/", "b"].map(|prefix| hub.subscribe(&[Topic::KeyPrefix(prefix.into())])).into();
        let found = |key: &str| {
            let mut due = Vec::new();
            hub.shared.slots.lock().above(key, &mut due);
            due.len()
        };
        let keys = ["", "a", "aé", "aéb/c/d/e/f", "b", "c"];
        let before = keys.map(found);
        let many: Vec<_> = (0..100).map(|n| hub.subscribe(&[Topic::KeyPrefix(format!("x{n}").into())])).collect();
        assert_eq!(keys.map(found), before);
        assert_eq!(before, [1, 2, 3, 4, 2, 1]);
        drop((few, many));
    }

    #[tokio::test]
    async fn a_slot_goes_with_its_last_reader() {
        let (hub, _waker) = Hub::new();
        let first = hub.subscribe(&[Topic::Nodes]);
        let second = hub.subscribe(&[Topic::Nodes]);
        assert_eq!(hub.shared.slots.lock().by_topic.len(), 1);
        drop(first);
        assert_eq!(hub.shared.slots.lock().by_topic.len(), 1);
        drop(second);
        assert_eq!(hub.shared.slots.lock().by_topic.len(), 0);
    }
}
