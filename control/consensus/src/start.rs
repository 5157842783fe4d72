//! From a data folder to a running node.
//!
//! It decides the order: lock, log, checkpoint, replay, engine, leadership. Each step may fail with an error
//! that names what to look at, before anything was changed. Called by [`Raft::start`] only.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::{Config, LogIdOptionExt, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tracing::{info, warn};

use crate::checkpoint::Shelf;
use crate::data_dir::{DataDir, sync_dir};
use crate::error::Error;
use crate::keeper::{Checkpointer, Keeper};
use crate::log::tail::{Limit, Tail, UNLIMITED};
use crate::log::{Disk, LogStore};
use crate::machine::Machine;
use crate::network::Network;
use crate::options::{Bootstrap, Options};
use crate::raft::{BYTES_UNIT, Raft, Shared, nodes};
use crate::state::{Applied, State};
use crate::status::{Peer, Status};
use crate::transport::Transport;
use crate::types::{Engine, Meta};

/// Entries replayed in one call of the machine.
const REPLAY_MAX: u64 = 1024;
/// How long a sole voter may take to lead before the node is handed over without. Only a disk that hardly
/// moves gets here.
const LEAD_MAX: Duration = Duration::from_secs(10);

/// What the folder gave.
struct Opened {
    dir: Option<DataDir>,
    node_id: u64,
    log: LogStore,
    shelf: Arc<Shelf>,
    state: State,
    applied: Arc<Applied>,
}

pub(crate) async fn start(
    options: Options,
    machine: Box<dyn Machine>,
    transport: Option<Arc<dyn Transport>>,
) -> Result<Raft, Error> {
    let config = Arc::new(config(&options)?);
    let options = Arc::new(options);
    let opened = match options.data_dir.clone() {
        None => open_memory(&options, machine),
        Some(path) => {
            let options = Arc::clone(&options);
            let open = move || open_folder(path, &options, machine);
            tokio::task::spawn_blocking(open).await.map_err(|error| Error::Fatal { reason: error.to_string() })??
        }
    };
    run(opened, options, config, transport).await
}

/// Everything after the folder was read.
async fn run(
    opened: Opened,
    options: Arc<Options>,
    config: Arc<Config>,
    transport: Option<Arc<dyn Transport>>,
) -> Result<Raft, Error> {
    let Opened { dir, node_id, log, shelf, mut state, applied } = opened;
    let network = Network { transport };
    let begun = match replay(&log, &mut state, dir.as_ref()).await {
        Ok(()) => openraft::Raft::new(node_id, config, network, log.clone(), state)
            .await
            .map_err(|fatal| Error::Fatal { reason: fatal.to_string() }),
        Err(error) => Err(error),
    };
    let engine: Engine = match begun {
        Ok(engine) => engine,
        Err(error) => {
            // The file is closed before the folder is given back, so that it can be tried again at once.
            log.close().await;
            return Err(error);
        }
    };
    let first = Status::read(&engine.metrics().borrow_watched());
    let (publish, status) = watch::channel(first);
    let (alive, gone) = oneshot::channel();
    let checkpointer = Checkpointer::new(engine.clone());
    let keeper = Keeper {
        engine: engine.clone(),
        checkpointer: checkpointer.clone(),
        options: Arc::clone(&options),
        shelf: Arc::clone(&shelf),
        applied,
        status: publish,
        gone,
    };
    tokio::spawn(keeper.run());
    let raft = Raft::new(Shared {
        engine: engine.clone(),
        log,
        shelf,
        proposals: Semaphore::new(options.proposals_max.min(Semaphore::MAX_PERMITS)),
        proposal_bytes: Semaphore::new((options.proposal_bytes_max / BYTES_UNIT).min(Semaphore::MAX_PERMITS)),
        checkpointer,
        status,
        dir: Mutex::new(dir),
        options,
        _alive: alive,
    });
    match lead(&engine, &raft).await {
        Ok(()) => Ok(raft),
        Err(error) => {
            raft.shutdown().await;
            Err(error)
        }
    }
}

/// Begins a cluster if there is none yet, and leads it if nobody else could.
async fn lead(engine: &Engine, raft: &Raft) -> Result<(), Error> {
    let stopped = |error: &dyn std::fmt::Display| Error::Fatal { reason: error.to_string() };
    let options = &raft.options();
    let me = Peer { id: raft.node_id(), address: options.address.clone() };
    if engine.is_initialized().await.map_err(|error| stopped(&error))? {
        let metrics = engine.metrics().borrow_watched().clone();
        if metrics.membership_config.voter_ids().eq([me.id]) {
            // Nobody else can lead, so there is no silence to wait for.
            engine.trigger().elect(false).await.map_err(|error| stopped(&error))?;
        } else {
            return Ok(());
        }
    } else {
        let voters = match &options.bootstrap {
            Bootstrap::Wait => return Ok(()),
            Bootstrap::Alone => vec![me.clone()],
            Bootstrap::Together(voters) => voters.clone(),
        };
        info!(voters = voters.len(), "beginning a cluster");
        match engine.initialize(nodes(&voters)).await {
            // Another of them was faster and has been heard from since it was looked at.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                return Err(Error::Settings { reason: error.to_string() });
            }
            Err(error) => return Err(stopped(&error)),
        }
        if voters.len() > 1 {
            return Ok(());
        }
    }
    let mut status = raft.subscribe();
    let ready = status.wait_for(|status| status.ready || status.fatal.is_some());
    match tokio::time::timeout(LEAD_MAX, ready).await {
        Ok(Ok(status)) => match &status.fatal {
            Some(reason) => Err(Error::Fatal { reason: reason.clone() }),
            None => Ok(()),
        },
        Ok(Err(_)) => Err(Error::Fatal { reason: "the node stopped while starting".to_owned() }),
        Err(_) => {
            warn!("the disk is too slow to lead yet");
            Ok(())
        }
    }
}

/// Brings the state up to what was known to be committed when the process ended. The rest of the log
/// follows once a leader has confirmed it.
async fn replay(log: &LogStore, state: &mut State, dir: Option<&DataDir>) -> Result<(), Error> {
    let path = dir.map(DataDir::log_path).unwrap_or_default();
    let failed = |source| Error::ReadLog { path: path.clone(), source };
    let end = log.committed().next_index().min(log.last().next_index());
    let mut next = state.last().next_index();
    while next < end {
        let entries = log.read(next..end.min(next + REPLAY_MAX)).await.map_err(failed)?;
        if entries.is_empty() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, format!("log entry {next} is missing"))));
        }
        next += entries.len() as u64;
        state.apply_batch(&entries).map_err(failed)?;
    }
    Ok(())
}

fn open_memory(options: &Options, machine: Box<dyn Machine>) -> Opened {
    let tail = Tail::new(None, None, None, None, UNLIMITED);
    let shelf = Arc::new(Shelf::in_memory());
    let applied = Arc::new(Applied::default());
    Opened {
        dir: None,
        node_id: options.node_id.unwrap_or_else(fresh_id),
        log: LogStore::new(Arc::new(Mutex::new(tail)), None),
        state: State::new(machine, Meta::default(), Arc::clone(&shelf), Arc::clone(&applied)),
        shelf,
        applied,
    }
}

/// Opens a folder. Blocks.
fn open_folder(path: PathBuf, options: &Options, mut machine: Box<dyn Machine>) -> Result<Opened, Error> {
    let dir = DataDir::open(&path)?;
    let log_path = dir.log_path();
    let unreadable = |source| Error::ReadLog { path: log_path.clone(), source };
    let (database, loaded) = Disk::open(&log_path, options.node_id.unwrap_or_else(fresh_id)).map_err(unreadable)?;
    sync_dir(&path).map_err(|source| Error::DataDir { path: path.clone(), source })?;
    if let Some(wanted) = options.node_id
        && wanted != loaded.node_id
    {
        return Err(Error::NodeIdMismatch { path, wanted, found: loaded.node_id });
    }
    let (shelf, meta) = Shelf::open(&path, loaded.purged.as_ref(), &mut *machine)?;
    let limit = Limit { entries: options.tail_entries_max, bytes: options.tail_bytes_max };
    let tail = Tail::new(loaded.vote, loaded.committed, loaded.purged, loaded.last, limit);
    let tail = Arc::new(Mutex::new(tail));
    let disk = Disk::run(database, Arc::clone(&tail)).map_err(unreadable)?;
    let shelf = Arc::new(shelf);
    let applied = Arc::new(Applied::default());
    Ok(Opened {
        dir: Some(dir),
        node_id: loaded.node_id,
        log: LogStore::new(tail, Some(Arc::new(disk))),
        state: State::new(machine, meta, Arc::clone(&shelf), Arc::clone(&applied)),
        shelf,
        applied,
    })
}

/// An identity that nobody else has.
fn fresh_id() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    (high ^ low).max(1)
}

/// Translates the settings for the engine.
fn config(options: &Options) -> Result<Config, Error> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "callboard".to_owned(),
        heartbeat_interval: millis(options.heartbeat),
        election_timeout_min: millis(options.election_min),
        election_timeout_max: millis(options.election_max),
        enable_pre_vote: Some(true),
        // A restarted leader stands for election again: its first entry then confirms that everything
        // acknowledged before is applied, which is what `Status::ready` reports.
        enable_leader_restore: Some(false),
        // When to checkpoint and what to purge is decided by `keeper`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    };
    config.validate().map_err(|error| Error::Settings { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;
    use crate::machine::{CheckpointWriter, Committed};
    use crate::status::Role;

    /// A disk whose sync fails when told to.
    #[derive(Debug)]
    struct Failing {
        inner: InMemoryBackend,
        broken: Arc<AtomicBool>,
    }

    impl StorageBackend for Failing {
        fn len(&self) -> Result<u64, io::Error> {
            self.inner.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            self.inner.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            self.inner.set_len(len)
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            match self.broken.load(Ordering::SeqCst) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => self.inner.sync_data(),
            }
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            self.inner.write(offset, data)
        }
    }

    struct Echo;

    impl Machine for Echo {
        fn apply(&mut self, entries: &[Committed<'_>]) -> Vec<Vec<u8>> {
            entries.iter().map(|entry| entry.data.to_vec()).collect()
        }

        fn checkpoint(&self) -> CheckpointWriter {
            Box::new(|_| Ok(()))
        }

        fn restore(&mut self, _from: &mut dyn Read) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_failed_sync_stops_the_node_and_is_never_acknowledged() {
        let broken = Arc::new(AtomicBool::new(false));
        let backend = Failing { inner: InMemoryBackend::new(), broken: Arc::clone(&broken) };
        let database = redb::Database::builder().create_with_backend(backend).unwrap();
        let (database, loaded) = Disk::load(database, 1).unwrap();
        let tail = Tail::new(None, None, None, loaded.last, Limit { entries: 10, bytes: 1000 });
        let tail = Arc::new(Mutex::new(tail));
        let disk = Disk::run(database, Arc::clone(&tail)).unwrap();
        let shelf = Arc::new(Shelf::in_memory());
        let applied = Arc::new(Applied::default());
        let opened = Opened {
            dir: None,
            node_id: loaded.node_id,
            log: LogStore::new(tail, Some(Arc::new(disk))),
            state: State::new(Box::new(Echo), Meta::default(), Arc::clone(&shelf), Arc::clone(&applied)),
            shelf,
            applied,
        };
        let options = Options::default();
        let config = Arc::new(config(&options).unwrap());
        let raft = run(opened, Arc::new(options), config, None).await.unwrap();
        assert_eq!(raft.propose(b"a".to_vec()).await.unwrap().answer, b"a");

        broken.store(true, Ordering::SeqCst);
        let refused = raft.propose(b"b".to_vec()).await;
        assert!(matches!(refused, Err(Error::Fatal { .. })), "{refused:?}");
        let mut status = raft.subscribe();
        let stopped = status.wait_for(|status| status.fatal.is_some()).await.unwrap().clone();
        assert_eq!((stopped.role, stopped.ready), (Role::Stopped, false));

        // A disk that recovers is not believed: what it dropped is unknown.
        broken.store(false, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(matches!(raft.propose(b"c".to_vec()).await, Err(Error::Fatal { .. })));
        }
        raft.shutdown().await;
    }
}
