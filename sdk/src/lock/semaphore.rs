//! At most so many holders at a time over a whole cluster.
//!
//! The tasks around `places` and `session`: announce oneself as a contender, enter when there is room, watch that one
//! stays inside. Shares its keys with Consul's own clients. What is promised, and what is not: [`super::guide`].

use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::kv::KvShown;
use callboard_proto::api::query::{Consistency, ReadOptions};
use callboard_proto::session::SessionBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::fence::FencingToken;
use super::monitor::Monitor;
use super::places::{Place, SEMAPHORE_FLAGS, document_key, leave, look};
use super::session::{Lost, Session, SessionSettings};
use crate::client::{Client, KvPut, kv_path};
use crate::error::{Error, chain};
use crate::watch::{Cursor, CursorSettings, Follow, News, of_the_leader, shown};

/// How often leaving is tried when others change the document at the same moment.
const LEAVES_MAX: usize = 16;

/// Several places that processes may take, below a prefix. Clones contend with one another.
#[derive(Debug, Clone)]
pub struct Semaphore {
    client: Client,
    prefix: String,
    limit: u32,
    value: Bytes,
    settings: SessionSettings,
    monitor: Monitor,
}

impl Client {
    /// Describes a semaphore of so many places below a prefix; all who use it must mean the same number. Nothing is sent
    /// yet.
    #[must_use]
    pub fn semaphore(&self, prefix: &str, limit: u32) -> Semaphore {
        let prefix = format!("{}/", prefix.trim_end_matches('/'));
        // A contender's key goes with its session, so nothing is left behind.
        let settings = SessionSettings { behavior: SessionBehavior::Delete, ..SessionSettings::default() };
        let (client, monitor) = (self.clone(), Monitor::new(None));
        Semaphore { client, prefix, limit, value: Bytes::new(), settings, monitor }
    }
}

impl Semaphore {
    /// Sets the value of the contender's key: who it is, for people.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// Sets the TTL of the session: how long a place stays taken when its holder dies.
    #[must_use]
    pub fn ttl(mut self, time: Duration) -> Self {
        self.settings.ttl = time;
        self
    }

    /// Sets what the session of each hold is called, for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Gives a place up when the semaphore cannot be read more than so often in a row, half a second to a second apart, much as
    /// Consul's clients do: the holder is told, and the place stays taken until the guard goes. Otherwise the session's time
    /// alone counts; it counts in either case.
    #[must_use]
    pub fn monitor_failures_max(mut self, failures: u32) -> Self {
        self.monitor = Monitor::new(Some(failures));
        self
    }

    /// Waits for a place, however long it takes and whatever fails meanwhile. Dropping the future gives up.
    ///
    /// # Errors
    /// [`Error::LockConflict`] when the keys are used for something else or with another limit, [`Error::Closed`] when the
    /// client was shut down, and what cannot get better by waiting.
    pub async fn acquire(&self) -> Result<Permit, Error> {
        let mut failures = 0;
        loop {
            match self.attempt(true).await {
                Ok(Some(permit)) => return Ok(permit),
                Ok(None) => failures = 0,
                Err(error) if error.is_retryable() => {
                    debug!(prefix = self.prefix, error = chain(&error), "a place is not to be had yet");
                }
                Err(error) => return Err(error),
            }
            failures += 1;
            tokio::time::sleep(self.client.backoff().delay(failures, fastrand::u32(..))).await;
        }
    }

    /// Takes a place if there is one; none when all are taken.
    ///
    /// # Errors
    /// As [`Self::acquire`], and when the registry cannot be reached; nothing is held then.
    pub async fn try_acquire(&self) -> Result<Option<Permit>, Error> {
        self.attempt(false).await
    }

    async fn attempt(&self, waits: bool) -> Result<Option<Permit>, Error> {
        let session = self.client.session(&self.settings).await?;
        tokio::select! {
            biased;
            permit = self.contend(&session, waits) => permit,
            lost = session.lost() => match lost {
                Lost::Closed => Err(Error::Closed),
                _ => Ok(None),
            },
        }
    }

    async fn contend(&self, session: &Session, waits: bool) -> Result<Option<Permit>, Error> {
        let announced = KvPut { flags: SEMAPHORE_FLAGS, acquire: Some(session.id().to_owned()), ..KvPut::default() };
        let key = format!("{}{}", self.prefix, session.id());
        self.client.kv_put(&key, self.value.clone(), &announced).await?;
        let settings = of_the_leader(self.client.cursor_settings());
        let mut follow = self.follow(settings);
        loop {
            let rows = match follow.next().await {
                News::Changed(rows) => rows.unwrap_or_default(),
                News::Unchanged => continue,
                News::Failed(error) if waits && error.is_retryable() => continue,
                News::Failed(error) => return Err(error),
            };
            match look(&rows, &self.prefix, session.id(), self.limit) {
                // A try whose answer was lost was a success.
                Place::Inside => {}
                Place::Enter { document, cas } => {
                    let how = KvPut { flags: SEMAPHORE_FLAGS, cas: Some(cas), ..KvPut::default() };
                    match self.client.kv_put(&document_key(&self.prefix), document, &how).await {
                        Ok(true) => {}
                        // Somebody else changed it, which is news.
                        Ok(false) => continue,
                        Err(error) if waits && error.is_retryable() => {
                            debug!(
                                prefix = self.prefix,
                                error = chain(&error),
                                "no answer to whether a place was taken"
                            );
                            // A fresh look, which does not wait for news.
                            follow = self.follow(settings);
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Place::Full if waits => continue,
                Place::Full | Place::Gone => return Ok(None),
                Place::Conflict => return Err(Error::LockConflict { key: document_key(&self.prefix) }),
            }
            let rows = self.rows().await?;
            if look(&rows, &self.prefix, session.id(), self.limit) != Place::Inside {
                continue;
            }
            let document = document_key(&self.prefix);
            let Some(row) = rows.iter().find(|row| *row.key == *document) else { continue };
            return Ok(Some(self.held(session.clone(), FencingToken::of(row))));
        }
    }

    /// Reads all keys, from a leader that is one.
    async fn rows(&self) -> Result<Vec<KvShown>, Error> {
        let options = ReadOptions { consistency: Consistency::Consistent, ..ReadOptions::default() };
        self.client.kv_list(&self.prefix, &options).await.map(|read| read.value)
    }

    fn follow(&self, settings: CursorSettings) -> Follow<Vec<KvShown>> {
        let read = |answer: &crate::http::Answer| shown(answer).map(Some);
        let path = format!("{}?recurse", kv_path(&self.prefix));
        Follow::new(self.client.api().clone(), path, Cursor::new(settings), Box::new(read))
    }

    fn held(&self, session: Session, token: FencingToken) -> Permit {
        debug!(prefix = self.prefix, session = session.id(), token = token.as_u64(), "place held");
        let watching = CancellationToken::new();
        let (semaphore, watched, end) = (self.clone(), session.clone(), watching.clone());
        self.client.tracker().spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                _ = watched.lost() => {}
                lost = semaphore.until_outside(watched.id()) => {
                    warn!(prefix = semaphore.prefix, cause = ?lost, "place was taken away, or is given up");
                    watched.give_up(lost);
                }
            }
        });
        Permit { semaphore: self.clone(), session, token, _watching: watching.drop_guard() }
    }

    async fn until_outside(&self, session: &str) -> Lost {
        let mut monitor = self.monitor;
        let mut follow = self.follow(monitor.settings(self.client.cursor_settings()));
        loop {
            match follow.next().await {
                News::Changed(rows) => {
                    if look(&rows.unwrap_or_default(), &self.prefix, session, self.limit) != Place::Inside {
                        return Lost::Taken;
                    }
                    monitor.answered();
                }
                News::Unchanged => monitor.answered(),
                News::Failed(error) => {
                    debug!(prefix = self.prefix, error = chain(&error), "place is not watched");
                    if !monitor.bears_failure() {
                        return Lost::Unwatched;
                    }
                }
            }
        }
    }

    async fn leave(&self, session: &str) -> Result<bool, Error> {
        for _ in 0..LEAVES_MAX {
            let Some((document, cas)) = leave(&self.rows().await?, &self.prefix, session) else { return Ok(false) };
            let how = KvPut { flags: SEMAPHORE_FLAGS, cas: Some(cas), ..KvPut::default() };
            if self.client.kv_put(&document_key(&self.prefix), document, &how).await? {
                return Ok(true);
            }
        }
        // Others find it by the contender key, which goes with the session.
        Ok(true)
    }
}

/// Proves that a place is held. [`Self::release`] gives it back; dropping it does so in the background.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Permit {
    semaphore: Semaphore,
    session: Session,
    token: FencingToken,
    _watching: DropGuard,
}

impl Permit {
    /// Returns the token of this hold: higher than that of everybody who entered before.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Says, by the clock of this moment, whether the place may still be relied on.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.session.is_alive()
    }

    /// Waits until the place must not be relied on any more, and says why.
    pub async fn lost(&self) -> Lost {
        self.session.lost().await
    }

    /// Gives the place back. Says whether it was held until then.
    ///
    /// # Errors
    /// When the registry cannot be told; the place is free once the session's TTL is over.
    pub async fn release(self) -> Result<bool, Error> {
        let held = self.session.is_alive();
        let left = self.semaphore.leave(self.session.id()).await;
        // The contender's key goes with it.
        self.session.end().await;
        left.map(|left| left && held)
    }
}
