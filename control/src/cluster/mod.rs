//! The replicated registry as this node sees it: propose, query, wait, who leads.
//!
//! [`Cluster`] is the only handle that the rest of the control node has; no type of the consensus engine
//! passes it. A proposal resolves when it is on disk at a quorum and visible here.

mod batch;
mod lock_delay;
mod machine;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use callboard_consensus::{Barrier, Bootstrap, Options, Raft, Status};
use callboard_proto::api::query::Consistency;
use callboard_proto::text::Text;
use tokio::sync::{mpsc, oneshot, watch};

use self::lock_delay::LockDelays;
use crate::registry::{Command, KvCondition, Outcome, Refusal, Registry, TxnFault, TxnOp, TxnOutcome};
use crate::watch::Hub;

/// How long a read waits for a leader before it says that there is none.
const LEADER_WAIT: Duration = Duration::from_secs(7);

/// How often taking a lock is tried when the key changes under it.
const ACQUIRE_TRIES: usize = 32;

/// What went wrong, and what is true afterwards.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No leader is known. Nothing was written.
    #[error("No cluster leader")]
    NoLeader,
    /// The log refused the write or cannot tell whether it took it.
    #[error("write failed: {0}")]
    Propose(Arc<callboard_consensus::Error>),
    /// The command does not fit the state. Nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node is stopping. The write may or may not take effect.
    #[error("the control node is stopping")]
    Stopping,
}

/// Where the registry lives.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The folder of log and checkpoints; none keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// The address other control nodes reach this one at.
    pub address: String,
}

/// The handle; clones are cheap and share one registry.
#[derive(Clone)]
pub struct Cluster {
    raft: Raft,
    registry: Arc<ArcSwap<Registry>>,
    hub: Hub,
    queue: mpsc::Sender<batch::Proposal>,
    status: watch::Receiver<Status>,
    delays: LockDelays,
}

/// A state to answer from, and how it was come by.
pub struct View {
    /// The state.
    pub registry: Arc<Registry>,
    /// Whether a leader is known.
    pub known_leader: bool,
    /// How long ago it was heard of.
    pub last_contact: Duration,
}

impl Cluster {
    /// Opens the registry and starts to take part.
    ///
    /// # Errors
    /// When the data folder is in use, unreadable or unwritable; nothing in it was lost.
    pub async fn start(options: ClusterOptions) -> Result<Cluster, callboard_consensus::Error> {
        let (hub, waker) = Hub::new();
        tokio::spawn(waker);
        let registry = Arc::new(ArcSwap::from_pointee(Registry::default()));
        let delays = LockDelays::default();
        let machine = machine::RegistryMachine::new(registry.clone(), hub.clone(), delays.clone());
        let options = Options {
            data_dir: options.data_dir,
            address: options.address,
            bootstrap: Bootstrap::Alone,
            ..Options::default()
        };
        let raft = Raft::start(options, machine, None).await?;
        let (queue, proposals) = mpsc::channel(batch::QUEUE_MAX);
        tokio::spawn(batch::run(raft.clone(), proposals));
        let status = raft.subscribe();
        delays.keep_while_leading(status.clone());
        Ok(Cluster { raft, registry, hub, queue, status, delays })
    }

    /// Writes. When this returns, the write is on disk at a quorum and every later read here shows it.
    ///
    /// # Errors
    /// See [`Error`] for what is true after each.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Error> {
        let (answer, outcome) = oneshot::channel();
        self.queue.send(batch::Proposal { command, answer }).await.map_err(|_| Error::Stopping)?;
        match outcome.await.map_err(|_| Error::Stopping)?? {
            Outcome::Refused(refusal) => Err(Error::Refused(refusal)),
            outcome => Ok(outcome),
        }
    }

    /// A state to answer a read from.
    ///
    /// # Errors
    /// [`Error::NoLeader`] unless a stale answer is allowed.
    pub async fn query(&self, consistency: Consistency) -> Result<View, Error> {
        let known_leader = match consistency {
            Consistency::Stale => self.status.borrow().leader.is_some(),
            Consistency::Leader if self.is_sole_leader() => true,
            Consistency::Leader => self.barrier(Barrier::Lease).await?,
            Consistency::Consistent => self.barrier(Barrier::Quorum).await?,
        };
        Ok(View { registry: self.registry(), known_leader, last_contact: Duration::ZERO })
    }

    /// A voter that is alone cannot be deposed, so once it is ready its state is always the newest.
    fn is_sole_leader(&self) -> bool {
        let status = self.status.borrow();
        status.ready && status.voters.len() == 1
    }

    async fn barrier(&self, barrier: Barrier) -> Result<bool, Error> {
        let mut status = self.status.clone();
        let ready = async {
            // The sender lives as long as the engine; its end reads as "no leader".
            status.wait_for(|status| status.ready || status.fatal.is_some()).await.is_ok_and(|status| status.ready)
        };
        match tokio::time::timeout(LEADER_WAIT, ready).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(Error::NoLeader),
        }
        self.raft.read_barrier(barrier).await.map_err(|_| Error::NoLeader)?;
        Ok(true)
    }

    /// The newest state known here, whoever leads.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Takes the lock on a key for a session, unless somebody has it, or lost it so recently that its delay is not
    /// over. Says whether the session has the lock now.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown session; else see [`Error`] for what is true after each.
    pub async fn acquire(&self, key: Text, value: Arc<[u8]>, flags: u64, session: Text) -> Result<bool, Error> {
        for _ in 0..ACQUIRE_TRIES {
            // The state first: a lock that is lost after this look is found by the registry.
            let seen = self.registry().index();
            if self.delays.holds_back(&key, Instant::now()) {
                return Ok(false);
            }
            let condition = KvCondition::Acquire { session: session.clone(), seen };
            match self.propose(Command::KvSet { key: key.clone(), value: value.clone(), flags, condition }).await? {
                Outcome::Overtaken => {}
                outcome => return Ok(outcome == Outcome::Held(true)),
            }
        }
        // Others are writing the key all the time, so they get it.
        Ok(false)
    }

    /// Does all operations of a transaction, or none of them. A key whose lock delay is not over is locked by nobody.
    ///
    /// # Errors
    /// See [`Error`] for what is true after each.
    pub async fn transact(&self, mut ops: Vec<TxnOp>) -> Result<TxnOutcome, Error> {
        for _ in 0..ACQUIRE_TRIES {
            // The state first: a lock that is lost after this look is found by the registry.
            let seen = self.registry().index();
            let now = Instant::now();
            let held_back = |key: &&Text| self.delays.holds_back(key, now);
            let faults = ops.iter().enumerate().filter_map(|(op, operation)| {
                let key = operation.locks().filter(held_back)?;
                Some(TxnFault { op, what: format!("failed to lock key {key:?} due to lock delay") })
            });
            let faults: Vec<TxnFault> = faults.collect();
            if !faults.is_empty() {
                return Ok(Err(faults));
            }
            ops.iter_mut().for_each(|op| op.saw(seen));
            if let Outcome::Txn(outcome) = self.propose(Command::Txn(ops.clone())).await? {
                return Ok(outcome);
            }
        }
        let locks = ops.iter().enumerate().filter_map(|(op, operation)| Some((op, operation.locks()?)));
        Ok(Err(locks
            .map(|(op, key)| TxnFault { op, what: format!("failed to lock key {key:?}, others write it all the time") })
            .collect()))
    }

    /// Where readers wait.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Whether this node leads and its state is complete.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.status.borrow().ready
    }

    /// The engine's view of this node, for operators.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows leadership and failure.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The identity of this node in the log, made once at random and never reused.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.raft.node_id()
    }

    /// Stops taking part. What was acknowledged stays.
    pub async fn shutdown(&self) {
        self.raft.shutdown().await;
    }
}
