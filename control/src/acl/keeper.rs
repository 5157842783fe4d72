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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use callboard_proto::acl::rows::{Sources, TokenRow};

    use super::*;
    use crate::acl::{Secret, seed};
    use crate::cluster::ClusterOptions;
    use crate::registry::Write;

    #[tokio::test]
    async fn the_leader_ends_what_is_over() {
        let cluster = Cluster::start(ClusterOptions::alone().await).await.unwrap();
        cluster.subscribe().wait_for(|status| status.ready).await.unwrap();
        let put = async |secret: &str, expires: Option<u64>| {
            let token = seed::token(&Secret::new(secret), "", Sources::default(), Duration::ZERO);
            let token = Box::new(TokenRow { expires: expires.map(Duration::from_secs), ..token });
            let accessor = token.accessor.clone();
            let command = AclCommand::TokenPut { token, write: Write::Create };
            cluster.propose(Command::Acl(command)).await.unwrap();
            accessor
        };
        let (ends, later, stays) = (put("a", Some(10)).await, put("b", Some(1000)).await, put("c", None).await);
        assert_eq!(due(&cluster.registry(), Duration::from_secs(9)), (vec![], Some(Duration::from_secs(1))));
        let time = Arc::new(AtomicU64::new(9));
        let clock = time.clone();
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep(
            cluster.clone(),
            move || Duration::from_secs(clock.load(Ordering::SeqCst)),
            stop.clone(),
        ));
        let mut tokens = cluster.hub().subscribe(&[Topic::Acl(AclTopic::Tokens)]);
        time.store(10, Ordering::SeqCst);
        // Any change makes the keeper look again.
        put("d", None).await;
        while cluster.registry().acl_token(&ends).is_some() {
            tokens.changed().await;
        }
        let registry = cluster.registry();
        assert!(registry.acl_token(&later).is_some() && registry.acl_token(&stays).is_some());
        stop.cancel();
        keeper.await.unwrap();
        cluster.shutdown().await;
    }
}
