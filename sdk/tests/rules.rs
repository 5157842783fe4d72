//! Rules followed end to end: a registry with config entries, instances, and calls that go where they lead.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::Policy;
use callboard::call::{HttpService, HttpSettings, Reason, RulesState};
use callboard::http::{Dialer, Memory, MemoryListener, PoolSettings, memory};
use callboard::{Client, ClientBuilder};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

/// What the registry knows, and what is done about its rules.
#[derive(Default)]
struct State {
    entries: BTreeMap<(String, String), Value>,
    services: BTreeMap<String, Vec<Value>>,
    refuse_rules: Option<StatusCode>,
    rule_questions: usize,
}

/// A registry at `registry:1`, and an instance at every other address that says who it is and what it was asked.
#[derive(Clone)]
struct World {
    memory: Memory,
    state: Arc<Mutex<State>>,
    index: Arc<watch::Sender<u64>>,
}

impl World {
    fn start() -> World {
        let (memory, listener) = memory();
        let world = World { memory, state: Arc::default(), index: Arc::new(watch::Sender::new(1)) };
        tokio::spawn(world.clone().serve(listener));
        world
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.index.send_modify(|index| *index += 1);
    }

    fn put(&self, entry: Value) {
        let text = |name: &str| entry[name].as_str().unwrap().to_owned();
        let key = (text("Kind"), text("Name"));
        self.change(|state| drop(state.entries.insert(key, entry)));
    }

    fn remove(&self, kind: &str, name: &str) {
        self.change(|state| drop(state.entries.remove(&(kind.to_owned(), name.to_owned()))));
    }

    /// Lists an instance, whose host is its id.
    fn add(&self, service: &str, id: &str, version: &str) {
        let row = json!({"Node": {"Node": "n1", "Address": id}, "Service": {"ID": id, "Service": service, "Address": id,
            "Port": 80, "Meta": {"version": version}}, "Checks": []});
        self.change(|state| state.services.entry(service.to_owned()).or_default().push(row));
    }

    fn empty(&self, service: &str, id: &str) {
        self.change(|state| state.services.get_mut(service).unwrap().retain(|row| row["Service"]["ID"] != id));
    }

    async fn serve(self, mut listener: MemoryListener) {
        while let Some((authority, stream)) = listener.accept().await {
            let world = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (world, authority) = (world.clone(), authority.clone());
                    async move {
                        Ok::<_, std::convert::Infallible>(match authority.split_once(':').unwrap().0 {
                            "registry" => world.answer(&request).await,
                            host => instance(host, &request),
                        })
                    }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if path.starts_with("/v1/config/") {
            self.state.lock().rule_questions += 1;
        }
        let seen = request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("index="));
        if let Some(seen) = seen.map(|seen| seen.parse::<u64>().unwrap()) {
            let mut index = self.index.subscribe();
            let _ = tokio::time::timeout(Duration::from_secs(60), index.wait_for(|index| *index > seen)).await;
        }
        let state = self.state.lock();
        let index = *self.index.borrow();
        let answer = Response::builder().header("x-consul-index", index).header("x-consul-knownleader", "true");
        let body = if let Some(kind) = path.strip_prefix("/v1/config/") {
            if let Some(status) = state.refuse_rules {
                return answer.status(status).body(Full::from("no")).unwrap();
            }
            json!(
                state
                    .entries
                    .iter()
                    .filter(|((known, _), _)| known == kind)
                    .map(|(_, entry)| entry)
                    .collect::<Vec<_>>()
            )
        } else {
            let service = path.strip_prefix("/v1/health/service/").unwrap();
            json!(state.services.get(service).cloned().unwrap_or_default())
        };
        answer.body(Full::from(body.to_string())).unwrap()
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder().server("registry:1").dialer(Dialer::Memory(self.memory.clone()))
    }

    /// A caller of `web` that knows its rules, and the client it came from.
    async fn web(&self) -> (Client, Web) {
        let client = self.builder().build().unwrap();
        let web = self.caller(&client, "web");
        client.watch("web").unwrap().ready(1, Duration::from_secs(5)).await.unwrap();
        assert!(web.rules_known(Duration::from_secs(5)).await);
        (client, web)
    }

    fn caller(&self, client: &Client, service: &str) -> Web {
        let pool = PoolSettings { dialer: Dialer::Memory(self.memory.clone()), ..PoolSettings::default() };
        let http = HttpSettings { pool, ..HttpSettings::default() };
        client.http_with(service, Policy::RoundRobin, http, Arc::default()).unwrap()
    }
}

type Web = HttpService<Full<Bytes>>;

fn instance(host: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let via = request.headers().get("x-via").map_or("", |via| via.to_str().unwrap());
    let answer = Response::builder().header("x-who", host).header("server", "secret");
    answer.body(Full::from(format!("{host} {} {via}", request.uri()))).unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

async fn text(web: &Web, request: Request<Full<Bytes>>) -> String {
    let answer = web.send(request).await.unwrap();
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Who answers so many calls.
async fn tally(web: &Web, calls: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..calls {
        let who = text(web, get("/")).await.split(' ').next().unwrap().to_owned();
        *tally.entry(who).or_default() += 1;
    }
    tally
}

/// Calls until an answer is as wished: rules are swapped soon, and nobody can wait for the very moment.
async fn until(web: &Web, mut wished: impl FnMut(&str) -> bool) {
    for _ in 0..10_000 {
        if wished(&text(web, get("/")).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came");
}

fn subsets() -> Value {
    json!({"Kind": "service-resolver", "Name": "web", "Subsets": {
        "v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"Filter": "Service.Meta.version == v2"}}})
}

fn split(v1: f64, v2: f64) -> Value {
    json!({"Kind": "service-splitter", "Name": "web", "Splits": [
        {"Weight": v1, "ServiceSubset": "v1"}, {"Weight": v2, "ServiceSubset": "v2"}]})
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_early_waits_for_the_first_word() {
    let world = World::start();
    world.add("web", "one", "v1");
    let client = world.builder().build().unwrap();
    assert_eq!(text(&world.caller(&client, "web"), get("/")).await, "one / ");
    // A registry that says nothing does not hold a call for ever.
    let client = Client::builder().server("nobody:1").dialer(Dialer::Memory(memory().0)).build().unwrap();
    let began = tokio::time::Instant::now();
    let error = world.caller(&client, "web").send(get("/")).await.unwrap_err();
    assert_eq!(error.reason, Reason::NoEndpoint);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_gets_its_five_percent_without_a_proxy_or_a_restart() {
    let world = World::start();
    world.add("web", "old-1", "v1");
    world.add("web", "old-2", "v1");
    world.add("web", "new", "v2");
    let (client, web) = world.web().await;
    assert!(matches!(web.rules(), Some(RulesState::None)));
    assert_eq!(
        tally(&web, 300).await,
        [("new", 100), ("old-1", 100), ("old-2", 100)].map(|(who, n)| (who.to_owned(), n)).into()
    );
    world.put(subsets());
    world.put(split(100.0, 0.0));
    let mut others = 0;
    until(&web, |answer| {
        others = if answer.starts_with("new") { 0 } else { others + 1 };
        others == 20
    })
    .await;
    assert_eq!(tally(&web, 200).await.get("new"), None);
    world.put(split(95.0, 5.0));
    until(&web, |answer| answer.starts_with("new")).await;
    let tally = tally(&web, 1000).await;
    assert!((49..=51).contains(&tally["new"]), "{tally:?}");
    assert!(tally["old-1"].abs_diff(tally["old-2"]) <= 1, "{tally:?}");
    world.remove("service-splitter", "web");
    world.remove("service-resolver", "web");
    until(&web, |_| matches!(web.rules(), Some(RulesState::None))).await;
    assert_eq!(web.stats().counts().failures(), 0, "nobody noticed");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn routes_lead_to_other_services_and_change_what_they_are_told_to() {
    let world = World::start();
    world.add("web", "web-1", "v1");
    world.add("api", "api-1", "v1");
    world.put(json!({"Kind": "service-router", "Name": "web", "Routes": [{"Match": {"HTTP": {"PathPrefix": "/api/"}},
        "Destination": {"Service": "api", "PrefixRewrite": "/", "RequestHeaders": {"Set": {"x-via": "rule"}},
            "ResponseHeaders": {"Remove": ["server"], "Add": {"x-by": "rule"}}}}]}));
    let (client, web) = world.web().await;
    assert_eq!(text(&web, get("/api/users?x=1")).await, "api-1 /users?x=1 rule");
    assert_eq!(text(&web, get("/other")).await, "web-1 /other ");
    let answer = web.send(get("/api/")).await.unwrap();
    assert_eq!((answer.headers().get("server"), &answer.headers()["x-by"]), (None, &"rule".parse().unwrap()));
    drop(answer);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn calls_turn_to_others_while_nobody_is_well() {
    let world = World::start();
    world.add("web", "one", "v1");
    world.add("web", "two", "v2");
    world.add("spare", "third", "v1");
    let mut resolver = subsets();
    resolver["DefaultSubset"] = json!("v1");
    resolver["Failover"] = json!({"*": {"Targets": [{"ServiceSubset": "v2"}, {"Service": "spare"}]}});
    world.put(resolver);
    let (client, web) = world.web().await;
    assert_eq!(tally(&web, 10).await, [("one".to_owned(), 10)].into());
    world.empty("web", "one");
    until(&web, |answer| answer.starts_with("two")).await;
    assert_eq!(tally(&web, 10).await, [("two".to_owned(), 10)].into());
    world.empty("web", "two");
    until(&web, |answer| answer.starts_with("third")).await;
    world.add("web", "one", "v1");
    until(&web, |answer| answer.starts_with("one")).await;
    assert_eq!(web.stats().counts().failures(), 0);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_rules_is_left_alone_and_what_was_known_stays() {
    let world = World::start();
    world.add("web", "old", "v1");
    world.add("web", "new", "v2");
    world.state.lock().refuse_rules = Some(StatusCode::FORBIDDEN);
    let (client, web) = world.web().await;
    assert!(matches!(web.rules(), Some(RulesState::None)));
    let more = world.caller(&client, "other");
    assert!(more.rules_known(Duration::from_secs(1)).await);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(world.state.lock().rule_questions, 4, "four a client, not a service, and then a minute of peace");
    world.state.lock().refuse_rules = None;
    world.put(subsets());
    world.put(split(0.0, 100.0));
    tokio::time::sleep(Duration::from_secs(15)).await;
    until(&web, |_| matches!(web.rules(), Some(RulesState::Followed(_)))).await;
    until(&web, |_| world.state.lock().rule_questions >= 8).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.change(|state| state.refuse_rules = Some(StatusCode::INTERNAL_SERVER_ERROR));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(tally(&web, 20).await, [("new".to_owned(), 20)].into(), "the last good ones stay");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn rules_that_cannot_be_followed_are_refused_and_the_ones_before_hold() {
    let world = World::start();
    world.add("web", "old", "v1");
    world.add("web", "new", "v2");
    world.put(subsets());
    world.put(split(0.0, 100.0));
    let (client, web) = world.web().await;
    assert_eq!(tally(&web, 10).await, [("new".to_owned(), 10)].into());
    world.put(json!({"Kind": "service-resolver", "Name": "web", "Redirect": {"Service": "b"}}));
    world.put(json!({"Kind": "service-resolver", "Name": "b", "Redirect": {"Service": "web"}}));
    until(&web, |_| matches!(web.rules(), Some(RulesState::Refused(_)))).await;
    let Some(RulesState::Refused(why)) = web.rules() else { panic!("it is refused") };
    assert!(why.to_string().contains("subset") || why.to_string().contains("circle"), "{why}");
    assert_eq!(tally(&web, 10).await, [("new".to_owned(), 10)].into());
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_no_rules_gets_none() {
    let world = World::start();
    world.add("web", "old", "v1");
    world.put(json!({"Kind": "service-resolver", "Name": "web", "Redirect": {"Service": "nobody"}}));
    let client = world.builder().follow_rules(false).build().unwrap();
    let web = world.caller(&client, "web");
    client.watch("web").unwrap().ready(1, Duration::from_secs(5)).await.unwrap();
    assert_eq!(tally(&web, 3).await, [("old".to_owned(), 3)].into());
    assert!(web.rules().is_none() && world.state.lock().rule_questions == 0);
    let (other, followed) = world.web().await;
    let error = followed.send(get("/")).await.unwrap_err();
    assert_eq!((error.reason, &*error.service), (Reason::NoEndpoint, "nobody"));
    other.shutdown().await;
    client.shutdown().await;
}
