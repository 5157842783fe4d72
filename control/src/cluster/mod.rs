//! The replicated registry as this node sees it: propose, query, wait, who leads, who is a member.
//!
//! [`Cluster`] is the only handle that the rest of the control node has; no type of the consensus engine or of gossip's
//! library passes it. A proposal resolves when it is on disk at a quorum and visible here.

mod autopilot;
mod batch;
mod begin;
mod errand;
mod error;
mod gossip;
mod health;
mod leave;
mod lock_delay;
mod machine;
mod options;
mod place;
mod reconcile;
mod router;
mod rpc;
mod servers;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use callboard_consensus::{Bootstrap, Options, Raft, Status};
use callboard_proto::api::query::Consistency;
use callboard_proto::text::Text;
use callboard_proto::{CheckId, NodeName};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::begin::retry_join;
pub use self::error::Error;
pub use self::gossip::{
    Card, Gossip, GossipOptions, GossipSockets, JoinError, KeyAct, KeyError, KeyReport, Keyring, KeyringOptions,
    Member, MemberRole, MemberStatus, Roll, Spoken, WORD_MAX, Word,
};
pub use self::health::{Health, ServerHealth};
pub use self::leave::ForceLeaveError;
use self::lock_delay::LockDelays;
pub use self::options::{Begin, ClusterOptions, Network};
use self::router::{Reads, Router};
use self::rpc::{Addresses, Caller, Sure};
pub use self::rpc::{Beaten, RpcTls};
pub use self::servers::ServerRow;
use crate::identity::node_uuid;
use crate::registry::restore::{PIECE_MAX, Piece, RestoreCommand};
use crate::registry::{Command, Outcome, Registry};
use crate::watch::Hub;

/// What only the leader's memory knows; kept by those who own it.
pub trait LeaderMemory: Send + Sync {
    /// Starts the time of a session afresh; says whether it lives.
    fn renew(&self, session: &str) -> bool;
    /// Starts the time of a beaten check afresh.
    fn beat(&self, node: &NodeName, check: &CheckId) -> Beaten;
    /// Starts the time of checks that were registered.
    fn registered(&self, node: &NodeName, checks: &[CheckId]);
}

/// The handle; clones are cheap and share one registry.
#[derive(Clone)]
pub struct Cluster {
    router: Router,
    reads: Reads,
    registry: Arc<ArcSwap<Registry>>,
    hub: Hub,
    queue: mpsc::Sender<batch::Proposal>,
    status: watch::Receiver<Status>,
    delays: LockDelays,
    gossip: Gossip,
    shared: Arc<Shared>,
}

struct Shared {
    card: Card,
    rpc: SocketAddr,
    memory: OnceLock<Weak<dyn LeaderMemory>>,
    promised: Mutex<Option<begin::Promise>>,
    /// Whether this node is on its way out.
    leaving: AtomicBool,
    steady: health::Steady,
    events: Mutex<Option<mpsc::Receiver<Spoken>>>,
    stop: CancellationToken,
}

/// A state to answer from, and how it was come by.
pub struct View {
    /// The state.
    pub registry: Arc<Registry>,
    /// Whether a leader is known.
    pub known_leader: bool,
    /// How long ago it was heard of.
    pub last_contact: Duration,
}

impl Cluster {
    /// Opens the registry and starts to take part.
    ///
    /// # Errors
    /// When the data folder is in use, unreadable or unwritable; nothing in it was lost.
    pub async fn start(options: ClusterOptions) -> Result<Cluster, callboard_consensus::Error> {
        let ClusterOptions { data_dir, begin, network, leader_wait, slowness, autopilot } = options;
        let usual = Options::default();
        let (hub, waker) = Hub::new();
        tokio::spawn(waker);
        let registry = Arc::new(ArcSwap::from_pointee(Registry::default()));
        let delays = LockDelays::default();
        let machine = machine::RegistryMachine::new(registry.clone(), hub.clone(), delays.clone());
        let port = |address: std::io::Result<SocketAddr>| address.map_or(0, |address| address.port());
        let rpc = SocketAddr::new(network.advertise, port(network.rpc.local_addr()));
        let options = Options {
            data_dir,
            address: rpc.to_string(),
            bootstrap: if begin == Begin::Alone { Bootstrap::Alone } else { Bootstrap::Wait },
            heartbeat: usual.heartbeat * slowness,
            election_min: usual.election_min * slowness,
            election_max: usual.election_max * slowness,
            ..usual
        };
        let caller = Caller::new(Addresses::default(), network.tls.clone());
        let raft = Raft::start(options, machine, Some(Arc::new(caller.clone()))).await?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let card = Card {
            name: network.name.to_string(),
            node_id: network.node_id.unwrap_or_else(|| node_uuid(raft.node_id())),
            datacenter: network.datacenter,
            gossip: SocketAddr::new(network.advertise, port(network.gossip.tcp.local_addr())),
            rpc,
            wan_port: network.wan_port,
            raft_id: raft.node_id(),
            role: match (network.server, begin) {
                (false, _) => MemberRole::Client,
                (true, Begin::Together(expect)) => MemberRole::Server { bootstrap: false, expect },
                (true, begin) => MemberRole::Server { bootstrap: begin == Begin::Alone, expect: 0 },
            },
            incarnation: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        };
        let stop = CancellationToken::new();
        let keyring = Arc::new(network.keyring);
        let (gossip, events) = Gossip::start(card.clone(), network.gossip, keyring, network.membership, stop.clone());
        let router = Router::new(raft.clone(), caller, leader_wait);
        let (queue, proposals) = mpsc::channel(batch::QUEUE_MAX);
        tokio::spawn(batch::run(router.clone(), proposals));
        let status = raft.subscribe();
        delays.keep_while_leading(status.clone());
        let shared = Arc::new(Shared {
            card,
            rpc,
            memory: OnceLock::new(),
            promised: Mutex::default(),
            leaving: AtomicBool::new(false),
            steady: health::Steady::default(),
            events: Mutex::new(Some(events)),
            stop: stop.clone(),
        });
        let reads = Reads::start(&router);
        let cluster = Cluster { router, reads, registry, hub, queue, status, delays, gossip, shared };
        tokio::spawn(rpc::serve(cluster.clone(), network.rpc, network.tls, stop.clone()));
        tokio::spawn(reconcile::run(cluster.clone(), autopilot, stop.clone()));
        if network.membership.locates {
            tokio::spawn(place::run(cluster.clone(), stop.clone()));
        }
        tokio::spawn(begin::rejoin(cluster.clone(), stop.clone()));
        if let Begin::Together(expect) = begin {
            tokio::spawn(begin::together(cluster.clone(), expect, stop));
        }
        Ok(cluster)
    }

    /// Writes. When this returns, the write is on disk at a quorum and every later read here shows it.
    ///
    /// # Errors
    /// See [`Error`] for what is true after each.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Error> {
        let (answer, outcome) = oneshot::channel();
        self.queue.send(batch::Proposal { command, answer }).await.map_err(|_| Error::Stopping)?;
        match outcome.await.map_err(|_| Error::Stopping)?? {
            Outcome::Refused(refusal) => Err(Error::Refused(refusal)),
            outcome => Ok(outcome),
        }
    }

    /// A state to answer a read from.
    ///
    /// # Errors
    /// [`Error::NoLeader`] unless a stale answer is allowed.
    pub async fn query(&self, consistency: Consistency) -> Result<View, Error> {
        self.query_within(consistency, None).await
    }

    /// A state to answer a read from. A stale one that is older than `stale_max` is not good enough.
    ///
    /// # Errors
    /// [`Error::NoLeader`] unless a stale answer is allowed.
    pub async fn query_within(&self, consistency: Consistency, stale_max: Option<Duration>) -> Result<View, Error> {
        let (known_leader, last_contact) = self.router.contact();
        let stale = consistency == Consistency::Stale;
        if stale && stale_max.is_none_or(|max| last_contact <= max) {
            return Ok(View { registry: self.registry(), known_leader, last_contact });
        }
        match consistency {
            Consistency::Consistent => self.router.barrier(Sure::Quorum, &self.reads).await?,
            Consistency::Stale | Consistency::Leader if self.is_sole_leader() => {}
            Consistency::Stale | Consistency::Leader => self.router.barrier(Sure::Lease, &self.reads).await?,
        }
        Ok(View { registry: self.registry(), known_leader: true, last_contact: Duration::ZERO })
    }

    /// A voter that is alone cannot be deposed, so once it is ready its state is always the newest.
    fn is_sole_leader(&self) -> bool {
        let status = self.status.borrow();
        status.ready && status.voters.len() == 1
    }

    /// The newest state known here, whoever leads.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    /// Replaces everything by a state as a checkpoint writes it. Whoever waits for anything is woken.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is no state, or another restore began meanwhile: then nothing was replaced. Else see
    /// [`Error`] for what is true after each.
    pub async fn restore(&self, state: &[u8]) -> Result<(), Error> {
        let id = Text::from(uuid::Uuid::new_v4().to_string());
        let step = async |command| self.propose(Command::Restore(command)).await.map(|_| ());
        step(RestoreCommand::Begin { id: id.clone(), size: state.len() as u64 }).await?;
        let mut offset = 0;
        for piece in state.chunks(PIECE_MAX) {
            step(RestoreCommand::Piece { id: id.clone(), offset, bytes: Piece(piece.into()) }).await?;
            offset += piece.len() as u64;
        }
        step(RestoreCommand::Finish { id }).await
    }

    /// Where readers wait.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Whether this node leads and its state is complete.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.status.borrow().ready
    }

    /// Waits until this node begins or ceases to lead, and says which; nothing when the engine is gone.
    pub async fn leads_otherwise_than(&self, leads: bool) -> Option<bool> {
        let mut status = self.status.clone();
        status.wait_for(|status| status.ready != leads).await.ok().map(|status| status.ready)
    }

    /// The engine's view of this node, for operators.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows leadership and failure.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The identity of this node in the log, made once at random and never reused.
    #[must_use]
    pub fn node_id(&self) -> u64 {
        self.router.raft.node_id()
    }

    /// What this node says about itself to others.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.shared.card
    }

    /// The members, this one among them.
    #[must_use]
    pub fn members(&self) -> Arc<Roll> {
        self.gossip.roll()
    }

    /// Membership: to join, to tell everyone something, to follow who is there.
    #[must_use]
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// The address of whoever leads, as `host:port`; empty while that is not known.
    #[must_use]
    pub fn leader_address(&self) -> String {
        let status = self.status.borrow();
        let (known, _) = self.router.contact();
        status.leader.as_ref().filter(|_| known).map(|leader| self.address_of(leader)).unwrap_or_default()
    }

    /// The addresses of the voters.
    #[must_use]
    pub fn voter_addresses(&self) -> Vec<String> {
        self.status.borrow().voters.iter().map(|voter| self.address_of(voter)).collect()
    }

    fn address_of(&self, peer: &callboard_consensus::Peer) -> String {
        if peer.id == self.node_id() {
            return self.shared.rpc.to_string();
        }
        self.router.caller.addresses.of(peer).map_or_else(|| peer.address.clone(), |address| address.to_string())
    }

    /// Where gossip reaches this node.
    fn gossip_address(&self) -> SocketAddr {
        self.shared.card.gossip
    }

    /// Names who owns what only the leader's memory knows. To be called once, before anything is served.
    pub fn remember(&self, memory: &Arc<dyn LeaderMemory>) {
        // A second call would be a mistake of whoever builds the server; the first one counts.
        let _ = self.shared.memory.set(Arc::downgrade(memory));
    }

    /// The user events that gossip hears; whoever asks first gets them.
    #[must_use]
    pub fn take_events(&self) -> Option<mpsc::Receiver<Spoken>> {
        self.shared.events.lock().take()
    }

    /// Whether this node is on its way out, and should not be brought back.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shared.leaving.load(Ordering::Relaxed)
    }

    /// Stops taking part. What was acknowledged stays.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.router.raft.shutdown().await;
    }
}
