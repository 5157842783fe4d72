//! From committed batches to the registry, and on to waiting readers.
//!
//! The log's entries are batches of commands; one round of applying publishes the registry once, then
//! the hub, and only then are the proposers answered: what is acknowledged is visible.

use std::io::{Error, ErrorKind, Read, Result};
use std::sync::Arc;

use arc_swap::ArcSwap;
use callboard_consensus::machine::CheckpointWriter;
use callboard_consensus::{Committed, Machine};

use super::lock_delay::LockDelays;
use crate::registry::{Command, Outcome, Registry, Touched};
use crate::watch::Hub;

/// First byte of every entry, so that a later format can be told apart.
const FORMAT: u8 = 3;

/// Applies the log to the registry.
pub(super) struct RegistryMachine {
    registry: Registry,
    published: Arc<ArcSwap<Registry>>,
    hub: Hub,
    delays: LockDelays,
}

impl RegistryMachine {
    pub(super) fn new(published: Arc<ArcSwap<Registry>>, hub: Hub, delays: LockDelays) -> RegistryMachine {
        RegistryMachine { registry: Registry::default(), published, hub, delays }
    }

    fn publish(&self) {
        self.published.store(Arc::new(self.registry.clone()));
    }
}

/// Encodes a batch as one entry.
pub(super) fn encode(batch: &[Command]) -> postcard::Result<Vec<u8>> {
    postcard::to_extend(batch, vec![FORMAT])
}

/// Decodes the answer to one entry.
pub(super) fn decode_outcomes(answer: &[u8]) -> postcard::Result<Vec<Outcome>> {
    postcard::from_bytes(answer)
}

impl Machine for RegistryMachine {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Vec<Vec<u8>> {
        let mut touched = Touched::default();
        let answers = entries
            .iter()
            .map(|entry| {
                let batch: Option<Vec<Command>> = match entry.data.split_first() {
                    Some((&FORMAT, bytes)) => postcard::from_bytes(bytes).ok(),
                    _ => None,
                };
                // A committed entry that this version cannot read must stop the node: going on would let
                // replicas diverge in silence.
                let batch = batch.expect("a committed entry is readable by the version that applies it");
                let outcomes: Vec<Outcome> =
                    batch.into_iter().map(|command| self.registry.apply(command, &mut touched)).collect();
                postcard::to_allocvec(&outcomes).expect("outcomes are plain data and always encode")
            })
            .collect();
        if !touched.is_empty() {
            // Before anyone can see that the locks are free.
            self.delays.begin(touched.lost());
            self.publish();
            match touched.is_replaced() {
                true => self.hub.abandon(),
                false => self.hub.publish(&touched),
            }
        }
        answers
    }

    fn checkpoint(&self) -> CheckpointWriter {
        let frozen = self.registry.clone();
        Box::new(move |to| frozen.write_to(to).map_err(Error::other))
    }

    fn restore(&mut self, from: &mut dyn Read) -> Result<()> {
        let restored = Registry::read_from(from).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        self.registry = restored.replacing(&self.registry);
        self.publish();
        self.hub.abandon();
        Ok(())
    }
}
