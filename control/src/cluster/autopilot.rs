//! Which servers get a vote, and which lose it. Pure: time is an argument.
//!
//! A server votes once it has been up for a while and has nearly everything that the leader has. A voter that failed
//! loses its vote only when that is asked for, and only while enough voters stay up: a majority of those that voted
//! before, and as many as an operator wants at least. One change at a time; who calls it asks again.

use std::time::Instant;

use callboard_consensus::Status;

use super::{MemberStatus, Roll};
use crate::registry::AutopilotSettings;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Gives a member a vote.
    Promote(u64),
    /// Takes a failed member out.
    Remove(u64),
}

/// Decides what is to be done next, on the leader.
pub(super) fn judge(status: &Status, members: &Roll, settings: &AutopilotSettings, now: Instant) -> Option<Act> {
    let steady = |since: Instant| now.saturating_duration_since(since) >= settings.stabilization;
    for learner in &status.learners {
        let Some(member) = members.by_raft_id(learner.id) else { continue };
        let matched = status.matched.get(&learner.id).copied().unwrap_or(0);
        let caught_up = matched.saturating_add(settings.trailing_max) >= status.last_log;
        let fit = member.status == MemberStatus::Alive && member.card.is_server();
        if fit && caught_up && steady(member.since) {
            return Some(Act::Promote(learner.id));
        }
    }
    if !settings.cleanup {
        return None;
    }
    let is_up = |id: u64| id == status.node_id || members.by_raft_id(id).is_some_and(super::Member::is_up);
    let voters = status.voters.len();
    let up = status.voters.iter().filter(|voter| is_up(voter.id)).count();
    let enough = up > voters / 2 && (voters as u64) > settings.voters_min;
    status.voters.iter().filter(|_| enough).find_map(|voter| {
        let member = members.by_raft_id(voter.id)?;
        let failed = member.status == MemberStatus::Failed && steady(member.since);
        failed.then_some(Act::Remove(voter.id))
    })
}

#[cfg(test)]
mod tests {
    use callboard_consensus::Peer;

    use super::*;

    fn peers(ids: &[u64]) -> Vec<Peer> {
        ids.iter().map(|id| Peer { id: *id, address: String::new() }).collect()
    }

    fn status(voters: &[u64], learners: &[u64], matched: u64) -> Status {
        Status {
            node_id: 1,
            voters: peers(voters),
            learners: peers(learners),
            last_log: 1000,
            matched: learners.iter().map(|id| (*id, matched)).collect(),
            ..Status::default()
        }
    }

    #[test]
    fn a_server_votes_when_it_is_steady_and_has_caught_up() {
        let members = Roll::of(&[("s1", 1, true), ("s2", 2, true), ("c1", 3, false)]);
        let later = Instant::now() + AutopilotSettings::default().stabilization;
        let judge = |matched, now| judge(&status(&[1], &[3, 2], matched), &members, &AutopilotSettings::default(), now);
        assert_eq!(judge(1000, Instant::now()), None, "it came a moment ago");
        assert_eq!(judge(749, later), None, "it lags behind");
        assert_eq!(judge(750, later), Some(Act::Promote(2)));
    }

    #[test]
    fn a_failed_voter_goes_only_while_a_majority_stays() {
        let up = Roll::of(&[("s1", 1, true), ("s2", 2, true), ("s3", 3, true)]);
        let one_down = up.clone().failing(&["s3"]);
        let two_down = up.clone().failing(&["s2", "s3"]);
        let later = Instant::now() + AutopilotSettings::default().stabilization;
        let voters = status(&[1, 2, 3], &[], 0);
        assert_eq!(judge(&voters, &up, &AutopilotSettings::default(), later), None);
        assert_eq!(
            judge(&voters, &one_down, &AutopilotSettings::default(), Instant::now()),
            None,
            "it failed a moment ago"
        );
        assert_eq!(judge(&voters, &one_down, &AutopilotSettings::default(), later), Some(Act::Remove(3)));
        assert_eq!(judge(&voters, &two_down, &AutopilotSettings::default(), later), None);
        assert_eq!(
            judge(&voters, &one_down, &AutopilotSettings { voters_min: 3, ..AutopilotSettings::default() }, later),
            None
        );
        assert_eq!(
            judge(&voters, &one_down, &AutopilotSettings { cleanup: false, ..AutopilotSettings::default() }, later),
            None
        );
        // Who is not heard of at all has not failed as far as anybody knows.
        let unheard = Roll::of(&[("s1", 1, true), ("s2", 2, true)]);
        assert_eq!(judge(&voters, &unheard, &AutopilotSettings::default(), later), None);
    }
}
