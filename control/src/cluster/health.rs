//! How each server is, and the settings by which they are kept in good order.
//!
//! Only the leader hears of the others, so it is asked: how long ago each answered, and how much of the log it holds.
//! What is made of that is pure. Since when a server is so is remembered in the leader's memory, and begins afresh with
//! each leader. What follows from it, votes given and taken, is decided in `autopilot`.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callboard_consensus::{Follower, Status};
use callboard_proto::api::query::Consistency;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::rpc::{Errand, Errands, Refused};
use super::{Cluster, Error, MemberStatus, Roll, ServerRow};
use crate::registry::{AutopilotCommand, AutopilotRow, AutopilotSettings, Command, Topic};

/// How a server is, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerHealth {
    /// Who it is.
    pub server: ServerRow,
    /// How gossip finds it; none while that has not heard of it.
    pub member: Option<MemberStatus>,
    /// How long ago it last answered the leader; none when it never did.
    pub silence: Option<Duration>,
    /// The election period of the last entry that it is known to hold.
    pub last_term: u64,
    /// Whether it answers, and holds nearly everything that the leader holds.
    pub healthy: bool,
    /// Since when that is so, as time since 1970.
    pub since: Duration,
}

/// How all servers are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Each of them.
    pub servers: Vec<ServerHealth>,
    /// Whether it is agreed on which of them vote.
    pub settled: bool,
}

impl Health {
    /// Whether every server is healthy.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.servers.iter().all(|row| row.healthy)
    }

    /// How many servers can surely fail before no quorum is left: none while it is not agreed on who votes.
    #[must_use]
    pub fn tolerance(&self) -> u64 {
        let voters = self.servers.iter().filter(|row| row.server.voter).count();
        let healthy = self.servers.iter().filter(|row| row.server.voter && row.healthy).count();
        if self.settled { healthy.saturating_sub(voters / 2 + 1) as u64 } else { 0 }
    }
}

/// Since when each server is as it is.
#[derive(Debug, Default)]
pub(super) struct Steady {
    known: Mutex<HashMap<u64, (bool, Duration)>>,
}

impl Steady {
    /// Notes how servers are now, and writes into each since when it is so. Who is not among them is forgotten.
    fn note(&self, rows: &mut [ServerHealth], now: Duration) {
        let mut known = self.known.lock();
        let before = std::mem::take(&mut *known);
        for row in rows {
            let same = before.get(&row.server.raft_id).filter(|(healthy, _)| *healthy == row.healthy);
            row.since = same.map_or(now, |(_, since)| *since);
            known.insert(row.server.raft_id, (row.healthy, row.since));
        }
    }

    /// Forgets everything: another node leads.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }
}

/// Says how each server is, on the leader.
fn assess(
    servers: Vec<ServerRow>,
    status: &Status,
    followers: &[Follower],
    members: &Roll,
    settings: &AutopilotSettings,
) -> Vec<ServerHealth> {
    let row = |server: ServerRow| {
        let own = server.raft_id == status.node_id;
        let follower = followers.iter().find(|follower| follower.id == server.raft_id);
        let member = members.by_raft_id(server.raft_id).map(|member| member.status);
        let silence = if own { Some(Duration::ZERO) } else { follower.and_then(|follower| follower.silence) };
        let last_term = if own { status.term } else { follower.map_or(0, |follower| follower.matched_term) };
        let answers = member == Some(MemberStatus::Alive) && silence.is_some_and(|time| time <= settings.contact_max);
        let caught_up =
            last_term == status.term && server.last_index.saturating_add(settings.trailing_max) >= status.last_log;
        let healthy = own || (answers && caught_up);
        ServerHealth { server, member, silence, last_term, healthy, since: Duration::ZERO }
    };
    servers.into_iter().map(row).collect()
}

impl Cluster {
    /// The settings by which servers are kept in good order. The first leader writes them a moment after it is there.
    ///
    /// # Errors
    /// [`Error::NoLeader`] unless a stale answer is allowed, and when nobody has led long enough to write them.
    pub async fn autopilot(&self, consistency: Consistency) -> Result<AutopilotRow, Error> {
        let give_up = self.router.give_up();
        loop {
            let mut changed = self.hub().subscribe(&[Topic::Autopilot]);
            if let Some(row) = self.query(consistency).await?.registry.autopilot() {
                return Ok(row.clone());
            }
            tokio::time::timeout_at(give_up, changed.changed()).await.map_err(|_| Error::NoLeader)?;
        }
    }

    /// How each server is; asked of whoever leads.
    ///
    /// # Errors
    /// When no leader can be asked.
    pub async fn health(&self) -> Result<Health, Error> {
        match self.run(Errand::Health).await? {
            Errands::Health(health) => Ok(health),
            Errands::Done | Errands::Held(_) | Errands::Beaten(_) | Errands::Transacted(_) => {
                Err(Error::Forwarded("the leader answered another question".into()))
            }
        }
    }

    /// How each server is, on the leader.
    pub(super) fn health_here(&self) -> Result<Health, Refused> {
        let registry = self.registry();
        let unset = || Refused::NotNow("nobody has led long enough".to_owned());
        let settings = &registry.autopilot().ok_or_else(unset)?.settings;
        let (status, followers) = (self.status(), self.router.raft.followers());
        let mut servers = assess(self.servers(), &status, &followers, &self.members(), settings);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.shared.steady.note(&mut servers, now);
        Ok(Health { servers, settled: status.settled })
    }

    /// Writes the first settings, on the leader, unless there are any.
    pub(super) async fn begin_autopilot(&self, first: &AutopilotSettings) -> Result<(), Error> {
        if self.registry().autopilot().is_none() {
            self.propose(Command::Autopilot(AutopilotCommand::Begin(first.clone()))).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(raft_id: u64, last_index: u64) -> ServerRow {
        let (id, name, address) = (String::new(), format!("s{raft_id}"), String::new());
        ServerRow { raft_id, id, name, address, leader: raft_id == 1, voter: true, last_index }
    }

    fn follower(id: u64, matched_term: u64, silence: Option<u64>) -> Follower {
        Follower { id, matched: 0, matched_term, silence: silence.map(Duration::from_millis) }
    }

    #[test]
    fn a_server_is_healthy_that_answers_and_keeps_up() {
        let members = Roll::of(&[("s1", 1, true), ("s2", 2, true)]);
        let status = Status { node_id: 1, term: 7, last_log: 1000, ..Status::default() };
        let settings = AutopilotSettings::default();
        let check = |members: &Roll, last_index, follower, healthy: bool, why| {
            let servers = vec![server(1, 1000), server(2, last_index)];
            let rows = assess(servers, &status, &[follower], members, &settings);
            assert_eq!(rows.iter().map(|row| row.healthy).collect::<Vec<_>>(), [true, healthy], "{why}");
        };
        check(&members, 750, follower(2, 7, Some(200)), true, "at the bounds");
        check(&members, 749, follower(2, 7, Some(0)), false, "it lags behind");
        check(&members, 1000, follower(2, 7, Some(201)), false, "it does not answer");
        check(&members, 1000, follower(2, 7, None), false, "it never answered");
        check(&members, 1000, follower(2, 6, Some(0)), false, "it has nothing of this leader");
        check(&members, 1000, follower(3, 7, Some(0)), false, "the leader knows nothing of it");
        check(&members.failing(&["s2"]), 1000, follower(2, 7, Some(0)), false, "gossip gave it up");
        check(&Roll::of(&[("s1", 1, true)]), 1000, follower(2, 7, Some(0)), false, "gossip knows nothing of it");
    }

    #[test]
    fn a_minority_may_fail_once_it_is_agreed_on_who_votes() {
        let members = Roll::of(&[("s1", 1, true), ("s2", 2, true), ("s3", 3, true)]);
        let status = Status { node_id: 1, term: 7, last_log: 1000, ..Status::default() };
        let health = |answering: &[u64], settled| {
            let servers = (1..=3).map(|id| server(id, 1000)).collect();
            let followers: Vec<_> = answering.iter().map(|id| follower(*id, 7, Some(0))).collect();
            Health { servers: assess(servers, &status, &followers, &members, &AutopilotSettings::default()), settled }
        };
        assert_eq!((health(&[2, 3], true).tolerance(), health(&[2, 3], true).is_healthy()), (1, true));
        assert_eq!(health(&[2, 3], false).tolerance(), 0);
        assert_eq!((health(&[2], true).tolerance(), health(&[2], true).is_healthy()), (0, false));
        assert_eq!(health(&[], true).tolerance(), 0);
    }

    #[test]
    fn what_stays_as_it_is_keeps_its_time() {
        let steady = Steady::default();
        let note = |healthy: &[(u64, bool)], now| {
            let row = |(id, healthy): &(u64, bool)| ServerHealth {
                server: server(*id, 0),
                member: None,
                silence: None,
                last_term: 0,
                healthy: *healthy,
                since: Duration::ZERO,
            };
            let mut rows: Vec<_> = healthy.iter().map(row).collect();
            steady.note(&mut rows, Duration::from_secs(now));
            rows.iter().map(|row| row.since.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(note(&[(1, true), (2, false)], 10), [10, 10]);
        assert_eq!(note(&[(1, true), (2, true)], 20), [10, 20]);
        assert_eq!(note(&[(2, true)], 30), [20]);
        assert_eq!(note(&[(1, true), (2, true)], 40), [40, 20], "who went begins again");
        steady.forget();
        assert_eq!(note(&[(2, true)], 50), [50]);
    }
}
