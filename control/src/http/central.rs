//! `?merge-central-config`: proxies are shown as they are to be, with what config entries say of them.
//!
//! How they are merged is said in `callboard_proto::config_entry::central`; here it is asked for, and what can change it
//! is told. Plain services are shown as ever.

use callboard_proto::Index;
use callboard_proto::config_entry::{EntryKind, central};
use serde_json::Value;

use super::request::Call;
use crate::registry::{Registry, Topic};

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

    /// Merges what the entries say into the settings of a proxy.
    pub(super) fn merge(self, registry: &Registry, kind: &str, proxy: &mut Value) {
        if self == Central::Apart || kind.is_empty() {
            return;
        }
        let entry = |kind, name: &str| {
            let row = registry.config(kind, name)?;
            serde_json::to_value(&*row.entry).ok()
        };
        let service = proxy.get("DestinationServiceName").and_then(Value::as_str);
        let service = service.and_then(|service| entry(EntryKind::ServiceDefaults, service));
        central::merge(proxy, entry(EntryKind::ProxyDefaults, "global").as_ref(), service.as_ref());
    }
}
