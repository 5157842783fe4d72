//! Which records answer a question, given the rows that were found.
//!
//! The caller has read the name and chosen the rows: in the asked datacenter, with the asked tag, healthy. Here
//! they are put in order, turned into records of the asked type and cut to the limits of `dns_config`. Nothing
//! that the caller did not hand in is ever answered. Called by the DNS sockets, once a question.

use std::collections::HashSet;
use std::net::IpAddr;

use super::message::{Extra, Record, RecordData, RecordType, Reply, ResponseCode, Transport};
use super::name::{hex, is_encodable, is_host_label, qualified};
use super::question::{Asked, Lookup, Zone};
use super::settings::Settings;
use super::shuffle::shuffle;
use super::txt::texts;
use crate::text::{Meta, Text};

/// How many answers a UDP reply without EDNS has at most, whatever the settings say.
const PLAIN_UDP_ANSWERS_MAX: usize = 8;

/// How many address answers any reply has at most: more would not fit into 64 KiB.
const ADDRESS_ANSWERS_MAX: usize = 4096;

/// How many SRV answers any reply has at most, for the same reason.
const SRV_ANSWERS_MAX: usize = 1024;

/// How many name servers are named.
const NAME_SERVERS_MAX: usize = 3;

/// The question, and what else an answer depends on.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The name as it was asked, in its own letter case; answers repeat it.
    pub name: &'a str,
    /// The asked type.
    pub record_type: RecordType,
    /// How the question came.
    pub transport: Transport,
    /// A random word; decides the order of the answers.
    pub random: u64,
    /// The serial number of the zone; the time in seconds since 1970.
    pub serial: u32,
}

/// A node, lent by the registry.
#[derive(Debug, Clone, Copy)]
pub struct NodeRow<'a> {
    /// The node name.
    pub name: &'a str,
    /// An address, or a host name that has one.
    pub address: &'a str,
    /// The metadata.
    pub meta: &'a Meta,
}

/// A healthy instance, lent by the registry.
#[derive(Debug, Clone, Copy)]
pub struct InstanceRow<'a> {
    /// The node that carries it.
    pub node: NodeRow<'a>,
    /// An address of its own, or a host name, or empty if it is the node's.
    pub address: &'a str,
    /// The port; 0 if it has none.
    pub port: u16,
    /// The weight that its status gives it.
    pub weight: u16,
}

/// In which order instances are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// At random, heavier ones in front more often.
    Shuffled,
    /// As given, because a prepared query sorted them by distance.
    Given,
}

/// What was found for a [`Lookup`].
#[derive(Debug, Clone)]
pub enum Found<'a> {
    /// There is no such thing.
    Nothing,
    /// For [`Lookup::Node`].
    Node(NodeRow<'a>),
    /// For [`Lookup::Service`], [`Lookup::Connect`], [`Lookup::Ingress`] and [`Lookup::Query`]; no rows means no
    /// such name.
    Instances {
        /// The healthy instances.
        rows: Vec<InstanceRow<'a>>,
        /// Their order.
        order: Order,
        /// How long the answers may be cached, in seconds: the rule of the service, unless the query has its own.
        ttl: u32,
    },
    /// For [`Lookup::Apex`] and [`Lookup::NameServers`]: the control nodes.
    Servers(Vec<NodeRow<'a>>),
    /// For [`Lookup::Virtual`].
    Address(IpAddr),
    /// For [`Lookup::Reverse`]: the nodes with that address or, if there are none, the names of the services.
    Names {
        /// Node names.
        nodes: Vec<&'a str>,
        /// Service names.
        services: Vec<&'a str>,
    },
}

/// Answers a question about a name in our domain, or about an address.
///
/// The reply still has to be [trimmed](Reply::trim) to the size that the transport allows. A name
/// [outside the domain](Lookup::OutsideDomain) is refused: the caller asks its recursors first, if it has any.
#[must_use]
pub fn answer(zone: &Zone, settings: &Settings, query: &Query<'_>, asked: &Asked<'_>, found: Found<'_>) -> Reply {
    let mut draft = Draft {
        zone,
        settings,
        query,
        own: qualified(query.name),
        domain: asked.domain,
        reply: Reply::empty(ResponseCode::NoError, true),
    };
    draft.reply.tells_truncation = settings.enable_truncate;
    match (&asked.lookup, found) {
        (Lookup::OutsideDomain, _) => return Reply::empty(ResponseCode::Refused, false),
        (Lookup::ForeignDatacenter { .. } | Lookup::Unknown, _) => draft.no_such_name(),
        (Lookup::Address(address), _) => draft.address(*address),
        (_, Found::Address(address)) => draft.address(address),
        (Lookup::Apex, Found::Servers(servers)) => draft.apex(servers),
        (Lookup::Apex, _) => draft.apex(Vec::new()),
        (_, Found::Servers(servers)) => draft.name_servers(&servers),
        (_, Found::Node(node)) => draft.node(node),
        (_, Found::Instances { rows, order, ttl }) => draft.instances(rows, order, ttl),
        (_, Found::Names { nodes, services }) => return draft.names(&nodes, &services),
        (Lookup::Reverse(_), _) => return Reply::empty(ResponseCode::NxDomain, true),
        (_, Found::Nothing) => draft.no_such_name(),
    }
    draft.finish()
}

/// What was seen before. Replies are short, so looking at all of it is cheaper than hashing until there is much.
struct Seen<T> {
    few: Vec<T>,
    many: HashSet<T>,
}

/// How many are few.
const FEW_MAX: usize = 24;

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { few: Vec::new(), many: HashSet::new() }
    }
}

impl<T: Eq + std::hash::Hash> Seen<T> {
    fn is_new(&mut self, thing: T) -> bool {
        if self.few.contains(&thing) {
            return false;
        }
        if self.few.len() < FEW_MAX {
            self.few.push(thing);
            return true;
        }
        self.many.insert(thing)
    }
}

struct Draft<'a> {
    zone: &'a Zone,
    settings: &'a Settings,
    query: &'a Query<'a>,
    /// The asked name, which most records are of.
    own: Text,
    domain: &'a str,
    reply: Reply,
}

impl Draft<'_> {
    /// Adds what every reply ends with, and applies the limits on the number of answers.
    fn finish(mut self) -> Reply {
        if self.reply.answers.is_empty() {
            let soa = self.soa();
            self.reply.authority.push(soa);
        }
        self.limit();
        self.reply
    }

    fn limit(&mut self) {
        if self.query.transport == (Transport::Udp { edns: None }) {
            let limit = match self.settings.udp_answer_limit {
                0 => PLAIN_UDP_ANSWERS_MAX,
                limit => limit.min(PLAIN_UDP_ANSWERS_MAX),
            };
            self.reply.keep(limit);
        }
    }

    fn no_such_name(&mut self) {
        self.reply.code = ResponseCode::NxDomain;
    }

    fn address(&mut self, address: IpAddr) {
        let record = self.own(self.settings.node_ttl, RecordData::address(address));
        if self.query.record_type.takes(address) {
            self.reply.answers.push(record);
        } else {
            self.extra(0, record);
        }
    }

    fn node(&mut self, node: NodeRow<'_>) {
        let ttl = self.settings.node_ttl;
        let asked = self.query.record_type;
        match node.address.parse::<IpAddr>() {
            Ok(address) if asked.takes(address) => {
                let record = self.own(ttl, RecordData::address(address));
                self.reply.answers.push(record);
            }
            Ok(_) => {}
            Err(_) => self.alias(ttl, node.address),
        }
        for text in texts(node.meta) {
            let record = self.own(ttl, RecordData::Txt(text));
            match asked {
                RecordType::Txt | RecordType::Any => self.reply.answers.push(record),
                RecordType::A | RecordType::Aaaa if self.settings.node_meta_txt => self.extra(0, record),
                _ => {}
            }
        }
    }

    fn instances(&mut self, mut rows: Vec<InstanceRow<'_>>, order: Order, ttl: u32) {
        if rows.is_empty() {
            return self.no_such_name();
        }
        if order == Order::Shuffled {
            shuffle(&mut rows, self.query.random, |row| row.weight);
        }
        match self.query.record_type {
            RecordType::A | RecordType::Aaaa | RecordType::Any | RecordType::Cname => self.addresses(&rows, ttl),
            RecordType::Srv => self.targets(&rows, ttl),
            _ => {}
        }
    }

    /// Answers with the addresses of instances, each once, or else with the host name of one.
    fn addresses(&mut self, rows: &[InstanceRow<'_>], ttl: u32) {
        let limit = match self.settings.a_record_limit {
            0 => ADDRESS_ANSWERS_MAX,
            limit => limit.min(ADDRESS_ANSWERS_MAX),
        };
        let mut seen = Seen::default();
        let mut host = None;
        for row in rows {
            let place = if row.address.is_empty() { row.node.address } else { row.address };
            let Ok(address) = place.parse::<IpAddr>() else {
                host = host.or(Some(place));
                continue;
            };
            let fresh = seen.is_new(address);
            if fresh && self.query.record_type.takes(address) && self.reply.answers.len() < limit {
                let record = self.own(ttl, RecordData::address(address));
                self.reply.answers.push(record);
            }
        }
        // A name with a CNAME can have no other records (RFC 1034 section 3.6.2), not even of another type.
        if let Some(host) = host.filter(|_| seen.few.is_empty()) {
            self.alias(ttl, host);
        }
    }

    /// Answers that the asked name is another name for a host.
    fn alias(&mut self, ttl: u32, host: &str) {
        use RecordType::{A, Aaaa, Any, Cname};
        if matches!(self.query.record_type, A | Aaaa | Any | Cname) && is_encodable(host) {
            let target = qualified(host);
            let record = self.own(ttl, RecordData::Cname(target.clone()));
            self.reply.answers.push(record);
            self.reply.hosts.push(target);
        }
    }

    /// Answers with SRV records, each with the address of its target and the metadata of its node beside it.
    fn targets(&mut self, rows: &[InstanceRow<'_>], ttl: u32) {
        let mut seen = Seen::default();
        let mut addressed = Seen::default();
        let mut described = Seen::default();
        for row in rows {
            if self.reply.answers.len() == SRV_ANSWERS_MAX {
                break;
            }
            let (target, place) = match row.address.parse::<IpAddr>() {
                Ok(address) => (self.place_name(&hex(address), "addr"), row.address),
                Err(_) if row.address.is_empty() => (self.node_name(row.node.name), row.node.address),
                Err(_) => (qualified(row.address), ""),
            };
            if !is_encodable(&target) || !seen.is_new((target.clone(), row.port)) {
                continue;
            }
            let data = RecordData::Srv { priority: 1, weight: row.weight, port: row.port, target: target.clone() };
            let record = self.own(ttl, data);
            self.reply.answers.push(record);
            if addressed.is_new(target.clone()) {
                self.beside(&target, place, ttl);
            }
            if !self.settings.node_meta_txt || row.node.meta.is_empty() || !described.is_new(row.node.name) {
                continue;
            }
            let name = self.node_name(row.node.name);
            if is_encodable(&name) {
                for text in texts(row.node.meta) {
                    let record = Record { name: name.clone(), ttl, data: RecordData::Txt(text) };
                    self.extra(self.reply.answers.len(), record);
                }
            }
        }
    }

    /// Adds the address of the target of the answer added last, or notes that someone has to resolve it.
    fn beside(&mut self, target: &Text, place: &str, ttl: u32) {
        let answers = self.reply.answers.len();
        if place.is_empty() {
            return self.reply.hosts.push(target.clone());
        }
        let data = match place.parse::<IpAddr>() {
            Ok(address) => RecordData::address(address),
            Err(_) if is_encodable(place) => RecordData::Cname(qualified(place)),
            Err(_) => return,
        };
        self.extra(answers, Record { name: target.clone(), ttl, data });
    }

    fn apex(&mut self, mut servers: Vec<NodeRow<'_>>) {
        shuffle(&mut servers, self.query.random, |_| 1);
        servers.retain(|server| is_host_label(server.name));
        servers.truncate(NAME_SERVERS_MAX);
        let ttl = self.settings.node_ttl;
        let name = qualified(self.domain);
        let server_record = |draft: &Self, server: &NodeRow<'_>| {
            let data = RecordData::Ns(draft.node_name(server.name));
            Record { name: name.clone(), ttl, data }
        };
        let servers_at: Vec<Record> = servers.iter().map(|server| server_record(self, server)).collect();
        match self.query.record_type {
            RecordType::Soa => {
                let soa = self.soa();
                self.reply.answers.push(soa);
                self.reply.authority = servers_at;
            }
            RecordType::Ns => self.reply.answers = servers_at,
            RecordType::Any => {
                let soa = self.soa();
                self.reply.answers.push(soa);
                self.reply.answers.extend(servers_at);
            }
            // Consul says so, though the name exists.
            _ => return self.no_such_name(),
        }
        for server in &servers {
            if let Ok(address) = server.address.parse() {
                let name = self.node_name(server.name);
                self.extra(0, Record { name, ttl, data: RecordData::address(address) });
            }
        }
    }

    fn name_servers(&mut self, servers: &[NodeRow<'_>]) {
        if servers.is_empty() {
            return self.no_such_name();
        }
        let asked = self.query.record_type;
        let mut addresses: Vec<IpAddr> = servers.iter().filter_map(|server| server.address.parse().ok()).collect();
        addresses.retain(|address| asked.takes(*address));
        shuffle(&mut addresses, self.query.random, |_| 1);
        for address in addresses.into_iter().take(NAME_SERVERS_MAX) {
            let record = self.own(self.settings.node_ttl, RecordData::address(address));
            self.reply.answers.push(record);
        }
    }

    /// Answers with the names of an address. The zone is not ours, so there is no SOA to add.
    fn names(mut self, nodes: &[&str], services: &[&str]) -> Reply {
        if nodes.is_empty() && services.is_empty() {
            self.reply.code = ResponseCode::NxDomain;
            return self.reply;
        }
        if matches!(self.query.record_type, RecordType::Ptr | RecordType::Any) {
            let mut names: Vec<Text> = nodes.iter().map(|node| self.node_name(node)).collect();
            if names.is_empty() {
                let name = |service: &&str| format!("{service}.service.{}.", self.zone.domain()).into();
                names = services.iter().map(name).collect();
            }
            let mut seen = HashSet::new();
            names.retain(|name| is_encodable(name) && seen.insert(name.clone()));
            for name in names.into_iter().take(SRV_ANSWERS_MAX) {
                let record = self.own(0, RecordData::Ptr(name));
                self.reply.answers.push(record);
            }
        }
        self.limit();
        self.reply
    }

    /// Makes a record of the asked name.
    fn own(&self, ttl: u32, data: RecordData) -> Record {
        Record { name: self.own.clone(), ttl, data }
    }

    fn extra(&mut self, answers_min: usize, record: Record) {
        self.reply.extras.push(Extra { answers_min, record });
    }

    fn node_name(&self, node: &str) -> Text {
        self.place_name(node, "node")
    }

    fn place_name(&self, thing: &str, kind: &str) -> Text {
        let parts = [thing, ".", kind, ".", self.zone.datacenter(), ".", self.domain, "."];
        parts.concat().into()
    }

    fn soa(&self) -> Record {
        let soa = self.settings.soa;
        let data = RecordData::Soa {
            mname: format!("ns.{}.", self.domain),
            rname: format!("hostmaster.{}.", self.domain),
            serial: self.query.serial,
            refresh: soa.refresh,
            retry: soa.retry,
            expire: soa.expire,
            minimum: soa.min_ttl,
        };
        Record { name: qualified(self.domain), ttl: soa.min_ttl, data }
    }
}
