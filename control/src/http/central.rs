//! `?merge-central-config`: proxies are shown as they are to be, with what config entries say of them.
//!
//! How they are merged is said in `callboard_proto::config_entry::central`; here it is asked for, and what can change it
//! is told. Plain services are shown as ever.

use std::collections::BTreeMap;

use callboard_proto::Index;
use callboard_proto::config_entry::{EntryKind, central};
use serde_json::Value;

use super::request::Call;
use crate::registry::{ConfigRow, Registry, Topic};

const KINDS: [EntryKind; 2] = [EntryKind::ProxyDefaults, EntryKind::ServiceDefaults];

/// Whether a reader wants that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Central {
    Merged,
    Apart,
}

impl Central {
    pub(super) fn of(call: &Call<'_>) -> Central {
        if call.params.has("merge-central-config") { Central::Merged } else { Central::Apart }
    }

    /// What can change the answer, beside its rows.
    pub(super) fn topics(self, mut rows: Vec<Topic>) -> Vec<Topic> {
        if self == Central::Merged {
            rows.extend(KINDS.map(Topic::Config));
        }
        rows
    }

    /// The place in history of the answer, when its rows have this one.
    pub(super) fn index(self, registry: &Registry, rows: Index) -> Index {
        match self {
            Central::Merged => KINDS.into_iter().map(|kind| registry.config_index(kind)).fold(rows, Ord::max),
            Central::Apart => rows,
        }
    }

    /// Tells its answers from those of others.
    pub(super) fn mark(self, key: &mut String) {
        if self == Central::Merged {
            key.push_str("\nM");
        }
    }

    /// Begins one answer.
    pub(super) fn merger(self, registry: &Registry) -> Merger<'_> {
        let shown = |row: &ConfigRow| serde_json::to_value(&*row.entry).ok();
        let wanted = self == Central::Merged;
        let proxies = registry.config(EntryKind::ProxyDefaults, "global").filter(|_| wanted).and_then(shown);
        Merger { registry: wanted.then_some(registry), proxies, services: BTreeMap::new() }
    }
}

/// Merges the entries into the proxies of one answer, reading each entry once.
pub(super) struct Merger<'r> {
    /// None where nothing is to be merged.
    registry: Option<&'r Registry>,
    proxies: Option<Value>,
    /// By the service that a proxy stands for.
    services: BTreeMap<String, Option<Value>>,
}

impl Merger<'_> {
    /// Merges what the entries say into the settings of an instance, if it is a proxy.
    pub(super) fn merge(&mut self, kind: &str, proxy: &mut Value) {
        let Some(registry) = self.registry.filter(|_| !kind.is_empty()) else { return };
        let name = proxy.get("DestinationServiceName").and_then(Value::as_str).unwrap_or_default().to_owned();
        let service = self.services.entry(name).or_insert_with_key(|name| {
            let row = registry.config(EntryKind::ServiceDefaults, name)?;
            serde_json::to_value(&*row.entry).ok()
        });
        central::merge(proxy, self.proxies.as_ref(), service.as_ref());
    }
}
