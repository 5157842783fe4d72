//! Three nodes in one process: leader loss, rejoin from the log and from a checkpoint, transfer.

#![allow(clippy::unwrap_used, reason = "a test may stop at what should not happen")]

mod common;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard_consensus::transport::BoxFuture;
use callboard_consensus::{
    Barrier, Bootstrap, CheckpointReader, Error, Options, Peer, Raft, Role, Rpc, Status, Transport, Unreachable,
};
use common::{Journal, numbers, options, propose};
use tempfile::TempDir;

/// Far beyond anything that should happen; only a hang gets here.
const HANG: Duration = Duration::from_secs(60);

/// Calls nodes directly, through their handles.
#[derive(Clone, Default)]
struct Wires {
    nodes: Arc<Mutex<HashMap<u64, Raft>>>,
    cut: Arc<Mutex<HashSet<u64>>>,
    checkpoints: Arc<Mutex<u32>>,
}

impl Wires {
    fn find(&self, from: u64, to: u64) -> Result<Raft, Unreachable> {
        let cut = self.cut.lock().unwrap();
        if cut.contains(&from) || cut.contains(&to) {
            return Err(Unreachable("cut".into()));
        }
        self.nodes.lock().unwrap().get(&to).cloned().ok_or_else(|| Unreachable("gone".into()))
    }

    fn end(&self, from: u64) -> Arc<dyn Transport> {
        Arc::new(End { wires: self.clone(), from })
    }
}

struct End {
    wires: Wires,
    from: u64,
}

fn text(error: Error) -> Unreachable {
    Unreachable(error.to_string())
}

impl Transport for End {
    fn call<'a>(
        &'a self,
        to: &'a Peer,
        rpc: Rpc,
        body: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unreachable>> {
        Box::pin(async move {
            let node = self.wires.find(self.from, to.id)?;
            let answer = tokio::time::timeout(within, node.answer(rpc, &body)).await;
            answer.map_err(|_| Unreachable("too slow".into()))?.map_err(text)
        })
    }

    fn send_checkpoint<'a>(
        &'a self,
        to: &'a Peer,
        head: Vec<u8>,
        mut body: CheckpointReader,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unreachable>> {
        Box::pin(async move {
            let node = self.wires.find(self.from, to.id)?;
            let mut receiver = node.receive_checkpoint(&head, body.total()).map_err(text)?;
            while let Some(piece) = body.next().await.map_err(|error| Unreachable(error.to_string()))? {
                receiver = receiver.write(piece).await.map_err(text)?;
            }
            *self.wires.checkpoints.lock().unwrap() += 1;
            receiver.finish().await.map_err(text)
        })
    }
}

fn peer(id: u64) -> Peer {
    Peer { id, address: format!("node-{id}") }
}

struct Cluster {
    wires: Wires,
    dirs: HashMap<u64, TempDir>,
    journals: HashMap<u64, Journal>,
}

impl Cluster {
    /// Starts nodes 1 to 3 as one cluster.
    async fn three() -> Self {
        let mut cluster = Self { wires: Wires::default(), dirs: HashMap::new(), journals: HashMap::new() };
        for id in 1..=3 {
            cluster.start(id, Bootstrap::Together((1..=3).map(peer).collect())).await;
        }
        cluster
    }

    async fn start(&mut self, id: u64, bootstrap: Bootstrap) -> Raft {
        let dir = self.dirs.entry(id).or_insert_with(|| tempfile::tempdir().unwrap());
        let options = settings(dir.path(), id, bootstrap);
        let journal = Journal::default();
        self.journals.insert(id, journal.clone());
        let raft = Raft::start(options, journal, Some(self.wires.end(id))).await.unwrap();
        self.wires.nodes.lock().unwrap().insert(id, raft.clone());
        raft
    }

    async fn stop(&self, id: u64) {
        let raft = self.wires.nodes.lock().unwrap().remove(&id).unwrap();
        raft.shutdown().await;
    }

    fn node(&self, id: u64) -> Raft {
        self.wires.nodes.lock().unwrap()[&id].clone()
    }

    fn running(&self) -> Vec<Raft> {
        self.wires.nodes.lock().unwrap().values().cloned().collect()
    }

    /// Waits for a leader other than `not`.
    async fn leader(&self, not: u64) -> Raft {
        let nodes = self.running();
        let leads = nodes.into_iter().filter(|node| node.node_id() != not).map(|node| {
            Box::pin(async move {
                until(&node, |status| status.ready).await;
                node
            })
        });
        futures_util::future::select_all(leads).await.0
    }

    /// Proposes numbered lines to whoever leads: right after a start elections may still follow each other.
    async fn propose(&self, not: u64, lines: std::ops::Range<u32>) -> Raft {
        let mut leader = self.leader(not).await;
        for line in lines {
            while let Err(error) = leader.propose(line.to_string().into_bytes()).await {
                assert!(error.is_retryable(), "{error}");
                leader = self.leader(not).await;
            }
        }
        leader
    }

    /// Waits until every running node has applied as many lines, and compares.
    async fn settle(&self, lines: &[String]) {
        for node in self.running() {
            // The status may lag behind what is applied, never the other way round.
            let journal = &self.journals[&node.node_id()];
            until(&node, |_| journal.lines().len() >= lines.len()).await;
            assert_eq!(journal.lines(), lines, "node {}", node.node_id());
        }
    }
}

fn settings(dir: &Path, id: u64, bootstrap: Bootstrap) -> Options {
    Options {
        node_id: Some(id),
        address: peer(id).address,
        bootstrap,
        // Slower than the default: the tests share two cores and one disk with each other.
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(500),
        election_max: Duration::from_millis(1000),
        ..options(dir)
    }
}

async fn until(node: &Raft, reached: impl FnMut(&Status) -> bool) {
    let mut status = node.subscribe();
    tokio::time::timeout(HANG, status.wait_for(reached)).await.expect("hangs").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::three().await;
    let first = cluster.propose(0, 0..50).await;
    cluster.settle(&numbers(0..50)).await;

    let lost = first.node_id();
    drop(first);
    cluster.stop(lost).await;
    let second = cluster.propose(lost, 50..100).await;
    let follower = cluster.running().into_iter().find(|node| node.node_id() != second.node_id()).unwrap();
    let refused = follower.propose(b"x".to_vec()).await;
    assert!(matches!(refused, Err(Error::NotLeader { leader: Some(leader) }) if leader == peer(second.node_id())));
    second.read_barrier(Barrier::Quorum).await.unwrap();

    cluster.start(lost, Bootstrap::Wait).await;
    cluster.settle(&numbers(0..100)).await;
    assert_eq!(*cluster.wires.checkpoints.lock().unwrap(), 0, "the log sufficed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_acknowledges_nothing() {
    let cluster = Cluster::three().await;
    let old = cluster.propose(0, 0..10).await;
    cluster.wires.cut.lock().unwrap().insert(old.node_id());
    cluster.propose(old.node_id(), 10..20).await;
    // Neither a write nor a read gets through on the side without a quorum.
    assert!(old.read_barrier(Barrier::Lease).await.is_err());
    assert!(old.read_barrier(Barrier::Quorum).await.is_err());
    let refused = old.propose(b"lost".to_vec()).await;
    assert!(matches!(refused, Err(Error::NoQuorum | Error::NotLeader { .. })), "{refused:?}");
    cluster.wires.cut.lock().unwrap().clear();
    until(&old, |status| status.role == Role::Follower).await;
    cluster.settle(&numbers(0..20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_too_far_behind_is_given_a_checkpoint() {
    let mut cluster = Cluster::three().await;
    let leader = cluster.propose(0, 0..10).await;
    let behind = (1..=3).find(|id| *id != leader.node_id()).unwrap();
    cluster.settle(&numbers(0..10)).await;
    cluster.stop(behind).await;
    for part in 1..4 {
        cluster.propose(0, part * 10..(part + 1) * 10).await;
        // Whoever leads later must not have the old entries either.
        for node in cluster.running() {
            let end = cluster.leader(0).await.status().last_log;
            until(&node, |status| status.applied >= end).await;
            node.checkpoint_now().await.unwrap();
        }
    }
    for node in cluster.running() {
        until(&node, |status| status.purged > 20).await;
    }
    cluster.start(behind, Bootstrap::Wait).await;
    cluster.propose(0, 40..50).await;
    cluster.settle(&numbers(0..50)).await;
    assert!(*cluster.wires.checkpoints.lock().unwrap() > 0);

    // What was received is as durable as what was written.
    cluster.stop(behind).await;
    let sent = *cluster.wires.checkpoints.lock().unwrap();
    cluster.start(behind, Bootstrap::Wait).await;
    cluster.propose(0, 50..60).await;
    cluster.settle(&numbers(0..60)).await;
    assert_eq!(*cluster.wires.checkpoints.lock().unwrap(), sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go_and_leadership_is_handed_over() {
    let mut cluster = Cluster { wires: Wires::default(), dirs: HashMap::new(), journals: HashMap::new() };
    let one = cluster.start(1, Bootstrap::Alone).await;
    propose(&one, 0..10).await;
    cluster.start(2, Bootstrap::Wait).await;
    cluster.start(3, Bootstrap::Wait).await;
    one.add_voter(peer(2)).await.unwrap();
    one.add_voter(peer(3)).await.unwrap();
    until(&one, |status| status.voters == [peer(1), peer(2), peer(3)]).await;
    propose(&one, 10..20).await;
    cluster.settle(&numbers(0..20)).await;

    one.transfer_leader(2).await.unwrap();
    let two = cluster.node(2);
    until(&two, |status| status.ready).await;
    let two = cluster.propose(0, 20..30).await;
    two.remove(1).await.unwrap();
    cluster.stop(1).await;
    propose(&two, 30..40).await;
    cluster.settle(&numbers(0..40)).await;
    until(&two, |status| status.voters == [peer(2), peer(3)]).await;
}

#[tokio::test]
async fn malformed_messages_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (raft, _) = common::start(dir.path()).await;
    for rpc in Rpc::ALL {
        for body in [&b""[..], b"\x01", b"\x02abc", b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(matches!(raft.answer(rpc, body).await, Err(Error::Malformed { .. })), "{rpc:?} {body:?}");
        }
    }
    assert!(matches!(raft.receive_checkpoint(b"", 10), Err(Error::Malformed { .. })));
    raft.shutdown().await;
}
