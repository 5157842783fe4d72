//! The handle to the replicated log on this node: propose, read barrier, members, messages of other nodes.
//!
//! It translates between bytes and the engine and bounds what may wait. It decides nothing about state,
//! storage or connections. Cloned freely; used by the control node's cluster module.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::{BasicNode, ChangeMembers, LinearizerOption, ReadPolicy};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::checkpoint::Shelf;
use crate::data_dir::DataDir;
use crate::error::Error;
use crate::keeper::Checkpointer;
use crate::log::LogStore;
use crate::machine::Machine;
use crate::network::{decode, encode};
use crate::options::Options;
use crate::start;
use crate::status::{Follower, Peer, Role, Status};
use crate::transport::{CheckpointReceiver, Rpc, Transport};
use crate::types::{Data, Engine, Snapshot, Types, Vote};

/// How often a proposal is offered again while the leader settles.
const SETTLE_STEP: Duration = Duration::from_millis(20);

/// Bytes of proposals are counted in pieces of this length.
pub(crate) const BYTES_UNIT: usize = 1024;

/// How sure a read must be that this node still leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// A quorum answered within the lease. Free while the leader is in touch; trusts that clocks run at
    /// about the same speed.
    Lease,
    /// A quorum answers after the call. One round trip, shared by all reads that wait.
    Quorum,
}

/// What became of bytes that were proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The machine's answer.
    pub answer: Vec<u8>,
    /// Where the entry stands in the log. A node that applied up to here shows what it did.
    pub log_index: u64,
}

/// The handle. Dropping the last one stops the node without ceremony; [`Raft::shutdown`] is the orderly way.
#[derive(Clone)]
pub struct Raft {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) log: LogStore,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) options: Arc<Options>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) proposals: Semaphore,
    /// In units of [`BYTES_UNIT`].
    pub(crate) proposal_bytes: Semaphore,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) dir: Mutex<Option<DataDir>>,
    /// Ends the background task when the last handle goes.
    pub(crate) _alive: oneshot::Sender<()>,
}

impl Raft {
    /// Starts a node: takes the data folder, restores the newest readable checkpoint, replays the log, and,
    /// if this node is the only voter, leads before it returns.
    ///
    /// Without a `transport` the node can only be a cluster of one.
    ///
    /// # Errors
    /// When the folder is in use or unusable, belongs to another node, or the state cannot be rebuilt from
    /// it. Nothing was lost by trying.
    pub async fn start(
        options: Options,
        machine: impl Machine,
        transport: Option<Arc<dyn Transport>>,
    ) -> Result<Self, Error> {
        start::start(options, Box::new(machine), transport).await
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// This node's identity.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        *self.shared.engine.node_id()
    }

    /// Makes bytes durable on a quorum, applies them, and returns the machine's answer and where it stands in the log.
    ///
    /// Dropping the future does not withdraw the proposal.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::NoQuorum`], [`Error::Busy`] and [`Error::TooLarge`]: nothing was
    /// accepted. [`Error::OutcomeUnknown`] and [`Error::Fatal`]: it may or may not take effect.
    pub async fn propose(&self, data: Vec<u8>) -> Result<Proposed, Error> {
        let Shared { engine, options, proposals, proposal_bytes, .. } = &*self.shared;
        if data.len() > options.entry_max {
            return Err(Error::TooLarge { len: data.len(), max: options.entry_max });
        }
        let Ok(_place) = proposals.try_acquire() else {
            return Err(Error::Busy { what: "proposals", max: options.proposals_max });
        };
        let units = data.len().div_ceil(BYTES_UNIT).max(1);
        let Ok(_bytes) = proposal_bytes.try_acquire_many(u32::try_from(units).unwrap_or(u32::MAX)) else {
            return Err(Error::Busy { what: "bytes of proposals", max: options.proposal_bytes_max });
        };
        let data = Data(Bytes::from(data));
        let give_up = Instant::now() + options.settle_max;
        loop {
            let error = match engine.client_write(data.clone()).await {
                Ok(done) => return Ok(Proposed { answer: done.data, log_index: done.log_id.index }),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(ForwardToLeader {
                    reason: ForwardReason::LeaseExpired,
                    ..
                }))) => Error::NoQuorum,
                Err(error) => return Err(self.refused(error)),
            };
            // A fresh leader refuses until a quorum acknowledged it once; that is a matter of milliseconds.
            if Instant::now() + SETTLE_STEP > give_up {
                return Err(error);
            }
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }

    /// Waits until what this node applied includes every write acknowledged before the call, and returns the index
    /// in the log that this is so from: another node that applied up to there includes them too.
    ///
    /// # Errors
    /// When this node does not lead, or cannot confirm it with a quorum within a lease.
    pub async fn read_barrier(&self, barrier: Barrier) -> Result<u64, Error> {
        let option = match barrier {
            // Waits for a round of heartbeats instead of failing when the lease just ran out.
            Barrier::Lease => LinearizerOption::new(None, true),
            Barrier::Quorum => ReadPolicy::ReadIndex.into(),
        };
        match self.shared.engine.ensure_linearizable(option).await {
            Ok(read) => Ok(read.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => Err(not_leader(to)),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(Error::NoQuorum),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(&fatal)),
        }
    }

    pub(crate) fn options(&self) -> Arc<Options> {
        Arc::clone(&self.shared.options)
    }

    /// The present status.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Follows the status; the newest value replaces unread ones.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// What this node knows of the others while it leads: nothing of anybody while it does not. Changes with every
    /// answer, so it can be asked for and not followed.
    #[must_use]
    pub fn followers(&self) -> Vec<Follower> {
        Follower::read_all(&self.shared.engine.metrics().borrow_watched())
    }

    /// Takes a checkpoint now and returns the index it reaches to once it is durable.
    ///
    /// # Errors
    /// When it cannot be written; nothing is lost by that. When the node stops meanwhile.
    pub async fn checkpoint_now(&self) -> Result<u64, Error> {
        let mut status = self.shared.status.clone();
        let wanted = status.borrow().applied;
        self.shared.checkpointer.take().await?;
        let noted = status.wait_for(|status| status.checkpoint >= wanted || status.role == Role::Stopped).await;
        match noted {
            Ok(status) if status.checkpoint >= wanted => Ok(status.checkpoint),
            Ok(status) => Err(Error::Fatal { reason: status.fatal.clone().unwrap_or_else(shut_down) }),
            Err(_) => Err(Error::Fatal { reason: shut_down() }),
        }
    }

    /// Adds a node: first as a listener until it has caught up, then as a voter. Call on the leader.
    ///
    /// # Errors
    /// When this node does not lead, or another change is under way. The node may then be left a listener.
    pub async fn add_voter(&self, peer: Peer) -> Result<(), Error> {
        self.add_learner(peer.clone()).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([peer.id]))).await
    }

    /// Adds a node as a listener, and returns when it has nearly caught up. Call on the leader.
    ///
    /// # Errors
    /// When this node does not lead, or another change is under way.
    pub async fn add_learner(&self, peer: Peer) -> Result<(), Error> {
        let node = BasicNode::new(&peer.address);
        let added = self.shared.engine.add_learner(peer.id, node, true).await;
        added.map(|_| ()).map_err(|error| self.refused(error))
    }

    /// Adds a node as a listener, and returns without waiting for it. Call on the leader.
    ///
    /// # Errors
    /// When this node does not lead, or another change is under way.
    pub async fn admit(&self, peer: Peer) -> Result<(), Error> {
        let node = BasicNode::new(&peer.address);
        let added = self.shared.engine.add_learner(peer.id, node, false).await;
        added.map(|_| ()).map_err(|error| self.refused(error))
    }

    /// Makes a listener a voter. Call on the leader, when the listener has caught up.
    ///
    /// # Errors
    /// When this node does not lead, another change is under way, or the node was never admitted.
    pub async fn promote(&self, id: u64) -> Result<(), Error> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }

    /// Notes the address that a member is reached at from now on. Call on the leader.
    ///
    /// # Errors
    /// When this node does not lead, or another change is under way.
    pub async fn readdress(&self, peer: Peer) -> Result<(), Error> {
        let nodes = nodes(std::slice::from_ref(&peer));
        self.change(ChangeMembers::SetNodes(nodes)).await
    }

    /// Begins a cluster with these voters, this node among them. Call on one of them, once, and only when all of
    /// them agreed: two lists would make two clusters.
    ///
    /// # Errors
    /// When this node is not among them, or already knows a cluster.
    pub async fn initialize(&self, voters: &[Peer]) -> Result<(), Error> {
        match self.shared.engine.initialize(nodes(voters)).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(error)) => Err(Error::Membership { reason: error.to_string() }),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(&fatal)),
        }
    }

    /// Removes a node. A leader may remove itself; it then steps down. Call on the leader.
    ///
    /// # Errors
    /// When this node does not lead, another change is under way, or nobody would be left.
    pub async fn remove(&self, id: u64) -> Result<(), Error> {
        let ids = BTreeSet::from([id]);
        let engine = &self.shared.engine;
        let is_voter = engine
            .with_raft_state(move |state| state.membership_state.effective().voter_ids().any(|voter| voter == id))
            .await;
        let is_voter = is_voter.map_err(|fatal| self.stopped(&fatal))?;
        self.change(if is_voter { ChangeMembers::RemoveVoters(ids) } else { ChangeMembers::RemoveNodes(ids) }).await
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), Error> {
        let changed = self.shared.engine.change_membership(change, false).await;
        changed.map(|_| ()).map_err(|error| self.refused(error))
    }

    /// Asks a voter to take over leadership. Returns at once; follow the status to see it happen.
    ///
    /// # Errors
    /// When the node stopped.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Error> {
        self.shared.engine.trigger().transfer_leader(to).await.map_err(|fatal| self.stopped(&fatal))
    }

    /// Answers a message that another node's [`Transport::call`] sent.
    ///
    /// # Errors
    /// When the message cannot be understood, or this node stopped.
    pub async fn answer(&self, rpc: Rpc, body: &[u8]) -> Result<Vec<u8>, Error> {
        let engine = &self.shared.engine;
        match rpc {
            Rpc::Append | Rpc::Heartbeat => {
                let answer = engine.append_entries(decode(body)?).await;
                encode(&answer.map_err(|error| self.failed(error))?)
            }
            Rpc::Vote => encode(&engine.vote(decode(body)?).await.map_err(|error| self.failed(error))?),
            Rpc::PreVote => encode(&engine.pre_vote(decode(body)?).await.map_err(|error| self.failed(error))?),
            Rpc::TransferLeader => {
                let answer = engine.handle_transfer_leader(decode(body)?).await;
                encode(&answer.map_err(|fatal| self.stopped(&fatal))?)
            }
        }
    }

    /// Begins to receive a checkpoint of `total` bytes that another node's [`Transport::send_checkpoint`]
    /// announced with `head`.
    ///
    /// # Errors
    /// When the head cannot be understood or nothing can be stored.
    pub fn receive_checkpoint(&self, head: &[u8], total: u64) -> Result<CheckpointReceiver, Error> {
        let vote: Vote = decode(head)?;
        let incoming = self.shared.shelf.receive(total).map_err(Error::ReceiveCheckpoint)?;
        Ok(CheckpointReceiver::new(self.clone(), vote, incoming))
    }

    pub(crate) async fn install(&self, vote: Vote, snapshot: Snapshot) -> Result<Vec<u8>, Error> {
        let installed = self.shared.engine.install_full_snapshot(vote, snapshot).await;
        encode(&installed.map_err(|fatal| self.stopped(&fatal))?)
    }

    /// Stops the node: what was acknowledged is on disk, the folder is free again when this returns.
    pub async fn shutdown(&self) {
        // An error would mean that the engine's task is gone, which is what is wanted.
        let _ = self.shared.engine.shutdown().await;
        let shelf = Arc::clone(&self.shared.shelf);
        // Waits for a checkpoint that is being written.
        let _ = tokio::task::spawn_blocking(move || shelf.close()).await;
        self.shared.log.close().await;
        self.shared.dir.lock().take();
    }

    fn refused(&self, error: RaftError<Types, ClientWriteError<Types>>) -> Error {
        match error {
            RaftError::Fatal(fatal) => self.stopped(&fatal),
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => not_leader(to),
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(to)) => Error::OutcomeUnknown { leader: peer(to) },
            RaftError::APIError(error) => Error::Membership { reason: error.to_string() },
        }
    }

    fn failed(&self, error: RaftError<Types>) -> Error {
        match error {
            RaftError::Fatal(fatal) => self.stopped(&fatal),
            RaftError::APIError(never) => match never {},
        }
    }

    fn stopped(&self, fatal: &openraft::errors::Fatal<Types>) -> Error {
        Error::Fatal { reason: fatal.to_string() }
    }
}

fn shut_down() -> String {
    "the node was shut down".to_owned()
}

fn peer(to: ForwardToLeader<Types>) -> Option<Peer> {
    to.leader_id.map(|id| Peer { id, address: to.leader_node.map(|node| node.addr).unwrap_or_default() })
}

fn not_leader(to: ForwardToLeader<Types>) -> Error {
    match to.reason {
        ForwardReason::LeaseExpired => Error::NoQuorum,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => Error::NotLeader { leader: peer(to) },
    }
}

/// The members a cluster begins with.
pub(crate) fn nodes(peers: &[Peer]) -> BTreeMap<u64, BasicNode> {
    peers.iter().map(|peer| (peer.id, BasicNode::new(&peer.address))).collect()
}
