//! How messages between nodes leave and arrive, as bytes.
//!
//! It decides what a transport must do: carry one request to one peer and bring back its answer, or stream
//! one checkpoint. It knows neither sockets nor what the bytes mean. The control node implements
//! [`Transport`] over HTTP, and hands what arrives to [`crate::Raft::answer`] and
//! [`crate::Raft::receive_checkpoint`].

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::checkpoint::{Checkpoint, Incoming};
use crate::error::Error;
use crate::raft::Raft;
use crate::status::Peer;
use crate::types::{Snapshot, Vote};

/// A boxed future, as a transport returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The messages nodes send each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// Log entries.
    Append,
    /// A sign of life. Should travel on a connection of its own, so that long entries do not delay it into
    /// an election.
    Heartbeat,
    /// A request to be elected.
    Vote,
    /// A question whether a vote would be granted, which disturbs nobody.
    PreVote,
    /// A request to take over from the leader.
    TransferLeader,
}

impl Rpc {
    /// Every kind, for routing.
    pub const ALL: [Self; 5] = [Self::Append, Self::Heartbeat, Self::Vote, Self::PreVote, Self::TransferLeader];

    /// The name to use in an address.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Heartbeat => "heartbeat",
            Self::Vote => "vote",
            Self::PreVote => "pre-vote",
            Self::TransferLeader => "transfer-leader",
        }
    }
}

/// A peer did not answer, or not with success. The message may have arrived all the same.
#[derive(Debug, thiserror::Error)]
#[error("peer unreachable: {0}")]
pub struct Unreachable(pub String);

/// Carries messages to other nodes.
///
/// A failed call must not be repeated by the transport; the engine repeats what still matters.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and returns the answer, both opaque, giving up after `within`.
    ///
    /// # Errors
    /// When there is no successful answer in time.
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unreachable>>;

    /// Streams a checkpoint and returns the answer. `head` and the total length go first. To be bounded by
    /// the time without progress, not by a total, since states may be large. Dropping the future cancels.
    ///
    /// # Errors
    /// When the stream breaks or there is no successful answer.
    fn send_checkpoint<'a>(
        &'a self,
        to: &'a Peer,
        head: Vec<u8>,
        body: CheckpointReader,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unreachable>>;
}

/// Length of one piece of a checkpoint.
const PIECE_LEN: usize = 256 << 10;

/// A checkpoint to be sent, piece by piece.
#[derive(Debug)]
pub struct CheckpointReader {
    checkpoint: Checkpoint,
    at: u64,
}

impl CheckpointReader {
    pub(crate) fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, at: 0 }
    }

    /// The total length in bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.checkpoint.len
    }

    /// Reads the next piece; `None` after the last.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.at >= self.checkpoint.len {
            return Ok(None);
        }
        let (checkpoint, at) = (self.checkpoint.clone(), self.at);
        let read = move || {
            let mut piece = vec![0; PIECE_LEN];
            let n = checkpoint.read_at(at, &mut piece)?;
            piece.truncate(n);
            io::Result::Ok(piece)
        };
        let piece = if self.checkpoint.in_memory() {
            read()?
        } else {
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??
        };
        if piece.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the checkpoint is shorter than its length"));
        }
        self.at += piece.len() as u64;
        Ok(Some(Bytes::from(piece)))
    }
}

/// A checkpoint being received. Dropping it gives up and removes what arrived.
pub struct CheckpointReceiver {
    raft: Raft,
    vote: Vote,
    incoming: Incoming,
}

impl CheckpointReceiver {
    pub(crate) fn new(raft: Raft, vote: Vote, incoming: Incoming) -> Self {
        Self { raft, vote, incoming }
    }

    /// Adds the next bytes, in order.
    ///
    /// # Errors
    /// When they cannot be stored or exceed the announced length.
    pub async fn write(mut self, bytes: Bytes) -> Result<Self, Error> {
        if self.incoming.in_memory() {
            self.incoming.write(&bytes).map_err(Error::ReceiveCheckpoint)?;
            return Ok(self);
        }
        let write = move || self.incoming.write(&bytes).map(|()| self);
        blocking(write).await
    }

    /// Checks what arrived, replaces the state with it, and returns the answer for the leader.
    ///
    /// # Errors
    /// When bytes are missing or damaged; the old state stands. When the engine stopped.
    pub async fn finish(self) -> Result<Vec<u8>, Error> {
        let Self { raft, vote, incoming } = self;
        let (meta, snapshot, _guard) = if incoming.in_memory() {
            incoming.finish().map_err(Error::ReceiveCheckpoint)?
        } else {
            blocking(move || incoming.finish()).await?
        };
        raft.install(vote, Snapshot { meta, snapshot }).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(Error::ReceiveCheckpoint)
}
