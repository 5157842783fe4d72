//! Who this control node is: its names, addresses and ports, fixed at start.

use std::net::IpAddr;

use arc_swap::ArcSwap;
use callboard_proto::api::check::NewCheck;
use callboard_proto::check::{CheckOwner, SERF_HEALTH};
use callboard_proto::text::{Meta, Tags, Text};
use callboard_proto::{Check, CheckId, CheckStatus, Index, Instance, InstanceId, Node, NodeName, ServiceName};

use crate::registry::{NodeUpdate, Registration};

/// The version of the interface that we speak, as clients parse it.
pub const VERSION: &str = "1.22.0";
/// The service under which control nodes themselves are found.
pub const CONSUL_SERVICE: &str = "consul";

/// What the check of a member says while it answers.
pub const ALIVE: &str = "Agent alive and reachable";
/// What it says when it does not.
pub const NOT_LIVE: &str = "Agent not live or unreachable";

/// The facts about this node that answers show.
#[derive(Debug)]
pub struct Identity {
    /// The name of the node.
    pub node_name: NodeName,
    /// Its UUID.
    pub node_id: Text,
    /// Where it is.
    pub datacenter: Text,
    /// The DNS domain, without dots around it.
    pub domain: String,
    /// The address others reach it at.
    pub advertise: IpAddr,
    /// The address other datacenters would reach it at.
    pub advertise_wan: IpAddr,
    /// The address its node-to-node port is bound to.
    pub bind: IpAddr,
    /// The addresses its client ports are bound to.
    pub client: Vec<IpAddr>,
    /// The bound HTTP port; -1 when there is none.
    pub http_port: i32,
    /// The bound DNS port; -1 when there is none.
    pub dns_port: i32,
    /// The node-to-node port, as it is shown.
    pub server_port: u16,
    /// The gossip port, as it is shown.
    pub serf_port: u16,
    /// The wide-area gossip port, as it is shown.
    pub serf_wan_port: u16,
    /// The operator's free key-value pairs; they can change while the node runs.
    pub node_meta: ArcSwap<Meta>,
    /// What is shown of its settings besides.
    pub settings: ArcSwap<serde_json::Value>,
    /// Whether it runs in memory, for developers.
    pub dev: bool,
    /// Whether it serves the console.
    pub console: bool,
    /// Whether it votes, or is to.
    pub server: bool,
    /// Whether it was told to be a cluster of one.
    pub bootstrap: bool,
}

impl Identity {
    /// The node's own row.
    #[must_use]
    pub fn node(&self) -> Node {
        let row = node_row(&self.node_name, &self.node_id, self.advertise, self.advertise_wan);
        let meta = self.node_meta.load();
        let meta = meta.iter().map(|(key, value)| (key.clone(), value.clone()));
        let own = row.meta.iter().map(|(key, value)| (key.clone(), value.clone()));
        Node { meta: meta.chain(own).collect(), ..row }
    }

    /// What a server writes about itself when it begins to lead.
    #[must_use]
    pub fn registration(&self) -> Registration {
        Registration {
            node: self.node(),
            node_update: NodeUpdate::Put,
            instance: Some(server_instance(self.server_port)),
            checks: vec![alive_check(&self.node_name)],
            checks_replace: false,
        }
    }
}

/// The UUID of a node, as clients expect one: derived from its identity in the log, 64 random bits made once.
#[must_use]
pub fn node_uuid(raft_id: u64) -> String {
    let word = |seed| twox_hash::XxHash3_64::oneshot_with_seed(seed, &raft_id.to_be_bytes());
    let bytes = uuid::Uuid::from_u64_pair(word(0), word(1)).into_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// The row of a member's node, as far as the others know it.
#[must_use]
pub fn node_row(name: &NodeName, id: &str, address: IpAddr, address_wan: IpAddr) -> Node {
    let networks = [("lan", address), ("wan", address_wan)].into_iter().flat_map(|(network, ip)| {
        let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        let address = Text::from(ip.to_string());
        [(network.to_owned(), address.clone()), (format!("{network}_{family}"), address)]
    });
    let own = [("consul-network-segment", ""), ("consul-version", VERSION)];
    Node {
        id: id.into(),
        name: name.clone(),
        address: address.to_string().into(),
        tagged_addresses: networks.collect(),
        meta: own.into_iter().map(|(key, value)| (Text::from(key), Text::from(value))).collect(),
        created: Index::ZERO,
        modified: Index::ZERO,
    }
}

/// The instance that a server is found by.
#[must_use]
pub fn server_instance(port: u16) -> Instance {
    Instance {
        id: InstanceId::parse(CONSUL_SERVICE).unwrap_or_default(),
        service: ServiceName::parse(CONSUL_SERVICE).unwrap_or_default(),
        port,
        meta: [("raft_version", "3"), ("serf_protocol_current", "2"), ("version", VERSION)]
            .into_iter()
            .map(|(key, value)| (key, Text::from(value)))
            .collect(),
        ..Instance::default()
    }
}

/// The check of a member that answers.
#[must_use]
pub fn alive_check(node: &NodeName) -> NewCheck {
    let check = Check {
        node: node.clone(),
        id: serf_health(),
        name: "Serf Health Status".into(),
        status: CheckStatus::Passing,
        notes: Text::default(),
        output: ALIVE.into(),
        instance: InstanceId::none(),
        service: ServiceName::none(),
        service_tags: Tags::default(),
        kind: Text::default(),
        definition: None,
        shown_definition: Text::default(),
        owner: CheckOwner::Catalog,
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    NewCheck { check, status_given: true }
}

/// The id of the check that says whether a member answers.
#[must_use]
pub fn serf_health() -> CheckId {
    CheckId::parse(SERF_HEALTH).unwrap_or_default()
}
