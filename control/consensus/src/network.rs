//! Fits a [`Transport`] to the consensus engine, and holds the encoding of what nodes say to each other.
//!
//! Every body begins with a version byte; postcard does not describe itself. It decides nothing about
//! connections, which are the transport's.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::status::Peer;
use crate::transport::{CheckpointReader, Rpc, Transport, Unreachable};
use crate::types::{Snapshot, Types, Vote};

const VERSION: u8 = 1;

/// Encodes a message.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, Error> {
    let malformed = |error: postcard::Error| Error::Malformed { reason: error.to_string() };
    postcard::to_extend(message, vec![VERSION]).map_err(malformed)
}

/// Decodes a message.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    match body.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| Error::Malformed { reason: error.to_string() })
        }
        Some((version, _)) => Err(Error::Malformed { reason: format!("version {version}, known is {VERSION}") }),
        None => Err(Error::Malformed { reason: "empty".to_owned() }),
    }
}

/// Makes clients for the engine.
pub(crate) struct Network {
    pub(crate) transport: Option<Arc<dyn Transport>>,
}

impl Network {
    fn client(&self, id: u64, node: &BasicNode, append: Rpc) -> Client {
        Client { to: Peer { id, address: node.addr.clone() }, append, transport: self.transport.clone() }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        self.client(target, node, Rpc::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Client {
        self.client(target, node, Rpc::Heartbeat)
    }
}

/// Speaks to one peer.
pub(crate) struct Client {
    to: Peer,
    /// What appends are sent as: the engine's heartbeats are empty appends.
    append: Rpc,
    transport: Option<Arc<dyn Transport>>,
}

impl Client {
    fn transport(&self) -> Result<&dyn Transport, Unreachable> {
        self.transport.as_deref().ok_or_else(|| Unreachable("this node has no transport".to_owned()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        rpc: Rpc,
        message: &impl Serialize,
        within: Duration,
    ) -> Result<T, RPCError<Types>> {
        let failed = |error: &dyn std::fmt::Display| unreachable(error).into();
        let body = encode(message).map_err(|error| failed(&error))?;
        let transport = self.transport().map_err(|error| failed(&error))?;
        let answer = transport.call(&self.to, rpc, body, within).await.map_err(|error| failed(&error))?;
        decode(&answer).map_err(|error| failed(&error))
    }
}

fn unreachable(error: &dyn std::fmt::Display) -> openraft::errors::Unreachable<Types> {
    openraft::errors::Unreachable::from_string(error)
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Checkpoint;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.call(self.append, &rpc, option.soft_ttl()).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Rpc::Vote, &rpc, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Rpc::PreVote, &rpc, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        // The engine's time limit is meant for one chunk; the transport bounds the time without progress.
        let failed = |error: &dyn std::fmt::Display| StreamingError::Unreachable(unreachable(error));
        let head = encode(&vote).map_err(|error| failed(&error))?;
        let transport = self.transport().map_err(|error| failed(&error))?;
        let sent = transport.send_checkpoint(&self.to, head, CheckpointReader::new(snapshot.snapshot));
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = sent => answer.map_err(|error| failed(&error))?,
        };
        decode(&answer).map_err(|error| failed(&error))
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(Rpc::TransferLeader, &req, option.soft_ttl()).await
    }
}
