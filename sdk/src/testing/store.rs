//! Keys, sessions, config entries and events of the kit's registry. No I/O; time is an argument.
//!
//! The rules are those of the interface: who may take a lock, what the end of a session does to its keys, how long a key
//! cannot be locked afterwards. A session ends at its TTL and not a moment later, which is the least that a server
//! promises: what holds here holds against servers that wait longer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callboard_proto::Index;
use callboard_proto::duration::GoDuration;
use callboard_proto::kv::KvEntry;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::state::State;

/// The most events that are kept.
const EVENTS_MAX: usize = 256;

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// The node it belongs to.
    pub node: String,
    /// How long its keys cannot be locked after it ended.
    pub lock_delay: Duration,
    /// Whether its keys go with it.
    pub deletes: bool,
    /// How long it lasts without a renewal; none: for ever.
    pub ttl: Option<Duration>,
    pub(super) ttl_text: String,
    pub(super) checks: Vec<String>,
    pub(super) expires: Option<Instant>,
    pub(super) created: u64,
}

impl SessionRow {
    pub(super) fn shown(&self) -> Value {
        json!({"ID": self.id, "Name": self.name, "Node": self.node, "LockDelay": self.lock_delay.as_nanos() as u64,
            "Behavior": if self.deletes { "delete" } else { "release" }, "TTL": self.ttl_text, "NodeChecks": self.checks,
            "ServiceChecks": null, "CreateIndex": self.created, "ModifyIndex": self.created})
    }
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

    /// Opens a session as a body says; the error is the text of a 500.
    pub(super) fn open_session(&mut self, body: &Value, now: Instant) -> Result<String, String> {
        let field = |name: &str| {
            let fields = body.as_object()?;
            fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let ttl_text = text("TTL");
        let mut ttl = None;
        if !ttl_text.is_empty() {
            let parsed =
                GoDuration::parse(&ttl_text).map_err(|error| format!("Session TTL '{ttl_text}' invalid: {error}"))?;
            let bounds = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);
            if parsed.0 != 0 && !bounds.contains(&parsed.to_std()) {
                return Err(format!("Invalid Session TTL '{}', must be between [10s=24h0m0s]", parsed.0));
            }
            ttl = parsed.positive();
        }
        let lock_delay = match field("LockDelay") {
            None | Some(Value::Null) => Duration::from_secs(15),
            Some(Value::String(text)) => GoDuration::parse(text).map_err(|error| error.to_string())?.to_std(),
            Some(number) => match number.as_u64().ok_or("LockDelay is neither a duration nor a number")? {
                seconds @ 0..1000 => Duration::from_secs(seconds),
                nanos => Duration::from_nanos(nanos),
            },
        };
        let deletes = match text("Behavior").as_str() {
            "" | "release" => false,
            "delete" => true,
            other => return Err(format!("Invalid Behavior setting '{other}'")),
        };
        let listed = field("NodeChecks").or_else(|| field("Checks")).and_then(Value::as_array);
        let checks = listed.map_or_else(
            || vec!["serfHealth".to_owned()],
            |listed| listed.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        );
        let known = |check: &String| {
            check == "serfHealth"
                || self.rows.values().any(|row| row.checks.iter().any(|row| row.id.as_str() == *check))
        };
        if let Some(unknown) = checks.iter().find(|check| !known(check)) {
            return Err(format!("Missing check '{unknown}' registration"));
        }
        let node = Some(text("Node")).filter(|node| !node.is_empty()).unwrap_or_else(|| super::state::NODE.to_owned());
        let id = self.name();
        let index = self.next_index();
        self.sessions_index = index;
        let session = SessionRow {
            id: id.clone(),
            name: text("Name"),
            node,
            lock_delay: lock_delay.min(Duration::from_secs(60)),
            deletes,
            ttl,
            ttl_text,
            checks,
            expires: ttl.map(|ttl| now + ttl),
            created: index,
        };
        self.sessions.insert(id.clone(), session);
        Ok(id)
    }

    /// Returns every session, by id.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionRow> {
        self.sessions.values()
    }

    /// Renews a session; none when it is unknown. No index moves.
    pub(super) fn renew(&mut self, id: &str, now: Instant) -> Option<Value> {
        let session = self.sessions.get_mut(id)?;
        session.expires = session.ttl.map(|ttl| now + ttl);
        Some(session.shown())
    }

    /// Ends a session and does to its keys what it was opened for, as one write. False when it is unknown.
    pub fn end_session(&mut self, id: &str) -> bool {
        let Some(session) = self.sessions.remove(id) else { return false };
        let index = self.next_index();
        self.sessions_index = index;
        let held: Vec<String> =
            self.kv.values().filter(|entry| *entry.session == *id).map(|entry| entry.key.to_string()).collect();
        for key in held {
            self.kv_index = index;
            if !session.lock_delay.is_zero() {
                self.delays.insert(key.clone(), Instant::now() + session.lock_delay);
            }
            if session.deletes {
                self.kv.remove(&key);
                self.graves.insert(key, index);
            } else if let Some(entry) = self.kv.get_mut(&key) {
                (entry.session, entry.modified) = ("".into(), Index(index));
            }
        }
        true
    }

    /// Ends the sessions whose time has run out. Says whether there were any.
    pub(super) fn expire_sessions(&mut self, now: Instant) -> bool {
        let over = |session: &&SessionRow| session.expires.is_some_and(|at| at <= now);
        let ids: Vec<String> = self.sessions.values().filter(over).map(|session| session.id.clone()).collect();
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

    /// Fires an event and returns it as it is shown.
    pub fn fire(&mut self, name: &str, payload: &[u8]) -> Value {
        let id = self.name();
        let payload = (!payload.is_empty()).then(|| STANDARD.encode(payload));
        let event = json!({"ID": id, "Name": name, "Payload": payload, "NodeFilter": "", "ServiceFilter": "",
            "TagFilter": "", "Version": 1, "LTime": self.named});
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

/// Returns the pseudo index of a list of events: both halves of the last id, xor; 1 when there is none.
pub(super) fn pseudo_index(last: Option<&Value>) -> u64 {
    let Some(id) = last.and_then(|event| event["ID"].as_str()) else { return 1 };
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |part: Option<&str>| part.and_then(|part| u64::from_str_radix(part, 16).ok()).unwrap_or(0);
    (half(digits.get(..16)) ^ half(digits.get(16..32))).max(1)
}
