//! Sends events to all nodes, and keeps those that come and are for this one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::NodeName;
use callboard_proto::api::event::{EXEC, UserEvent};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::audience::Audience;
use super::ring::Ring;
use super::told;
use crate::cluster::{Cluster, Spoken, Word};

/// How long firing waits until the event was heard here.
const HEARD_MAX: Duration = Duration::from_secs(5);

/// Why an event was not fired.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// It cannot be written. It was not fired.
    #[error("the event cannot be written")]
    Unwritable,
    /// The node is stopping. It was not fired.
    #[error("the control node is stopping")]
    Stopping,
    /// So many events are fired that this node does not keep up. Other nodes may have heard it.
    #[error("the event was not heard here within {HEARD_MAX:?}: too many are fired")]
    Unheard,
}

/// The handle; clones share one ring.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Cluster,
    node: NodeName,
    ring: Mutex<Ring>,
    /// Who waits until an event was heard here, by its id.
    fired: Mutex<HashMap<String, oneshot::Sender<()>>>,
    /// Counts the events that were kept.
    changed: watch::Sender<u64>,
    /// Who answers calls to run a program; nobody, where that is not allowed.
    calls: Option<mpsc::Sender<UserEvent>>,
}

impl Events {
    /// The events of a node; [`listen`] receives them. Calls to run a program that are for this node are handed on, not
    /// kept.
    #[must_use]
    pub fn new(cluster: Cluster, node: NodeName, calls: Option<mpsc::Sender<UserEvent>>) -> Events {
        let (ring, fired, changed) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Events { shared: Arc::new(Shared { cluster, node, ring, fired, changed, calls }) }
    }

    /// Tells an event to every node. When this returns, it was heard here; if it is for this node it is listed then, or, if
    /// it calls to run a program, handed on. Other internal events are dropped.
    ///
    /// # Errors
    /// See [`FireError`] for what is true after each.
    pub async fn fire(&self, event: &UserEvent) -> Result<(), FireError> {
        let word = Word::Event(told::encode(event).map_err(|_| FireError::Unwritable)?);
        let (heard, waiting) = oneshot::channel();
        self.shared.fired.lock().insert(event.id.clone(), heard);
        // Taken back whatever happens, also when whoever fires goes away meanwhile.
        let _waits = Waits { shared: &self.shared, id: &event.id };
        self.shared.cluster.gossip().say(word).await.map_err(|_| FireError::Stopping)?;
        match tokio::time::timeout(HEARD_MAX, waiting).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(FireError::Unheard),
        }
    }

    /// The events with a name, or all, in the order in which they came.
    #[must_use]
    pub fn list(&self, name: Option<&str>) -> Vec<Arc<UserEvent>> {
        self.shared.ring.lock().list(name)
    }

    /// Changes with every event that is kept. Subscribe before listing.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Keeps an event that was heard, if it is for this node.
    fn hear(&self, spoken: &Spoken) {
        let Word::Event(bytes) = &spoken.word else { return };
        let event = match told::decode(bytes, spoken.time) {
            Ok(event) => event,
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "an event was dropped");
                return;
            }
        };
        let heard = self.shared.fired.lock().remove(&event.id);
        if self.is_for_us(&event) {
            self.take(event);
        }
        if let Some(heard) = heard {
            // Whoever fired may be gone.
            let _ = heard.send(());
        }
    }

    fn take(&self, event: UserEvent) {
        if event.name == EXEC {
            match &self.shared.calls {
                None => debug!(event = event.id, "a call to run a program was left alone: that is not allowed here"),
                Some(calls) if calls.try_send(event).is_ok() => {}
                Some(_) => warn!("a call to run a program was dropped: too many wait"),
            }
        } else if self.shared.ring.lock().keep(event) {
            self.shared.changed.send_modify(|count| *count += 1);
        }
    }

    fn is_for_us(&self, event: &UserEvent) -> bool {
        let audience = match Audience::of(event) {
            Ok(audience) => audience,
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "an event is for nobody");
                return false;
            }
        };
        let (registry, node) = (self.shared.cluster.registry(), &self.shared.node);
        audience.has(node, registry.instances_on(node).map(|instance| &**instance))
    }
}

/// Forgets who waited.
struct Waits<'a> {
    shared: &'a Shared,
    id: &'a str,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.shared.fired.lock().remove(self.id);
    }
}

/// Hears events until told to stop.
pub async fn listen(events: Events, stop: CancellationToken) {
    let Some(mut heard) = events.shared.cluster.take_events() else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            spoken = heard.recv() => match spoken {
                Some(spoken) => events.hear(&spoken),
                None => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterOptions;

    #[tokio::test]
    async fn what_is_fired_is_listed_and_wakes_once() {
        let cluster = Cluster::start(ClusterOptions::alone().await).await.unwrap();
        let (sender, mut calls) = mpsc::channel(8);
        let events = Events::new(cluster.clone(), NodeName::parse("n1").unwrap(), Some(sender));
        let stop = CancellationToken::new();
        let listening = tokio::spawn(listen(events.clone(), stop.clone()));
        let mut changed = events.subscribe();
        let event = |name: &str, node: &str| UserEvent {
            id: uuid::Uuid::new_v4().to_string(),
            name: name.to_owned(),
            node_filter: node.to_owned(),
            version: 1,
            ..UserEvent::default()
        };
        for (name, node) in [("a", "n1"), ("b", "n2"), ("_rexec/x", ""), ("_rexec", "n1"), ("_rexec", "n2"), ("c", "")]
        {
            events.fire(&event(name, node)).await.unwrap();
        }
        let listed: Vec<_> = events.list(None).iter().map(|event| (event.name.clone(), event.ltime)).collect();
        assert_eq!(listed, [("a".to_owned(), 2), ("c".to_owned(), 7)]);
        assert_eq!(*changed.borrow_and_update(), 2);
        assert_eq!(calls.try_recv().map(|call| (call.name, call.ltime)), Ok(("_rexec".to_owned(), 5)));
        assert!(calls.try_recv().is_err(), "a call for another node is not ours");
        assert!(events.shared.fired.lock().is_empty());
        stop.cancel();
        listening.await.unwrap();
        cluster.shutdown().await;
    }
}
