//! The members of the log as an operator sees them, and what an operator may do with them.

use serde::{Deserialize, Serialize};

use super::rpc::Errand;
use super::{Cluster, Error};
use crate::identity::node_uuid;

/// A member of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRow {
    /// Its identity in the log.
    pub raft_id: u64,
    /// The UUID of its node.
    pub id: String,
    /// The name of its node; empty while gossip has not heard of it.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes.
    pub voter: bool,
    /// Up to where it is known to hold the log; 0 unless this node leads.
    pub last_index: u64,
}

impl Cluster {
    /// The servers of the log; members that only hold a copy are left out.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerRow> {
        let members = self.members();
        let status = self.status.borrow();
        let row = |peer: &callboard_consensus::Peer, voter| {
            let card = members.by_raft_id(peer.id).map(|member| &member.card);
            let last_index = match peer.id == status.node_id {
                true => status.last_log,
                false => status.matched.get(&peer.id).copied().unwrap_or(0),
            };
            ServerRow {
                raft_id: peer.id,
                id: card.map_or_else(|| node_uuid(peer.id), |card| card.node_id.clone()),
                name: card.map(|card| card.name.clone()).unwrap_or_default(),
                address: self.address_of(peer),
                leader: status.leader.as_ref().is_some_and(|leader| leader.id == peer.id),
                voter,
                last_index,
            }
        };
        let to_vote = |id| members.by_raft_id(id).is_some_and(|member| member.card.is_server());
        let voters = status.voters.iter().map(|peer| row(peer, true));
        let learners = status.learners.iter().filter(|peer| to_vote(peer.id)).map(|peer| row(peer, false));
        voters.chain(learners).collect()
    }

    /// Takes a server out of the log.
    ///
    /// # Errors
    /// See [`Error`] for what is true after each.
    pub async fn remove_server(&self, raft_id: u64) -> Result<(), Error> {
        self.run(Errand::Dismiss { raft_id, node: None }).await.map(|_| ())
    }

    /// Has another voter lead: the given one, or the one that has most of the log. Says whether there is one.
    ///
    /// # Errors
    /// See [`Error`] for what is true after each.
    pub async fn transfer_leader(&self, heir: Option<u64>) -> Result<bool, Error> {
        Ok(self.run(Errand::HandOver { heir }).await? == super::rpc::Errands::Held(true))
    }
}
