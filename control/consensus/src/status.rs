//! What a node knows about itself and its cluster, as one plain value. No engine type shows through.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::errors::Fatal;
use openraft::{Instant as _, LogIdOptionExt, ServerState};

use crate::types::{LogId, Metrics};

/// Another node, or this one: identity and the address it is reached at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The identity, unique for ever: never reused with an empty disk.
    pub id: u64,
    /// Where the transport reaches it.
    pub address: String,
}

/// What a node presently is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Takes entries but does not vote: being added, or removed.
    #[default]
    Learner,
    /// Votes and takes entries.
    Follower,
    /// Stands for election.
    Candidate,
    /// Orders the log.
    Leader,
    /// Does nothing any more; see [`Status::fatal`].
    Stopped,
}

/// A node's view at one moment. It may lag a moment behind what was acknowledged; what a read may rely on is
/// decided by [`crate::Raft::read_barrier`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// This node's identity.
    pub node_id: u64,
    /// What this node is.
    pub role: Role,
    /// The election period.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<Peer>,
    /// Index of the last entry in the log, 0 when empty.
    pub last_log: u64,
    /// Index of the last entry known committed, 0 when none.
    pub committed: u64,
    /// Index of the last entry applied to the machine, 0 when none.
    pub applied: u64,
    /// Index the newest checkpoint reaches to, 0 when none.
    pub checkpoint: u64,
    /// Index of the last entry no longer in the log, 0 when it is whole.
    pub purged: u64,
    /// The members that vote; while they change, those of before and those to come.
    pub voters: Vec<Peer>,
    /// Whether it is agreed on who votes. While it is not, those of before have to agree as well as those to come
    /// (Ongaro 2014, section 4.3), and it may be that nobody can be missed.
    pub settled: bool,
    /// The members that only listen.
    pub learners: Vec<Peer>,
    /// On a leader: the last index each member is known to hold.
    pub matched: BTreeMap<u64, u64>,
    /// Whether this node leads and has applied the first entry of its own term: only then does its state
    /// include every write acknowledged by any earlier leader, itself before a restart among them.
    pub ready: bool,
    /// Why the last checkpoint could not be written. Nothing is lost, but the log keeps growing.
    pub checkpoint_failure: Option<String>,
    /// Why the node stopped for good, if it did.
    pub fatal: Option<String>,
}

/// What a leader knows of another member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    /// The member.
    pub id: u64,
    /// The last entry that it is known to hold, 0 when none.
    pub matched: u64,
    /// The election period of that entry.
    pub matched_term: u64,
    /// How long ago it last answered; none when it never did.
    pub silence: Option<Duration>,
}

impl Follower {
    /// Reads the engine's view; empty where this node does not lead.
    pub(crate) fn read_all(metrics: &Metrics) -> Vec<Follower> {
        let replication = metrics.replication.iter().flatten().filter(|(id, _)| **id != metrics.id);
        let heard = |id: &u64| metrics.heartbeat.as_ref()?.get(id)?.map(|at| at.elapsed());
        let follower = |(id, matched): (&u64, &Option<LogId>)| Follower {
            id: *id,
            matched: matched.index().unwrap_or(0),
            matched_term: matched.as_ref().map_or(0, |matched| matched.committed_leader_id().term),
            silence: heard(id),
        };
        replication.map(follower).collect()
    }
}

impl Status {
    /// Reads the engine's view.
    pub(crate) fn read(metrics: &Metrics) -> Self {
        let members = metrics.membership_config.membership();
        let peer =
            |id: u64| Peer { id, address: members.get_node(&id).map(|node| node.addr.clone()).unwrap_or_default() };
        let role = match metrics.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        };
        let stopped = metrics.running_state.as_ref().err();
        let fatal = stopped.filter(|fatal| !matches!(fatal, Fatal::Stopped)).map(ToString::to_string);
        // The applied entry carries the leader that proposed it. Entries apply in order, so the last one
        // being of this leader's own term means its first one was applied too.
        let own_term = metrics.last_applied.as_ref().is_some_and(|last| {
            let proposer = last.committed_leader_id();
            proposer.term == metrics.current_term && proposer.node_id == metrics.id
        });
        Self {
            node_id: metrics.id,
            role: if stopped.is_some() { Role::Stopped } else { role },
            term: metrics.current_term,
            leader: metrics.current_leader.map(peer),
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: metrics.local_committed.index().unwrap_or(0),
            applied: metrics.last_applied.index().unwrap_or(0),
            checkpoint: metrics.snapshot.index().unwrap_or(0),
            purged: metrics.purged.index().unwrap_or(0),
            voters: members.voter_ids().map(peer).collect(),
            settled: members.get_joint_config().len() == 1
                && metrics.membership_config.log_id().index() <= metrics.local_committed.index(),
            learners: members.learner_ids().map(peer).collect(),
            matched: metrics
                .replication
                .iter()
                .flatten()
                .map(|(id, matched)| (*id, matched.index().unwrap_or(0)))
                .collect(),
            ready: stopped.is_none() && role == Role::Leader && own_term,
            checkpoint_failure: None,
            fatal,
        }
    }
}
