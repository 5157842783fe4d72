//! Bounded loads from end to end, over pipes: clients tell servers the bound, servers with the layer keep to it, and no call
//! pays for a refusal.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::{Ask, Balancer, Group, Picker, Policy, Worker};
use callboard::call::{HashKey, HedgeSettings, HttpService, HttpSettings, Reason, RetryBudget, RetryPolicy};
use callboard::catalog::Catalog;
use callboard::endpoint::Endpoint;
use callboard::http::{Dialer, Memory, MemoryListener, PoolSettings, memory};
use callboard::load::{BOUND_HEADER, LOAD_HEADER, LoadReporter, ReportLoad, Serving, is_refusal, read_bound};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tower_service::Service;

type Calls = HttpService<Full<Bytes>>;

const HOSTS: [&str; 3] = ["a", "b", "c"];
/// What the application takes for a request.
const WORK: Duration = Duration::from_millis(10);

/// What the layer of a server was asked, and what its application saw.
#[derive(Default)]
struct Seen {
    /// By request that reached the layer: the bound, and whether it was refused.
    asked: Vec<(Option<u32>, bool)>,
    /// By request that reached the application: its headers and its body.
    served: Vec<(HeaderMap, Bytes)>,
    in_flight: u32,
    most: u32,
    /// Requests that came with a bound and exceeded it.
    beyond: u32,
}

/// The bound that a request came with, for the application of the test to check.
#[derive(Clone, Copy)]
struct Told(Option<u32>);

#[derive(Clone, Default)]
struct Server {
    reporter: LoadReporter,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    async fn serve(self, stream: tokio::io::DuplexStream) {
        let application = self.clone();
        let layered = ReportLoad::new(
            tower::service_fn(move |request| application.clone().application(request)),
            self.reporter.clone(),
        );
        let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
            let (mut layered, seen) = (layered.clone(), Arc::clone(&self.seen));
            let told = request.headers().get(BOUND_HEADER).and_then(read_bound);
            request.extensions_mut().insert(Told(told));
            async move {
                let answer = layered.call(request).await?;
                seen.lock().asked.push((told, is_refusal(&answer)));
                Ok::<_, Infallible>(answer)
            }
        });
        let _: Result<(), hyper::Error> =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn application(self, request: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let Told(told) = *request.extensions().get().unwrap();
        {
            let seen = &mut *self.seen.lock();
            seen.in_flight += 1;
            seen.most = seen.most.max(seen.in_flight);
            seen.beyond += u32::from(told.is_some_and(|bound| seen.in_flight > bound));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        tokio::time::sleep(WORK).await;
        let mut seen = self.seen.lock();
        seen.served.push((head.headers, body));
        seen.in_flight -= 1;
        Ok(Response::new(Full::from("done")))
    }
}

/// Servers by their hosts, and the way to them.
struct World {
    memory: Memory,
    servers: HashMap<&'static str, Server>,
}

impl World {
    fn new(hosts: &[&'static str]) -> Self {
        let (memory, listener) = memory();
        let servers: HashMap<&str, Server> = hosts.iter().map(|host| (*host, Server::default())).collect();
        tokio::spawn(Self::accept(listener, servers.clone()));
        Self { memory, servers }
    }

    async fn accept(mut listener: MemoryListener, servers: HashMap<&'static str, Server>) {
        while let Some((authority, stream)) = listener.accept().await {
            let host = authority.split(':').next().unwrap_or_default();
            tokio::spawn(servers[host].clone().serve(stream));
        }
    }

    /// A client with a balancer of its own, which has nothing to spend on retries.
    fn client(&self, factor: u32, retry: RetryPolicy) -> Calls {
        let mut hosts: Vec<_> = self.servers.keys().collect();
        hosts.sort();
        let rows: Vec<Endpoint> = hosts.into_iter().map(|host| Endpoint::new(host, host, 80)).collect();
        let balancer: Balancer = Catalog::fixed([("web", rows)]).balancer("web", Policy::Rendezvous.bounded(factor));
        let pool = PoolSettings { dialer: Dialer::Memory(self.memory.clone()), ..PoolSettings::default() };
        let budget = RetryBudget::new(0.0, 0);
        Calls::with(balancer, HttpSettings { pool, retry, ..HttpSettings::default() }, Arc::new(budget))
    }

    fn asked(&self) -> Vec<(Option<u32>, bool)> {
        self.servers.values().flat_map(|server| server.seen.lock().asked.clone()).collect()
    }

    fn served(&self) -> Vec<(HeaderMap, Bytes)> {
        self.servers.values().flat_map(|server| server.seen.lock().served.clone()).collect()
    }
}

fn post(key: u64, body: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(Method::POST).uri("/").body(Full::from(body)).unwrap();
    request.extensions_mut().insert(HashKey(key));
    request
}

async fn done(calls: &Calls, request: Request<Full<Bytes>>) {
    let response = calls.send(request).await.expect("no call fails");
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key(BOUND_HEADER));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
}

/// Lets a client hear from all servers.
async fn acquaint(calls: &Calls) {
    for n in 0..64u64 {
        done(calls, post(n.wrapping_mul(0x9E37_79B9_7F4A_7C15), "hello")).await;
    }
}

/// Nothing was charged to a call, and nothing held against a server.
fn assert_free_of_charge(calls: &Calls) {
    let counts = calls.stats().counts();
    assert_eq!((counts.answered, counts.failures(), counts.retries, counts.refused_by_budget), (counts.calls, 0, 0, 0));
    for member in calls.balancer().snapshot().members().iter() {
        let stats = member.stats();
        assert_eq!((stats.failures(), stats.abandoned(), stats.in_flight()), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_of_many_clients_fills_no_server_beyond_the_bound() {
    const CLIENTS: usize = 10;
    const EACH: usize = 3;
    const ROUNDS: usize = 60;
    let world = World::new(&HOSTS);
    let clients: Vec<Calls> = (0..CLIENTS).map(|_| world.client(125, RetryPolicy::default())).collect();
    let mut running = Vec::new();
    for calls in clients.iter().flat_map(|client| std::iter::repeat_n(client.clone(), EACH)) {
        running.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                // All calls of all clients have one key.
                done(&calls, post(7, "hot")).await;
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
    let served = world.served();
    assert_eq!(served.len(), CLIENTS * EACH * ROUNDS, "each was carried out once");
    assert!(served.iter().all(|(headers, body)| {
        body == "hot" && !headers.contains_key("callboard-attempt") && !headers.contains_key(BOUND_HEADER)
    }));
    assert!(world.servers.values().all(|server| server.seen.lock().beyond == 0), "nobody exceeds a bound");
    let asked = world.asked();
    let (told, refused) = asked.iter().fold((0, 0), |(told, refused), (bound, was)| {
        (told + usize::from(bound.is_some()), refused + usize::from(*was))
    });
    assert!(told > served.len() / 2, "{told} were told a bound, {refused} refused");
    assert!(refused > 0, "the clients alone did not keep to it");
    clients.iter().for_each(assert_free_of_charge);
}

#[tokio::test(start_paused = true)]
async fn a_full_server_is_passed_over_whatever_the_method_and_without_a_try() {
    let world = World::new(&HOSTS);
    // A single try, and it is not spent on a refusal.
    let calls = world.client(125, RetryPolicy::never());
    acquaint(&calls).await;
    let before = world.served().len();
    // Each server in turn has five requests of others, of which this client has not heard.
    for full in HOSTS {
        let _held: Vec<Serving> = (0..5).map(|_| world.servers[full].reporter.begin()).collect();
        acquaint(&calls).await;
    }
    let served = world.served();
    assert_eq!(served.len(), before + 3 * 64);
    assert!(served.iter().all(|(headers, body)| body == "hello" && !headers.contains_key("callboard-attempt")));
    for (host, server) in &world.servers {
        assert!(server.seen.lock().asked.iter().any(|(_, refused)| *refused), "{host} refused when it was full");
    }
    assert_free_of_charge(&calls);
}

#[tokio::test(start_paused = true)]
async fn when_everybody_is_full_the_least_loaded_takes_it_and_nobody_starves() {
    let world = World::new(&HOSTS);
    let calls = world.client(100, RetryPolicy::never());
    acquaint(&calls).await;
    let _held: Vec<Serving> = [("a", 60), ("b", 20), ("c", 60)]
        .into_iter()
        .flat_map(|(host, count)| (0..count).map(move |_| host))
        .map(|host| world.servers[host].reporter.begin())
        .collect();
    // In whatever order this key goes by them, and whatever of that this client learned on the way.
    let served = |host: &str| world.servers[host].seen.lock().served.len();
    let before = (world.asked().len(), HOSTS.map(served));
    done(&calls, post(1, "last")).await;
    assert!(world.asked().len() - before.0 <= HOSTS.len() + 1, "each refuses once");
    assert_eq!(HOSTS.map(served), [before.1[0], before.1[1] + 1, before.1[2]]);
    assert_free_of_charge(&calls);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_again_is_sent_without_a_bound() {
    let world = World::new(&HOSTS);
    let calls = world.client(125, RetryPolicy { body_max: 5, ..RetryPolicy::never() });
    acquaint(&calls).await;
    let told = |world: &World| world.asked().iter().filter(|(bound, _)| bound.is_some()).count();
    let before = told(&world);
    assert!(before > 0);
    let mut large = post(7, "larger");
    // What somebody else told some other server says nothing here.
    large.headers_mut().insert(BOUND_HEADER, 1u32.into());
    done(&calls, large).await;
    assert_eq!(told(&world), before);
    done(&calls, post(7, "small")).await;
    assert_eq!(told(&world), before + 1);
}

#[tokio::test(start_paused = true)]
async fn an_applications_own_503_is_an_answer() {
    let (memory, mut listener) = memory();
    tokio::spawn(async move {
        while let Some((_, stream)) = listener.accept().await {
            // Says all that a refusal says, to requests that carried no bound.
            let service = service_fn(|_: Request<hyper::body::Incoming>| async {
                let answer = Response::builder().status(503).header("callboard-load", "9;9").header(BOUND_HEADER, 1u32);
                Ok::<_, Infallible>(answer.body(Full::<Bytes>::from("no")).unwrap())
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let world = World { memory, servers: HOSTS.map(|host| (host, Server::default())).into() };
    let calls = world.client(125, RetryPolicy::never());
    let response = calls.send(post(7, "first")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(calls.stats().counts().failed(Reason::Overloaded), 0);
    let failures: u64 = calls.balancer().snapshot().members().iter().map(|member| member.stats().failures()).sum();
    assert_eq!(failures, 1, "and speaks against who gave it");
}

/// Picks the first host that was not tried, and allows each one request.
struct First;

impl Picker for First {
    fn pick(&self, group: &Group, ask: &Ask<'_>, worker: &mut Worker<'_>) -> Option<usize> {
        worker.first_allowed(group, ask, 0)
    }

    fn bound(&self, _: usize) -> Option<u32> {
        Some(1)
    }
}

/// Of each host by name, the bounds that came with its requests.
type Bounds = Arc<Mutex<Vec<(String, Option<u32>)>>>;

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_after_a_hedge_leaves_the_call_to_the_hedge() {
    let (memory, mut listener) = memory();
    let bounds = Bounds::default();
    let noted = Arc::clone(&bounds);
    tokio::spawn(async move {
        while let Some((authority, stream)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let told = request.headers().get(BOUND_HEADER).and_then(read_bound);
                let host = authority.split(':').next().unwrap_or_default().to_owned();
                noted.lock().push((host.clone(), told));
                let count = noted.lock().len();
                async move {
                    let answer = Response::builder();
                    let (wait, answer) = match (&*host, count) {
                        ("first", 0..=200) => (1, answer),
                        ("first", _) => (50, answer.status(503).header(LOAD_HEADER, "4;0").header(BOUND_HEADER, 1u32)),
                        _ => (100, answer),
                    };
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                    Ok::<_, Infallible>(answer.body(Full::<Bytes>::default()).unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let rows = ["first", "second"].map(|host| Endpoint::new(host, host, 80));
    let balancer = Catalog::fixed([("web", rows)]).balancer("web", Policy::custom("first", |_| First));
    let pool = PoolSettings { dialer: Dialer::Memory(memory), ..PoolSettings::default() };
    let settings = HttpSettings { pool, hedge: Some(HedgeSettings::default()), ..HttpSettings::default() };
    let calls: Calls = HttpService::with(balancer, settings, Arc::default());
    let get = || Request::builder().uri("/").body(Full::default()).unwrap();
    for _ in 0..200 {
        assert_eq!(calls.send(get()).await.unwrap().status(), 200);
    }
    assert_eq!(calls.send(get()).await.unwrap().status(), 200, "the second server's answer");
    let sent = bounds.lock().split_off(200);
    assert_eq!(sent, [("first".to_owned(), Some(1)), ("second".to_owned(), None)], "the bound was the first one's");
    let counts = calls.stats().counts();
    assert_eq!((counts.hedges, counts.retries, counts.failures()), (1, 0, 0));
    let snapshot = calls.balancer().snapshot();
    let first = snapshot.find("first", "").unwrap().stats();
    assert_eq!((first.failures(), first.abandoned(), first.in_flight()), (0, 0, 0));
    assert_eq!(first.report(first.clock().exact()).unwrap().load.in_flight, 4, "what it said is noted");
}
