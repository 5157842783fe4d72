//! Keys, sessions, config entries and events of the kit's registry. No I/O; time is an argument.
//!
//! The rules are those of the interface: who may take a lock, what the end of a session does to its keys, how long a key
//! cannot be locked afterwards. A session ends at its TTL and not a moment later, which is the least that a server
//! promises: what holds here holds against servers that wait longer.

use callboard_proto::api::event::{EVENTS_MAX, UserEvent};
use callboard_proto::api::session::{Session, SessionRequest, TTL_MIN};
use callboard_proto::api::valid::InvalidRequest;
use callboard_proto::check::SERF_HEALTH;
use callboard_proto::kv::KvEntry;
use callboard_proto::session::{SessionBehavior, SessionRow};
use callboard_proto::{CheckId, CheckStatus, Index, NodeName};
use serde_json::Value;
use tokio::time::Instant;

use super::state::{NODE, State};

/// A session, and when it ends unless it is renewed.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) row: SessionRow,
    pub(super) expires: Option<Instant>,
}

/// Says how a key is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Put {
    pub(super) flags: u64,
    pub(super) cas: Option<u64>,
    pub(super) acquire: Option<String>,
    pub(super) release: Option<String>,
}

impl State {
    /// Writes a key, whatever was there.
    pub fn put(&mut self, key: &str, value: &[u8]) {
        self.write(key, value, 0, None);
    }

    /// Writes a key as a request says; the error is the text of a 500.
    pub(super) fn put_as(&mut self, key: &str, value: &[u8], how: &Put, now: Instant) -> Result<bool, String> {
        let holder = self.kv.get(key).map(|entry| entry.session.to_string()).unwrap_or_default();
        if let Some(cas) = how.cas {
            let modified = self.kv.get(key).map_or(0, |entry| entry.modified.0);
            if modified != cas {
                return Ok(false);
            }
        }
        if let Some(session) = &how.acquire {
            if !self.sessions.contains_key(session) {
                return Err(format!("invalid session {session:?}"));
            }
            let delayed = self.delays.get(key).is_some_and(|until| *until > now);
            if (!holder.is_empty() && holder != *session) || (holder.is_empty() && delayed) {
                return Ok(false);
            }
            self.write(key, value, how.flags, Some(session));
            return Ok(true);
        }
        if let Some(session) = &how.release {
            if holder.is_empty() || holder != *session {
                return Ok(false);
            }
            self.write(key, value, how.flags, Some(""));
            return Ok(true);
        }
        self.write(key, value, how.flags, None);
        Ok(true)
    }

    /// `holder`: none leaves the lock as it is.
    fn write(&mut self, key: &str, value: &[u8], flags: u64, holder: Option<&str>) {
        let known = self.kv.get(key);
        let session = holder.unwrap_or_else(|| known.map_or("", |entry| &entry.session));
        let taken = !session.is_empty() && known.is_none_or(|entry| *entry.session != *session);
        if known.is_some_and(|entry| *entry.value == *value && entry.flags == flags && *entry.session == *session) {
            return;
        }
        let (created, lock_index) = known.map_or((None, 0), |entry| (Some(entry.created), entry.lock_index));
        let session = session.to_owned();
        let index = Index(self.next_index());
        let entry = KvEntry {
            key: key.into(),
            value: value.into(),
            flags,
            session: session.into(),
            lock_index: lock_index + u64::from(taken),
            created: created.unwrap_or(index),
            modified: index,
        };
        self.kv.insert(key.to_owned(), entry);
        self.kv_index = index.0;
    }

    /// Deletes a key, whoever holds it.
    pub fn remove_key(&mut self, key: &str) {
        self.delete(key, None);
    }

    /// Deletes a key; true also when there was none.
    pub(super) fn delete(&mut self, key: &str, cas: Option<u64>) -> bool {
        let Some(entry) = self.kv.get(key) else { return true };
        if cas.is_some_and(|cas| entry.modified.0 != cas) {
            return false;
        }
        self.delete_under(key, |known| known == key);
        true
    }

    pub(super) fn delete_under(&mut self, prefix: &str, wanted: impl Fn(&str) -> bool) {
        let keys: Vec<String> =
            self.kv.keys().filter(|known| known.starts_with(prefix) && wanted(known)).cloned().collect();
        if keys.is_empty() {
            return;
        }
        let index = self.next_index();
        self.kv_index = index;
        for key in keys {
            self.kv.remove(&key);
            self.graves.insert(key, index);
        }
    }

    /// Returns the index of the keys that begin so.
    pub(super) fn prefix_index(&self, prefix: &str) -> u64 {
        let live = self.kv.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, entry)| entry.modified.0).max();
        let dead = self.graves.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, index)| *index).max();
        live.max(dead).unwrap_or(self.kv_index)
    }

    /// Opens a session; the error is the text of a 500.
    pub(super) fn open_session(&mut self, request: SessionRequest, now: Instant) -> Result<String, InvalidRequest> {
        let id = self.name();
        let mut row = request.validate(&id, &node(), TTL_MIN)?;
        for check in depends(&row) {
            match self.check_status(check) {
                None => return Err(InvalidRequest(format!("Missing check '{check}' registration"))),
                Some(CheckStatus::Critical) => {
                    return Err(InvalidRequest(format!("Check '{check}' is in critical state")));
                }
                Some(_) => {}
            }
        }
        let index = self.next_index();
        self.sessions_index = index;
        (row.created, row.modified) = (Index(index), Index(index));
        let expires = row.ttl().map(|ttl| now + ttl);
        self.sessions.insert(id.clone(), Live { row, expires });
        Ok(id)
    }

    /// Returns every session, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionRow> {
        self.sessions.values().map(|live| &live.row)
    }

    /// Renews a session; none when it is unknown. No index moves.
    pub(super) fn renew(&mut self, id: &str, now: Instant) -> Option<Session> {
        let live = self.sessions.get_mut(id)?;
        live.expires = live.row.ttl().map(|ttl| now + ttl);
        Some(Session::of(&live.row))
    }

    /// Ends a session and does to its keys what it was opened for, as one write. False when it is unknown.
    pub fn end_session(&mut self, id: &str) -> bool {
        let Some(Live { row: session, .. }) = self.sessions.remove(id) else { return false };
        let index = self.next_index();
        self.sessions_index = index;
        let held: Vec<String> =
            self.kv.values().filter(|entry| *entry.session == *id).map(|entry| entry.key.to_string()).collect();
        for key in held {
            self.kv_index = index;
            if !session.lock_delay.is_zero() {
                self.delays.insert(key.clone(), Instant::now() + session.lock_delay);
            }
            if session.behavior == SessionBehavior::Delete {
                self.kv.remove(&key);
                self.graves.insert(key, index);
            } else if let Some(entry) = self.kv.get_mut(&key) {
                (entry.session, entry.modified) = ("".into(), Index(index));
            }
        }
        true
    }

    fn check_status(&self, wanted: &CheckId) -> Option<CheckStatus> {
        let mut checks = self.rows.values().flat_map(|row| &row.checks);
        checks.find(|check| check.id == *wanted).map(|check| check.status)
    }

    /// Ends the sessions that depend on a check that is gone or critical. Says whether there were any.
    pub(super) fn end_dependants(&mut self) -> bool {
        let is_bad = |check: &CheckId| self.check_status(check).is_none_or(|status| status == CheckStatus::Critical);
        let bad = self.sessions().filter(|row| depends(row).any(is_bad));
        let ids: Vec<String> = bad.map(|row| row.id.to_string()).collect();
        for id in &ids {
            self.end_session(id);
        }
        !ids.is_empty()
    }

    /// Ends the sessions whose time has run out. Says whether there were any.
    pub(super) fn expire_sessions(&mut self, now: Instant) -> bool {
        let over = |live: &&Live| live.expires.is_some_and(|at| at <= now);
        let ids: Vec<String> = self.sessions.values().filter(over).map(|live| live.row.id.to_string()).collect();
        for id in &ids {
            self.end_session(id);
        }
        !ids.is_empty()
    }

    /// Writes a config entry; its `Kind` and `Name` say which. False when there is no such name or kind.
    pub fn put_config(&mut self, mut entry: Value) -> bool {
        let part = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (part("Kind"), part("Name"));
        if key.0.is_empty() || key.1.is_empty() {
            return false;
        }
        let created = self.config.get(&key).map(|known| known["CreateIndex"].clone());
        if let Some(known) = self.config.get(&key) {
            entry["CreateIndex"] = known["CreateIndex"].clone();
            entry["ModifyIndex"] = known["ModifyIndex"].clone();
            if *known == entry {
                return true;
            }
        }
        let index = self.next_index();
        entry["CreateIndex"] = created.unwrap_or_else(|| index.into());
        entry["ModifyIndex"] = index.into();
        self.config_index = index;
        self.config.insert(key, entry);
        true
    }

    /// Deletes a config entry, if it is there.
    pub fn delete_config(&mut self, kind: &str, name: &str) {
        if self.config.remove(&(kind.to_owned(), name.to_owned())).is_some() {
            self.config_index = self.next_index();
        }
    }

    /// Fires an event and returns it as it is listed.
    pub fn fire(&mut self, name: &str, payload: &[u8]) -> UserEvent {
        let event = UserEvent {
            id: self.name(),
            name: name.to_owned(),
            payload: UserEvent::encode(payload),
            version: 1,
            ltime: self.named,
            ..UserEvent::default()
        };
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
        event
    }

    /// Returns a fresh id in the form of a UUID; the same in every run.
    fn name(&mut self) -> String {
        self.named += 1;
        // Spread over both halves, or the halves of neighbours would fold to neighbouring pseudo indexes.
        let high = self.named.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let parts = (high >> 32, (high >> 16) & 0xffff, high & 0xfff, self.named & 0xffff_ffff_ffff);
        format!("{:08x}-{:04x}-4{:03x}-8000-{:012x}", parts.0, parts.1, parts.2, parts.3)
    }
}

/// Returns the checks that a session depends on, but for its node being alive: here it always is.
fn depends(row: &SessionRow) -> impl Iterator<Item = &CheckId> {
    row.node_checks.iter().chain(&row.service_checks).filter(|check| check.as_str() != SERF_HEALTH)
}

/// The node of whoever names none.
fn node() -> NodeName {
    NodeName::parse(NODE).unwrap_or_default()
}
