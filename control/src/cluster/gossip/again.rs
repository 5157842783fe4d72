//! Members that were met before are met again: who comes back, whom everybody gave up, and now and then anybody.
//!
//! Decides whom and when; the exchange itself is `exchange`'s, and what it carries `task`'s. Started by [`Gossip`].

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::card::Card;
use super::{Gossip, Member, MemberStatus};

/// How many members that are up are met in a turn, by all together.
const LISTS_PER_TURN: usize = 32;
/// How often other members are met.
const MEET_EVERY: Duration = Duration::from_secs(15);

impl Gossip {
    /// Meets others again, by which those who were cut off come to know what was said meanwhile: a member that comes back
    /// at once, one that failed to ask whether it is back (when all are gone, foca asks nobody), and now and then any.
    pub(super) async fn meet_again(self, stop: CancellationToken) {
        let mut roll = self.subscribe();
        let mut failed = BTreeSet::new();
        let mut turns = tokio::time::interval(MEET_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => return,
                changed = roll.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = roll.borrow_and_update().clone();
                    let returned = now.iter().filter(|member| member.is_up() && failed.contains(member.name.as_str()));
                    let returned = fastrand::choice(returned.collect::<Vec<_>>()).map(|member| member.card.clone());
                    let gone = now.iter().filter(|member| member.status == MemberStatus::Failed);
                    failed = gone.map(|member| member.name.as_str().to_owned()).collect();
                    returned.into_iter().collect()
                }
                _ = turns.tick() => self.due(),
            };
            for card in due {
                if let Err(error) = self.meet(card.gossip).await {
                    debug!(error = &error as &dyn std::error::Error, member = card.name, "a member was not met");
                }
            }
        }
    }

    /// Whom to meet now: one that failed, and one that is up; in a large cluster the latter more seldom, so that about as
    /// many lists travel as in one of [`LISTS_PER_TURN`] members.
    fn due(&self) -> Vec<Card> {
        let roll = self.roll();
        let one = |wanted: fn(&Member) -> bool| {
            let others = roll.iter().filter(|member| !member.name.as_str().eq_ignore_ascii_case(&self.name));
            fastrand::choice(others.filter(|member| wanted(member)).collect::<Vec<_>>())
        };
        let failed = one(|member| member.status == MemberStatus::Failed);
        let up = if fastrand::usize(0..=roll.len() / LISTS_PER_TURN) == 0 { one(Member::is_up) } else { None };
        failed.into_iter().chain(up).map(|member| member.card.clone()).collect()
    }
}
