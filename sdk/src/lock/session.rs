//! A session that is kept alive, and its end told to whoever relies on it.
//!
//! One task renews it, asks with a blocking read whether it is still there, and ends it when the last handle goes. When it
//! may be trusted is decided in `lease`. Called by `mutex` and `semaphore`, and by applications that lock keys themselves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::query::escape;
use callboard_proto::api::session::{LockDelay, ServiceCheck, SessionRequest, TTL_MAX, TTL_MIN};
use callboard_proto::duration::GoDuration;
use callboard_proto::session::SessionBehavior;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::lease::{Lease, Renewal};
use crate::client::{Client, KvPut};
use crate::error::{Error, chain};
use crate::watch::{Cursor, Follow, News, of_the_leader, shown};

/// How often the end of a session is tried to be told to the registry.
const GOODBYES: usize = 2;

/// Says what a session is made of.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// For people: who it is.
    pub name: String,
    /// How long it outlives the last renewal, 15 s by default; 10 s to 24 h. It is renewed at a third of it.
    pub ttl: Duration,
    /// How long nobody can lock its keys after it was lost, 15 s by default, at most 60 s: time for what the holder had
    /// under way. A key that is given back can be locked at once.
    pub lock_delay: Duration,
    /// What becomes of its keys when it ends: they stay, by default.
    pub behavior: SessionBehavior,
    /// Checks of the server's own node that it depends on: none by default, so that the TTL alone decides.
    pub node_checks: Vec<String>,
    /// Checks of instances on that node that it depends on, as `service:web-1`.
    pub service_checks: Vec<String>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            ttl: Duration::from_secs(15),
            lock_delay: Duration::from_secs(15),
            behavior: SessionBehavior::Release,
            node_checks: Vec::new(),
            service_checks: Vec::new(),
        }
    }
}

impl SessionSettings {
    fn request(&self) -> Result<SessionRequest, Error> {
        if !(TTL_MIN..=TTL_MAX).contains(&self.ttl) {
            return Err(Error::Config { setting: "session.ttl", reason: "must be 10 s to 24 h".into() });
        }
        let checks = self.service_checks.iter();
        Ok(SessionRequest {
            name: self.name.clone(),
            ttl: GoDuration::from(self.ttl).to_string(),
            lock_delay: Some(LockDelay(self.lock_delay)),
            behavior: match self.behavior {
                SessionBehavior::Release => "release".into(),
                SessionBehavior::Delete => "delete".into(),
            },
            node_checks: Some(self.node_checks.clone()),
            service_checks: Some(checks.map(|id| ServiceCheck { id: id.clone(), ..ServiceCheck::default() }).collect()),
            ..SessionRequest::default()
        })
    }
}

/// Says how a session, or what was held by it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The registry ended the session, or does not know it any more.
    Ended,
    /// It was not renewed in time; the registry ends it by itself.
    Expired,
    /// The session lives, but the key is not locked by it any more: somebody deleted or unlocked it.
    Taken,
    /// The key could not be read so often in a row that it is given up, as the holder wished. The session lives on until the
    /// guard goes, so that nobody else has the lock while the holder stops.
    Unwatched,
    /// This process ended it.
    Closed,
}

/// A key that is given back before the session ends, so that others need not wait for the lock delay.
#[derive(Debug, Clone)]
pub(super) struct GiveBack {
    pub(super) key: String,
    pub(super) value: Bytes,
    pub(super) flags: u64,
}

struct Shared {
    id: String,
    lease: Mutex<Lease>,
    lost: watch::Sender<Option<Lost>>,
    give_back: Mutex<Option<GiveBack>>,
}

/// A session that is kept alive. Clones are the same one; when the last is dropped, it is ended in the background.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    end: CancellationToken,
    // Cancelled when the task has done all it does.
    done: CancellationToken,
    _end: Arc<DropGuard>,
}

impl Client {
    /// Opens a session and keeps it alive.
    ///
    /// # Errors
    /// [`Error::Config`] for a TTL out of bounds, [`Error::Bound`] when too much is followed, else as every call; nobody
    /// keeps anything alive then.
    pub async fn session(&self, settings: &SessionSettings) -> Result<Session, Error> {
        let request = settings.request()?;
        let (permit, end) = self.follower()?;
        let sent = Instant::now();
        let id = self.session_create(&request).await?;
        debug!(session = id, ttl_ms = settings.ttl.as_millis() as u64, "session opened");
        let shared = Arc::new(Shared {
            id,
            lease: Mutex::new(Lease::new(settings.ttl, sent)),
            lost: watch::Sender::new(None),
            give_back: Mutex::new(None),
        });
        let task = Keeper { client: self.clone(), shared: shared.clone() };
        let (ended, done) = (end.clone(), CancellationToken::new());
        let finished = done.clone().drop_guard();
        self.tracker().spawn(async move {
            task.keep(ended).await;
            drop((permit, finished));
        });
        Ok(Session { shared, end: end.clone(), done, _end: Arc::new(end.drop_guard()) })
    }
}

impl Session {
    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Says, by the clock of this moment, whether the session may be trusted: also right after the process was stopped for
    /// a while and before any task noticed.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Returns how long the session may be trusted if nothing is heard any more; zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        match *self.shared.lost.borrow() {
            Some(_) => Duration::ZERO,
            None => self.shared.deadline().saturating_duration_since(Instant::now()),
        }
    }

    /// Waits until the session must not be trusted any more, and says why.
    pub async fn lost(&self) -> Lost {
        self.shared.lost().await
    }

    /// Notes that what the session was for is gone, and ends it: at once, or where that cannot be seen, with the last handle.
    pub(super) fn give_up(&self, lost: Lost) {
        self.shared.tell(lost);
    }

    pub(super) fn gives_back(&self, key: Option<GiveBack>) {
        *self.shared.give_back.lock() = key;
    }

    /// Ends the session: its keys are unlocked. Returns when the registry confirmed, or could not be reached; then the
    /// session ends by its TTL.
    pub async fn end(self) {
        self.end.cancel();
        self.done.cancelled().await;
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.shared.id).field("remaining", &self.remaining()).finish()
    }
}

impl Shared {
    fn deadline(&self) -> Instant {
        self.lease.lock().deadline()
    }

    /// The first cause stays.
    fn tell(&self, lost: Lost) {
        self.lost.send_if_modified(|known| known.replace(known.unwrap_or(lost)).is_none());
    }

    async fn lost(&self) -> Lost {
        let mut changed = self.lost.subscribe();
        loop {
            if let Some(lost) = *changed.borrow_and_update() {
                return lost;
            }
            let deadline = self.deadline();
            if Instant::now() >= deadline {
                self.tell(Lost::Expired);
                continue;
            }
            // Either the cause is there, or the deadline has come; it may have moved meanwhile.
            let _ = tokio::time::timeout_at(deadline, changed.changed()).await;
        }
    }
}

struct Keeper {
    client: Client,
    shared: Arc<Shared>,
}

impl Keeper {
    async fn keep(self, end: CancellationToken) {
        let lost = tokio::select! {
            biased;
            () = end.cancelled() => Lost::Closed,
            lost = self.shared.lost() => lost,
            lost = self.renew() => lost,
            () = self.gone() => Lost::Ended,
        };
        // Nobody may go on relying on it while it is being ended.
        self.shared.tell(lost);
        if lost == Lost::Closed {
            debug!(session = self.shared.id, "session ends");
        } else {
            warn!(session = self.shared.id, cause = ?lost, "session lost");
        }
        let lost = match lost {
            // It may well be held: until the holder has stopped nobody else is to have it.
            Lost::Unwatched => tokio::select! {
                biased;
                () = end.cancelled() => Lost::Closed,
                lost = self.renew() => lost,
                () = self.gone() => Lost::Ended,
            },
            lost => lost,
        };
        // What a holder had under way when it was told of a loss gets the lock delay.
        let give_back = self.shared.give_back.lock().take().filter(|_| lost == Lost::Closed);
        if lost != Lost::Ended {
            self.goodbye(give_back).await;
        }
    }

    /// Renews for as long as there is something to renew.
    async fn renew(&self) -> Lost {
        loop {
            let (at, deadline, patience) = {
                let lease = self.shared.lease.lock();
                (lease.renew_at(), lease.deadline(), lease.patience())
            };
            tokio::time::sleep_until(at).await;
            let sent = Instant::now();
            if sent >= deadline {
                return Lost::Expired;
            }
            // A server that hangs must leave time for the others.
            let servers = u32::try_from(self.client.api().transport.servers().len()).unwrap_or(u32::MAX);
            let renewed = self.client.session_renew_within(&self.shared.id, patience / servers).await;
            let renewal = match renewed {
                Ok(Some(_)) => Renewal::Done,
                Ok(None) => return Lost::Ended,
                Err(error) => {
                    warn!(session = self.shared.id, error = chain(&error), "session could not be renewed");
                    Renewal::Failed
                }
            };
            self.shared.lease.lock().told(renewal, sent, Instant::now(), fastrand::u32(..));
        }
    }

    /// Returns when the registry says that the session is not there.
    async fn gone(&self) {
        let read = |answer: &crate::http::Answer| {
            let sessions: Vec<callboard_proto::api::session::Session> = shown(answer)?;
            Ok(sessions.into_iter().next())
        };
        let cursor = Cursor::new(of_the_leader(self.client.cursor_settings()));
        let path = format!("/v1/session/info/{}", escape(&self.shared.id));
        let mut follow = Follow::new(self.client.api().clone(), path, cursor, Box::new(read));
        loop {
            match follow.next().await {
                News::Changed(None) => return,
                News::Changed(Some(_)) | News::Unchanged => {}
                // Renewals fail as well then, and say so.
                News::Failed(error) => {
                    debug!(session = self.shared.id, error = chain(&error), "session is not watched");
                }
            }
        }
    }

    async fn goodbye(&self, give_back: Option<GiveBack>) {
        for _ in 0..GOODBYES {
            if let Some(held) = &give_back {
                let how = KvPut { flags: held.flags, release: Some(self.shared.id.clone()), ..KvPut::default() };
                if let Err(error) = self.client.kv_put(&held.key, held.value.clone(), &how).await {
                    debug!(key = held.key, error = chain(&error), "lock could not be given back");
                    if error.is_retryable() {
                        continue;
                    }
                }
            }
            match self.client.session_destroy(&self.shared.id).await {
                Ok(()) => return,
                Err(error) => debug!(session = self.shared.id, error = chain(&error), "session could not be ended"),
            }
        }
        warn!(session = self.shared.id, "session could not be ended; the registry ends it by its TTL");
    }
}
