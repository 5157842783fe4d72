//! Wakes waiting readers by topic.
//!
//! A reader subscribes first, reads the registry, and waits if the answer is not new: a change between
//! the two is never lost. Only topics that somebody waits on have a slot, and a slot goes with its last
//! reader. Publishing only notes which slots to wake; a task of its own wakes them, so that a crowd of
//! waiters never holds up the log. Who calls it: the machine publishes, blocking reads wait.

use std::collections::{BTreeMap, HashMap};
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
    prefixes: BTreeMap<Text, Arc<Slot>>,
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
                    due.extend(
                        slots
                            .prefixes
                            .iter()
                            .filter(|(prefix, _)| key.starts_with(&***prefix))
                            .map(|(_, slot)| slot.clone()),
                    );
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

    /// How many readers wait now.
    #[must_use]
    pub fn waiters(&self) -> usize {
        let slots = self.shared.slots.lock();
        slots.by_topic.values().chain(slots.prefixes.values()).map(|slot| slot.wake.receiver_count()).sum()
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

    #[tokio::test]
    async fn a_slot_goes_with_its_last_reader() {
        let (hub, _waker) = Hub::new();
        let first = hub.subscribe(&[Topic::Nodes]);
        let second = hub.subscribe(&[Topic::Nodes]);
        assert_eq!(hub.waiters(), 2);
        drop(first);
        assert_eq!(hub.shared.slots.lock().by_topic.len(), 1);
        drop(second);
        assert_eq!(hub.shared.slots.lock().by_topic.len(), 0);
    }
}
