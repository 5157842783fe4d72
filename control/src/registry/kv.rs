//! Keys and values: how they are written and read.
//!
//! A deleted key leaves a grave with the index of its deletion, so that the index of a prefix above it
//! does not go backwards. Graves are bounded in number; when the bound is hit, the oldest is given up
//! and its index becomes a floor under every prefix: a reader may wake once too often, never too seldom.

use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::kv::KvEntry;
use callboard_proto::text::Text;

use super::command::{KvCondition, Outcome, Refusal};
use super::{Change, Graves, Registry, Topic};

/// How many deleted keys are remembered.
const GRAVES_MAX: usize = 16_384;

impl Registry {
    pub(super) fn kv_set(
        &mut self,
        key: Text,
        value: Arc<[u8]>,
        flags: u64,
        condition: KvCondition,
        change: &mut Change<'_>,
    ) -> Outcome {
        let known = self.kv.get(&key).cloned();
        let known = known.as_deref();
        let mut holder = known.map_or_else(Text::default, |known| known.session.clone());
        let mut lock_index = known.map_or(0, |known| known.lock_index);
        match condition {
            KvCondition::Always => {}
            KvCondition::Cas(index) => {
                if known.map_or(Index::ZERO, |known| known.modified) != index {
                    return Outcome::Held(false);
                }
            }
            KvCondition::Acquire { session, .. } if !self.sessions.contains_key(&session) => {
                return Outcome::Refused(Refusal::InvalidSession(session));
            }
            KvCondition::Acquire { session, .. } if holder == session => {}
            KvCondition::Acquire { .. } if !holder.is_empty() => return Outcome::Held(false),
            KvCondition::Acquire { session, seen } => {
                if self.kv_changed(&key) > seen {
                    return Outcome::Overtaken;
                }
                holder = session;
                lock_index += 1;
            }
            KvCondition::Release(session) if holder.is_empty() || holder != session => return Outcome::Held(false),
            KvCondition::Release(_) => holder = Text::default(),
        }
        if known.is_some_and(|known| known.value == value && known.flags == flags && known.session == holder) {
            return Outcome::Held(true);
        }
        let entry = KvEntry {
            value,
            flags,
            session: holder,
            lock_index,
            created: known.map_or(change.at, |known| known.created),
            modified: change.touch(Topic::Key(key.clone())),
            key: key.clone(),
        };
        self.tables.kv = change.at;
        self.graves.open(&key);
        self.put_entry(entry);
        Outcome::Held(true)
    }

    /// Writes a row, and who holds it.
    fn put_entry(&mut self, entry: KvEntry) {
        if let Some(known) = self.kv.get(&entry.key)
            && !known.session.is_empty()
        {
            self.locks.remove(&(known.session.clone(), entry.key.clone()));
        }
        if !entry.session.is_empty() {
            self.locks.insert((entry.session.clone(), entry.key.clone()));
        }
        self.kv.insert(entry.key.clone(), Arc::new(entry));
    }

    /// Takes a key from whoever holds it.
    pub(super) fn unlock(&mut self, key: &Text, change: &mut Change<'_>) {
        let Some(known) = self.kv.get(key).cloned() else { return };
        self.tables.kv = change.touch(Topic::Key(key.clone()));
        self.put_entry(KvEntry { session: Text::default(), modified: change.at, ..(*known).clone() });
    }

    pub(super) fn kv_delete(&mut self, key: &Text, cas: Option<Index>, change: &mut Change<'_>) -> Outcome {
        let Some(known) = self.kv.get(key) else { return Outcome::Held(true) };
        if cas.is_some_and(|index| index != known.modified) {
            return Outcome::Held(false);
        }
        self.bury(key, change);
        Outcome::Held(true)
    }

    pub(super) fn kv_delete_prefix(&mut self, prefix: &Text, change: &mut Change<'_>) -> Outcome {
        let keys: Vec<Text> = self.kv_under(prefix).map(|entry| entry.key.clone()).collect();
        for key in keys {
            self.bury(&key, change);
        }
        Outcome::Held(true)
    }

    /// Removes a key, and with it the lock on it.
    pub(super) fn bury(&mut self, key: &Text, change: &mut Change<'_>) {
        if let Some(known) = self.kv.remove(key)
            && !known.session.is_empty()
        {
            self.locks.remove(&(known.session.clone(), key.clone()));
        }
        self.tables.kv = change.touch(Topic::Key(key.clone()));
        self.graves.dig(key.clone(), change.at);
    }

    /// One key.
    #[must_use]
    pub fn kv_get(&self, key: &str) -> Option<&Arc<KvEntry>> {
        self.kv.get(key)
    }

    /// When one key last changed or went, as far as that is remembered.
    pub(super) fn kv_changed(&self, key: &str) -> Index {
        self.kv.get(key).map_or_else(|| self.graves.of(key), |known| known.modified)
    }

    /// The keys with a prefix, bytewise.
    pub fn kv_under<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a Arc<KvEntry>> + use<'a> {
        let start: Text = prefix.into();
        let wanted = start.clone();
        self.kv.range(start..).take_while(move |(key, _)| key.starts_with(&*wanted)).map(|(_, entry)| entry)
    }

    /// When any key last changed or went.
    #[must_use]
    pub fn kv_index(&self) -> Index {
        self.tables.kv
    }

    /// When any key with a prefix last changed or went; the whole table's index when there never was one.
    #[must_use]
    pub fn kv_index_under(&self, prefix: &str) -> Index {
        if prefix.is_empty() {
            return self.tables.kv;
        }
        let living = self.kv_under(prefix).map(|entry| entry.modified).max().unwrap_or_default();
        let dead = self.graves.under(prefix);
        match living.max(dead) {
            Index::ZERO => self.tables.kv,
            index => index.max(self.graves.floor),
        }
    }
}

impl Graves {
    fn dig(&mut self, key: Text, at: Index) {
        self.open(&key);
        self.by_index.insert((at, key.clone()));
        self.by_key.insert(key, at);
        while self.by_key.len() > GRAVES_MAX {
            let Some((index, key)) = self.by_index.remove_min() else { break };
            self.by_key.remove(&key);
            self.floor = index;
        }
    }

    fn open(&mut self, key: &Text) {
        if let Some(index) = self.by_key.remove(key) {
            self.by_index.remove(&(index, key.clone()));
        }
    }

    /// When a key went, as far as that is remembered.
    fn of(&self, key: &str) -> Index {
        self.by_key.get(key).copied().unwrap_or(self.floor)
    }

    fn under(&self, prefix: &str) -> Index {
        let start: Text = prefix.into();
        let graves = self.by_key.range(start..).take_while(|(key, _)| key.starts_with(prefix));
        graves.map(|(_, index)| *index).max().unwrap_or_default()
    }
}
