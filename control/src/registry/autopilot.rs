//! How servers are kept in good order: one row of settings that every node shares.
//!
//! The first leader writes what its configuration says; from then on the row counts, and configurations do not. What
//! the settings ask for is done by `crate::cluster`.

use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::text::Text;
use serde::{Deserialize, Serialize};

use super::command::Outcome;
use super::{Change, Registry, Topic};

/// How servers are kept in good order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotSettings {
    /// Whether the votes of failed servers are taken away.
    pub cleanup: bool,
    /// For how long a healthy server may have answered the leader nothing.
    pub contact_max: Duration,
    /// How many entries a server may be behind and still be healthy, and get a vote.
    pub trailing_max: u64,
    /// How many voters are kept at least.
    pub voters_min: u64,
    /// How long a server must have been up before it votes, or have failed before it loses its vote.
    pub stabilization: Duration,
    /// What the commercial product would do; kept for whoever reads it back, and without effect.
    pub commercial: CommercialSettings,
}

impl Default for AutopilotSettings {
    /// What Consul's servers begin with.
    fn default() -> AutopilotSettings {
        AutopilotSettings {
            cleanup: true,
            contact_max: Duration::from_millis(200),
            trailing_max: 250,
            voters_min: 0,
            stabilization: Duration::from_secs(10),
            commercial: CommercialSettings::default(),
        }
    }
}

/// Settings that clients know and that have no effect here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommercialSettings {
    /// The key of node metadata that names a zone.
    pub redundancy_zone_tag: Text,
    /// Whether new versions get no votes by themselves.
    pub upgrade_migration_disabled: bool,
    /// The key of node metadata that names a version.
    pub upgrade_version_tag: Text,
}

/// The settings, and when they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutopilotRow {
    /// The settings.
    pub settings: AutopilotSettings,
    /// When they were first written.
    pub created: Index,
    /// When they last changed.
    pub modified: Index,
}

/// A write to the settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AutopilotCommand {
    /// Writes the first settings, unless there are any.
    Begin(AutopilotSettings),
    /// Replaces the settings.
    Set {
        /// The new ones.
        settings: AutopilotSettings,
        /// Only while they were last changed at this index; zero: there are none.
        cas: Option<Index>,
    },
}

impl Registry {
    /// The settings by which servers are kept in good order; none before somebody leads for the first time.
    #[must_use]
    pub fn autopilot(&self) -> Option<&AutopilotRow> {
        self.autopilot.as_ref()
    }

    pub(super) fn apply_autopilot(&mut self, command: AutopilotCommand, change: &mut Change<'_>) -> Outcome {
        let known = self.autopilot.as_ref();
        let settings = match command {
            AutopilotCommand::Begin(_) if known.is_some() => return Outcome::Held(false),
            AutopilotCommand::Set { cas: Some(cas), .. } if known.map_or(Index::ZERO, |row| row.modified) != cas => {
                return Outcome::Held(false);
            }
            AutopilotCommand::Begin(settings) | AutopilotCommand::Set { settings, .. } => settings,
        };
        if known.is_none_or(|row| row.settings != settings) {
            let at = change.touch(Topic::Autopilot);
            let created = known.map_or(at, |row| row.created);
            self.autopilot = Some(AutopilotRow { settings, created, modified: at });
        }
        Outcome::Held(true)
    }

    /// The row is of the past.
    pub(super) fn audit_autopilot(&self) -> Result<(), String> {
        let fits = |row: &AutopilotRow| row.created <= row.modified && row.modified <= self.index;
        if self.autopilot.as_ref().is_none_or(fits) { Ok(()) } else { Err("autopilot is past the index".to_owned()) }
    }
}
