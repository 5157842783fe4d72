//! The entries that a client follows, by kind and name: what the registry said last, whole.

use std::collections::BTreeMap;

use callboard_proto::config_entry::{ConfigEntry, ServiceDefaults, ServiceResolver, ServiceRouter, ServiceSplitter};

/// Holds config entries of the four kinds. Names are compared without regard to case, as services' names are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entries {
    resolvers: BTreeMap<String, ServiceResolver>,
    splitters: BTreeMap<String, ServiceSplitter>,
    routers: BTreeMap<String, ServiceRouter>,
    defaults: BTreeMap<String, ServiceDefaults>,
}

impl Entries {
    /// Adds an entry, in place of one of the same kind and name; entries of other kinds are passed over.
    pub fn add(&mut self, entry: ConfigEntry) {
        let name = entry.name().to_ascii_lowercase();
        match entry {
            ConfigEntry::Resolver(entry) => drop(self.resolvers.insert(name, *entry)),
            ConfigEntry::Splitter(entry) => drop(self.splitters.insert(name, entry)),
            ConfigEntry::Router(entry) => drop(self.routers.insert(name, entry)),
            ConfigEntry::Defaults(entry) => drop(self.defaults.insert(name, *entry)),
            ConfigEntry::Intentions(_) | ConfigEntry::Opaque(_) => {}
        }
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resolvers.is_empty() && self.splitters.is_empty() && self.routers.is_empty() && self.defaults.is_empty()
    }

    pub(super) fn resolver(&self, service: &str) -> Option<&ServiceResolver> {
        self.resolvers.get(&service.to_ascii_lowercase())
    }

    pub(super) fn splitter(&self, service: &str) -> Option<&ServiceSplitter> {
        self.splitters.get(&service.to_ascii_lowercase())
    }

    pub(super) fn router(&self, service: &str) -> Option<&ServiceRouter> {
        self.routers.get(&service.to_ascii_lowercase())
    }

    pub(super) fn defaults(&self, service: &str) -> Option<&ServiceDefaults> {
        self.defaults.get(&service.to_ascii_lowercase())
    }
}

impl FromIterator<ConfigEntry> for Entries {
    fn from_iter<I: IntoIterator<Item = ConfigEntry>>(entries: I) -> Self {
        let mut all = Self::default();
        entries.into_iter().for_each(|entry| all.add(entry));
        all
    }
}
