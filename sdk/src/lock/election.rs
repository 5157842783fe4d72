//! Who leads: a lock whose holder is told to everybody.
//!
//! Campaigning is locking; observing is following the key. An observer may see a leader that has just been lost, so a leader's
//! orders carry its token, and whoever obeys refuses those of an older one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::kv::KvShown;

use super::fence::FencingToken;
use super::mutex::{Lock, Locked, key_reader};
use super::session::SessionSettings;
use crate::client::{Client, kv_path};
use crate::error::Error;
use crate::watch::{Cursor, Follow, Live, News};

/// A place for one at a time, that candidates strive for and anybody can watch.
#[derive(Debug, Clone)]
pub struct Election {
    client: Client,
    lock: Lock,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// What the leader campaigned with: an address, say.
    pub value: Bytes,
    /// The leader's session.
    pub session: String,
    /// The leader's token; a later leader's is higher.
    pub token: FencingToken,
}

/// What is known of an election.
#[derive(Debug, Clone, Default)]
pub struct Leadership {
    /// The leader; none between two, and while nothing is known. What was known stays during an outage.
    pub leader: Option<Leader>,
    /// Whether the registry has answered at all.
    pub is_known: bool,
    /// Why the registry does not answer now.
    pub error: Option<Arc<Error>>,
}

impl Client {
    /// Describes an election on a key. Nothing is sent yet.
    #[must_use]
    pub fn election(&self, key: impl Into<String>) -> Election {
        Election { client: self.clone(), lock: self.lock(key) }
    }
}

impl Election {
    /// Sets what the candidate's session is made of.
    #[must_use]
    pub fn session(mut self, settings: SessionSettings) -> Self {
        self.lock = self.lock.session(settings);
        self
    }

    /// Sets the TTL of the candidate's session: how long there is no leader when one dies.
    #[must_use]
    pub fn ttl(mut self, time: Duration) -> Self {
        self.lock = self.lock.ttl(time);
        self
    }

    /// Waits until this process leads; `value` is what observers see. It leads until [`Locked::lost`] is done or the guard is
    /// released; to resign is to release.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn campaign(&self, value: impl Into<Bytes>) -> Result<Locked, Error> {
        self.lock.clone().value(value).acquire().await
    }

    /// Follows who leads.
    ///
    /// # Errors
    /// [`Error::Bound`] when too much is followed, [`Error::Closed`] after a shutdown.
    pub fn observe(&self) -> Result<Live<Leadership>, Error> {
        let (permit, end) = self.client.follower()?;
        let cursor = Cursor::new(self.client.cursor_settings());
        let follow = Follow::new(self.client.api().clone(), kv_path(self.lock.key()), cursor, key_reader());
        Ok(Live::start(follow, Leadership::default(), next, self.client.tracker(), end, permit))
    }
}

fn next(known: &Arc<Leadership>, news: News<Option<KvShown>>) -> Option<Leadership> {
    match news {
        News::Changed(row) => {
            let leader = row.filter(|row| !row.session.is_empty()).map(|row| Leader {
                value: row.bytes().unwrap_or_default().into(),
                session: row.session.to_string(),
                token: FencingToken::of(&row),
            });
            let same = known.is_known && known.error.is_none() && known.leader == leader;
            (!same).then_some(Leadership { leader, is_known: true, error: None })
        }
        News::Unchanged => known.error.is_some().then(|| Leadership { error: None, ..Leadership::clone(known) }),
        News::Failed(_) if known.error.is_some() => None,
        News::Failed(error) => Some(Leadership { error: Some(Arc::new(error)), ..Leadership::clone(known) }),
    }
}
