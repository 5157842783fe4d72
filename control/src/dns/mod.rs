//! The DNS server: services, nodes and addresses of the registry, for whoever can resolve a name.
//!
//! What a name means and which records answer it is decided in `callboard_proto::dns`; here are the sockets (`udp`,
//! `tcp`), the bytes (`wire`), the rows (`find`) and the servers that are asked about other names (`recursor`).
//! What the token of DNS may not see is answered as if it were not there.
//! Answers come from the newest state known here, whoever leads, and never wait for a leader. Nothing is written.
//! Called by `server`, once.

mod counters;
mod find;
mod recursor;
mod respond;
mod tcp;
mod udp;
mod wire;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::NodeName;
use callboard_proto::dns::{Lookup, Settings, Zone};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub use counters::DnsCounters;

use crate::acl::{Access, Acl};
use crate::cluster::Cluster;
use crate::registry::Registry;

/// How many questions may wait for recursors at once.
const WAITING_MAX: usize = 1024;
/// How many tasks read one UDP socket at most.
const READERS_MAX: usize = 4;
/// How long open work may take when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What the DNS server depends on.
#[derive(Debug, Clone)]
pub struct DnsOptions {
    /// The domains and the datacenter.
    pub zone: Zone,
    /// The node from which a prepared query counts distances that wants those from this agent.
    pub node: Option<NodeName>,
    /// What `dns_config` says about answers.
    pub settings: Settings,
    /// Whether instances with warnings are left out.
    pub only_passing: bool,
    /// Whether names are compressed.
    pub compress: bool,
    /// Who is asked about names that are not ours; none refuses such questions.
    pub recursors: Vec<SocketAddr>,
    /// How long each of them may take.
    pub recursor_timeout: Duration,
    /// In which order they are asked.
    pub recursor_strategy: RecursorStrategy,
    /// How many connections may be open; further ones are closed at once, and counted.
    pub connections_max: usize,
    /// How long a connection may be silent, or not take its reply, before it is closed.
    pub connection_idle_max: Duration,
}

/// In which order recursors are asked; the next one is asked when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecursorStrategy {
    /// As listed.
    Sequential,
    /// At random for each question.
    Random,
}

impl DnsOptions {
    /// Answers for a zone with everything else at its default.
    #[must_use]
    pub fn new(zone: Zone) -> DnsOptions {
        DnsOptions {
            zone,
            node: None,
            settings: Settings::default(),
            only_passing: false,
            compress: true,
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            recursor_strategy: RecursorStrategy::Sequential,
            connections_max: 256,
            connection_idle_max: Duration::from_secs(10),
        }
    }

    /// Whether somebody, we or a recursor, may know the address of a host.
    fn can_resolve(&self, host: &str) -> bool {
        !self.recursors.is_empty() || self.zone.lookup(host).lookup != Lookup::OutsideDomain
    }
}

/// Gives the newest state of the registry, and what of it may be told.
type Source = Arc<dyn Fn() -> Seen + Send + Sync>;

/// A state to answer from.
struct Seen {
    registry: Arc<Registry>,
    access: Access,
    /// Who knows what the token of a prepared query may do; none if there is no access control.
    acl: Option<Arc<Acl>>,
}

/// What all readers have in common.
#[derive(Clone)]
struct Shared {
    source: Source,
    options: Arc<DnsOptions>,
    counters: Arc<DnsCounters>,
    /// Permits to wait for recursors.
    waiting: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Answers questions until told to stop, then lets open ones finish for a bounded time.
///
/// The sockets may be of any number and kind of address; none at all is fine too.
pub async fn serve(
    cluster: Cluster,
    acl: Arc<Acl>,
    options: DnsOptions,
    counters: Arc<DnsCounters>,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    stop: CancellationToken,
) {
    let source = move || {
        let registry = cluster.registry();
        Seen { access: acl.dns_access(&registry), acl: acl.is_enabled().then(|| acl.clone()), registry }
    };
    serve_from(Arc::new(source), options, counters, udp, tcp, stop).await;
}

/// The same, with the registry from anywhere.
async fn serve_from(
    source: Source,
    options: DnsOptions,
    counters: Arc<DnsCounters>,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    stop: CancellationToken,
) {
    let shared = Shared {
        source,
        options: Arc::new(options),
        counters,
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
    };
    let readers = std::thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
    for socket in udp {
        // One socket with several readers, not several with SO_REUSEPORT: that would let a second process take the
        // same port without anybody noticing.
        let socket = Arc::new(socket);
        for _ in 0..readers {
            shared.tasks.spawn(udp::read(shared.clone(), socket.clone()));
        }
    }
    let places = Arc::new(Semaphore::new(shared.options.connections_max));
    for listener in tcp {
        shared.tasks.spawn(tcp::accept(shared.clone(), listener, places.clone()));
    }
    stop.cancelled().await;
    shared.tasks.close();
    if tokio::time::timeout(DRAIN_MAX, shared.tasks.wait()).await.is_err() {
        warn!(left = shared.tasks.len(), "questions were left unanswered at the end of the drain");
    }
}
