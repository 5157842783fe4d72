//! Leaving: of this node, in good order, and of another one on an operator's word.
//!
//! A node that leaves first says so (so that nobody brings it back), gives up leading, has itself taken out of the
//! log's members and the catalog, and then goes. None of it is waited for longer than a few seconds: a process that is
//! told to end ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use callboard_proto::NodeName;
use tracing::{info, warn};

use super::errand::refused;
use super::rpc::{Errand, Refused};
use super::{Cluster, Error, JoinError, MemberStatus, Word};
use crate::registry::Command;

/// How long each step of leaving may take.
const STEP_MAX: Duration = Duration::from_secs(2);
/// How long the last datagrams get to be sent.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Why a member was not told to leave. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ForceLeaveError {
    /// Nobody has that name.
    #[error("agent: No node found with name '{0}'")]
    Unknown(String),
    /// This node is stopping.
    #[error(transparent)]
    Stopping(#[from] JoinError),
}

impl Cluster {
    /// Leaves the cluster. When this returns the others know, or have not answered in time; the process is to end.
    pub async fn leave(&self) {
        if self.shared.leaving.swap(true, Ordering::Relaxed) {
            return;
        }
        let alone = !self.members().iter().any(|member| member.is_up() && member.card.raft_id != self.node_id());
        if alone {
            return;
        }
        let me = &self.shared.card;
        if let Err(error) = self.gossip.announce_leave().await {
            warn!(error = &error as &dyn std::error::Error, "leaving without a word");
        }
        if self.is_leader() && !self.hand_over(None).await {
            warn!("nobody took over leading; this node stays a member of the log");
        } else {
            let node = NodeName::parse(&me.name).ok().map(|name| (name, me.node_id.clone()));
            let dismissed = self.run(Errand::Dismiss { raft_id: me.raft_id, node });
            match tokio::time::timeout(STEP_MAX, dismissed).await {
                Ok(Ok(_)) => {}
                // The leader hears of it by gossip as well.
                Ok(Err(error)) => info!(error = &error as &dyn std::error::Error, "leaving without the leader's word"),
                Err(_) => info!("leaving without the leader's word"),
            }
        }
        if self.gossip.leave().await.is_ok() {
            tokio::time::sleep(LAST_WORDS).await;
        }
    }

    /// Has another voter lead, the given one or the one that has most of the log; says whether one does.
    pub(super) async fn hand_over(&self, heir: Option<u64>) -> bool {
        let members = self.members();
        let heir = {
            let status = self.status.borrow();
            let up = |id: u64| members.by_raft_id(id).is_some_and(super::Member::is_up);
            let wanted = |id: u64| heir.is_none_or(|heir| heir == id);
            let fits = |id: u64| id != status.node_id && up(id) && wanted(id);
            let voters = status.voters.iter().filter(|voter| fits(voter.id));
            voters.max_by_key(|voter| status.matched.get(&voter.id).copied().unwrap_or(0)).map(|voter| voter.id)
        };
        let Some(heir) = heir else { return false };
        if self.router.raft.transfer_leader(heir).await.is_err() {
            return false;
        }
        let mut status = self.status.clone();
        let id = self.node_id();
        let led = status.wait_for(|status| status.leader.as_ref().is_some_and(|leader| leader.id != id));
        matches!(tokio::time::timeout(STEP_MAX, led).await, Ok(Ok(_)))
    }

    /// Tells everyone that a member is to leave. One that is alive says after a moment that it stays; one that failed
    /// counts as having left.
    ///
    /// # Errors
    /// [`ForceLeaveError::Unknown`] when nobody has that name.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), ForceLeaveError> {
        let members = self.members();
        let member = members.get(name).ok_or_else(|| ForceLeaveError::Unknown(name.to_owned()))?;
        let (name, incarnation) = (member.card.name.clone(), member.card.incarnation);
        let mut roll = self.gossip.subscribe();
        self.gossip.say(Word::Leave { name: name.clone(), incarnation, prune }).await?;
        // Whoever asks sees it at once.
        let told = roll.wait_for(|roll| {
            roll.get(&name).is_none_or(|member| !matches!(member.status, MemberStatus::Alive | MemberStatus::Failed))
        });
        let _ = tokio::time::timeout(STEP_MAX, told).await;
        Ok(())
    }

    /// Takes a member that leaves or has left out of the log's members, and its node out of the catalog. On the leader.
    pub(super) async fn dismiss(&self, raft_id: u64, node: Option<(NodeName, String)>) -> Result<(), Refused> {
        let member = self.members().by_raft_id(raft_id).cloned();
        if let Some(member) = member.filter(|member| member.status == MemberStatus::Alive) {
            // Its own word may not have arrived; without it we would take the member for one that was forgotten.
            let word =
                Word::Leave { name: member.card.name.clone(), incarnation: member.card.incarnation, prune: false };
            let mut roll = self.gossip.subscribe();
            self.gossip.say(word).await.map_err(|error| Refused::Failed(error.to_string()))?;
            let told = roll
                .wait_for(|roll| roll.by_raft_id(raft_id).is_none_or(|member| member.status != MemberStatus::Alive));
            let _ = tokio::time::timeout(STEP_MAX, told).await;
        }
        self.expel(raft_id).await?;
        let Some((node, id)) = node else { return Ok(()) };
        let registry = self.registry();
        let ours = registry.node(&node).is_some_and(|row| *row.id == *id);
        if ours {
            let gone = self.propose(Command::DeregisterNode { node }).await;
            gone.map_err(|error: Error| refused(error))?;
        }
        Ok(())
    }

    /// Takes a node out of the log's members, if it is one and others stay.
    pub(super) async fn expel(&self, raft_id: u64) -> Result<(), Refused> {
        let (known, last) = {
            let status = self.status.borrow();
            let is = |peers: &[callboard_consensus::Peer]| peers.iter().any(|peer| peer.id == raft_id);
            let voter = is(&status.voters);
            (voter || is(&status.learners), voter && status.voters.len() == 1)
        };
        if !known || last {
            return Ok(());
        }
        self.router.raft.remove(raft_id).await.map_err(|error| Refused::from(&error))
    }
}
