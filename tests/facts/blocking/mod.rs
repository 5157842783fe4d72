//! Blocking reads against a model, for every endpoint that has them.
//!
//! The model knows the index rules and nothing of the server: from the writes alone it says whose index rises and who is
//! woken. One writer, and a follower of each endpoint, show that no wake-up is lost and none is needless; many writers
//! at once show that an index never goes back, that the same index is the same content, and that everyone ends with the
//! last one. That no endpoint is left out is held against the server's own description.

mod model;
mod page;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use callboard_tests::description;
use callboard_tests::http::Http;
use callboard_tests::node::{MANAGEMENT, Node};

use serde_json::Value;

use model::{Model, Source};
use writes::{Write, ask, end, named, random, rule, write};

/// How long news may take on a busy machine.
const NEWS: Duration = Duration::from_secs(20);

/// What an endpoint answered: the index, and the body.
type Told = (u64, String);

/// The endpoints, with what the model reads them by.
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
    ("/v1/internal/ui/catalog-overview", Source::Everything),
    ("/v1/internal/ui/node/m0", Source::EverythingOn(0)),
    ("/v1/connect/intentions", Source::Intentions),
    ("/v1/connect/intentions/match?by=destination&name=s1", Source::Intentions),
    ("/v1/connect/intentions/match?by=source&name=s0", Source::Intentions),
    ("/v1/connect/intentions/exact?source=s0&destination=s1", Source::Intention(0)),
    ("/v1/connect/intentions/00000000-0000-4000-8000-000000000000", Source::NoIntention),
    ("/v1/config/service-intentions", Source::Intentions),
    ("/v1/config/service-intentions/s1", Source::IntentionEntry),
    ("/v1/catalog/gateway-services/g", Source::Carried),
    ("/v1/health/ingress/s0", Source::Ingress),
    ("/v1/discovery-chain/s0", Source::Chain),
    ("/v1/connect/ca/roots", Source::Roots),
    ("/v1/agent/connect/ca/roots", Source::Roots),
    ("/v1/session/info/00000000-0000-4000-8000-000000000000", Source::NoSession),
    ("/v1/query/00000000-0000-4000-8000-000000000000", Source::NoQuery),
    ("/v1/event/list", Source::Other),
    ("/v1/coordinate/nodes", Source::Places),
    ("/v1/coordinate/node/m1", Source::PlaceOf(1)),
];

/// Those of access control, which only a node with it answers.
const ENDPOINTS_OF_ACCESS: &[(&str, Source)] = &[
    ("/v1/acl/policies", Source::Policies),
    ("/v1/acl/policy/name/p", Source::Policies),
    ("/v1/acl/policy/{policy}", Source::Policies),
    ("/v1/acl/roles", Source::Roles),
    ("/v1/acl/role/name/r", Source::Role),
    ("/v1/acl/role/00000000-0000-4000-8000-000000000000", Source::NoRole),
    ("/v1/acl/tokens", Source::Tokens),
    ("/v1/acl/token/self", Source::Tokens),
    ("/v1/acl/token/{token}", Source::Tokens),
    ("/v1/acl/auth-methods", Source::Methods),
    ("/v1/acl/auth-method/m", Source::Methods),
    ("/v1/acl/binding-rules", Source::Rules),
    ("/v1/acl/binding-rule/{rule}", Source::Rules),
];

/// A node that the histories begin on, and what is followed on it.
struct World {
    node: Node,
    guarded: bool,
    model: Model,
    endpoints: Vec<(String, Source)>,
}

impl World {
    fn new(guarded: bool) -> Self {
        let acl = format!(
            r#"acl {{ enabled = true default_policy = "allow" tokens {{ initial_management = "{MANAGEMENT}" }} }}"#
        );
        let node = if guarded { Node::dev_with(&["-hcl", &acl]) } else { Node::dev() };
        let mut world = World { node, guarded, model: Model::default(), endpoints: Vec::new() };
        // The rules of what nobody ever wrote are shown elsewhere: everything was there once.
        let mut first = vec![
            Write::Node { node: 0, address: 1 },
            Write::Instance { node: 0, service: 0, port: 1 },
            Write::Instance { node: 0, service: 1, port: 1 },
            Write::Place { node: 0, x: 1 },
            Write::DropNode { node: 0 },
            Write::Key { key: 0, value: 0 },
            Write::Intention { source: 0, action: 0 },
            Write::Gateway { service: 0 },
            Write::Authority { keys: 0 },
        ];
        if guarded {
            first.extend([
                Write::Policy { rules: 0 },
                Write::Role { description: 0 },
                Write::Token,
                Write::Method { description: 0 },
                Write::Rule { description: 0 },
            ]);
        }
        for first in first {
            world.write(first);
        }
        world.endpoints = world.found();
        world
    }

    fn write(&mut self, next: Write) {
        write(&self.node.http, next);
        self.model.apply(next);
    }

    /// The endpoints that it answers.
    fn answered(&self) -> Vec<(&'static str, Source)> {
        let of_access = if self.guarded { ENDPOINTS_OF_ACCESS } else { &[] };
        ENDPOINTS.iter().chain(of_access).copied().collect()
    }

    /// The same in the same order, with the ids of what is there.
    fn found(&self) -> Vec<(String, Source)> {
        let mut ids = Vec::new();
        if self.guarded {
            let http = &self.node.http;
            let own = ask(http, "GET", "/v1/acl/token/self", "").ok().json();
            ids.extend([
                ("{policy}", named(http, "policy", "p").expect("it was written")),
                ("{token}", own["AccessorID"].as_str().expect("it has an id").to_owned()),
                ("{rule}", rule(http).expect("it was written")),
            ]);
        }
        let filled = |path: &str| ids.iter().fold(path.to_owned(), |path, (place, id)| path.replace(place, id));
        self.answered().into_iter().map(|(path, source)| (filled(path), source)).collect()
    }
}

/// Follows an endpoint as clients do, and tells what comes.
fn follow(http: &Http, path: &str, from: u64, stop: &AtomicBool, told: &Sender<(u64, String)>) {
    let mut index = from;
    while !stop.load(Ordering::Relaxed) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let asked = format!("{path}{separator}index={index}&wait=25s");
        let reply = match http.request_as(Some(MANAGEMENT), "GET", &asked, b"") {
            Ok(reply) => reply,
            // The node has ended, and so has the history.
            Err(_) if stop.load(Ordering::Relaxed) => return,
            Err(error) => panic!("{path}: {error}"),
        };
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
    let reply = ask(http, "GET", path, "");
    (reply.index(), reply.text())
}

/// What has come until now, the last of it.
fn drain(told: &Receiver<Told>) -> Vec<Told> {
    told.try_iter().collect()
}

#[test]
fn no_wake_up_is_lost_and_none_is_needless() {
    by_chance(&mut World::new(false));
}

#[test]
fn with_access_control_no_wake_up_is_lost_and_none_is_needless() {
    by_chance(&mut World::new(true));
}

fn by_chance(world: &mut World) {
    let (seed, guarded) = (fastrand::u64(..), world.guarded);
    let mut dice = fastrand::Rng::with_seed(seed);
    let writes: Vec<Write> = (0..120).map(|_| random(&mut dice, guarded)).collect();
    let _ = one_writer(world, &writes, &format!("seed {seed}"));
}

/// What one write came to: who was woken, and whose index rose while the one thing that is asked for stayed away.
#[derive(Debug, Default)]
struct Effect {
    woken: BTreeSet<usize>,
    risen_only: BTreeSet<usize>,
}

/// Lets every reader wait before each write, and holds what they are told against the model. Returns what came of each
/// write, endpoints by their place.
fn one_writer(world: &mut World, writes: &[Write], history: &str) -> Vec<Effect> {
    let World { node, model, endpoints, .. } = world;
    let http = node.http;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&stop);
        let followers: Vec<(&str, Source, Receiver<Told>)> = endpoints
            .iter()
            .map(|(path, source)| {
                let (tell, told) = channel();
                let from = endpoint_state(&http, path).0;
                let stop = &stop;
                scope.spawn(move || follow(&http, path, from, stop, &tell));
                (path.as_str(), *source, told)
            })
            .collect();
        let waiting = u32::try_from(endpoints.len()).expect("few");
        let mut states: Vec<(u64, String)> = endpoints.iter().map(|(path, _)| endpoint_state(&http, path)).collect();
        let mut effects = Vec::new();
        for (step, next) in writes.iter().enumerate() {
            // All of them wait before the next write, so each is woken by it or by none.
            node.until_waiters(waiting);
            let before = model.clone();
            write(&http, *next);
            model.apply(*next);
            let about = format!("{history}, step {step}, {next:?}");
            let mut effect = Effect::default();
            for (place, ((path, source, told), state)) in followers.iter().zip(&mut states).enumerate() {
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
                    effect.woken.insert(place);
                } else if rises {
                    effect.risen_only.insert(place);
                }
                *state = now;
            }
            for (path, _, told) in &followers {
                assert_eq!(drain(told), [], "{about}: {path} was woken for nothing");
            }
            effects.push(effect);
        }
        stop.store(true, Ordering::Relaxed);
        // Whoever still waits is let go with the node.
        node.process.kill();
        effects
    })
}

#[test]
fn many_writers_leave_one_history() {
    many_writers(&mut World::new(false));
}

#[test]
fn with_access_control_many_writers_leave_one_history() {
    many_writers(&mut World::new(true));
}

fn many_writers(world: &mut World) {
    let World { node, guarded, endpoints, .. } = world;
    let (guarded, endpoints) = (*guarded, &*endpoints);
    let http = node.http;
    let stop = AtomicBool::new(false);
    let seed = fastrand::u64(..);
    let told: Vec<(&str, Vec<(u64, String)>)> = thread::scope(|scope| {
        let _ending = Ending(&stop);
        // Two followers of each: what one is told, the other may be told, and never anything else.
        let followers: Vec<(&str, Receiver<Told>)> = endpoints
            .iter()
            .chain(endpoints)
            .filter(|(_, source)| !source.never_comes())
            .map(|(path, _)| {
                let (tell, told) = channel();
                let stop = &stop;
                scope.spawn(move || follow(&http, path, 1, stop, &tell));
                (path.as_str(), told)
            })
            .collect();
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                scope.spawn(move || {
                    let mut dice = fastrand::Rng::with_seed(seed ^ writer);
                    (0..150).for_each(|_| write(&http, random(&mut dice, guarded)));
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("it ends well"));
        end(&http, guarded);
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
        // Whoever still waits is let go with the node.
        node.process.kill();
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

/// What waits for something that none of the writes is about, and where that is shown.
const ELSEWHERE: [(&str, &str); 2] = [
    ("/v1/agent/connect/ca/leaf/{service}", "woken by new keys of the authority: the suite `e2e`, in `mesh`"),
    ("/v1/event/list", "woken by an event, by an index that is no order: this suite, in `rules`"),
];

#[test]
fn every_endpoint_that_waits_is_here() {
    let world = World::new(true);
    let paths = description::paths(&world.node.http, Some(MANAGEMENT));
    let waits = |operations: &Value| {
        let text = operations["get"]["parameters"].to_string();
        text.contains("\"index\"") || text.contains("/index\"")
    };
    let described: BTreeSet<&str> =
        paths.iter().filter(|(_, operations)| waits(operations)).map(|(path, _)| path.as_str()).collect();
    let followed = world.endpoints.iter().filter_map(|(path, _)| description::template(&paths, path));
    let known: BTreeSet<&str> = followed.chain(ELSEWHERE.map(|(path, _)| path)).collect();
    assert_eq!(described, known, "described, and followed or elsewhere");
}
