//! What changes in a running node when its configuration was read again: one hook for each part.
//!
//! `reload` reads and compares; who needs a restart is told there. Called by `server` once, to set them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::LogLevel;
use crate::acl::{self, Acl};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::definitions::Keeper;
use crate::http::HttpRules;
use crate::identity::Identity;
use crate::registry::{Command, NodeUpdate, Registration};
use crate::reload::Reloader;
use crate::settings;
use crate::tls::{self, Tls};

/// What files define, as rows of this node.
pub(super) fn definition_rows(config: &Config) -> Result<Vec<crate::definitions::Defined>, String> {
    config.definitions.rows(&config.node_name)
}

pub(super) fn tell_log(reloader: &mut Reloader, log_level: LogLevel) {
    reloader.tell("log_level", move |config| Box::pin(std::future::ready(log_level(config.log.level))));
}

pub(super) fn tell_rules(reloader: &mut Reloader, rules: Arc<ArcSwap<HttpRules>>) {
    reloader.tell("limits, http_config", move |config| {
        rules.store(Arc::new(settings::http_rules(&config)));
        Box::pin(std::future::ready(Ok(())))
    });
}

/// The node's pairs change in its row, too, if they did.
pub(super) fn tell_identity(reloader: &mut Reloader, identity: Arc<Identity>, cluster: Cluster) {
    reloader.tell("node_meta", move |config| {
        let (identity, cluster) = (identity.clone(), cluster.clone());
        Box::pin(async move {
            identity.settings.store(Arc::new(settings::shown(&config)));
            if **identity.node_meta.load() == config.node_meta {
                return Ok(());
            }
            identity.node_meta.store(Arc::new(config.node_meta.clone()));
            let registration = Registration {
                node: identity.node(),
                node_update: NodeUpdate::Put,
                instance: None,
                checks: Vec::new(),
                checks_replace: false,
            };
            let written = cluster.propose(Command::Register(Box::new(registration))).await;
            written.map(|_| ()).map_err(|error| error.to_string())
        })
    });
}

/// Tokens that changed in files replace those that are in use; others stay as they were set.
pub(super) fn tell_tokens(reloader: &mut Reloader, acl: Arc<Acl>, started: Arc<Config>) {
    let seen = parking_lot::Mutex::new(started.acl.tokens.clone());
    reloader.tell("acl.tokens", move |config| {
        let before = std::mem::replace(&mut *seen.lock(), config.acl.tokens.clone());
        let mut taken = Ok(());
        for token_use in acl::TokenUse::ALL {
            let now = config.acl.tokens.get(token_use);
            if before.get(token_use) != now {
                let text = now.map(|token| token.reveal().to_string()).unwrap_or_default();
                if let Err(error) = acl.set_token(token_use, &text) {
                    taken = Err(error.to_string());
                }
            }
        }
        Box::pin(std::future::ready(taken))
    });
}

/// Certificates are read from their files again, under the settings that the node was started with.
pub(super) fn tell_certificates(reloader: &mut Reloader, all: Vec<Arc<Tls>>) {
    reloader.tell("certificates", move |_| Box::pin(std::future::ready(tls::reload_all(&all))));
}

pub(super) fn tell_definitions(reloader: &mut Reloader, keeper: Arc<Keeper>) {
    reloader.tell("services, checks", move |config| {
        let keeper = keeper.clone();
        Box::pin(async move {
            let rows = definition_rows(&config)?;
            keeper.apply(rows).await.map_err(|error| error.to_string())
        })
    });
}
