//! The way to whoever leads: a write, a read's question, an errand is done here if this node leads, and passed on by
//! one hop if another does.
//!
//! While nobody is known to lead, or the one who is says that it does not, it is tried again for a bounded time. What
//! may have happened is never repeated. A follower that passed something on waits until it has applied what came of
//! it, so that whoever wrote here reads here what was written.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_consensus::{Raft, Role, Status};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Error;
use super::rpc::{CallError, Caller, Errand, Lane, Refused, Run, Sure, Written, decode, encode};

/// How soon it is tried again when nothing was heard meanwhile.
const RETRY: Duration = Duration::from_millis(50);
/// How long the leader may take over a write of another node.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long the leader may take to confirm that it leads.
const BARRIER_MAX: Duration = Duration::from_secs(2);
/// How long a follower waits until it has applied what the leader did for it.
const APPLY_MAX: Duration = Duration::from_secs(10);
/// How long a leader may be silent and still count as known.
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// How many reads may wait to be asked about together; further ones wait before that.
const READS_MAX: usize = 4096;

/// When the leader was last heard of.
#[derive(Clone)]
pub(super) struct Contact {
    begin: Instant,
    /// Milliseconds since `begin`.
    at: Arc<AtomicU64>,
}

impl Contact {
    fn new() -> Contact {
        Contact { begin: Instant::now(), at: Arc::default() }
    }

    /// Notes that the leader was heard just now.
    pub(super) fn heard(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at.fetch_max(now, Ordering::Relaxed);
    }

    fn since(&self) -> Duration {
        self.begin.elapsed().saturating_sub(Duration::from_millis(self.at.load(Ordering::Relaxed)))
    }
}

/// Who is to be asked.
enum Leader {
    Me,
    Other(SocketAddr),
    Unknown,
}

/// The handle; clones share everything.
#[derive(Clone)]
pub(super) struct Router {
    pub(super) raft: Raft,
    pub(super) caller: Caller,
    pub(super) contact: Contact,
    status: watch::Receiver<Status>,
    /// How long a request waits for a leader before it says that there is none.
    leader_wait: Duration,
}

impl Router {
    pub(super) fn new(raft: Raft, caller: Caller, leader_wait: Duration) -> Router {
        Router { status: raft.subscribe(), raft, caller, contact: Contact::new(), leader_wait }
    }

    /// When a request that begins now gives up.
    pub(super) fn give_up(&self) -> Instant {
        Instant::now() + self.leader_wait
    }

    fn leader(&self) -> Leader {
        let status = self.status.borrow();
        // A stopped node says why when it is asked to write.
        if matches!(status.role, Role::Leader | Role::Stopped) {
            return Leader::Me;
        }
        let other = status.leader.as_ref().filter(|leader| leader.id != status.node_id);
        other.and_then(|leader| self.caller.addresses.of(leader)).map_or(Leader::Unknown, Leader::Other)
    }

    /// Whether somebody leads, as far as this node can tell, and how long ago that was heard.
    pub(super) fn contact(&self) -> (bool, Duration) {
        let status = self.status.borrow();
        if status.role == Role::Leader {
            return (status.ready, Duration::ZERO);
        }
        let since = self.contact.since();
        (status.leader.is_some() && since < SILENCE_MAX, since)
    }

    /// Writes an entry; what it did shows here when this returns.
    pub(super) async fn write(&self, entry: Vec<u8>) -> Result<Written, Error> {
        let give_up = self.give_up();
        loop {
            match self.leader() {
                Leader::Me => match self.raft.propose(entry.clone()).await {
                    Ok(done) => return Ok(Written { answer: done.answer, log_index: done.log_index }),
                    Err(error) => match Refused::from(&error) {
                        Refused::NotNow(_) => {}
                        _ => return Err(Error::Propose(Arc::new(error))),
                    },
                },
                Leader::Other(to) => {
                    let body = self.caller.call(to, Lane::Work, "/internal/propose", entry.clone(), WRITE_MAX).await;
                    if let Some(written) = understood::<Written>(body)? {
                        self.applied(written.log_index).await?;
                        return Ok(written);
                    }
                }
                Leader::Unknown => {}
            }
            self.pause(give_up).await?;
        }
    }

    /// Waits until this node shows every write that was acknowledged before the call.
    pub(super) async fn barrier(&self, sure: Sure, reads: &Reads) -> Result<(), Error> {
        let give_up = self.give_up();
        loop {
            match self.leader() {
                Leader::Me => {
                    if self.raft.read_barrier(sure.into()).await.is_ok() {
                        return Ok(());
                    }
                }
                Leader::Other(_) => {
                    if let Some(index) = reads.ask(sure).await {
                        return self.applied(index).await;
                    }
                }
                Leader::Unknown => {}
            }
            self.pause(give_up).await?;
        }
    }

    /// Has the leader, another node, do something.
    pub(super) async fn errand(&self, to: SocketAddr, errand: &Errand) -> Result<Option<Run>, Error> {
        let body = self.caller.call(to, Lane::Work, "/internal/errand", encode(errand), WRITE_MAX).await;
        match understood::<Run>(body)? {
            None => Ok(None),
            Some(run) => {
                self.applied(run.log_index).await?;
                Ok(Some(run))
            }
        }
    }

    /// Where the leader is, if it is another node.
    pub(super) fn other_leader(&self) -> Option<SocketAddr> {
        match self.leader() {
            Leader::Other(address) => Some(address),
            Leader::Me | Leader::Unknown => None,
        }
    }

    /// Waits a moment, or until something is heard of the leader.
    ///
    /// # Errors
    /// When the time is over.
    pub(super) async fn pause(&self, give_up: Instant) -> Result<(), Error> {
        if Instant::now() >= give_up {
            return Err(Error::NoLeader);
        }
        tokio::time::sleep(RETRY).await;
        Ok(())
    }

    /// Waits until this node has applied the log up to an index.
    async fn applied(&self, index: u64) -> Result<(), Error> {
        let mut status = self.status.clone();
        let applied = status.wait_for(|status| status.applied >= index || status.role == Role::Stopped);
        match tokio::time::timeout(APPLY_MAX, applied).await {
            Ok(Ok(status)) if status.applied >= index => Ok(()),
            Ok(_) => Err(Error::Stopping),
            Err(_) => Err(Error::Behind),
        }
    }

    /// Asks the leader, if it is another node, up to where a read must wait.
    async fn ask_barrier(&self, sure: Sure) -> Option<u64> {
        let to = self.other_leader()?;
        let body = self.caller.call(to, Lane::Work, "/internal/barrier", encode(&sure), BARRIER_MAX).await.ok()?;
        decode::<Result<u64, Refused>>(&body).ok()?.ok()
    }
}

/// What another node's answer means: done, nothing happened and may be tried again, or an error.
fn understood<T: serde::de::DeserializeOwned>(body: Result<bytes::Bytes, CallError>) -> Result<Option<T>, Error> {
    let forwarded = |reason: String| Error::Forwarded(reason.into());
    let body = match body {
        Ok(body) => body,
        Err(CallError::NotSent { .. }) => return Ok(None),
        Err(error @ CallError::NoAnswer { .. }) => return Err(forwarded(error.to_string())),
    };
    match decode::<Result<T, Refused>>(&body).map_err(forwarded)? {
        Ok(done) => Ok(Some(done)),
        Err(Refused::NotNow(_)) => Ok(None),
        Err(Refused::Refusal(refusal)) => Err(Error::Refused(refusal)),
        Err(Refused::Failed(reason) | Refused::Unknown(reason)) => Err(forwarded(reason)),
    }
}

/// Reads that wait for the leader's word; those that arrive while one question is out share the next.
#[derive(Clone)]
pub(super) struct Reads {
    queues: Arc<HashMap<Sure, mpsc::Sender<oneshot::Sender<Option<u64>>>>>,
}

impl Reads {
    /// Starts to ask for whoever waits, until the last handle is gone.
    pub(super) fn start(router: &Router) -> Reads {
        let queue = |sure| {
            let (queue, waiting) = mpsc::channel(READS_MAX);
            tokio::spawn(ask_for_all(router.clone(), sure, waiting));
            (sure, queue)
        };
        Reads { queues: Arc::new([Sure::Lease, Sure::Quorum].into_iter().map(queue).collect()) }
    }

    async fn ask(&self, sure: Sure) -> Option<u64> {
        let (answer, index) = oneshot::channel();
        self.queues.get(&sure)?.send(answer).await.ok()?;
        index.await.ok()?
    }
}

async fn ask_for_all(router: Router, sure: Sure, mut waiting: mpsc::Receiver<oneshot::Sender<Option<u64>>>) {
    let mut together = Vec::new();
    while waiting.recv_many(&mut together, READS_MAX).await > 0 {
        let index = router.ask_barrier(sure).await;
        for reader in together.drain(..) {
            // A reader that went away does not want to know.
            let _ = reader.send(index);
        }
    }
}
