//! What a node brings with it into a cluster, and how it begins.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use callboard_proto::NodeName;
use tokio::net::TcpListener;

use super::{GossipOptions, GossipSockets, Keyring, RpcTls};
use crate::registry::AutopilotSettings;

/// How a node without a history comes to be in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It is a cluster of one, which others may join.
    Alone,
    /// It begins one with as many other servers as were told so, when they know each other.
    Together(u32),
    /// It joins one.
    Wait,
}

/// What others reach this node by.
pub struct Network {
    /// For the log and requests that are passed on.
    pub rpc: TcpListener,
    /// For membership.
    pub gossip: GossipSockets,
    /// Encrypts and verifies what nodes ask of one another; none: it is plain.
    pub tls: Option<RpcTls>,
    /// The keys of gossip.
    pub keyring: Keyring,
    /// The address that others use.
    pub advertise: IpAddr,
    /// The name of the node.
    pub name: NodeName,
    /// Its UUID, if an operator chose one.
    pub node_id: Option<String>,
    /// Where it is.
    pub datacenter: String,
    /// The wide-area gossip port, as it is shown.
    pub wan_port: u16,
    /// Whether it is to vote.
    pub server: bool,
    /// How it takes part in membership.
    pub membership: GossipOptions,
}

/// Where the registry lives.
pub struct ClusterOptions {
    /// The folder of log and checkpoints; none keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    /// How it begins.
    pub begin: Begin,
    /// The way to others.
    pub network: Network,
    /// How long a request waits for a leader before it says that there is none.
    pub leader_wait: Duration,
    /// Elections take so many times as long.
    pub slowness: u32,
    /// How servers are kept in good order, until that is written in the registry.
    pub autopilot: AutopilotSettings,
}

#[cfg(test)]
impl ClusterOptions {
    /// A cluster of one in memory, on any free ports of loopback.
    pub(crate) async fn alone() -> ClusterOptions {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let tcp = TcpListener::bind(any).await.unwrap();
        let udp = tokio::net::UdpSocket::bind(any).await.unwrap();
        let network = Network {
            rpc: TcpListener::bind(any).await.unwrap(),
            gossip: GossipSockets { udp, tcp },
            tls: None,
            keyring: Keyring::open(super::KeyringOptions::default()).unwrap(),
            advertise: any.ip(),
            name: NodeName::parse("n1").unwrap(),
            node_id: None,
            datacenter: "dc1".to_owned(),
            wan_port: 8302,
            server: true,
            membership: GossipOptions { failed_kept: Duration::from_secs(72 * 3600), locates: true },
        };
        let leader_wait = Duration::from_secs(7);
        let autopilot = AutopilotSettings::default();
        ClusterOptions { data_dir: None, begin: Begin::Alone, network, leader_wait, slowness: 1, autopilot }
    }
}
