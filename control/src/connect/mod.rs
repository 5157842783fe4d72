//! The certificate authority of the mesh: it begins when first asked for, signs for services, and can be exchanged.
//!
//! Its roots live in the registry, so every control node signs alike; the certificates of services live in memory, one
//! for each service and node, with keys that never leave this process but to whoever asks for that service's. `sign`
//! makes certificates, `settings` reads what an operator wrote, `leaf` keeps what was handed out fresh. Who calls it:
//! `http::connect` and `http::connect_agent`; `server` runs [`watch`].

mod leaf;
mod settings;
mod sign;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callboard_proto::config_entry::Action;
use callboard_proto::text::Text;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use leaf::Leaf;
pub use settings::{CaOptions, SettingsError};
pub use sign::{SignError, domain};

use crate::cluster::{self, Cluster};
use crate::registry::{CaRoot, CaSettings, Command, ConnectCommand, Outcome, Registry};
use leaf::Leaves;

/// How often roots are looked at whose certificates may be over.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);
/// How much longer than its last certificate a root is kept: clocks differ.
const PRUNE_SLACK: Duration = Duration::from_secs(3600);
/// How often the authority is exchanged again when somebody else does so meanwhile.
const TRIES: usize = 8;

/// Why there is no certificate. The text is what clients see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mesh is turned off.
    #[error("Connect must be enabled in order to use this endpoint")]
    Disabled,
    /// What an operator wrote cannot be used. Nothing was changed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Signing failed. Nothing was changed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Others exchanged the authority at the same time, again and again. Nothing was changed.
    #[error("the certificate authority is being changed by others; try again")]
    Busy,
    /// More services than one node keeps certificates for.
    #[error("certificates for more than {max} services are asked for on this node")]
    TooManyLeaves {
        /// The bound.
        max: usize,
    },
    /// The registry could not be written or read.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

/// The handle; clones share what was handed out.
#[derive(Clone)]
pub struct Authority {
    shared: Arc<Shared>,
}

/// What the authority is told at the start.
#[derive(Clone)]
pub struct AuthorityOptions {
    /// The datacenter, as it stands in SPIFFE ids.
    pub datacenter: Text,
    /// Whether there is a mesh.
    pub enabled: bool,
    /// What becomes of a call that no intention fits.
    pub default_action: Action,
    /// The settings that the mesh begins with, as the endpoint that changes them takes them. May hold a private key.
    pub first: serde_json::Map<String, serde_json::Value>,
}

struct Shared {
    cluster: Cluster,
    options: AuthorityOptions,
    leaves: Leaves,
}

impl Authority {
    /// The authority of a cluster.
    #[must_use]
    pub fn new(cluster: Cluster, options: AuthorityOptions) -> Authority {
        Authority { shared: Arc::new(Shared { cluster, options, leaves: Leaves::default() }) }
    }

    /// What becomes of a call that no intention fits.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.shared.options.default_action
    }

    /// The state, once the mesh has begun in it; it begins now if need be.
    ///
    /// # Errors
    /// [`Error::Disabled`], or why it could not begin.
    pub async fn begun(&self) -> Result<Arc<Registry>, Error> {
        let shared = &*self.shared;
        if !shared.options.enabled {
            return Err(Error::Disabled);
        }
        let registry = shared.cluster.registry();
        if registry.ca_active().is_some() {
            return Ok(registry);
        }
        let trust_domain = uuid::Uuid::new_v4().to_string();
        let body = serde_json::json!({"Config": shared.options.first}).to_string();
        let asked = settings::parse(body.as_bytes())?;
        let options = asked.options;
        let root = match &asked.own {
            Some(own) => sign::own_root(own, &trust_domain, 1, options.root_ttl, now())?,
            None => sign::root(&trust_domain, 1, &options.key, options.root_ttl, now())?,
        };
        let begin = ConnectCommand::Begin {
            trust_domain: trust_domain.into(),
            root: Box::new(root),
            settings: CaSettings { body: options.body().into(), ..CaSettings::default() },
        };
        // Another node may be faster: then its root is the one.
        if shared.cluster.propose(Command::Connect(begin)).await? == Outcome::Held(true) {
            info!("the mesh has begun");
        }
        let registry = shared.cluster.registry();
        match registry.ca_active() {
            Some(_) => Ok(registry),
            None => Err(Error::Busy),
        }
    }

    /// Replaces the settings, and the root when they ask for another one: another kind of key, or a root of the
    /// operator's own. A new root is signed by the old one as well, so that whoever knows only that one trusts it too.
    ///
    /// # Errors
    /// What cannot be used is named; nothing was changed then.
    pub async fn configure(&self, body: &[u8]) -> Result<(), Error> {
        let asked = settings::parse(body)?;
        for _ in 0..TRIES {
            let registry = self.begun().await?;
            let active = registry.ca_active().ok_or(Error::Busy)?;
            let before = CaOptions::from_body(&registry.ca_settings().body);
            let now = now();
            let serial = registry.ca_serial() + 1;
            let mut root = match &asked.own {
                Some(own) => {
                    let root = sign::own_root(own, registry.trust_domain(), serial, asked.options.root_ttl, now)?;
                    (root.id != active.id).then_some(root)
                }
                None if asked.options.key.matches(&active.key_type, active.key_bits) => None,
                None => {
                    let domain = registry.trust_domain();
                    Some(sign::root(domain, serial, &asked.options.key, asked.options.root_ttl, now)?)
                }
            };
            if let Some(root) = root.as_mut().filter(|_| !asked.force_without_cross_signing) {
                let crossed = sign::cross(root, active, serial, asked.options.intermediate_ttl, now)?;
                root.cross_signed = vec![crossed.into()];
            }
            let rotates = root.is_some();
            let command = ConnectCommand::Configure {
                settings: CaSettings {
                    body: asked.options.body().into(),
                    force_without_cross_signing: asked.force_without_cross_signing,
                    ..CaSettings::default()
                },
                root: root.map(Box::new),
                kept_until: now.unix_timestamp() + seconds(before.leaf_ttl + PRUNE_SLACK),
                seen: registry.ca_index(),
            };
            match self.shared.cluster.propose(Command::Connect(command)).await? {
                Outcome::Overtaken => {}
                _ => {
                    if rotates {
                        info!("the root of the mesh was exchanged");
                    }
                    return Ok(());
                }
            }
        }
        Err(Error::Busy)
    }

    async fn prune(&self) {
        let now = now().unix_timestamp();
        let over = |root: &Arc<CaRoot>| !root.active && root.kept_until <= now;
        if !self.shared.cluster.is_leader() || !self.shared.cluster.registry().ca_roots().any(over) {
            return;
        }
        if let Err(error) = self.shared.cluster.propose(Command::Connect(ConnectCommand::Prune { now })).await {
            warn!(error = &error as &dyn std::error::Error, "dropping old roots of the mesh failed");
        }
    }
}

/// Drops old roots while this node leads, until told to stop.
pub async fn watch(authority: Authority, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PRUNE_INTERVAL) => authority.prune().await,
        }
    }
}

/// The time of day.
#[must_use]
pub fn now() -> OffsetDateTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    OffsetDateTime::UNIX_EPOCH + since
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}
