//! The authority of the mesh: its roots, its settings, and the serial numbers that were given out.
//!
//! The private key of the active root is a row like any other, so that every control node can sign; it is never shown.
//! When a root is replaced its key goes, and its certificate stays until the last certificate that it signed is over:
//! when that is the proposer says, for the registry has no clock. Who signs is `crate::connect`.

use std::fmt;
use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::text::Text;
use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::command::{Outcome, Refusal};
use super::{Change, Registry, Topic};

/// The most roots that are kept: the active one, and those whose certificates are not over yet.
pub const ROOTS_MAX: usize = 16;

/// A text that is kept and never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hidden(Text);

impl Hidden {
    /// Hides a text.
    #[must_use]
    pub fn new(text: &str) -> Hidden {
        Hidden(text.into())
    }

    /// The text, for whoever must use it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

/// A root of the mesh. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaRoot {
    /// The SHA-1 fingerprint of its certificate, as pairs of digits with colons.
    pub id: Text,
    /// Its name.
    pub name: Text,
    /// The serial number of its certificate.
    pub serial: u64,
    /// The identifier of its key, as pairs of digits with colons.
    pub signing_key_id: Text,
    /// When its certificate begins to be valid.
    pub not_before: i64,
    /// When that ends.
    pub not_after: i64,
    /// Its certificate, PEM.
    pub certificate: Text,
    /// Its key signed by the root before it, PEM; none for the first root.
    pub cross_signed: Vec<Text>,
    /// Its private key, PEM; gone once another root is active.
    pub private_key: Hidden,
    /// `ec`, `rsa` or `ed25519`.
    pub key_type: Text,
    /// The length of the key in bits.
    pub key_bits: u32,
    /// Whether it signs.
    pub active: bool,
    /// Until when it is kept once it does not.
    pub kept_until: i64,
    /// When it was written.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

/// The settings of the authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaSettings {
    /// The settings as canonical JSON, without secrets.
    pub body: Text,
    /// Whether a new root may do without the signature of the old one.
    pub force_without_cross_signing: bool,
    /// When they were first written.
    pub created: Index,
    /// When they last changed.
    pub modified: Index,
}

/// A write to the authority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConnectCommand {
    /// Begins the mesh, unless it has begun.
    Begin {
        /// Its name, for good: a UUID.
        trust_domain: Text,
        /// The first root.
        root: Box<CaRoot>,
        /// The settings.
        settings: CaSettings,
    },
    /// Replaces the settings and, perhaps, the active root; only while the authority was last changed at this index.
    Configure {
        /// The settings.
        settings: CaSettings,
        /// The new root.
        root: Option<Box<CaRoot>>,
        /// Until when the old root is kept, in seconds since 1970.
        kept_until: i64,
        /// The index that the proposer looked at.
        seen: Index,
    },
    /// Drops roots that do not sign and need not be kept any more.
    Prune {
        /// The time, in seconds since 1970.
        now: i64,
    },
    /// Gives out a serial number.
    NextSerial,
}

/// The authority.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ConnectTable {
    trust_domain: Text,
    roots: Vector<Arc<CaRoot>>,
    settings: CaSettings,
    /// The last serial number that was given out. The first root's is 1.
    serial: u64,
    /// When roots or settings last changed.
    changed: Index,
}

// How it is written.
impl Registry {
    pub(super) fn connect(&mut self, command: ConnectCommand, change: &mut Change<'_>) -> Outcome {
        match command {
            ConnectCommand::Begin { trust_domain, root, settings } => {
                if !self.connect.roots.is_empty() {
                    return Outcome::Held(false);
                }
                let at = change.touch(Topic::CaRoots);
                self.connect.trust_domain = trust_domain;
                self.connect.serial = self.connect.serial.max(root.serial);
                self.connect.settings = CaSettings { created: at, modified: at, ..settings };
                self.connect.roots.push_back(Arc::new(CaRoot { active: true, created: at, modified: at, ..*root }));
                self.connect.changed = at;
                Outcome::Held(true)
            }
            ConnectCommand::Configure { settings, root, kept_until, seen } => {
                self.configure_connect(settings, root, kept_until, seen, change)
            }
            ConnectCommand::Prune { now } => {
                let over = |root: &Arc<CaRoot>| !root.active && root.kept_until <= now;
                if self.connect.roots.iter().any(over) {
                    self.connect.roots.retain(|root| !over(root));
                    self.connect.changed = change.touch(Topic::CaRoots);
                }
                Outcome::Done
            }
            ConnectCommand::NextSerial => {
                self.connect.serial += 1;
                Outcome::Serial { number: self.connect.serial, index: change.touch(Topic::CaSerial) }
            }
        }
    }

    fn configure_connect(
        &mut self,
        settings: CaSettings,
        root: Option<Box<CaRoot>>,
        kept_until: i64,
        seen: Index,
        change: &mut Change<'_>,
    ) -> Outcome {
        if self.connect.changed != seen || self.connect.roots.is_empty() {
            return Outcome::Overtaken;
        }
        let known = &self.connect.settings;
        let same =
            known.body == settings.body && known.force_without_cross_signing == settings.force_without_cross_signing;
        if same && root.is_none() {
            return Outcome::Held(true);
        }
        if root.is_some() && self.connect.roots.len() >= ROOTS_MAX {
            return Outcome::Refused(Refusal::TooManyRoots);
        }
        let at = change.touch(Topic::CaRoots);
        self.connect.changed = at;
        if !same {
            self.connect.settings = CaSettings { created: known.created, modified: at, ..settings };
        }
        if let Some(root) = root {
            // A root that comes back takes its old place's row.
            let kept = self.connect.roots.iter().filter(|known| known.id != root.id).map(|known| match known.active {
                true => Arc::new(CaRoot {
                    active: false,
                    private_key: Hidden::default(),
                    kept_until,
                    modified: at,
                    ..(**known).clone()
                }),
                false => known.clone(),
            });
            let mut roots: Vector<Arc<CaRoot>> = kept.collect();
            self.connect.serial = self.connect.serial.max(root.serial);
            roots.push_back(Arc::new(CaRoot { active: true, created: at, modified: at, ..*root }));
            self.connect.roots = roots;
        }
        Outcome::Held(true)
    }
}

// How it is read.
impl Registry {
    /// The roots, oldest first.
    pub fn ca_roots(&self) -> impl Iterator<Item = &Arc<CaRoot>> {
        self.connect.roots.iter()
    }

    /// The root that signs; none before the mesh begins.
    #[must_use]
    pub fn ca_active(&self) -> Option<&Arc<CaRoot>> {
        self.connect.roots.iter().find(|root| root.active)
    }

    /// The name of the mesh: a UUID; empty before it begins.
    #[must_use]
    pub fn trust_domain(&self) -> &Text {
        &self.connect.trust_domain
    }

    /// The settings of the authority.
    #[must_use]
    pub fn ca_settings(&self) -> &CaSettings {
        &self.connect.settings
    }

    /// The last serial number that was given out.
    #[must_use]
    pub fn ca_serial(&self) -> u64 {
        self.connect.serial
    }

    /// When roots or settings last changed.
    #[must_use]
    pub fn ca_index(&self) -> Index {
        self.connect.changed
    }

    /// One root signs, with its key, and no other has one; nothing is newer than the table.
    pub(super) fn audit_connect(&self) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        let table = &self.connect;
        let active = table.roots.iter().filter(|root| root.active).count();
        let expected = usize::from(!table.roots.is_empty());
        fact(active == expected, &|| format!("{active} roots of the mesh are active"))?;
        fact(table.roots.is_empty() == table.trust_domain.is_empty(), &|| "roots without a trust domain".to_owned())?;
        fact(table.roots.len() <= ROOTS_MAX, &|| format!("{} roots of the mesh", table.roots.len()))?;
        fact(table.changed <= self.index, &|| "the mesh is past the index".to_owned())?;
        for root in &table.roots {
            fact(root.modified <= table.changed, &|| format!("root {} is newer than its table", root.id))?;
            fact(root.serial <= table.serial, &|| format!("root {} has a serial number of the future", root.id))?;
            let kept = root.private_key.reveal().is_empty() != root.active;
            fact(kept, &|| format!("root {} has no key and signs, or has one and does not", root.id))?;
            let alone = table.roots.iter().filter(|other| other.id == root.id).count() == 1;
            fact(alone, &|| format!("root {} is there twice", root.id))?;
        }
        fact(table.settings.modified <= table.changed, &|| "the mesh's settings are newer than it".to_owned())
    }
}
