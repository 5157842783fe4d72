//! Ends sessions that are not renewed.
//!
//! The time of each session is kept in the leader's memory: a renewal never reaches the log, and a new leader starts
//! every session afresh. Who calls it: `http` renews, `server` runs [`watch`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard_proto::api::query::Consistency;
use callboard_proto::session::SessionRow;
use callboard_proto::text::Text;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::cluster::{Cluster, Error};
use crate::deadlines::Deadlines;
use crate::registry::{Command, Registry, SessionChange, Topic};

/// How many times its time to live a session is given. As with Consul: a renewal may be on its way, and clients set
/// half the time that they mean.
const TTL_FACTOR: u32 = 2;

/// What sessions may ask for here.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// The shortest time to live.
    pub ttl_min: Duration,
}

/// The handle; clones share one set of deadlines.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    cluster: Cluster,
    settings: SessionSettings,
    deadlines: Mutex<Deadlines<Text>>,
}

impl Sessions {
    /// Sessions of a cluster; [`watch`] ends them.
    #[must_use]
    pub fn new(cluster: Cluster, settings: SessionSettings) -> Sessions {
        Sessions { shared: Arc::new(Shared { cluster, settings, deadlines: Mutex::default() }) }
    }

    /// The shortest time to live that a session may ask for.
    #[must_use]
    pub fn ttl_min(&self) -> Duration {
        self.shared.settings.ttl_min
    }

    /// Starts the time of a session afresh; nothing if it ended, or is about to.
    ///
    /// # Errors
    /// When another node leads and cannot be asked.
    pub async fn renew(&self, id: &Text) -> Result<Option<Arc<SessionRow>>, Error> {
        let cluster = &self.shared.cluster;
        if cluster.is_leader() {
            return Ok(self.start_afresh(id));
        }
        if !cluster.renew(id).await? {
            return Ok(None);
        }
        // It may have been written through another node a moment ago.
        let view = cluster.query(Consistency::Leader).await?;
        Ok(view.registry.session(id).cloned())
    }

    /// Starts the time of a session afresh, on the leader.
    #[must_use]
    pub fn start_afresh(&self, id: &str) -> Option<Arc<SessionRow>> {
        let session = self.shared.cluster.registry().session(id)?.clone();
        let mut deadlines = self.shared.deadlines.lock();
        // Its end is on its way to the log: whoever renews now must not believe that it lives.
        if deadlines.is_over(&session.id) {
            return None;
        }
        deadlines.beat(&session.id, Instant::now());
        drop(deadlines);
        Some(session)
    }

    /// Catches up with the registry.
    fn follow(&self, seen: &mut Arc<Registry>) {
        let now = self.shared.cluster.registry();
        let before = std::mem::replace(seen, now.clone());
        let mut deadlines = self.shared.deadlines.lock();
        for change in now.sessions_since(&before) {
            match change {
                SessionChange::Put(session) => start(&mut deadlines, session),
                SessionChange::Removed(session) => deadlines.remove(&session.id),
            }
        }
    }

    /// Gives every session its whole time again.
    fn start_all(&self, registry: &Registry) {
        let mut deadlines = self.shared.deadlines.lock();
        registry.sessions().for_each(|session| start(&mut deadlines, session));
    }

    /// Ends the sessions whose time is over.
    async fn settle(&self, leads: bool) {
        let due = self.shared.deadlines.lock().due(Instant::now());
        let cluster = &self.shared.cluster;
        // Proposed together, so that a thousand ends cost one entry of the log.
        let ends = due.into_iter().map(|id| async move {
            let ended = if leads {
                cluster.propose(Command::SessionDestroy { id: id.clone() }).await.map(|_| ())
            } else {
                Err(Error::NoLeader)
            };
            (id, ended)
        });
        for (id, ended) in futures_util::future::join_all(ends).await {
            let Err(error) = ended else { continue };
            if leads {
                warn!(error = &error as &dyn std::error::Error, "ending a session failed; it gets its time again");
            }
            if let Some(session) = cluster.registry().session(&id) {
                start(&mut self.shared.deadlines.lock(), session);
            }
        }
    }
}

fn start(deadlines: &mut Deadlines<Text>, session: &SessionRow) {
    if let Some(ttl) = session.ttl() {
        deadlines.start(session.id.clone(), ttl * TTL_FACTOR, Instant::now());
    }
}

/// Ends what is not renewed until told to stop.
pub async fn watch(sessions: Sessions, stop: CancellationToken) {
    let cluster = sessions.shared.cluster.clone();
    let mut subscription = cluster.hub().subscribe(&[Topic::Sessions]);
    let mut seen = Arc::default();
    let mut leads = false;
    loop {
        sessions.follow(&mut seen);
        let next = sessions.shared.deadlines.lock().next();
        tokio::select! {
            () = stop.cancelled() => return,
            () = subscription.changed() => {}
            changed = cluster.leads_otherwise_than(leads) => {
                let Some(changed) = changed else { return };
                leads = changed;
                if leads {
                    sessions.start_all(&seen);
                }
            }
            () = sleep_until(next) => sessions.settle(leads).await,
        }
    }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}
