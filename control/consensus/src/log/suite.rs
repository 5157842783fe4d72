//! Runs the consensus engine's own store suite against both stores: on disk and in memory.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::tail::{Limit, Tail, UNLIMITED};
use super::{Disk, LogStore};
use crate::checkpoint::Shelf;
use crate::machine::{CheckpointWriter, Committed, Machine};
use crate::state::{Applied, State};
use crate::types::{Meta, Types};

/// The suite proposes nothing, so the machine holds nothing.
struct Nothing;

impl Machine for Nothing {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Vec<Vec<u8>> {
        entries.iter().map(|_| Vec::new()).collect()
    }

    fn checkpoint(&self) -> CheckpointWriter {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _from: &mut dyn std::io::Read) -> std::io::Result<()> {
        Ok(())
    }
}

fn state(shelf: Shelf) -> State {
    State::new(Box::new(Nothing), Meta::default(), Arc::new(shelf), Arc::new(Applied::default()))
}

struct OnDisk(Limit);

impl StoreBuilder<Types, LogStore, State, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, State), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (database, loaded) = Disk::open(&dir.path().join("log.redb"), 1).unwrap();
        let (shelf, _) = Shelf::open(dir.path(), None, &mut Nothing).unwrap();
        let tail = Tail::new(loaded.vote, loaded.committed, loaded.purged, loaded.last, self.0);
        let tail = Arc::new(Mutex::new(tail));
        let disk = Disk::run(database, Arc::clone(&tail)).unwrap();
        Ok((dir, LogStore::new(tail, Some(Arc::new(disk))), state(shelf)))
    }
}

struct InMemory;

impl StoreBuilder<Types, LogStore, State, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, State), StorageError<Types>> {
        let tail = Tail::new(None, None, None, None, UNLIMITED);
        Ok(((), LogStore::new(Arc::new(Mutex::new(tail)), None), state(Shelf::in_memory())))
    }
}

#[tokio::test]
async fn the_store_on_disk_passes_the_engines_suite() {
    Suite::test_all(OnDisk(Limit { entries: 1024, bytes: 1 << 20 })).await.unwrap();
}

#[tokio::test]
async fn the_store_on_disk_passes_the_engines_suite_without_a_tail() {
    // Everything durable is read back from disk.
    Suite::test_all(OnDisk(Limit { entries: 0, bytes: 0 })).await.unwrap();
}

#[tokio::test]
async fn the_store_in_memory_passes_the_engines_suite() {
    Suite::test_all(InMemory).await.unwrap();
}
