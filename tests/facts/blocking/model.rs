//! What the writes mean by the index rules: whose index rises, and who is woken. It knows nothing of the server.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::writes::Write;

/// The endpoints, with what the model reads them by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Nodes,
    Services,
    /// Of a service: its own index, or what stands for it when it has no instance.
    Service(u8),
    NodesAndServices,
    /// Of a service, whoever speaks for it: also every instance there is.
    Mesh(u8),
    Checks,
    Key(u8),
    Prefix,
    OtherPrefix,
    Sessions,
    Queries,
    Config,
    ConfigOf(u8),
    Everything,
    /// A node with all that is on it.
    EverythingOn(u8),
    /// Where nodes are, and where one is.
    Places,
    PlaceOf(u8),
    Intentions,
    /// Of one source.
    Intention(u8),
    /// All of one destination, as one entry.
    IntentionEntry,
    /// What the gateway carries.
    Carried,
    /// The gateways, and everything.
    Ingress,
    Chain,
    Roots,
    Policies,
    Roles,
    Role,
    Tokens,
    Methods,
    Rules,
    /// A role, a session, a query and an intention that never come to be.
    NoRole,
    NoSession,
    NoQuery,
    NoIntention,
    /// What none of the writes is about.
    Other,
}

impl Source {
    /// Whether it is about a single thing that nobody makes: there is never any news of it.
    pub(super) fn never_comes(self) -> bool {
        matches!(self, Source::NoRole | Source::NoSession | Source::NoQuery | Source::NoIntention)
    }
}

/// What the writes have left, and when each part last changed, in writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    now: u64,
    nodes: BTreeMap<u8, u8>,
    instances: BTreeMap<(u8, u8), u8>,
    /// By node and instance, of the node itself without one.
    checks: BTreeMap<(u8, Option<u8>), u8>,
    /// Values, and when they were written.
    keys: BTreeMap<u8, (u8, u64)>,
    sessions: Vec<u8>,
    queries: BTreeMap<u8, u8>,
    defaults: BTreeMap<u8, (u8, u64)>,
    places: BTreeMap<u8, u8>,
    intentions: BTreeMap<u8, u8>,
    carried: Option<u8>,
    keys_of_authority: Option<u8>,
    policy: Option<u8>,
    role: Option<u8>,
    method: Option<u8>,
    rule: Option<u8>,
    nodes_at: u64,
    services_at: u64,
    checks_at: u64,
    keys_at: u64,
    sessions_at: u64,
    queries_at: u64,
    defaults_at: u64,
    places_at: u64,
    intentions_at: u64,
    gateways_at: u64,
    roots_at: u64,
    policies_at: u64,
    roles_at: u64,
    tokens_at: u64,
    methods_at: u64,
    rules_at: u64,
    service_at: BTreeMap<u8, u64>,
    extinct_at: u64,
}

impl Model {
    pub(super) fn apply(&mut self, write: Write) {
        self.now += 1;
        let now = self.now;
        match write {
            Write::Node { node, address } => {
                if self.nodes.insert(node, address) != Some(address) {
                    self.nodes_at = now;
                    self.touch_services_on(node);
                }
            }
            Write::DropNode { node } => {
                if self.nodes.remove(&node).is_some() {
                    self.nodes_at = now;
                    (0..2).for_each(|service| self.drop_instance(node, service));
                    if self.checks.remove(&(node, None)).is_some() {
                        self.checks_at = now;
                    }
                    if self.places.remove(&node).is_some() {
                        self.places_at = now;
                    }
                    let before = self.sessions.len();
                    self.sessions.retain(|on| *on != node);
                    if self.sessions.len() < before {
                        self.sessions_at = now;
                    }
                }
            }
            Write::Instance { node, service, port } if self.nodes.contains_key(&node) => {
                if self.instances.insert((node, service), port) != Some(port) {
                    self.services_at = now;
                    self.service_at.insert(service, now);
                }
            }
            Write::DropInstance { node, service } => self.drop_instance(node, service),
            Write::Check { node, of, status } => {
                let fits = self.nodes.contains_key(&node)
                    && of.is_none_or(|service| self.instances.contains_key(&(node, service)));
                if fits && self.checks.insert((node, of), status) != Some(status) {
                    self.checks_at = now;
                    match of {
                        Some(service) => self.touch_service(service),
                        None => self.touch_services_on(node),
                    }
                }
            }
            Write::Key { key, value } => self.set_key(key, value),
            Write::Txn { value } => [0, 1].into_iter().for_each(|key| self.set_key(key, value)),
            Write::DropKey { key } => {
                if self.keys.remove(&key).is_some() {
                    self.keys_at = now;
                }
            }
            Write::Session { node } if self.nodes.contains_key(&node) => {
                self.sessions.push(node);
                self.sessions_at = now;
            }
            Write::Query { name, service } => {
                if let Entry::Vacant(free) = self.queries.entry(name) {
                    free.insert(service);
                    self.queries_at = now;
                }
            }
            Write::Defaults { service, protocol } => {
                if self.defaults.get(&service).is_none_or(|(before, _)| *before != protocol) {
                    self.defaults.insert(service, (protocol, now));
                    self.defaults_at = now;
                }
            }
            Write::DropDefaults { service } => {
                if self.defaults.remove(&service).is_some() {
                    self.defaults_at = now;
                }
            }
            Write::Intention { source, action } => {
                if self.intentions.insert(source, action) != Some(action) {
                    self.intentions_at = now;
                }
            }
            Write::DropIntention { source } => {
                if self.intentions.remove(&source).is_some() {
                    self.intentions_at = now;
                }
            }
            Write::Gateway { service } => becomes(&mut self.carried, service, &mut self.gateways_at, now),
            Write::Authority { keys } => becomes(&mut self.keys_of_authority, keys, &mut self.roots_at, now),
            Write::Policy { rules } => becomes(&mut self.policy, rules, &mut self.policies_at, now),
            Write::Role { description } => becomes(&mut self.role, description, &mut self.roles_at, now),
            Write::DropRole => {
                if self.role.take().is_some() {
                    self.roles_at = now;
                }
            }
            Write::Token => self.tokens_at = now,
            Write::Method { description } => becomes(&mut self.method, description, &mut self.methods_at, now),
            Write::Rule { description } => becomes(&mut self.rule, description, &mut self.rules_at, now),
            Write::Place { node, x } if self.nodes.contains_key(&node) => {
                if self.places.insert(node, x) != Some(x) {
                    self.places_at = now;
                }
            }
            Write::Instance { .. } | Write::Session { .. } | Write::Place { .. } => {}
        }
    }

    fn set_key(&mut self, key: u8, value: u8) {
        if self.keys.get(&key).is_none_or(|(before, _)| *before != value) {
            self.keys.insert(key, (value, self.now));
            self.keys_at = self.now;
        }
    }

    fn drop_instance(&mut self, node: u8, service: u8) {
        if self.instances.remove(&(node, service)).is_none() {
            return;
        }
        self.services_at = self.now;
        self.service_at.insert(service, self.now);
        if self.checks.remove(&(node, Some(service))).is_some() {
            self.checks_at = self.now;
        }
        if self.instances.keys().all(|(_, other)| *other != service) {
            self.service_at.remove(&service);
            self.extinct_at = self.now;
        }
    }

    fn touch_services_on(&mut self, node: u8) {
        let hosted: Vec<u8> =
            self.instances.keys().filter(|(on, _)| *on == node).map(|(_, service)| *service).collect();
        hosted.into_iter().for_each(|service| self.touch_service(service));
    }

    fn touch_service(&mut self, service: u8) {
        self.service_at.insert(service, self.now);
    }

    /// When the answer of an endpoint last changed by the rules.
    pub(super) fn index(&self, source: Source) -> u64 {
        let tables = self.nodes_at.max(self.services_at).max(self.checks_at);
        let of_service = |service: u8| match self.service_at.get(&service) {
            Some(at) => *at,
            None if self.extinct_at > 0 => self.extinct_at,
            None => tables,
        };
        match source {
            Source::Nodes => self.nodes_at,
            Source::Services => self.services_at,
            Source::Service(service) => of_service(service),
            Source::NodesAndServices => self.nodes_at.max(self.services_at),
            Source::Mesh(service) => of_service(service).max(self.services_at),
            Source::Checks => self.checks_at,
            Source::Key(key) => self.keys.get(&key).map_or(self.keys_at, |(_, at)| *at),
            // Nothing but these keys is ever written.
            Source::Prefix | Source::OtherPrefix => self.keys_at,
            Source::Sessions => self.sessions_at,
            Source::Queries => self.queries_at,
            Source::Config => self.defaults_at,
            Source::ConfigOf(service) => self.defaults.get(&service).map_or(self.defaults_at, |(_, at)| *at),
            Source::Everything | Source::EverythingOn(_) => tables,
            Source::Places | Source::PlaceOf(_) => self.places_at,
            Source::Intentions | Source::Intention(_) | Source::NoIntention => self.intentions_at,
            // The one entry, or the table: they change together.
            Source::IntentionEntry => self.intentions_at,
            Source::Carried => self.gateways_at.max(self.services_at),
            Source::Ingress => self.gateways_at.max(tables),
            Source::Chain => self.defaults_at.max(self.roots_at),
            Source::Roots => self.roots_at,
            Source::Policies => self.policies_at,
            Source::Roles | Source::Role | Source::NoRole => self.roles_at,
            Source::Tokens => self.tokens_at,
            Source::Methods => self.methods_at,
            Source::Rules => self.rules_at,
            Source::NoSession => self.sessions_at,
            Source::NoQuery => self.queries_at,
            Source::Other => 0,
        }
    }

    /// Whether the single thing that is asked for is not there: then only its coming is news.
    pub(super) fn is_absent(&self, source: Source) -> bool {
        match source {
            Source::Key(key) => !self.keys.contains_key(&key),
            Source::ConfigOf(service) => !self.defaults.contains_key(&service),
            Source::Prefix => self.keys.is_empty(),
            Source::PlaceOf(node) => !self.places.contains_key(&node),
            Source::EverythingOn(node) => !self.nodes.contains_key(&node),
            Source::Intention(source) => !self.intentions.contains_key(&source),
            Source::IntentionEntry => self.intentions.is_empty(),
            Source::Role => self.role.is_none(),
            Source::OtherPrefix => true,
            _ if source.never_comes() => true,
            // Its index moves with the last instance of any service; that is no news to who waits for this one.
            Source::Service(service) => !self.service_at.contains_key(&service),
            _ => false,
        }
    }
}

/// Takes a value over, and when it is another one, the time.
fn becomes(field: &mut Option<u8>, value: u8, at: &mut u64, now: u64) {
    if field.replace(value) != Some(value) {
        *at = now;
    }
}
