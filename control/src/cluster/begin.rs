//! How a node comes to be in a cluster: by its own history, by an address that it is to join, or by beginning one
//! together with others.
//!
//! Servers that are to begin together first know each other by gossip. The one with the lowest identity then asks each
//! to promise that it begins with this list and no other; only when all have does it begin. So two lists never begin
//! two clusters, whatever gossip showed to whom.

use std::net::SocketAddr;
use std::time::Duration;

use callboard_consensus::Peer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::rpc::{Founder, Lane, Refused, decode, encode};
use super::{Cluster, JoinError, MemberRole, MemberStatus};

/// How long a promise binds. Whoever asked begins at once after the last one.
const PROMISE_KEPT: Duration = Duration::from_secs(10);
/// How often it is looked whether all are there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long another node may take to answer.
const ASK_MAX: Duration = Duration::from_secs(2);
/// How often known members are looked for again.
const REJOIN_EVERY: Duration = Duration::from_secs(3);

/// With whom this node promised to begin, and until when that binds it.
pub(super) struct Promise {
    founders: Vec<Founder>,
    until: Instant,
}

impl Cluster {
    /// Promises to begin with these servers and no others, for a while.
    pub(super) fn promise(&self, founders: Vec<Founder>) -> Result<(), Refused> {
        if !self.status.borrow().voters.is_empty() {
            return Err(Refused::Failed("this node is in a cluster already".to_owned()));
        }
        if founders.iter().all(|founder| founder.id != self.node_id()) {
            return Err(Refused::Failed("this node is not among them".to_owned()));
        }
        let mut promised = self.shared.promised.lock();
        let now = Instant::now();
        match &*promised {
            Some(promise) if promise.until > now && promise.founders != founders => {
                Err(Refused::NotNow("this node promised to begin with others".to_owned()))
            }
            _ => {
                *promised = Some(Promise { founders, until: now + PROMISE_KEPT });
                Ok(())
            }
        }
    }

    /// The servers that are to begin, if all are there.
    fn founders(&self, expect: u32) -> Option<Vec<(Founder, SocketAddr)>> {
        let members = self.members();
        let ours = MemberRole::Server { bootstrap: false, expect };
        let mut servers: Vec<_> = members
            .iter()
            .filter(|member| member.status == MemberStatus::Alive && member.card.is_server())
            .map(|member| &member.card)
            .collect();
        if let Some(other) = servers.iter().find(|card| card.role != ours) {
            warn!(server = other.name, expect, "waiting: this server was told to begin with another number of servers");
            return None;
        }
        servers.sort_by_key(|card| card.raft_id);
        let expect = usize::try_from(expect).unwrap_or(usize::MAX);
        if servers.len() < expect {
            return None;
        }
        let founder = |card: &super::Card| (Founder { id: card.raft_id, address: card.rpc.to_string() }, card.rpc);
        Some(servers.into_iter().take(expect).map(founder).collect())
    }

    /// Begins with the others, if all promise.
    async fn begin(&self, founders: Vec<(Founder, SocketAddr)>) -> Result<(), String> {
        let list: Vec<Founder> = founders.iter().map(|(founder, _)| founder.clone()).collect();
        self.promise(list.clone()).map_err(|error| error.to_string())?;
        for (founder, address) in founders.iter().filter(|(founder, _)| founder.id != self.node_id()) {
            let body = self.router.caller.call(*address, Lane::Work, "/internal/begin", encode(&list), ASK_MAX).await;
            let body = body.map_err(|error| error.to_string())?;
            let promised = decode::<Result<(), Refused>>(&body)?;
            promised.map_err(|error| format!("{}: {error}", founder.address))?;
        }
        let voters: Vec<Peer> = list.iter().map(Peer::from).collect();
        self.router.raft.initialize(&voters).await.map_err(|error| error.to_string())
    }
}

/// Waits for the servers that are to begin together, and begins if it falls to this one.
pub(super) async fn together(cluster: Cluster, expect: u32, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if !cluster.status.borrow().voters.is_empty() {
            return;
        }
        let Some(founders) = cluster.founders(expect) else { continue };
        if founders.first().is_some_and(|(founder, _)| founder.id == cluster.node_id()) {
            match cluster.begin(founders).await {
                Ok(()) => info!(servers = expect, "beginning a cluster"),
                Err(reason) => debug!(reason, "the cluster does not begin yet"),
            }
        }
    }
}

/// Finds the other members again after a restart: the log knows where they were.
pub(super) async fn rejoin(cluster: Cluster, stop: CancellationToken) {
    loop {
        let peers: Vec<Peer> = {
            let status = cluster.status.borrow();
            let others = status.voters.iter().chain(&status.learners).filter(|peer| peer.id != status.node_id);
            others.cloned().collect()
        };
        if peers.is_empty() || cluster.members().len() > 1 {
            return;
        }
        for peer in peers {
            let Some(address) = cluster.router.caller.addresses.of(&peer) else { continue };
            let asked = cluster.router.caller.call(address, Lane::Work, "/internal/gossip", encode(&()), ASK_MAX).await;
            let Ok(body) = asked else { continue };
            let Ok(gossip) = decode::<SocketAddr>(&body) else { continue };
            match cluster.gossip.join(&gossip.to_string()).await {
                Ok(()) => break,
                Err(error) => debug!(error = &error as &dyn std::error::Error, "a known member was not joined"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REJOIN_EVERY) => {}
        }
    }
}

/// Joins one of some addresses, and tries until it works. Says no when it was tried as often as it may be.
pub async fn retry_join(
    cluster: Cluster,
    addresses: Vec<String>,
    every: Duration,
    tries_max: Option<u64>,
    stop: CancellationToken,
) -> bool {
    let mut tries = 0;
    loop {
        match join_any(&cluster, &addresses).await {
            Ok(()) => return true,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, again_in = ?every, "no member was joined yet");
            }
        }
        tries += 1;
        if tries_max.is_some_and(|max| tries >= max) {
            return false;
        }
        tokio::select! {
            () = stop.cancelled() => return true,
            () = tokio::time::sleep(every) => {}
        }
    }
}

async fn join_any(cluster: &Cluster, addresses: &[String]) -> Result<(), JoinError> {
    let mut last = None;
    let mut joined = false;
    for address in addresses {
        match cluster.gossip.join(address).await {
            Ok(()) => joined = true,
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if !joined => Err(error),
        _ => Ok(()),
    }
}
