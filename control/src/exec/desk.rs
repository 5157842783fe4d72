//! The keys of one call, as this node reads and writes them: by the right of its own token, through the log.

use std::sync::Arc;
use std::time::Duration;

use callboard_proto::NodeName;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::query::Consistency;
use callboard_proto::text::Text;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::words::{Call, Job, Part, Place, WordError};
use crate::acl::{Acl, Denial, UnknownToken};
use crate::cluster::{self, Cluster};
use crate::registry::{Command, Refusal, Topic};

/// How often a key is tried to be written while nobody leads, and the pause between two tries.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// How long a key may take to be written or removed once the node stops: maybe nobody leads any more, and a stop is not to
/// wait for that.
const LAST_MAX: Duration = Duration::from_secs(1);

/// Why a call was not answered, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeskError {
    /// The node's own token may not do it. Nothing was read or written.
    #[error("{0}")]
    Denied(Denial),
    /// Nobody has the node's own token. Nothing was read or written.
    #[error(transparent)]
    UnknownToken(#[from] UnknownToken),
    /// Whoever asked does not wait any more.
    #[error("the session has ended")]
    Gone,
    /// There is no job, or another than the session's.
    #[error("no job is held by the session")]
    NoJob,
    /// It was taken before: a job is run once.
    #[error("the job was taken before")]
    Taken,
    /// The job is not the one that was called for: somebody exchanged it.
    #[error("the job is not the one that was called for")]
    Exchanged,
    /// The node stops, and could not write in time.
    #[error("the node stops")]
    Stopping,
    /// Somebody else writes where only this node may.
    #[error("the key belongs to somebody else")]
    Foreign,
    /// The job cannot be used.
    #[error(transparent)]
    Word(#[from] WordError),
    /// The registry could not be read or written.
    #[error(transparent)]
    Cluster(cluster::Error),
}

impl From<Denial> for DeskError {
    fn from(denial: Denial) -> DeskError {
        DeskError::Denied(denial)
    }
}

impl From<cluster::Error> for DeskError {
    fn from(error: cluster::Error) -> DeskError {
        match error {
            cluster::Error::Refused(Refusal::InvalidSession(_)) => DeskError::Gone,
            error => DeskError::Cluster(error),
        }
    }
}

/// Where one call is answered.
pub(super) struct Desk {
    cluster: Cluster,
    acl: Arc<Acl>,
    node: NodeName,
    session: Text,
    call: Call,
    place: Place,
    stop: CancellationToken,
}

impl Desk {
    /// Sits down at the place of a call, until the node stops.
    pub(super) fn new(cluster: Cluster, acl: Arc<Acl>, node: NodeName, call: Call, stop: CancellationToken) -> Desk {
        // Sessions have their ids in small letters; the keys are as whoever asked writes them.
        let session = call.session.to_ascii_lowercase().as_str().into();
        let place = call.place();
        Desk { cluster, acl, node, session, call, place, stop }
    }

    /// Where the keys of the call are.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The session, for the log.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Reads the job as a quorum knows it.
    ///
    /// # Errors
    /// See [`DeskError`]; nothing was written.
    pub(super) async fn job(&self) -> Result<Job, DeskError> {
        let registry = self.cluster.query(Consistency::Consistent).await?.registry;
        let key = self.place.job();
        self.acl.agent_access(&registry)?.permit(Resource::Key, &key, Level::Read)?;
        if registry.session(&self.session).is_none() {
            return Err(DeskError::Gone);
        }
        if registry.kv_get(&self.place.key(self.node.as_str(), Part::Ack)).is_some() {
            return Err(DeskError::Taken);
        }
        let entry = registry.kv_get(&key).filter(|entry| entry.session == self.session).ok_or(DeskError::NoJob)?;
        if !self.call.may_mean(&entry.value) {
            return Err(DeskError::Exchanged);
        }
        Ok(Job::read(&entry.value)?)
    }

    /// Writes one of this node's keys, which will go with the session.
    ///
    /// # Errors
    /// See [`DeskError`]; after a failure of the cluster it may have been written.
    pub(super) async fn write(&self, part: Part, value: &[u8]) -> Result<(), DeskError> {
        let key = self.key(part);
        tokio::select! {
            biased;
            written = self.write_in_tries(&key, value) => written,
            () = self.too_late() => Err(DeskError::Stopping),
        }
    }

    /// Removes one of this node's keys.
    ///
    /// # Errors
    /// See [`DeskError`]; after a failure of the cluster it may have been removed.
    pub(super) async fn remove(&self, part: Part) -> Result<(), DeskError> {
        let key = self.key(part);
        self.acl.agent_access(&self.cluster.registry())?.permit(Resource::Key, &key, Level::Write)?;
        tokio::select! {
            biased;
            removed = self.cluster.propose(Command::KvDelete { key, cas: None }) => Ok(removed.map(drop)?),
            () = self.too_late() => Err(DeskError::Stopping),
        }
    }

    fn key(&self, part: Part) -> Text {
        self.place.key(self.node.as_str(), part).as_str().into()
    }

    /// Waits until the node has been stopping for a while.
    async fn too_late(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_MAX).await;
    }

    async fn write_in_tries(&self, key: &Text, value: &[u8]) -> Result<(), DeskError> {
        let mut tries = 1;
        loop {
            match self.write_once(key, value).await {
                // The same key with the same value may be written twice.
                Err(DeskError::Cluster(error)) if tries < TRIES => {
                    debug!(session = self.session(), error = &error as &dyn std::error::Error, "writing again");
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                written => return written,
            }
        }
    }

    async fn write_once(&self, key: &Text, value: &[u8]) -> Result<(), DeskError> {
        let access = self.acl.agent_access(&self.cluster.registry())?;
        access.permit(Resource::Key, key, Level::Write)?;
        match self.cluster.acquire(key.clone(), value.into(), 0, self.session.clone()).await? {
            true => Ok(()),
            false => Err(DeskError::Foreign),
        }
    }

    /// Waits until the session has ended, as far as this node knows.
    pub(super) async fn gone(&self) {
        let mut subscription = self.cluster.hub().subscribe(&[Topic::Sessions]);
        while self.cluster.registry().session(&self.session).is_some() {
            subscription.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::AclSettings;
    use crate::cluster::{Begin, ClusterOptions};

    #[tokio::test]
    async fn a_stop_does_not_wait_for_a_leader() {
        // Nobody leads, and nobody will.
        let options = ClusterOptions { begin: Begin::Together(3), ..ClusterOptions::alone().await };
        let cluster = Cluster::start(options).await.unwrap();
        let (acl, stop) = (Arc::new(Acl::new(AclSettings::default()).unwrap()), CancellationToken::new());
        let call = Call { prefix: "p".to_owned(), session: "s".to_owned(), ..Call::default() };
        let desk = Desk::new(cluster.clone(), acl, NodeName::parse("n1").unwrap(), call, stop.clone());
        let under_way = async { desk.write(Part::Out(0), b"said").await };
        let stopping = async { stop.cancel() };
        let (written, ()) = tokio::join!(under_way, stopping);
        assert!(matches!(written, Err(DeskError::Stopping)), "{written:?}");
        let last = desk.write(Part::Exit, b"0").await;
        assert!(matches!(last, Err(DeskError::Stopping)), "{last:?}");
        let removed = desk.remove(Part::Out(0)).await;
        assert!(matches!(removed, Err(DeskError::Stopping)), "{removed:?}");
        cluster.shutdown().await;
    }
}
