//! Who this control node is: its names, addresses and ports, fixed at start.

use std::net::IpAddr;

use callboard_proto::api::check::NewCheck;
use callboard_proto::check::{CheckOwner, SERF_HEALTH};
use callboard_proto::text::{Meta, Tags, Text};
use callboard_proto::{Check, CheckId, CheckStatus, Index, Instance, InstanceId, Node, NodeName, ServiceName};

use crate::registry::{NodeUpdate, Registration};

/// The version of the interface that we speak, as clients parse it.
pub const VERSION: &str = "1.22.0";
/// The service under which control nodes themselves are found.
pub const CONSUL_SERVICE: &str = "consul";

/// The facts about this node that answers show.
#[derive(Debug, Clone)]
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
    /// The operator's free key-value pairs.
    pub node_meta: Meta,
    /// Whether it runs in memory, for developers.
    pub dev: bool,
    /// Whether it serves the console.
    pub console: bool,
}

impl Identity {
    /// The node's own row.
    #[must_use]
    pub fn node(&self) -> Node {
        let address: Text = self.advertise.to_string().into();
        let networks = [("lan", self.advertise), ("wan", self.advertise_wan)].into_iter().flat_map(|(network, ip)| {
            let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
            let address = Text::from(ip.to_string());
            [(network.to_owned(), address.clone()), (format!("{network}_{family}"), address)]
        });
        let own = [("consul-network-segment", ""), ("consul-version", VERSION)];
        let meta = self.node_meta.iter().map(|(key, value)| (key.clone(), value.clone()));
        let own = own.into_iter().map(|(key, value)| (Text::from(key), Text::from(value)));
        Node {
            id: self.node_id.clone(),
            name: self.node_name.clone(),
            address,
            tagged_addresses: networks.collect(),
            meta: meta.chain(own).collect(),
            created: Index::ZERO,
            modified: Index::ZERO,
        }
    }

    /// What a control node writes about itself when it begins to lead.
    #[must_use]
    pub fn registration(&self) -> Registration {
        let service = ServiceName::parse(CONSUL_SERVICE).unwrap_or_default();
        let instance = Instance {
            id: InstanceId::parse(CONSUL_SERVICE).unwrap_or_default(),
            service,
            port: self.server_port,
            meta: [("raft_version", "3"), ("serf_protocol_current", "2"), ("version", VERSION)]
                .into_iter()
                .map(|(key, value)| (key, Text::from(value)))
                .collect(),
            ..Instance::default()
        };
        let alive = Check {
            node: self.node_name.clone(),
            id: CheckId::parse(SERF_HEALTH).unwrap_or_default(),
            name: "Serf Health Status".into(),
            status: CheckStatus::Passing,
            notes: Text::default(),
            output: "Agent alive and reachable".into(),
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
        Registration {
            node: self.node(),
            node_update: NodeUpdate::Put,
            instance: Some(instance),
            checks: vec![NewCheck { check: alive, status_given: true }],
            checks_replace: false,
        }
    }
}
