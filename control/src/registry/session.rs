//! Sessions and the locks they hold: how they begin, and every way in which they end.
//!
//! A session ends when it is destroyed (by its owner, or by the leader because its time ran out), when its node goes,
//! or when a check that it depends on goes or turns critical. Whatever the cause, the session and all its locks end at
//! one index. Time to live and lock delay are not kept here: the registry has no clock.

use std::sync::Arc;

use callboard_proto::session::{SessionBehavior, SessionRow};
use callboard_proto::text::Text;
use callboard_proto::{CheckId, CheckStatus, Index, NodeName};
use imbl::ordmap::DiffItem;

use super::command::{Outcome, Refusal};
use super::{Change, Registry, Topic};

/// One difference between the sessions of two states.
#[derive(Debug)]
pub enum SessionChange<'a> {
    /// It is new, or its row changed.
    Put(&'a Arc<SessionRow>),
    /// It is gone.
    Removed(&'a Arc<SessionRow>),
}

// How they are written.
impl Registry {
    pub(super) fn create_session(&mut self, mut session: SessionRow, change: &mut Change<'_>) -> Outcome {
        let node = session.node.folded();
        if self.sessions.contains_key(&session.id) {
            return Outcome::Refused(Refusal::DuplicateSession(session.id));
        }
        if !self.nodes.contains_key(&node) {
            return Outcome::Refused(Refusal::MissingNode);
        }
        for id in session.node_checks.iter().chain(&session.service_checks) {
            match self.check(&node, id.as_str()) {
                None => return Outcome::Refused(Refusal::MissingCheck(id.clone())),
                Some(check) if check.status == CheckStatus::Critical => {
                    return Outcome::Refused(Refusal::CriticalCheck(id.clone()));
                }
                Some(_) => {}
            }
        }
        session.created = change.at;
        session.modified = change.touch(Topic::Sessions);
        self.tables.sessions = change.at;
        self.sessions_on.insert((node, session.id.clone()));
        self.sessions.insert(session.id.clone(), Arc::new(session));
        Outcome::Done
    }

    /// Ends a session and gives up its locks. An unknown one has ended already.
    pub(super) fn end_session(&mut self, id: &Text, change: &mut Change<'_>) -> Outcome {
        let Some(session) = self.sessions.remove(id) else { return Outcome::Done };
        self.sessions_on.remove(&(session.node.folded(), id.clone()));
        self.tables.sessions = change.touch(Topic::Sessions);
        self.end_queries_of(id, change);
        let held: Vec<Text> = self.locked_by(id).cloned().collect();
        for key in held {
            if !session.lock_delay.is_zero() {
                change.touched.lose(key.clone(), session.lock_delay());
            }
            match session.behavior {
                SessionBehavior::Release => self.unlock(&key, change),
                SessionBehavior::Delete => self.bury(&key, change),
            }
        }
        Outcome::Done
    }

    /// Ends the sessions of a node that goes.
    pub(super) fn end_sessions_on(&mut self, node: &NodeName, change: &mut Change<'_>) {
        let ended: Vec<Text> = self.sessions_on(node).map(|session| session.id.clone()).collect();
        for id in ended {
            self.end_session(&id, change);
        }
    }

    /// Ends the sessions that depend on a check that went or turned critical.
    pub(super) fn end_sessions_of_check(&mut self, node: &NodeName, check: &CheckId, change: &mut Change<'_>) {
        let ended: Vec<Text> = self
            .sessions_on(node)
            .filter(|session| session.depends_on(check))
            .map(|session| session.id.clone())
            .collect();
        for id in ended {
            self.end_session(&id, change);
        }
    }
}

// How they are read.
impl Registry {
    /// One session.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<&Arc<SessionRow>> {
        self.sessions.get(id)
    }

    /// All sessions, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<SessionRow>> {
        self.sessions.values()
    }

    /// The sessions that depend on a node, by id.
    pub fn sessions_on<'a>(&'a self, node: &NodeName) -> impl Iterator<Item = &'a Arc<SessionRow>> + use<'a> {
        let key = node.folded();
        self.sessions_on
            .range((key.clone(), Text::default())..)
            .take_while(move |(node, _)| *node == key)
            .filter_map(|(_, id)| self.sessions.get(id))
    }

    /// The keys that a session holds.
    pub fn locked_by<'a>(&'a self, session: &Text) -> impl Iterator<Item = &'a Text> + use<'a> {
        let id = session.clone();
        self.locks
            .range((id.clone(), Text::default())..)
            .take_while(move |(session, _)| *session == id)
            .map(|(_, key)| key)
    }

    /// How the sessions differ from those of an earlier state.
    pub fn sessions_since<'a>(&'a self, earlier: &'a Registry) -> impl Iterator<Item = SessionChange<'a>> {
        earlier.sessions.diff(&self.sessions).map(|item| match item {
            DiffItem::Add(_, session) | DiffItem::Update { new: (_, session), .. } => SessionChange::Put(session),
            DiffItem::Remove(_, session) => SessionChange::Removed(session),
        })
    }

    /// When any session last began or ended.
    #[must_use]
    pub fn sessions_index(&self) -> Index {
        self.tables.sessions
    }
}
