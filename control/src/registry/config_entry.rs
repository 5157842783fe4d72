//! Config entries: how they are written and read.
//!
//! An entry is kept as the canonical JSON that it was accepted as, and read from it once. A write or removal that
//! would break what other entries ask of this one is refused: routes and splits need services that speak HTTP.

use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::api::discovery_chain::Chain;
use callboard_proto::config_entry::compile::{Asked, compile};
use callboard_proto::config_entry::{ConfigEntry, EntryKind, InvalidEntry, chain};
use callboard_proto::text::Text;
use imbl::OrdMap;

use super::command::{Outcome, Refusal};
use super::{Change, Registry, Topic};

/// A stored entry.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigRow {
    /// The entry, read.
    pub entry: Arc<ConfigEntry>,
    /// The entry as canonical JSON.
    pub(super) body: Text,
    /// When it was first written.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

/// All entries, by kind and folded name.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigTable {
    pub(super) rows: OrdMap<(EntryKind, Text), ConfigRow>,
    /// When any entry of each kind last changed or went.
    pub(super) changed: OrdMap<EntryKind, Index>,
}

impl ConfigRow {
    /// Reads a row from what is stored of it.
    pub(super) fn read(body: Text, created: Index, modified: Index) -> Result<ConfigRow, String> {
        let entry: ConfigEntry = serde_json::from_str(&body).map_err(|error| format!("a config entry: {error}"))?;
        Ok(ConfigRow { entry: Arc::new(entry), body, created, modified })
    }
}

pub(super) fn folded(name: &str) -> Text {
    name.to_ascii_lowercase().into()
}

impl chain::Entries for ConfigTable {
    fn entry(&self, kind: EntryKind, name: &str) -> Option<&ConfigEntry> {
        self.rows.get(&(kind, folded(name))).map(|row| &*row.entry)
    }
}

impl ConfigTable {
    /// Checks what all entries ask of one another.
    pub(super) fn check(&self) -> Result<(), InvalidEntry> {
        for kind in [
            EntryKind::ServiceRouter,
            EntryKind::ServiceSplitter,
            EntryKind::ServiceResolver,
            EntryKind::ServiceIntentions,
        ] {
            for row in self.of(kind) {
                chain::check(self, row.entry.name())?;
            }
        }
        Ok(())
    }

    fn of(&self, kind: EntryKind) -> impl Iterator<Item = &ConfigRow> {
        let rows = self.rows.range((kind, Text::default())..);
        rows.take_while(move |((other, _), _)| *other == kind).map(|(_, row)| row)
    }
}

// How they are written.
impl Registry {
    pub(super) fn set_config(&mut self, body: Text, cas: Option<Index>, change: &mut Change<'_>) -> Outcome {
        let row = match ConfigRow::read(body, change.at, change.at) {
            Ok(row) => row,
            Err(reason) => return Outcome::Refused(Refusal::ConfigEntry(reason)),
        };
        let place = (row.entry.kind(), folded(row.entry.name()));
        let known = self.config.rows.get(&place);
        if cas.is_some_and(|index| index != known.map_or(Index::ZERO, |known| known.modified)) {
            return Outcome::Held(false);
        }
        if known.is_some_and(|known| known.body == row.body) {
            return Outcome::Held(true);
        }
        let created = known.map_or(change.at, |known| known.created);
        let mut config = self.config.clone();
        config.rows.insert(place.clone(), ConfigRow { created, ..row });
        self.replace_config(config, place.0, change)
    }

    pub(super) fn delete_config(
        &mut self,
        kind: EntryKind,
        name: &str,
        cas: Option<Index>,
        change: &mut Change<'_>,
    ) -> Outcome {
        let place = (kind, folded(name));
        let Some(known) = self.config.rows.get(&place) else {
            return Outcome::Held(cas.is_none_or(|index| index == Index::ZERO));
        };
        if cas.is_some_and(|index| index != known.modified) {
            return Outcome::Held(false);
        }
        let mut config = self.config.clone();
        config.rows.remove(&place);
        self.replace_config(config, kind, change)
    }

    fn replace_config(&mut self, mut config: ConfigTable, kind: EntryKind, change: &mut Change<'_>) -> Outcome {
        if let Err(error) = config.check() {
            return Outcome::Refused(Refusal::ConfigEntry(error.0));
        }
        config.changed.insert(kind, change.touch(Topic::Config(kind)));
        self.config = config;
        Outcome::Held(true)
    }
}

// How they are read.
impl Registry {
    /// One entry.
    #[must_use]
    pub fn config(&self, kind: EntryKind, name: &str) -> Option<&ConfigRow> {
        self.config.rows.get(&(kind, folded(name)))
    }

    /// What the entries make of a service's name.
    ///
    /// # Errors
    /// When they contradict one another, which writes do not let happen.
    pub fn chain(&self, asked: Asked<'_>) -> Result<Chain, InvalidEntry> {
        compile(&self.config, asked)
    }

    /// The entries of a kind, by name.
    pub fn configs(&self, kind: EntryKind) -> impl Iterator<Item = &ConfigRow> {
        self.config.of(kind)
    }

    /// When any entry of a kind last changed or went.
    #[must_use]
    pub fn config_index(&self, kind: EntryKind) -> Index {
        self.config.changed.get(&kind).copied().unwrap_or_default()
    }
}
