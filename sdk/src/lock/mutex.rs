//! One holder at a time over a whole cluster, on a key and a session.
//!
//! The tasks around `contend` and `session`: wait for the key by a blocking read, take it, read the fencing token back, watch
//! that it stays ours. Keys look as those of Consul's own clients do, so both can contend for one. What is promised, and
//! what is not: [`super::guide`].

use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::kv::KvShown;
use callboard_proto::api::query::{Consistency, ReadOptions};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::contend::{Contender, Sight, Step};
use super::fence::FencingToken;
use super::monitor::Monitor;
use super::session::{GiveBack, Lost, Session, SessionSettings};
use crate::client::{Client, KvPut};
use crate::error::{Error, chain};
use crate::watch::{Cursor, CursorSettings, Follow, News, Reader, of_the_leader, shown};

/// The flags by which a key is known as a lock, as Consul's Go client writes them.
pub const LOCK_FLAGS: u64 = 3_304_740_253_564_472_344;

/// A key that one process at a time may hold. Clones contend with one another.
#[derive(Debug, Clone)]
pub struct Lock {
    client: Client,
    key: String,
    value: Bytes,
    settings: SessionSettings,
    monitor: Monitor,
}

impl Client {
    /// Describes a lock on a key. Nothing is sent yet.
    #[must_use]
    pub fn lock(&self, key: impl Into<String>) -> Lock {
        Lock {
            client: self.clone(),
            key: key.into(),
            value: Bytes::new(),
            settings: SessionSettings::default(),
            monitor: Monitor::new(None),
        }
    }
}

/// How far a contender came.
enum Turn {
    Taken(Locked),
    /// Its session ended meanwhile.
    Again,
    /// Somebody else holds it.
    Busy,
}

impl Lock {
    /// Sets the value that the key has while it is held, and afterwards: who holds it, for people and observers.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// Sets what the session of each hold is made of.
    #[must_use]
    pub fn session(mut self, settings: SessionSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the TTL of the session: how long others wait when this process dies.
    #[must_use]
    pub fn ttl(mut self, time: Duration) -> Self {
        self.settings.ttl = time;
        self
    }

    /// Gives the lock up when its key cannot be read more than so often in a row, half a second to a second apart, much as
    /// Consul's clients do: the holder is told, and the lock stays held until the guard goes. Otherwise the session's time alone
    /// counts; it counts in either case.
    #[must_use]
    pub fn monitor_failures_max(mut self, failures: u32) -> Self {
        self.monitor = Monitor::new(Some(failures));
        self
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Waits until the lock is held, however long it takes and whatever fails meanwhile. Dropping the future gives up,
    /// and gives back what was taken.
    ///
    /// # Errors
    /// [`Error::LockConflict`] when the key is used for something else, [`Error::Closed`] when the client was shut down, and
    /// what cannot get better by waiting, as a refusal.
    pub async fn acquire(&self) -> Result<Locked, Error> {
        let mut failures = 0;
        loop {
            match self.attempt(true).await {
                Ok(Turn::Taken(locked)) => return Ok(locked),
                // There was a session, so there is a registry.
                Ok(Turn::Again | Turn::Busy) => failures = 0,
                Err(error) if error.is_retryable() => {
                    debug!(key = self.key, error = chain(&error), "lock is not to be had yet");
                }
                Err(error) => return Err(error),
            }
            failures += 1;
            tokio::time::sleep(self.client.backoff().delay(failures, fastrand::u32(..))).await;
        }
    }

    /// Takes the lock if it is free; none when another holds it or a lock delay runs.
    ///
    /// # Errors
    /// As [`Self::acquire`], and when the registry cannot be reached; nothing is held then.
    pub async fn try_acquire(&self) -> Result<Option<Locked>, Error> {
        match self.attempt(false).await? {
            Turn::Taken(locked) => Ok(Some(locked)),
            Turn::Busy | Turn::Again => Ok(None),
        }
    }

    /// Waits for the lock as [`Self::acquire`], but not longer than this.
    ///
    /// # Errors
    /// As [`Self::acquire`], and [`Error::NotLocked`] when the time is over; nothing is held then.
    pub async fn acquire_within(&self, time: Duration) -> Result<Locked, Error> {
        match tokio::time::timeout(time, self.acquire()).await {
            Ok(locked) => locked,
            Err(_) => Err(Error::NotLocked { key: self.key.clone(), after: time }),
        }
    }

    /// Each hold has a session of its own: a request that arrives late can never take a lock for a hold that is over.
    async fn attempt(&self, waits: bool) -> Result<Turn, Error> {
        let session = self.client.session(&self.settings).await?;
        let give_back = GiveBack { key: self.key.clone(), value: self.value.clone(), flags: LOCK_FLAGS };
        let contending = self.contend(&session, &give_back, waits);
        tokio::select! {
            biased;
            turn = contending => turn,
            lost = session.lost() => match lost {
                Lost::Closed => Err(Error::Closed),
                _ => Ok(Turn::Again),
            },
        }
    }

    async fn contend(&self, session: &Session, give_back: &GiveBack, waits: bool) -> Result<Turn, Error> {
        let mut contender = Contender::default();
        let mut follow = follow_key(&self.client, &self.key, of_the_leader(self.client.cursor_settings()));
        let mut step = Step::Wait;
        loop {
            step = match step {
                Step::Wait => match follow.next().await {
                    News::Changed(row) => {
                        let sight = Sight::of(row.as_ref(), session.id(), LOCK_FLAGS);
                        match contender.saw(sight) {
                            Step::Wait if !waits => return Ok(Turn::Busy),
                            step => step,
                        }
                    }
                    News::Unchanged => Step::Wait,
                    News::Failed(error) if waits && error.is_retryable() => {
                        debug!(key = self.key, error = chain(&error), "lock is not watched");
                        Step::Wait
                    }
                    News::Failed(error) => return Err(error),
                },
                Step::Try => {
                    // From here on it may be ours without our knowing.
                    session.gives_back(Some(give_back.clone()));
                    match self.take(session).await {
                        Ok(taken) => match contender.tried(Some(taken), fastrand::u32(..)) {
                            Step::Pause(_) if !waits => return Ok(Turn::Busy),
                            step => step,
                        },
                        Err(error) if waits && error.is_retryable() => {
                            debug!(key = self.key, error = chain(&error), "no answer to whether the lock was taken");
                            contender.tried(None, fastrand::u32(..))
                        }
                        Err(error) => return Err(error),
                    }
                }
                Step::Pause(time) => match tokio::time::timeout(time, follow.next()).await {
                    Ok(News::Changed(row)) => contender.saw(Sight::of(row.as_ref(), session.id(), LOCK_FLAGS)),
                    Ok(News::Unchanged) => Step::Pause(time),
                    Ok(News::Failed(error)) if !error.is_retryable() => return Err(error),
                    Ok(News::Failed(_)) | Err(_) => Step::Try,
                },
                Step::Confirm => match self.confirm(session).await? {
                    Some(row) => return Ok(Turn::Taken(self.held(session.clone(), &row))),
                    None => Step::Wait,
                },
                Step::Conflict => return Err(Error::LockConflict { key: self.key.clone() }),
            };
        }
    }

    async fn take(&self, session: &Session) -> Result<bool, Error> {
        let how = KvPut { flags: LOCK_FLAGS, acquire: Some(session.id().to_owned()), ..KvPut::default() };
        self.client.kv_put(&self.key, self.value.clone(), &how).await
    }

    /// Reads the row of a lock that was taken, from a leader that is one.
    async fn confirm(&self, session: &Session) -> Result<Option<KvShown>, Error> {
        let options = ReadOptions { consistency: Consistency::Consistent, ..ReadOptions::default() };
        let row = self.client.kv_get(&self.key, &options).await?.value;
        Ok(row.filter(|row| *row.session == *session.id()))
    }

    fn held(&self, session: Session, row: &KvShown) -> Locked {
        let token = FencingToken::of(row);
        debug!(key = self.key, session = session.id(), token = token.as_u64(), "lock held");
        let watching = CancellationToken::new();
        let (client, key, watched) = (self.client.clone(), self.key.clone(), session.clone());
        let (end, monitor) = (watching.clone(), self.monitor);
        self.client.tracker().spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                // Ends with the session, which it must not keep alive.
                _ = watched.lost() => {}
                lost = until_taken(&client, &key, watched.id(), monitor) => {
                    warn!(key, cause = ?lost, "lock was taken away, or is given up");
                    watched.give_up(lost);
                }
            }
        });
        Locked {
            client: self.client.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            session,
            token,
            _watching: watching.drop_guard(),
        }
    }
}

/// Proves that the lock is held. [`Self::release`] gives it back; dropping it does so in the background.
#[derive(Debug)]
#[must_use = "dropping it gives the lock back"]
pub struct Locked {
    client: Client,
    key: String,
    value: Bytes,
    session: Session,
    token: FencingToken,
    _watching: DropGuard,
}

impl Locked {
    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the token to be sent with every write to what the lock protects.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Returns the id of the session that holds the key.
    #[must_use]
    pub fn session_id(&self) -> &str {
        self.session.id()
    }

    /// Says, by the clock of this moment, whether the lock may still be relied on: ask it right before each step that must
    /// not be done twice. What is done afterwards may be late all the same; the token is what protects then.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.session.is_alive()
    }

    /// Returns how long the lock may be relied on if nothing is heard any more; zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.session.remaining()
    }

    /// Waits until the lock must not be relied on any more, and says why. Done before anybody else can have it, unless
    /// somebody took it away by force.
    pub async fn lost(&self) -> Lost {
        self.session.lost().await
    }

    /// Gives the lock back, without a lock delay. Says whether it was held until then. Its session is ended as well.
    ///
    /// # Errors
    /// When the registry cannot be told; the lock is free once the session's TTL and the lock delay are over.
    pub async fn release(self) -> Result<bool, Error> {
        let how = KvPut { flags: LOCK_FLAGS, release: Some(self.session.id().to_owned()), ..KvPut::default() };
        let held = self.session.is_alive();
        let released = self.client.kv_put(&self.key, self.value.clone(), &how).await;
        if released.is_ok() {
            self.session.gives_back(None);
        }
        self.session.end().await;
        released.map(|released| released && held)
    }
}

pub(super) fn key_reader() -> Reader<KvShown> {
    Box::new(|answer| shown::<Vec<KvShown>>(answer).map(|rows| rows.into_iter().next()))
}

fn follow_key(client: &Client, key: &str, settings: CursorSettings) -> Follow<KvShown> {
    Follow::new(client.api().clone(), crate::client::kv_path(key), Cursor::new(settings), key_reader())
}

/// Returns when the registry says that the key is not locked by the session, or does not answer for too long.
async fn until_taken(client: &Client, key: &str, session: &str, mut monitor: Monitor) -> Lost {
    let mut follow = follow_key(client, key, monitor.settings(client.cursor_settings()));
    let since = Instant::now();
    loop {
        match follow.next().await {
            News::Changed(row) if Sight::of(row.as_ref(), session, LOCK_FLAGS) == Sight::Mine => monitor.answered(),
            News::Changed(..) => return Lost::Taken,
            News::Unchanged => monitor.answered(),
            // The session's own time runs on meanwhile.
            News::Failed(error) => {
                let held_ms = since.elapsed().as_millis() as u64;
                debug!(key, held_ms, error = chain(&error), "lock is not watched");
                if !monitor.bears_failure() {
                    return Lost::Unwatched;
                }
            }
        }
    }
}
