//! From config entries to the chain of a service: what a caller follows, worked out once. PURE.
//!
//! A call begins at the router of its service, goes on to a splitter and ends at a resolver; each may name another service,
//! whose own splitter and resolver then count. Redirects are followed, splitters behind splitters are multiplied out,
//! and what cannot be reached is left out. Called by the HTTP interface; that entries fit together is `chain`'s to check
//! when they are written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::chain::{self, Entries};
use super::rules::InvalidEntry;
use super::{ConfigEntry, EntryKind, HttpMatch, Route, RouteMatch, ServiceResolver, ServiceRouter, ServiceSplitter};
use crate::api::discovery_chain::{
    Chain, ChainRequest, FailoverNode, Node, NodeType, ResolverNode, RouteNode, SplitNode, Target,
};
use crate::duration::GoDuration;

/// How long making a connection may take when nobody says so: 5 s.
const CONNECT_TIMEOUT: GoDuration = GoDuration(5_000_000_000);
/// The most nodes of one chain.
const NODES_MAX: usize = 10_000;

/// What is compiled, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The service that is called.
    pub service: &'a str,
    /// Where the caller is.
    pub datacenter: &'a str,
    /// The name of the mesh, as it stands in SPIFFE ids.
    pub trust_domain: &'a str,
    /// What the caller wants to be otherwise.
    pub request: &'a ChainRequest,
}

/// Works out the chain of a service. There is one for every name, known or not.
///
/// # Errors
/// When the entries go in a circle or name subsets that do not exist, which the registry does not let happen.
pub fn compile(entries: &dyn Entries, asked: Asked<'_>) -> Result<Chain, InvalidEntry> {
    let found = chain::protocol(entries, asked.service);
    let wanted = asked.request.override_protocol.as_str();
    let protocol = if wanted.is_empty() { found } else { wanted };
    let mut compiler = Compiler {
        entries,
        asked,
        // Routes and shares are for requests that can be told apart.
        looks_inside: matches!(protocol, "http" | "http2" | "grpc"),
        nodes: BTreeMap::new(),
        targets: BTreeMap::new(),
        customised: if protocol == found { String::new() } else { format!("protocol={protocol}\n") },
        under_way: BTreeSet::new(),
    };
    let start = compiler.start()?;
    compiler.multiply_out();
    let Compiler { mut nodes, mut targets, customised, .. } = compiler;
    drop_unreached(&start, &mut nodes, &mut targets);
    let is_default = nodes.get(&start).and_then(|node| node.resolver.as_ref()).is_some_and(|resolver| {
        resolver.default && targets.get(&resolver.target).is_some_and(|target| target.service == asked.service)
    });
    let service_meta = match entries.entry(EntryKind::ServiceDefaults, asked.service) {
        Some(ConfigEntry::Defaults(defaults)) => defaults.meta.clone(),
        _ => BTreeMap::new(),
    };
    Ok(Chain {
        service_name: asked.service.to_owned(),
        namespace: "default".to_owned(),
        partition: "default".to_owned(),
        datacenter: asked.datacenter.to_owned(),
        customization_hash: if customised.is_empty() { String::new() } else { format!("{:08x}", fnv1a(&customised)) },
        default: is_default,
        protocol: protocol.to_owned(),
        service_meta,
        start_node: start,
        nodes,
        targets,
    })
}

/// FNV-1a, 32 bits (draft-eastlake-fnv): tells a handful of customised chains apart.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What is meant by a name, before redirects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Meant {
    service: String,
    subset: String,
    datacenter: String,
}

impl Meant {
    fn id(&self) -> String {
        let subset = if self.subset.is_empty() { String::new() } else { format!("{}.", self.subset) };
        format!("{subset}{}.default.default.{}", self.service, self.datacenter)
    }
}

struct Compiler<'a> {
    entries: &'a dyn Entries,
    asked: Asked<'a>,
    looks_inside: bool,
    nodes: BTreeMap<String, Node>,
    targets: BTreeMap<String, Target>,
    /// What is otherwise than the entries say, as text.
    customised: String,
    /// The splitters that are being worked out: one of them again is a circle.
    under_way: BTreeSet<String>,
}

impl<'a> Compiler<'a> {
    fn router(&self, service: &str) -> Option<&'a ServiceRouter> {
        match self.entries.entry(EntryKind::ServiceRouter, service).filter(|_| self.looks_inside) {
            Some(ConfigEntry::Router(router)) => Some(router),
            _ => None,
        }
    }

    fn splitter(&self, service: &str) -> Option<&'a ServiceSplitter> {
        match self.entries.entry(EntryKind::ServiceSplitter, service).filter(|_| self.looks_inside) {
            Some(ConfigEntry::Splitter(splitter)) => Some(splitter),
            _ => None,
        }
    }

    fn resolver_of(&self, service: &str) -> Option<&'a ServiceResolver> {
        match self.entries.entry(EntryKind::ServiceResolver, service) {
            Some(ConfigEntry::Resolver(resolver)) => Some(resolver),
            _ => None,
        }
    }

    fn meant(&self, service: &str, subset: &str) -> Meant {
        Meant { service: service.to_owned(), subset: subset.to_owned(), datacenter: self.asked.datacenter.to_owned() }
    }

    fn add(&mut self, node: Node) -> Result<String, InvalidEntry> {
        let kind = match node.kind {
            NodeType::Router => "router",
            NodeType::Splitter => "splitter",
            NodeType::Resolver => "resolver",
        };
        if self.nodes.len() >= NODES_MAX {
            return Err(InvalidEntry(format!(
                "discovery chain {:?} has more than {NODES_MAX} nodes",
                self.asked.service
            )));
        }
        let key = format!("{kind}:{}", node.name);
        self.nodes.insert(key.clone(), node);
        Ok(key)
    }

    /// The node that a call begins at.
    fn start(&mut self) -> Result<String, InvalidEntry> {
        let own = self.asked.service;
        let Some(router) = self.router(own) else { return self.splitter_or_resolver(own) };
        let mut routes = Vec::with_capacity(router.routes.len() + 1);
        for route in &router.routes {
            let to = route.destination.as_ref();
            let service = to.map(|to| to.service.as_str()).filter(|name| !name.is_empty()).unwrap_or(own);
            let subset = to.map_or("", |to| to.service_subset.as_str());
            let next_node = if subset.is_empty() {
                self.splitter_or_resolver(service)?
            } else {
                let meant = self.meant(service, subset);
                self.resolver(meant, None)?
            };
            routes.push(RouteNode { definition: route.clone(), next_node });
        }
        // What no route matches goes to the service itself.
        let http = HttpMatch { path_prefix: "/".to_owned(), ..HttpMatch::default() };
        let rest = Route { matches: Some(RouteMatch { http: Some(http) }), destination: None };
        routes.push(RouteNode { definition: rest, next_node: self.splitter_or_resolver(own)? });
        self.add(Node {
            kind: NodeType::Router,
            name: format!("{own}.default.default"),
            routes,
            splits: Vec::new(),
            resolver: None,
            load_balancer: None,
        })
    }

    fn splitter_or_resolver(&mut self, service: &str) -> Result<String, InvalidEntry> {
        let Some(splitter) = self.splitter(service) else {
            let meant = self.meant(service, "");
            return self.resolver(meant, None);
        };
        let name = format!("{service}.default.default");
        let key = format!("splitter:{name}");
        if self.under_way.contains(&key) {
            return Err(InvalidEntry(format!(
                "discovery chain {:?} goes in a circle, by way of the splitter of {service:?}",
                self.asked.service
            )));
        }
        if self.nodes.contains_key(&key) {
            return Ok(key);
        }
        self.under_way.insert(key.clone());
        let mut splits = Vec::with_capacity(splitter.splits.len());
        for split in &splitter.splits {
            let other = if split.service.is_empty() { service } else { &split.service };
            let next_node = if split.service_subset.is_empty() && other != service {
                self.splitter_or_resolver(other)?
            } else {
                let meant = self.meant(other, &split.service_subset);
                self.resolver(meant, None)?
            };
            splits.push(SplitNode { definition: split.clone(), weight: split.weight, next_node });
        }
        self.under_way.remove(&key);
        self.add(Node {
            kind: NodeType::Splitter,
            name,
            routes: Vec::new(),
            splits,
            resolver: None,
            load_balancer: None,
        })
    }

    /// Follows redirects, and the default subset.
    fn followed(&self, mut meant: Meant) -> Result<(Meant, Option<&'a ServiceResolver>), InvalidEntry> {
        let mut seen = BTreeSet::from([meant.clone()]);
        loop {
            let resolver = self.resolver_of(&meant.service);
            let mut next = meant.clone();
            if let Some(redirect) = resolver.and_then(|resolver| resolver.redirect.as_ref()) {
                if !redirect.service.is_empty() && redirect.service != next.service {
                    // A subset is one of its own service.
                    next = Meant { service: redirect.service.clone(), subset: String::new(), ..next };
                }
                if !redirect.service_subset.is_empty() {
                    next.subset.clone_from(&redirect.service_subset);
                }
                if !redirect.datacenter.is_empty() {
                    next.datacenter.clone_from(&redirect.datacenter);
                }
            }
            if let Some(resolver) = resolver.filter(|_| next == meant && next.subset.is_empty()) {
                next.subset.clone_from(&resolver.default_subset);
            }
            if next == meant {
                return Ok((meant, resolver));
            }
            if !seen.insert(next.clone()) {
                return Err(InvalidEntry(format!(
                    "discovery chain {:?} is redirected in a circle, by way of service {:?}",
                    self.asked.service, next.service
                )));
            }
            meant = next;
        }
    }

    /// The node that ends at what is meant. `turned_from` is the target whose failover asks, which has none of its own.
    fn resolver(&mut self, meant: Meant, turned_from: Option<&str>) -> Result<String, InvalidEntry> {
        let (meant, resolver) = self.followed(meant)?;
        let id = meant.id();
        let key = format!("resolver:{id}");
        let known = self.nodes.contains_key(&key);
        if known || (turned_from.is_some() && self.targets.contains_key(&id)) {
            return Ok(key);
        }
        if !resolver.map_or(meant.subset.is_empty(), |resolver| resolver.has_subset(&meant.subset)) {
            return Err(InvalidEntry(format!(
                "service {:?} does not have a subset named {:?}",
                meant.service, meant.subset
            )));
        }
        let written = resolver.map(|resolver| resolver.connect_timeout).filter(|timeout| timeout.0 > 0);
        let found = written.unwrap_or(CONNECT_TIMEOUT);
        let wanted = self.asked.request.override_connect_timeout;
        let connect_timeout = if wanted.0 > 0 { wanted } else { found };
        if connect_timeout != found {
            self.customise(format!("timeout={connect_timeout}\n"));
        }
        let target = self.target(&meant, &id, resolver, connect_timeout);
        self.targets.insert(id.clone(), target);
        if turned_from.is_some() {
            // Only its target counts; it is no step of the way.
            return Ok(key);
        }
        let key = self.add(Node {
            kind: NodeType::Resolver,
            name: id.clone(),
            routes: Vec::new(),
            splits: Vec::new(),
            resolver: Some(ResolverNode {
                default: resolver.is_none(),
                connect_timeout,
                request_timeout: resolver.map(|resolver| resolver.request_timeout).unwrap_or_default(),
                target: id.clone(),
                failover: None,
            }),
            load_balancer: resolver.and_then(|resolver| resolver.load_balancer.clone()),
        })?;
        let failover = match resolver {
            Some(resolver) => self.failover(resolver, &meant, &id)?,
            None => None,
        };
        if let Some(end) = self.nodes.get_mut(&key).and_then(|node| node.resolver.as_mut()) {
            end.failover = failover;
        }
        Ok(key)
    }

    fn customise(&mut self, what: String) {
        if !self.customised.contains(&what) {
            self.customised.push_str(&what);
        }
    }

    fn failover(
        &mut self,
        resolver: &'a ServiceResolver,
        meant: &Meant,
        id: &str,
    ) -> Result<Option<FailoverNode>, InvalidEntry> {
        let failover = resolver.failover.get(&meant.subset).filter(|_| !meant.subset.is_empty());
        let Some(failover) = failover.or_else(|| resolver.failover.get("*")) else { return Ok(None) };
        let or = |one: &str, other: &str| if one.is_empty() { other.to_owned() } else { one.to_owned() };
        let place = |service: &str, subset: &str, datacenter: &str| {
            let service = or(service, &meant.service);
            // Another service has subsets of its own.
            let subset = if service == meant.service { or(subset, &meant.subset) } else { subset.to_owned() };
            Meant { service, subset, datacenter: or(datacenter, &meant.datacenter) }
        };
        let mut places = Vec::new();
        for target in &failover.targets {
            places.push(place(&target.service, &target.service_subset, &target.datacenter));
        }
        for datacenter in &failover.datacenters {
            places.push(place(&failover.service, &failover.service_subset, datacenter));
        }
        if places.is_empty() {
            places.push(place(&failover.service, &failover.service_subset, ""));
        }
        let mut targets: Vec<String> = Vec::new();
        for place in places {
            let (turned, _) = self.followed(place)?;
            let other = turned.id();
            // Whoever is not well is no help to itself.
            if other != id && !targets.contains(&other) {
                self.resolver(turned, Some(id))?;
                targets.push(other);
            }
        }
        let policy = failover.policy.clone();
        Ok((!targets.is_empty()).then_some(FailoverNode { targets, policy }))
    }

    fn target(
        &mut self,
        meant: &Meant,
        id: &str,
        resolver: Option<&ServiceResolver>,
        connect_timeout: GoDuration,
    ) -> Target {
        let defaults = match self.entries.entry(EntryKind::ServiceDefaults, &meant.service) {
            Some(ConfigEntry::Defaults(defaults)) => Some(defaults),
            _ => None,
        };
        let external = defaults.map(|defaults| defaults.external_sni.clone()).filter(|sni| !sni.is_empty());
        let subset = if meant.subset.is_empty() { String::new() } else { format!("{}.", meant.subset) };
        let name =
            format!("{subset}{}.default.{}.internal.{}", meant.service, meant.datacenter, self.asked.trust_domain);
        let written = defaults.and_then(|defaults| defaults.mesh_gateway.clone());
        let written =
            written.filter(|gateway| !gateway.is_null()).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let wanted = &self.asked.request.override_mesh_gateway.mode;
        let mesh_gateway = if wanted.is_empty() || written["Mode"] == wanted.as_str() {
            written
        } else {
            let what = format!("gateway={wanted}\n");
            self.customise(what);
            serde_json::json!({"Mode": self.asked.request.override_mesh_gateway.mode})
        };
        Target {
            id: id.to_owned(),
            service: meant.service.clone(),
            service_subset: meant.subset.clone(),
            namespace: "default".to_owned(),
            partition: "default".to_owned(),
            datacenter: meant.datacenter.clone(),
            mesh_gateway,
            subset: resolver.and_then(|resolver| resolver.subsets.get(&meant.subset)).cloned().unwrap_or_default(),
            connect_timeout,
            external: external.is_some(),
            sni: external.unwrap_or_else(|| name.clone()),
            name,
        }
    }

    /// Puts the shares of a splitter in place of a share that leads to it.
    fn multiply_out(&mut self) {
        let splitters: Vec<String> = self.nodes.keys().filter(|key| key.starts_with("splitter:")).cloned().collect();
        for key in splitters {
            // Splitters do not go in circles, so this ends.
            loop {
                let splits = self.nodes.get(&key).map(|node| node.splits.clone()).unwrap_or_default();
                if !splits.iter().any(|split| split.next_node.starts_with("splitter:")) {
                    break;
                }
                let mut flat: Vec<SplitNode> = Vec::new();
                for split in splits {
                    let Some(inner) = self.nodes.get(&split.next_node).filter(|node| node.kind == NodeType::Splitter)
                    else {
                        flat.push(split);
                        continue;
                    };
                    flat.extend(inner.splits.iter().map(|inner| SplitNode {
                        definition: inner.definition.clone(),
                        // Rounded to the steps in which weights count.
                        weight: (split.weight * inner.weight).round() / 100.0,
                        next_node: inner.next_node.clone(),
                    }));
                }
                if let Some(node) = self.nodes.get_mut(&key) {
                    node.splits = flat;
                }
            }
        }
    }
}

/// Leaves out nodes that no call comes to, and targets that none ends at.
fn drop_unreached(start: &str, nodes: &mut BTreeMap<String, Node>, targets: &mut BTreeMap<String, Target>) {
    let mut reached = BTreeSet::new();
    let mut ends = BTreeSet::new();
    let mut left = vec![start.to_owned()];
    while let Some(key) = left.pop() {
        let Some(node) = nodes.get(&key) else { continue };
        if !reached.insert(key) {
            continue;
        }
        left.extend(node.routes.iter().map(|route| route.next_node.clone()));
        left.extend(node.splits.iter().map(|split| split.next_node.clone()));
        if let Some(end) = &node.resolver {
            ends.insert(end.target.clone());
            ends.extend(end.failover.iter().flat_map(|failover| failover.targets.iter().cloned()));
        }
    }
    nodes.retain(|key, _| reached.contains(key));
    targets.retain(|id, _| ends.contains(id));
}
