//! The node's own rows, and what a new leader writes first: the tokens and rules that the configuration has.
//!
//! A task of `server`, for as long as the node runs.

use std::sync::Arc;
use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::config_entry::ConfigEntry;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::acl::{self, Acl};
use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::registry::{Command, NodeUpdate, Registration, Topic};

/// How often the node's own row is looked after, whatever happens.
const SIGN_IN_EVERY: Duration = Duration::from_secs(60);

/// Keeps the node's own row in the catalog as this node knows it. Whoever leads writes its health as well; that of the
/// others is written by the leader.
pub(super) async fn sign_in(
    cluster: Cluster,
    identity: Arc<Identity>,
    acl: Arc<Acl>,
    first: Vec<ConfigEntry>,
    stop: CancellationToken,
) {
    let mut status = cluster.subscribe();
    let mut subscription = cluster.hub().subscribe(&[Topic::Nodes]);
    let mut led = false;
    loop {
        let (leads, known, stopped) = {
            let status = status.borrow_and_update();
            (status.ready, status.leader.is_some(), status.fatal.is_some())
        };
        if stopped || cluster.is_leaving() {
            return;
        }
        if leads && !led && acl.is_enabled() {
            // Before the node's own row, so that whoever finds that finds the tokens too.
            let seed = acl::seed::command(acl.settings().initial_management.as_ref(), acl::now());
            if let Err(error) = cluster.propose(Command::Acl(seed)).await {
                error!(error = &error as &dyn std::error::Error, "writing the first tokens failed");
            }
        }
        if leads && !led {
            begin_rules(&cluster, &first).await;
        }
        let registration = if leads && !led && identity.server {
            Some(identity.registration())
        } else if known && !written(&cluster, &identity) {
            let (node, node_update) = (identity.node(), NodeUpdate::Put);
            Some(Registration { node, node_update, instance: None, checks: Vec::new(), checks_replace: false })
        } else {
            None
        };
        led = leads;
        if let Some(registration) = registration
            && let Err(error) = cluster.propose(Command::Register(Box::new(registration))).await
        {
            error!(error = &error as &dyn std::error::Error, "writing the node's own rows failed");
            led = false;
        }
        let (mut changes, leader) = (status.clone(), status.borrow().leader.clone());
        tokio::select! {
            () = stop.cancelled() => return,
            () = subscription.changed() => {}
            changed = changes.wait_for(|status| status.ready != leads || status.leader != leader) => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(SIGN_IN_EVERY) => {}
        }
    }
}

/// Whether the catalog knows this node as it is.
fn written(cluster: &Cluster, identity: &Identity) -> bool {
    let wanted = identity.node();
    cluster.registry().node(&identity.node_name).is_some_and(|row| {
        (&row.id, &row.address, &row.meta, &row.tagged_addresses)
            == (&wanted.id, &wanted.address, &wanted.meta, &wanted.tagged_addresses)
    })
}

/// Writes the rules that the configuration has, each unless there is one of its name already: what was changed since stays
/// changed.
async fn begin_rules(cluster: &Cluster, first: &[ConfigEntry]) {
    for entry in first {
        let body = match serde_json::to_string(entry) {
            Ok(body) => body.into(),
            Err(error) => {
                error!(
                    kind = entry.kind().as_str(),
                    error = &error as &dyn std::error::Error,
                    "encoding a rule failed"
                );
                continue;
            }
        };
        if let Err(error) = cluster.propose(Command::ConfigSet { body, cas: Some(Index::ZERO) }).await {
            let (kind, name) = (entry.kind().as_str(), entry.name());
            error!(kind, name, error = &error as &dyn std::error::Error, "writing a rule of the configuration failed");
        }
    }
}
