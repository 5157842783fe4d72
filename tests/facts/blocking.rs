//! Blocking reads against a model, for every endpoint that has them.
//!
//! The model knows the index rules and nothing of the server: from the writes alone it says whose index rises and who is
//! woken. One writer, and a follower of each endpoint, show that no wake-up is lost and none is needless; many writers
//! at once show that an index never goes back, that the same index is the same content, and that everyone ends with the
//! last one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use callboard_tests::http::Http;
use callboard_tests::node::Node;
use serde_json::{Value, json};

/// How long news may take on a busy machine.
const NEWS: Duration = Duration::from_secs(20);

/// What an endpoint answered: the index, and the body.
type Told = (u64, String);

/// A write that the histories are made of. Nodes, services and keys are told by small numbers.
#[derive(Debug, Clone, Copy)]
enum Write {
    Node {
        node: u8,
        address: u8,
    },
    DropNode {
        node: u8,
    },
    Instance {
        node: u8,
        service: u8,
        port: u8,
    },
    DropInstance {
        node: u8,
        service: u8,
    },
    Check {
        node: u8,
        of: Option<u8>,
        status: u8,
    },
    Key {
        key: u8,
        value: u8,
    },
    DropKey {
        key: u8,
    },
    Session {
        node: u8,
    },
    Query {
        name: u8,
        service: u8,
    },
    Defaults {
        service: u8,
        protocol: u8,
    },
    DropDefaults {
        service: u8,
    },
    /// Several keys at one index.
    Txn {
        value: u8,
    },
}

const STATUSES: [&str; 3] = ["passing", "warning", "critical"];
const PROTOCOLS: [&str; 2] = ["http", "grpc"];

fn random(dice: &mut fastrand::Rng) -> Write {
    let (node, service, key) = (dice.u8(0..2), dice.u8(0..2), dice.u8(0..3));
    match dice.u8(0..20) {
        0..2 => Write::Node { node, address: dice.u8(1..4) },
        2 => Write::DropNode { node },
        3..6 => Write::Instance { node, service, port: dice.u8(1..3) },
        6..8 => Write::DropInstance { node, service },
        8..11 => Write::Check { node, of: dice.bool().then_some(service), status: dice.u8(0..3) },
        11..14 => Write::Key { key, value: dice.u8(0..3) },
        14 => Write::DropKey { key },
        15 => Write::Session { node },
        16 => Write::Query { name: key, service },
        17 => Write::Defaults { service, protocol: dice.u8(0..2) },
        18 => Write::DropDefaults { service },
        _ => Write::Txn { value: dice.u8(0..3) },
    }
}

/// Where each write goes. Those that do not fit are refused by the server, and by the model.
fn write(http: &Http, write: Write) {
    let send =
        |method: &str, path: &str, body: &str| http.request(method, path, body.as_bytes()).expect("it is answered");
    let put_json = |path: &str, body: &Value| send("PUT", path, &body.to_string());
    let node_body = |node: u8| json!({"Node": format!("m{node}"), "SkipNodeUpdate": true});
    let reply = match write {
        Write::Node { node, address } => put_json(
            "/v1/catalog/register",
            &json!({"Node": format!("m{node}"), "Address": format!("10.0.0.{address}")}),
        ),
        Write::DropNode { node } => put_json("/v1/catalog/deregister", &json!({"Node": format!("m{node}")})),
        Write::Instance { node, service, port } => {
            let mut body = node_body(node);
            body["Service"] = json!({"Service": format!("s{service}"), "ID": format!("i{service}"), "Port": port});
            put_json("/v1/catalog/register", &body)
        }
        Write::DropInstance { node, service } => {
            put_json("/v1/catalog/deregister", &json!({"Node": format!("m{node}"), "ServiceID": format!("i{service}")}))
        }
        Write::Check { node, of, status } => {
            let mut body = node_body(node);
            let of_whom = of.map_or_else(String::new, |service| format!("i{service}"));
            let id = format!("c{}", of.map_or(9, u8::from));
            body["Check"] =
                json!({"CheckID": id, "Name": id, "ServiceID": of_whom, "Status": STATUSES[usize::from(status)]});
            put_json("/v1/catalog/register", &body)
        }
        Write::Key { key, value } => send("PUT", &format!("/v1/kv/k/{key}"), &value.to_string()),
        Write::DropKey { key } => send("DELETE", &format!("/v1/kv/k/{key}"), ""),
        Write::Session { node } => put_json("/v1/session/create", &json!({"Node": format!("m{node}"), "Checks": []})),
        Write::Query { name, service } => {
            let body = json!({"Name": format!("q{name}"), "Service": {"Service": format!("s{service}")}}).to_string();
            send("POST", "/v1/query", &body)
        }
        Write::Defaults { service, protocol } => put_json(
            "/v1/config",
            &json!({
                "Kind": "service-defaults", "Name": format!("s{service}"),
                "Protocol": PROTOCOLS[usize::from(protocol)],
            }),
        ),
        Write::DropDefaults { service } => send("DELETE", &format!("/v1/config/service-defaults/s{service}"), ""),
        Write::Txn { value } => {
            let set = |key: u8| json!({"KV": {"Verb": "set", "Key": format!("k/{key}"), "Value": LETTERS[usize::from(value)]}});
            put_json("/v1/txn", &json!([set(0), set(1)]))
        }
    };
    assert!(matches!(reply.status, 200 | 500), "{write:?}: {} {}", reply.status, reply.text());
}

/// The digits 0, 1 and 2 in base64.
const LETTERS: [&str; 3] = ["MA==", "MQ==", "Mg=="];

/// The endpoints, with what the model reads them by.
#[derive(Debug, Clone, Copy)]
enum Source {
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
    /// What none of the writes is about.
    Other,
}

const ENDPOINTS: &[(&str, Source)] = &[
    ("/v1/catalog/nodes", Source::Nodes),
    ("/v1/catalog/services", Source::Services),
    ("/v1/catalog/service/s0", Source::Service(0)),
    ("/v1/catalog/service/s1", Source::Service(1)),
    ("/v1/catalog/connect/s0", Source::Mesh(0)),
    ("/v1/catalog/node/m0", Source::NodesAndServices),
    ("/v1/catalog/node-services/m1", Source::NodesAndServices),
    ("/v1/health/service/s0", Source::Service(0)),
    ("/v1/health/service/s1?passing", Source::Service(1)),
    ("/v1/health/connect/s1", Source::Mesh(1)),
    ("/v1/health/node/m0", Source::Checks),
    ("/v1/health/checks/s0", Source::Checks),
    ("/v1/health/state/any", Source::Checks),
    ("/v1/health/state/critical", Source::Checks),
    ("/v1/kv/k/0", Source::Key(0)),
    ("/v1/kv/k/1?raw", Source::Key(1)),
    ("/v1/kv/k/?recurse", Source::Prefix),
    ("/v1/kv/k/?keys", Source::Prefix),
    ("/v1/kv/other/?recurse", Source::OtherPrefix),
    ("/v1/session/list", Source::Sessions),
    ("/v1/session/node/m0", Source::Sessions),
    ("/v1/query", Source::Queries),
    ("/v1/config/service-defaults", Source::Config),
    ("/v1/config/service-defaults/s0", Source::ConfigOf(0)),
    ("/v1/config/service-resolver", Source::Other),
    ("/v1/internal/ui/nodes", Source::Everything),
    ("/v1/internal/ui/services", Source::Everything),
];

/// What the writes have left, and when each part last changed, in writes.
#[derive(Debug, Clone, Default)]
struct Model {
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
    nodes_at: u64,
    services_at: u64,
    checks_at: u64,
    keys_at: u64,
    sessions_at: u64,
    queries_at: u64,
    defaults_at: u64,
    service_at: BTreeMap<u8, u64>,
    extinct_at: u64,
}

impl Model {
    fn apply(&mut self, write: Write) {
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
            Write::Instance { .. } | Write::Session { .. } => {}
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
    fn index(&self, source: Source) -> u64 {
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
            Source::Everything => tables,
            Source::Other => 0,
        }
    }

    /// Whether the single thing that is asked for is not there: then only its coming is news.
    fn is_absent(&self, source: Source) -> bool {
        match source {
            Source::Key(key) => !self.keys.contains_key(&key),
            Source::ConfigOf(service) => !self.defaults.contains_key(&service),
            Source::Prefix => self.keys.is_empty(),
            Source::OtherPrefix => true,
            // Its index moves with the last instance of any service; that is no news to who waits for this one.
            Source::Service(service) => !self.service_at.contains_key(&service),
            _ => false,
        }
    }
}

/// Follows an endpoint as clients do, and tells what comes.
fn follow(http: &Http, path: &str, from: u64, stop: &AtomicBool, told: &Sender<(u64, String)>) {
    let mut index = from;
    while !stop.load(Ordering::Relaxed) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let reply = http.get(&format!("{path}{separator}index={index}&wait=25s"));
        assert!(matches!(reply.status, 200 | 404), "{path}: {} {}", reply.status, reply.text());
        let (before, now) = (index, reply.index());
        assert!(now >= before, "{path} went back from {before} to {now}");
        index = now;
        // At the end of its wait an answer has nothing new; nobody waits that long here but for the end.
        if now > before && told.send((now, reply.text())).is_err() {
            return;
        }
    }
}

/// Lets the followers go, also when a claim does not hold: a thread that nobody stops would be waited for.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn endpoint_state(http: &Http, path: &str) -> (u64, String) {
    let reply = http.get(path);
    (reply.index(), reply.text())
}

/// What has come until now, the last of it.
fn drain(told: &Receiver<Told>) -> Vec<Told> {
    told.try_iter().collect()
}

#[test]
fn no_wake_up_is_lost_and_none_is_needless() {
    let node = Node::dev();
    let http = node.http;
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    // The rules of what nobody ever wrote are shown elsewhere: everything was there once.
    for first in [
        Write::Node { node: 0, address: 1 },
        Write::Instance { node: 0, service: 0, port: 1 },
        Write::Instance { node: 0, service: 1, port: 1 },
        Write::DropNode { node: 0 },
        Write::Key { key: 0, value: 0 },
    ] {
        write(&http, first);
        model.apply(first);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        let followers: Vec<(&str, Source, Receiver<Told>)> = ENDPOINTS
            .iter()
            .map(|(path, source)| {
                let (tell, told) = channel();
                let from = endpoint_state(&http, path).0;
                let stop = &stop;
                scope.spawn(move || follow(&http, path, from, stop, &tell));
                (*path, *source, told)
            })
            .collect();
        let waiting = u32::try_from(ENDPOINTS.len()).expect("few");
        let mut states: Vec<(u64, String)> = ENDPOINTS.iter().map(|(path, _)| endpoint_state(&http, path)).collect();
        for step in 0..120 {
            // All of them wait before the next write, so each is woken by it or by none.
            node.until_waiters(waiting);
            let next = random(&mut dice);
            let before = model.clone();
            write(&http, next);
            model.apply(next);
            let about = format!("seed {seed}, step {step}, {next:?}");
            for ((path, source, told), state) in followers.iter().zip(&mut states) {
                let now = endpoint_state(&http, path);
                let rises = model.index(*source) > before.index(*source);
                assert_eq!(now.0 > state.0, rises, "{about}: {path} went from {} to {}", state.0, now.0);
                assert!(now.0 >= state.0, "{about}: {path} went back from {} to {}", state.0, now.0);
                assert!(rises || now.1 == state.1, "{about}: {path} changed without its index");
                let wakes = rises && !(before.is_absent(*source) && model.is_absent(*source));
                if wakes {
                    match told.recv_timeout(NEWS) {
                        Ok(news) => assert_eq!(news, now, "{about}: {path} told something else"),
                        Err(RecvTimeoutError::Timeout) => panic!("{about}: {path} was not woken"),
                        Err(RecvTimeoutError::Disconnected) => panic!("{about}: the follower of {path} ended"),
                    }
                }
                *state = now;
            }
            for (path, _, told) in &followers {
                assert_eq!(drain(told), [], "{about}: {path} was woken for nothing");
            }
        }
        stop.store(true, Ordering::Relaxed);
        // Whoever still waits is let go by a change of everything.
        end(&http);
    });
}

/// Changes every endpoint once more.
fn end(http: &Http) {
    for node in 0..2 {
        write(http, Write::Node { node, address: 9 });
        write(http, Write::Instance { node, service: node, port: 9 });
        write(http, Write::Check { node, of: Some(node), status: 1 });
        write(http, Write::Check { node, of: Some(node), status: 2 });
        write(http, Write::Session { node });
        write(http, Write::Defaults { service: node, protocol: 0 });
        write(http, Write::Defaults { service: node, protocol: 1 });
        write(http, Write::Key { key: node, value: 8 });
    }
    write(http, Write::Query { name: 9, service: 0 });
    let _ = http.put("/v1/kv/other/x", "end").ok();
    let resolver = json!({"Kind": "service-resolver", "Name": "end"});
    let _ = http.put_json("/v1/config", &resolver).ok();
}

#[test]
fn many_writers_leave_one_history() {
    let node = Node::dev();
    let http = node.http;
    let stop = AtomicBool::new(false);
    let seed = fastrand::u64(..);
    let told: Vec<(&str, Vec<(u64, String)>)> = thread::scope(|scope| {
        let _ending = Ending(&stop);
        // Two followers of each: what one is told, the other may be told, and never anything else.
        let followers: Vec<(&str, Receiver<Told>)> = ENDPOINTS
            .iter()
            .chain(ENDPOINTS)
            .map(|(path, _)| {
                let (tell, told) = channel();
                let stop = &stop;
                scope.spawn(move || follow(&http, path, 1, stop, &tell));
                (*path, told)
            })
            .collect();
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                scope.spawn(move || {
                    let mut dice = fastrand::Rng::with_seed(seed ^ writer);
                    (0..150).for_each(|_| write(&http, random(&mut dice)));
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("it ends well"));
        end(&http);
        let mut all = Vec::new();
        for (path, told) in followers {
            let last = endpoint_state(&http, path);
            let mut heard = drain(&told);
            // Nobody misses the last change: it comes within a time, or was there already.
            while heard.last() != Some(&last) {
                let news = told.recv_timeout(NEWS);
                heard.push(
                    news.unwrap_or_else(|_| panic!("seed {seed}: {path} missed {last:?}, heard {:?}", heard.last())),
                );
            }
            all.push((path, heard));
        }
        stop.store(true, Ordering::Relaxed);
        // Lets go whoever still waits.
        (0..2).for_each(|node| write(&http, Write::DropNode { node }));
        (0..3).for_each(|key| write(&http, Write::DropKey { key }));
        (0..2).for_each(|service| write(&http, Write::DropDefaults { service }));
        write(&http, Write::Query { name: 8, service: 1 });
        let _ = http.delete("/v1/kv/other/x").ok();
        let _ = http.delete("/v1/config/service-resolver/end").ok();
        all
    });
    let mut contents: BTreeMap<(&str, u64), &String> = BTreeMap::new();
    for (path, heard) in &told {
        assert!(heard.is_sorted_by(|one, next| one.0 < next.0), "seed {seed}: {path} was told an index twice");
        for (index, body) in heard {
            let known = contents.entry((path, *index)).or_insert(body);
            assert_eq!(*known, body, "seed {seed}: {path} has two contents at {index}");
        }
    }
}
