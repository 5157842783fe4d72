//! Brings log and catalog in line with membership, on the leader.
//!
//! A member that is there gets a place in the log (a listener at first) and a node with a passing health check; one
//! that failed keeps both, its check critical; one that left, or was forgotten, loses both. Gossip alone never takes a
//! vote away: a voter that failed is `autopilot`'s to judge. Runs on every node and does nothing where it does not lead.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callboard_consensus::{Peer, Status};
use callboard_proto::check::SERF_HEALTH;
use callboard_proto::{CheckStatus, NodeName};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::autopilot::{self, Act};
use super::{Card, Cluster, Member, MemberRole, MemberStatus, Roll};
use crate::identity::{ALIVE, CONSUL_SERVICE, NOT_LIVE, alive_check, node_row, serf_health, server_instance};
use crate::registry::{AutopilotSettings, Command, NodeUpdate, Registration};

/// How often all members are looked at, whatever happens.
const EVERY: Duration = Duration::from_secs(2);
/// How soon it is tried again when something failed.
const RETRY: Duration = Duration::from_millis(500);
/// For how long a new leader waits for members to be heard of before it takes them for failed.
const GRACE: Duration = Duration::from_secs(30);
/// After how long a listener of the log that no member claims is let go.
const UNCLAIMED_MAX: Duration = Duration::from_secs(600);

/// Runs until told to stop.
pub(super) async fn run(cluster: Cluster, first: AutopilotSettings, stop: CancellationToken) {
    let mut roll = cluster.gossip.subscribe();
    let mut status = cluster.status.clone();
    let mut leading: Option<Instant> = None;
    // The members as they were last seen: whoever is missing now was forgotten.
    let mut seen: HashMap<String, Card> = HashMap::new();
    loop {
        let members = roll.borrow_and_update().clone();
        note_addresses(&cluster, &members);
        let leads = status.borrow_and_update().ready;
        leading = leads.then(|| leading.unwrap_or_else(Instant::now));
        let mut all_done = true;
        if leading.is_none() {
            cluster.shared.steady.forget();
        }
        if let Some(since) = leading {
            for member in members.iter() {
                all_done &= settle(&cluster, member).await;
            }
            for card in seen.values().filter(|card| members.get(&card.name).is_none()) {
                all_done &= gone(&cluster, card).await;
            }
            all_done &= done(cluster.begin_autopilot(&first).await, "writing the first settings of autopilot failed");
            all_done &= judge(&cluster, &members).await;
            if since.elapsed() > GRACE {
                all_done &= fail_unheard(&cluster, &members).await;
            }
            if since.elapsed() > UNCLAIMED_MAX {
                drop_unclaimed(&cluster, &members).await;
            }
        }
        if all_done {
            seen = members.iter().map(|member| (member.card.folded(), member.card.clone())).collect();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = roll.changed() => if changed.is_err() { return },
            changed = status.wait_for(|status| status.ready != leads) => if changed.is_err() { return },
            () = tokio::time::sleep(if all_done { EVERY } else { RETRY }) => {}
        }
    }
}

/// Gives and takes votes; says whether nothing is left to do now.
async fn judge(cluster: &Cluster, members: &Roll) -> bool {
    let registry = cluster.registry();
    let Some(row) = registry.autopilot() else { return false };
    // Notes since when each server is as it is, which must be known before anybody asks.
    if cluster.health_here().is_err() {
        return false;
    }
    let act = autopilot::judge(&cluster.status(), members, &row.settings, Instant::now());
    match act {
        None => true,
        Some(Act::Promote(id)) => {
            info!(id = format!("{id:016x}"), "giving a server a vote");
            // There may be another to come.
            done(cluster.router.raft.promote(id).await, "giving a server a vote failed");
            false
        }
        Some(Act::Remove(id)) => {
            warn!(id = format!("{id:016x}"), "taking its vote from a server that failed");
            done(cluster.expel(id).await, "taking its vote from a server failed");
            false
        }
    }
}

/// Tells the way to others where they are.
fn note_addresses(cluster: &Cluster, members: &Roll) {
    let known: HashMap<u64, SocketAddr> = members
        .iter()
        .filter(|member| member.status != MemberStatus::Left)
        .map(|member| (member.card.raft_id, member.card.rpc))
        .collect();
    let addresses: Vec<SocketAddr> = known.values().copied().collect();
    cluster.router.caller.addresses.set(known);
    cluster.router.caller.keep_only(&addresses);
}

/// Does what a member's status asks for; says whether nothing is left to do.
async fn settle(cluster: &Cluster, member: &Member) -> bool {
    let own = member.card.raft_id == cluster.node_id();
    match member.status {
        MemberStatus::Alive if own => readdress(cluster, &member.card).await,
        MemberStatus::Alive => admit(cluster, member).await && register(cluster, member).await,
        MemberStatus::Leaving => true,
        MemberStatus::Failed if own => true,
        MemberStatus::Failed => fail(cluster, &member.name).await,
        MemberStatus::Left if own => true,
        MemberStatus::Left => gone(cluster, &member.card).await,
    }
}

/// Gives a member its place in the log.
async fn admit(cluster: &Cluster, member: &Member) -> bool {
    let card = &member.card;
    if is_known(&cluster.status(), card.raft_id).is_some() {
        return readdress(cluster, card).await;
    }
    let ours = cluster.card().role;
    if let (MemberRole::Server { bootstrap: true, .. }, MemberRole::Server { bootstrap: true, .. }) = (ours, card.role)
    {
        warn!(server = card.name, "not admitted: two servers that were told to be a cluster of one stay two clusters");
        return true;
    }
    info!(member = card.name, address = %card.rpc, "admitting a member to the log");
    let peer = Peer { id: card.raft_id, address: card.rpc.to_string() };
    done(cluster.router.raft.admit(peer).await, "admitting a member to the log failed")
}

/// Corrects the address that the log remembers of a member.
async fn readdress(cluster: &Cluster, card: &Card) -> bool {
    let address = card.rpc.to_string();
    match is_known(&cluster.status(), card.raft_id) {
        Some(known) if known.address != address => {
            let peer = Peer { id: card.raft_id, address };
            done(cluster.router.raft.readdress(peer).await, "noting a member's new address failed")
        }
        _ => true,
    }
}

fn is_known(status: &Status, id: u64) -> Option<&Peer> {
    status.voters.iter().chain(&status.learners).find(|peer| peer.id == id)
}

fn done<E: std::error::Error + 'static>(result: Result<(), E>, what: &'static str) -> bool {
    if let Err(error) = &result {
        debug!(error = error as &dyn std::error::Error, "{what}");
    }
    result.is_ok()
}

async fn propose(cluster: &Cluster, command: Command) -> bool {
    let written = cluster.propose(command).await;
    if let Err(error) = &written {
        warn!(error = error as &dyn std::error::Error, "writing a member's rows failed");
    }
    written.is_ok()
}

/// Writes the rows of a member that is there.
async fn register(cluster: &Cluster, member: &Member) -> bool {
    let (name, card) = (&member.name, &member.card);
    let registry = cluster.registry();
    let wanted = node_row(name, &card.node_id, card.rpc.ip(), card.rpc.ip());
    let row = registry.node(name);
    if row.is_some_and(|row| row.id != wanted.id && !row.id.is_empty()) {
        // Gossip keeps one member per name, so whoever had it before is gone.
        info!(node = %name, "a node of this name with another id is gone");
        if !propose(cluster, Command::DeregisterNode { node: name.clone() }).await {
            return false;
        }
    }
    let registry = cluster.registry();
    let node_fits = registry.node(name).is_some_and(|row| row.id == wanted.id && row.address == wanted.address);
    let check = registry.check(name, SERF_HEALTH);
    let check_fits = check.is_some_and(|check| check.status == CheckStatus::Passing && &*check.output == ALIVE);
    let instance = card.is_server().then(|| server_instance(card.rpc.port()));
    let known = registry.instance(name, CONSUL_SERVICE);
    let instance_fits = match &instance {
        None => true,
        Some(wanted) => known.is_some_and(|known| known.port == wanted.port && known.meta == wanted.meta),
    };
    if node_fits && check_fits && instance_fits {
        return true;
    }
    let registration = Registration {
        node: wanted,
        node_update: if node_fits { NodeUpdate::Skip } else { NodeUpdate::Put },
        instance: instance.filter(|_| !instance_fits),
        checks: if check_fits { Vec::new() } else { vec![alive_check(name)] },
        checks_replace: false,
    };
    propose(cluster, Command::Register(Box::new(registration))).await
}

/// Notes that a member does not answer.
async fn fail(cluster: &Cluster, node: &NodeName) -> bool {
    let registry = cluster.registry();
    let Some(check) = registry.check(node, SERF_HEALTH) else { return true };
    if check.status == CheckStatus::Critical {
        return true;
    }
    let (status, output) = (CheckStatus::Critical, NOT_LIVE.into());
    propose(cluster, Command::UpdateCheck { node: node.clone(), id: serf_health(), status, output }).await
}

/// Forgets a member that left.
async fn gone(cluster: &Cluster, card: &Card) -> bool {
    if card.raft_id == cluster.node_id() {
        return true;
    }
    let name = NodeName::parse(&card.name).ok();
    let registry = cluster.registry();
    let row = name.as_ref().and_then(|name| registry.node(name));
    let registered = row.is_some_and(|row| *row.id == *card.node_id);
    if !registered && is_known(&cluster.status(), card.raft_id).is_none() {
        return true;
    }
    info!(member = card.name, "taking a member that left out of log and catalog");
    let dismissed = cluster.dismiss(card.raft_id, name.map(|name| (name, card.node_id.clone()))).await;
    done(dismissed, "taking a member out failed")
}

/// Takes members that were written down once, and were never heard of since this node leads, for failed.
async fn fail_unheard(cluster: &Cluster, members: &Roll) -> bool {
    let registry = cluster.registry();
    let own = &cluster.card().name;
    let mut all_done = true;
    for node in registry.nodes() {
        if members.get(node.name.as_str()).is_none() && !node.name.as_str().eq_ignore_ascii_case(own) {
            all_done &= fail(cluster, &node.name).await;
        }
    }
    all_done
}

/// Lets go of listeners that no member claims: their disks are gone, and their names have other identities now.
async fn drop_unclaimed(cluster: &Cluster, members: &Roll) {
    let unclaimed: Vec<u64> = {
        let status = cluster.status.borrow();
        let learners = status.learners.iter().map(|peer| peer.id);
        learners.filter(|id| members.by_raft_id(*id).is_none()).collect()
    };
    for id in unclaimed {
        done(cluster.expel(id).await, "letting go of a listener of the log failed");
    }
}
