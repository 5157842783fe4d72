//! Ends tokens whose time is over.
//!
//! The registry has no clock, so the leader proposes the removal. A token that is over and not yet removed counts no
//! more: the resolver looks at the time as well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callboard_proto::text::Text;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::cluster::Cluster;
use crate::registry::{AclCommand, AclTopic, Command, Registry, Topic};

/// How long to wait after a removal failed, and at most before the clock is looked at again, because it may be set.
const PAUSE: Duration = Duration::from_secs(1);
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The time since 1970.
#[must_use]
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The tokens that are over, and how long until the next one is.
fn due(registry: &Registry, now: Duration) -> (Vec<Text>, Option<Duration>) {
    let ends = registry.acl_tokens().filter_map(|token| Some((token.expires?, &token.accessor)));
    let (mut over, mut next) = (Vec::new(), None::<Duration>);
    for (expires, accessor) in ends {
        match expires.checked_sub(now).filter(|left| !left.is_zero()) {
            None => over.push(accessor.clone()),
            Some(left) => next = Some(next.map_or(left, |known| known.min(left))),
        }
    }
    (over, next)
}

/// Ends what is over while this node leads, until told to stop. `clock` gives the time since 1970.
pub async fn keep(cluster: Cluster, clock: impl Fn() -> Duration, stop: CancellationToken) {
    let mut status = cluster.subscribe();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            ready = status.wait_for(|status| status.ready) => if ready.is_err() { return },
        }
        let mut tokens = cluster.hub().subscribe(&[Topic::Acl(AclTopic::Tokens)]);
        let (accessors, next) = due(&cluster.registry(), clock());
        let mut pause = next.unwrap_or(SLEEP_MAX).min(SLEEP_MAX);
        if !accessors.is_empty() {
            pause = PAUSE;
            let command = Command::Acl(AclCommand::TokensDelete { accessors });
            match cluster.propose(command).await {
                Ok(_) => continue,
                Err(error) => warn!(error = &error as &dyn std::error::Error, "ending tokens failed"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokens.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
