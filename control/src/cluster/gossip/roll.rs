//! Who is a member, and how each one is. Pure: time is an argument.
//!
//! Gossip only knows up and down. A member that said before it went down that it would leave has left; one that did
//! not has failed. Words of a lower incarnation than the known one are late, and count for nothing. Who calls it: the
//! gossip task changes the roll, everyone else reads copies of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use callboard_proto::NodeName;
use serde::{Deserialize, Serialize};

use super::card::Card;

/// How long a member that left is remembered, so that late words do not bring it back.
pub(super) const LEFT_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How a member is. The numbers are those that clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemberStatus {
    /// It answers.
    Alive = 1,
    /// It answers, and said, or was told, to leave.
    Leaving = 2,
    /// It is gone, as it said.
    Left = 3,
    /// It does not answer.
    Failed = 4,
}

impl MemberStatus {
    /// The word that operators read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MemberStatus::Alive => "alive",
            MemberStatus::Leaving => "leaving",
            MemberStatus::Left => "left",
            MemberStatus::Failed => "failed",
        }
    }
}

/// One member.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// What it says about itself.
    pub card: Card,
    /// How it is.
    pub status: MemberStatus,
    /// Since when it is so, as seen from here.
    pub since: Instant,
}

impl Member {
    /// Whether it answers.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.status, MemberStatus::Alive | MemberStatus::Leaving)
    }
}

/// A member as one node tells another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) card: Card,
    pub(super) status: MemberStatus,
}

/// All members, by folded name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Roll {
    members: BTreeMap<String, Member>,
}

impl Roll {
    /// The members, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.members.get(&name.to_ascii_lowercase())
    }

    /// The member with an identity in the log.
    #[must_use]
    pub fn by_raft_id(&self, id: u64) -> Option<&Member> {
        self.members.values().find(|member| member.card.raft_id == id)
    }

    /// How many are of a status.
    #[must_use]
    pub fn count(&self, status: MemberStatus) -> usize {
        self.members.values().filter(|member| member.status == status).count()
    }

    /// How many there are, whatever their status.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A roll of members that are up, for tests: name, identity in the log, whether it is a server.
    #[cfg(test)]
    pub(crate) fn of(members: &[(&str, u64, bool)]) -> Roll {
        use super::card::MemberRole;
        let mut roll = Roll::default();
        for (name, raft_id, server) in members {
            let role = if *server { MemberRole::Server { bootstrap: false, expect: 0 } } else { MemberRole::Client };
            let card = Card {
                name: (*name).to_owned(),
                node_id: String::new(),
                datacenter: "dc1".to_owned(),
                gossip: ([127, 0, 0, 1], 1).into(),
                rpc: ([127, 0, 0, 1], 2).into(),
                wan_port: 3,
                raft_id: *raft_id,
                role,
                incarnation: 1,
            };
            roll.up(&card, Instant::now());
        }
        roll
    }

    /// The same roll with some members failed, for tests.
    #[cfg(test)]
    pub(crate) fn failing(mut self, names: &[&str]) -> Roll {
        for name in names {
            let card = self.members[*name].card.clone();
            self.down(&card, Instant::now());
        }
        self
    }

    fn put(&mut self, card: Card, status: MemberStatus, now: Instant) {
        // A name that no node can have is somebody's mistake, or malice: it has no place here.
        let Ok(name) = NodeName::parse(&card.name) else { return };
        let since = match self.members.get(&card.folded()) {
            Some(known) if known.status == status => known.since,
            _ => now,
        };
        self.members.insert(card.folded(), Member { name, card, status, since });
    }

    /// Gossip says that a member answers.
    pub(super) fn up(&mut self, card: &Card, now: Instant) {
        match self.get(&card.name) {
            Some(known) if known.card.incarnation > card.incarnation => {}
            Some(known) if known.card.incarnation == card.incarnation && known.status == MemberStatus::Leaving => {}
            _ => self.put(card.clone(), MemberStatus::Alive, now),
        }
    }

    /// Gossip says that a member does not answer any more.
    pub(super) fn down(&mut self, card: &Card, now: Instant) {
        let status = match self.get(&card.name) {
            Some(known) if known.card.incarnation > card.incarnation => return,
            Some(known) if matches!(known.status, MemberStatus::Leaving | MemberStatus::Left) => MemberStatus::Left,
            Some(_) => MemberStatus::Failed,
            None => return,
        };
        self.put(card.clone(), status, now);
    }

    /// A member has a newer card.
    pub(super) fn renamed(&mut self, before: &Card, after: &Card, now: Instant) {
        let known = self.get(&before.name);
        if known.is_some_and(|known| known.card.incarnation <= after.incarnation && known.is_up()) {
            self.put(after.clone(), MemberStatus::Alive, now);
        }
    }

    /// A member is to leave: by its own word, or an operator's.
    pub(super) fn leave(&mut self, name: &str, incarnation: u64, now: Instant) {
        let Some(known) = self.get(name) else { return };
        if known.card.incarnation > incarnation {
            return;
        }
        let status = match known.status {
            MemberStatus::Alive | MemberStatus::Leaving => MemberStatus::Leaving,
            MemberStatus::Failed | MemberStatus::Left => MemberStatus::Left,
        };
        let card = known.card.clone();
        self.put(card, status, now);
    }

    /// A member that was told to leave stays.
    pub(super) fn stay(&mut self, name: &str, now: Instant) {
        if let Some(known) = self.get(name).filter(|known| known.status == MemberStatus::Leaving) {
            let card = known.card.clone();
            self.put(card, MemberStatus::Alive, now);
        }
    }

    /// Strikes a member that is gone.
    pub(super) fn forget(&mut self, name: &str) {
        if self.get(name).is_some_and(|known| !known.is_up()) {
            self.members.remove(&name.to_ascii_lowercase());
        }
    }

    /// Strikes the members that have been gone for long enough.
    pub(super) fn reap(&mut self, failed_kept: Duration, now: Instant) -> bool {
        let before = self.members.len();
        self.members.retain(|_, member| {
            let gone = now.saturating_duration_since(member.since);
            match member.status {
                MemberStatus::Alive | MemberStatus::Leaving => true,
                MemberStatus::Left => gone < LEFT_KEPT,
                MemberStatus::Failed => gone < failed_kept,
            }
        });
        self.members.len() != before
    }

    /// What another node is told.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.members.values().map(|member| Row { card: member.card.clone(), status: member.status }).collect()
    }

    /// Takes over what another node knows of those that are gone; who answers is for gossip to say.
    pub(super) fn merge(&mut self, rows: Vec<Row>, now: Instant) {
        for Row { card, status } in rows {
            if matches!(status, MemberStatus::Alive | MemberStatus::Leaving) {
                continue;
            }
            let newer = match self.get(&card.name) {
                None => true,
                Some(known) if known.is_up() => false,
                Some(known) if known.card.incarnation == card.incarnation => status == MemberStatus::Left,
                Some(known) => known.card.incarnation < card.incarnation,
            };
            if newer {
                self.put(card, status, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str, incarnation: u64) -> Card {
        let member = Roll::of(&[("n", 4, false)]).members.remove("n").unwrap();
        Card { name: name.to_owned(), incarnation, ..member.card }
    }

    fn status(roll: &Roll, name: &str) -> Option<MemberStatus> {
        roll.get(name).map(|member| member.status)
    }

    #[test]
    fn who_said_so_has_left_and_who_did_not_has_failed() {
        let now = Instant::now();
        let mut roll = Roll::default();
        roll.up(&card("a", 1), now);
        roll.up(&card("b", 1), now);
        roll.leave("A", 1, now);
        assert_eq!(status(&roll, "a"), Some(MemberStatus::Leaving));
        roll.down(&card("a", 1), now);
        roll.down(&card("b", 1), now);
        assert_eq!(status(&roll, "a"), Some(MemberStatus::Left));
        assert_eq!(status(&roll, "b"), Some(MemberStatus::Failed));
        // An operator strikes it off.
        roll.leave("b", 1, now);
        assert_eq!(status(&roll, "b"), Some(MemberStatus::Left));
        // Its process starts again.
        roll.up(&card("b", 2), now);
        assert_eq!(status(&roll, "b"), Some(MemberStatus::Alive));
    }

    #[test]
    fn late_words_count_for_nothing() {
        let now = Instant::now();
        let mut roll = Roll::default();
        roll.up(&card("a", 5), now);
        roll.down(&card("a", 4), now);
        roll.leave("a", 4, now);
        assert_eq!(status(&roll, "a"), Some(MemberStatus::Alive));
        roll.leave("a", 5, now);
        roll.up(&card("a", 5), now);
        assert_eq!(status(&roll, "a"), Some(MemberStatus::Leaving));
        roll.stay("a", now);
        assert_eq!(status(&roll, "a"), Some(MemberStatus::Alive));
        roll.forget("a");
        assert_eq!(roll.len(), 1, "nobody who answers is forgotten");
    }

    #[test]
    fn the_gone_are_told_of_and_reaped() {
        let now = Instant::now();
        let (mut roll, mut other) = (Roll::default(), Roll::default());
        roll.up(&card("a", 1), now);
        roll.down(&card("a", 1), now);
        other.merge(roll.rows(), now);
        assert_eq!(status(&other, "a"), Some(MemberStatus::Failed));
        roll.leave("a", 1, now);
        other.merge(roll.rows(), now);
        assert_eq!(status(&other, "a"), Some(MemberStatus::Left));
        assert!(!other.reap(LEFT_KEPT, now + LEFT_KEPT - Duration::from_secs(1)));
        assert!(other.reap(LEFT_KEPT, now + LEFT_KEPT));
        assert!(other.is_empty());
    }

    #[test]
    fn a_name_that_no_node_can_have_is_left_out() {
        let mut roll = Roll::default();
        roll.up(&card("", 1), Instant::now());
        roll.up(&card("a\nb", 1), Instant::now());
        assert!(roll.is_empty());
    }
}
