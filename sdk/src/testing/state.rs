//! What the registry of the kit knows: instances with their checks, and the index of each thing. No I/O.
//!
//! Decides which write moves which index, by the rules of the interface: a write that changes nothing moves none, a
//! service without instances has the index of the last disappearance. Keys, sessions, config entries and events are in
//! `store`. Time is an argument. Called by `routes`, and by tests through [`super::Registry::change`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use callboard_proto::api::agent::ServiceRequest;
use callboard_proto::api::check::CheckUpdate;
use callboard_proto::api::event::UserEvent;
use callboard_proto::check::{Check, SERVICE_MAINTENANCE};
use callboard_proto::definition::Probe;
use callboard_proto::kv::KvEntry;
use callboard_proto::name::{CheckId, InstanceId};
use callboard_proto::{CheckStatus, Index, Instance, Node, NodeName};
use serde_json::Value;
use tokio::time::Instant;

use super::store::Live;

/// The node that everything belongs to which names no other.
pub const NODE: &str = "n1";

/// An instance with its node and its checks.
#[derive(Debug, Clone)]
pub struct Row {
    /// Where it runs.
    pub node: Node,
    /// The instance.
    pub instance: Instance,
    /// Its checks.
    pub checks: Vec<Check>,
    /// When its TTL check turns critical unless it is beaten.
    pub(super) beat_by: Option<Instant>,
}

impl Row {
    /// Returns the worst status of its checks; passing when there is none.
    #[must_use]
    pub fn status(&self) -> CheckStatus {
        self.checks.iter().map(|check| check.status).max().unwrap_or(CheckStatus::Passing)
    }

    /// Returns the output of the first check.
    #[must_use]
    pub fn output(&self) -> &str {
        self.checks.first().map_or("", |check| &check.output)
    }
}

/// Everything the registry knows at one index.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) index: u64,
    // By id and node.
    pub(super) rows: BTreeMap<(String, String), Row>,
    // Of services that have instances.
    services: BTreeMap<String, u64>,
    last_extinction: u64,
    pub(super) beats: Vec<CheckUpdate>,
    pub(super) kv: BTreeMap<String, KvEntry>,
    pub(super) graves: BTreeMap<String, u64>,
    pub(super) kv_index: u64,
    // Until when a key cannot be locked.
    pub(super) delays: BTreeMap<String, Instant>,
    pub(super) sessions: BTreeMap<String, Live>,
    pub(super) sessions_index: u64,
    pub(super) config: BTreeMap<(String, String), Value>,
    pub(super) config_index: u64,
    pub(super) events: VecDeque<UserEvent>,
    // Counts what was given an id, over losses of data too: an id never comes back.
    pub(super) named: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            index: 1,
            rows: BTreeMap::new(),
            services: BTreeMap::new(),
            last_extinction: 0,
            beats: Vec::new(),
            kv: BTreeMap::new(),
            graves: BTreeMap::new(),
            kv_index: 0,
            delays: BTreeMap::new(),
            sessions: BTreeMap::new(),
            sessions_index: 0,
            config: BTreeMap::new(),
            config_index: 0,
            events: VecDeque::new(),
            named: 0,
        }
    }
}

impl State {
    /// Returns the index of the last write.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Returns every instance, by id.
    pub fn instances(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// Returns the first instance of this id.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<&Row> {
        self.rows.values().find(|row| row.instance.id.as_str() == id)
    }

    /// Returns the beats that were taken, in order.
    #[must_use]
    pub fn beats(&self) -> &[CheckUpdate] {
        &self.beats
    }

    /// Returns a key.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&KvEntry> {
        self.kv.get(key)
    }

    /// Returns the names of all keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.kv.values().map(|entry| &*entry.key)
    }

    pub(super) fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    /// Adds a passing instance on 127.0.0.1.
    ///
    /// # Panics
    /// When the name or the id is not one.
    pub fn add(&mut self, service: &str, id: &str, port: u16) {
        let request = ServiceRequest {
            id: id.into(),
            name: service.into(),
            address: "127.0.0.1".into(),
            port,
            ..ServiceRequest::default()
        };
        let check = format!(r#"{{"CheckID":"service:{id}","Name":"c","TTL":"24h","Status":"passing"}}"#);
        let check = callboard_proto::api::decode::from_slice(check.as_bytes(), super::Unknown::Refuse);
        let request = ServiceRequest { check: check.ok(), ..request };
        if let Err(error) = self.register(request, NODE, "127.0.0.1", Instant::now()) {
            panic!("the kit was told to add {service} {id}: {error}");
        }
    }

    /// Writes an instance with its checks; a write that changes nothing moves no index.
    pub(super) fn register(
        &mut self,
        request: ServiceRequest,
        node: &str,
        address: &str,
        now: Instant,
    ) -> Result<(), String> {
        let name = NodeName::parse(node).map_err(|error| error.to_string())?;
        let (mut instance, checks) = request.validate(&name).map_err(|error| error.to_string())?;
        let mut checks: Vec<Check> = checks.into_iter().map(|new| new.check).collect();
        for check in &mut checks {
            check.service = instance.service.clone();
            check.service_tags = instance.tags.clone();
        }
        let node = Node { name: name.clone(), address: address.into(), ..Node::default() };
        let key = (instance.id.to_string(), name.to_string());
        let beat_by = ttl(&checks).map(|ttl| now + ttl);
        if let Some(known) = self.rows.get_mut(&key) {
            let same = known.instance.same_as(&instance)
                && known.checks.len() == checks.len()
                && known
                    .checks
                    .iter()
                    .zip(&checks)
                    .all(|(old, new)| old.same_as(&Check { output: old.output.clone(), ..new.clone() }));
            if same {
                known.beat_by = beat_by;
                return Ok(());
            }
        }
        let gone = self.rows.remove(&key);
        let index = self.next_index();
        instance.created = gone.as_ref().map_or(Index(index), |row| row.instance.created);
        instance.modified = Index(index);
        for check in &mut checks {
            (check.created, check.modified) = (instance.created, Index(index));
        }
        let service = instance.service.folded().to_string();
        self.rows.insert(key, Row { node, instance, checks, beat_by });
        if let Some(old) = gone {
            self.touch(old.instance.service.folded().as_str(), index);
        }
        self.touch(&service, index);
        Ok(())
    }

    /// Removes an instance; false when there was none.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(key) = self.rows.keys().find(|(known, _)| known == id).cloned() else { return false };
        self.remove_at(&key)
    }

    pub(super) fn remove_at(&mut self, key: &(String, String)) -> bool {
        let Some(row) = self.rows.remove(key) else { return false };
        let index = self.next_index();
        self.touch(row.instance.service.folded().as_str(), index);
        true
    }

    /// Removes every instance, as one write.
    pub fn remove_all(&mut self) {
        let index = self.next_index();
        self.rows.clear();
        self.services.clear();
        self.last_extinction = index;
    }

    /// Changes an instance behind its owner's back; false when there is none.
    pub fn alter(&mut self, id: &str, change: impl FnOnce(&mut Row)) -> bool {
        let index = self.index + 1;
        let Some(row) = self.rows.values_mut().find(|row| row.instance.id.as_str() == id) else { return false };
        change(row);
        row.instance.modified = Index(index);
        let service = row.instance.service.folded().to_string();
        self.index = index;
        self.touch(&service, index);
        true
    }

    /// Sets the status of an instance's first check; false when there is none.
    pub fn set_status(&mut self, id: &str, status: CheckStatus, output: &str) -> bool {
        self.alter(id, |row| {
            if let Some(check) = row.checks.first_mut() {
                (check.status, check.output) = (status, output.into());
            }
        })
    }

    /// Takes a beat; false when the check is unknown.
    pub(super) fn beat(&mut self, node: &str, check: &str, update: CheckUpdate, now: Instant) -> Result<bool, String> {
        let status: CheckStatus =
            update.status.parse().map_err(|_| format!("Invalid check status: '{}'", update.status))?;
        let found = self
            .rows
            .iter_mut()
            .find(|((_, at), row)| at == node && row.checks.iter().any(|known| known.id.as_str() == check));
        let Some((key, row)) = found else { return Ok(false) };
        let key = key.clone();
        row.beat_by = ttl(&row.checks).map(|ttl| now + ttl);
        let known = row.checks.iter_mut().find(|known| known.id.as_str() == check);
        let news = known.is_some_and(|known| {
            let news = known.status != status;
            (known.status, known.output) = (status, update.output.as_str().into());
            news
        });
        self.beats.push(update);
        if news {
            self.touch_row(&key);
        }
        Ok(true)
    }

    /// Puts an instance into maintenance or takes it out; false when it is unknown.
    pub(super) fn maintain(&mut self, key: &(String, String), on: bool, reason: &str) -> bool {
        let Some(row) = self.rows.get_mut(key) else { return false };
        let id = format!("{SERVICE_MAINTENANCE}{}", row.instance.id);
        let before = row.checks.len();
        row.checks.retain(|check| check.id.as_str() != id);
        if on && let Ok(check_id) = CheckId::parse(&id) {
            row.checks.push(maintenance(row, check_id, reason));
        }
        if on || before != row.checks.len() {
            self.touch_row(key);
        }
        true
    }

    /// Turns what was not beaten in time critical. Says whether anything changed.
    pub(super) fn expire_beats(&mut self, now: Instant) -> bool {
        let late = |row: &Row| row.beat_by.is_some_and(|by| by <= now);
        let keys: Vec<_> = self.rows.iter().filter(|(_, row)| late(row)).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            if let Some(row) = self.rows.get_mut(key) {
                row.beat_by = None;
                if let Some(check) = row.checks.iter_mut().find(|check| is_ttl(check)) {
                    (check.status, check.output) = (CheckStatus::Critical, "TTL expired".into());
                }
            }
            self.touch_row(key);
        }
        !keys.is_empty()
    }

    /// Returns when something runs out next.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let beats = self.rows.values().filter_map(|row| row.beat_by);
        beats.chain(self.sessions.values().filter_map(|session| session.expires)).min()
    }

    fn touch_row(&mut self, key: &(String, String)) {
        let index = self.next_index();
        let Some(row) = self.rows.get_mut(key) else { return };
        row.checks.iter_mut().for_each(|check| check.modified = Index(index));
        let service = row.instance.service.folded().to_string();
        self.touch(&service, index);
    }

    fn touch(&mut self, service: &str, index: u64) {
        if self.rows.values().any(|row| row.instance.service.folded().as_str() == service) {
            self.services.insert(service.to_owned(), index);
        } else {
            self.services.remove(service);
            self.last_extinction = index;
        }
    }

    /// Returns the index of a service's rows.
    pub(super) fn service_index(&self, service: &str) -> u64 {
        let known = self.services.get(&service.to_ascii_lowercase()).copied();
        known.unwrap_or(if self.last_extinction > 0 { self.last_extinction } else { self.services_index() })
    }

    pub(super) fn services_index(&self) -> u64 {
        self.services.values().copied().max().unwrap_or(0).max(self.last_extinction)
    }

    /// Moves the index on, as writes do that concern nobody here.
    pub fn advance(&mut self, by: u64) {
        self.index += by;
    }

    /// Loses everything, the index included, as a registry without its disk does.
    pub fn lose_data(&mut self) {
        *self = Self { named: self.named, beats: std::mem::take(&mut self.beats), ..Self::default() };
    }

    /// Takes back everything that came after a copy, the index included; each TTL begins anew. Beats stay on record.
    pub(super) fn set_back(&mut self, copy: Self, now: Instant) {
        let (named, beats) = (self.named.max(copy.named), std::mem::take(&mut self.beats));
        *self = Self { named, beats, ..copy };
        self.rows.values_mut().for_each(|row| row.beat_by = ttl(&row.checks).map(|ttl| now + ttl));
    }

    /// Keeps the rows and begins the index anew, as a registry restored from a copy does.
    pub fn reset_index(&mut self) {
        self.index = 1;
        self.services.values_mut().for_each(|index| *index = 1);
        self.last_extinction = self.last_extinction.min(1);
        self.kv_index = self.kv_index.min(1);
        self.graves.clear();
        (self.sessions_index, self.config_index) = (self.sessions_index.min(1), self.config_index.min(1));
        for row in self.rows.values_mut() {
            row.instance.modified = Index(1);
            row.checks.iter_mut().for_each(|check| check.modified = Index(1));
        }
        self.kv.values_mut().for_each(|entry| entry.modified = Index(1));
    }
}

fn is_ttl(check: &Check) -> bool {
    check.definition.as_ref().is_some_and(|definition| matches!(definition.probe, Probe::Ttl { .. }))
}

fn ttl(checks: &[Check]) -> Option<Duration> {
    checks.iter().find_map(|check| match check.definition.as_ref()?.probe {
        Probe::Ttl { ttl } => Some(ttl),
        _ => None,
    })
}

fn maintenance(row: &Row, id: CheckId, reason: &str) -> Check {
    Check {
        node: row.node.name.clone(),
        id,
        name: "Service Maintenance Mode".into(),
        status: CheckStatus::Critical,
        notes: reason.into(),
        output: "".into(),
        instance: InstanceId::clone(&row.instance.id),
        service: row.instance.service.clone(),
        service_tags: row.instance.tags.clone(),
        kind: "maintenance".into(),
        definition: None,
        shown_definition: "".into(),
        owner: Default::default(),
        created: row.instance.created,
        modified: row.instance.modified,
    }
}
