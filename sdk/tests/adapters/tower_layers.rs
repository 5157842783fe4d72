//! tower's middleware and balancers over the catalog.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use callboard::balance::Policy;
use callboard::endpoint::Endpoint;
use callboard::registration::InFlight;
use callboard::tower::{BalanceLayer, Discovery, FlightLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::balance::p2c::Balance;
use tower::discover::{Change, Discover};
use tower::load::Constant;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use crate::backend::{Frames, catalog, echo, endpoints, failures, in_flight, nobody, server, until};

type Sender = SendRequest<Empty<Bytes>>;

/// What hyper gives for a connection, as a service.
#[derive(Clone)]
struct Connected(Sender);

impl Service<Request<Empty<Bytes>>> for Connected {
    type Response = Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

async fn connect(endpoint: Arc<Endpoint>, made: Arc<AtomicUsize>) -> Result<Connected, BoxError> {
    let stream = TcpStream::connect(endpoint.authority()).await?;
    made.fetch_add(1, SeqCst);
    let (sender, connection) =
        hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Connected(sender))
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://users/a").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn a_maker_becomes_a_balanced_service() {
    let (first, second) = (echo().await, echo().await);
    let balancer = catalog(&[first.0, nobody().await, second.0]).balancer("users", Policy::RoundRobin);
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let maker = service_fn(move |endpoint| connect(endpoint, count.clone()));
    let mut service = BalanceLayer::http(balancer.clone()).layer(maker);
    for _ in 0..10 {
        let answer = service.ready().await.unwrap().call(get()).await.unwrap();
        assert!(answer.into_body().collect().await.unwrap().to_bytes().starts_with(b"GET /a"));
    }
    assert_eq!((made.load(SeqCst), first.1.counts().1 + second.1.counts().1), (2, 10));
    assert!(first.1.counts().1.abs_diff(second.1.counts().1) <= 2);
    assert_eq!((failures(&balancer), in_flight(&balancer)), (1, 0));
}

#[tokio::test]
async fn an_answer_dropped_half_way_is_in_flight_no_more() {
    let (address, _) = server(|_| Response::new(Frames::endless(b"half"))).await;
    let balancer = catalog(&[address]).balancer("users", Policy::default());
    let maker = service_fn(|endpoint| connect(endpoint, Arc::default()));
    let mut answer = BalanceLayer::http(balancer.clone()).layer(maker).oneshot(get()).await.unwrap();
    assert!(answer.body_mut().frame().await.is_some());
    assert_eq!(in_flight(&balancer), 1);
    drop(answer);
    assert_eq!((in_flight(&balancer), failures(&balancer)), (0, 0));
}

#[tokio::test]
async fn a_service_that_ended_is_made_again_and_one_that_failed_is_told_of() {
    let balancer = catalog(&["127.0.0.1:1".parse().unwrap()]).balancer("users", Policy::default());
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    // Each service answers twice and is never ready again.
    let maker = service_fn(move |_: Arc<Endpoint>| {
        count.fetch_add(1, SeqCst);
        let left = Arc::new(AtomicUsize::new(2));
        std::future::ready(Ok::<_, io::Error>(Short(left)))
    });
    let mut service = BalanceLayer::new(balancer.clone()).layer(maker);
    assert_eq!(service.ready().await.unwrap().call(false).await.unwrap(), "answer");
    let error = service.ready().await.unwrap().call(true).await.unwrap_err();
    assert!(error.to_string().contains("the connection broke"), "{error}");
    assert_eq!(failures(&balancer), 1);
    let error = service.ready().await.unwrap().call(false).await.unwrap_err();
    assert!(error.to_string().contains("worn out"), "nobody else is there: {error}");
    assert_eq!(service.ready().await.unwrap().call(false).await.unwrap(), "answer");
    assert_eq!(made.load(SeqCst), 2);
}

#[derive(Clone)]
struct Short(Arc<AtomicUsize>);

impl Service<bool> for Short {
    type Response = &'static str;
    type Error = io::Error;
    type Future = std::future::Ready<Result<&'static str, io::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), io::Error>> {
        let left = self.0.load(SeqCst) > 0;
        std::task::Poll::Ready(if left { Ok(()) } else { Err(io::Error::other("worn out")) })
    }

    fn call(&mut self, fail: bool) -> Self::Future {
        self.0.fetch_sub(1, SeqCst);
        std::future::ready(if fail { Err(io::Error::other("failed")) } else { Ok("answer") })
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[tokio::test]
async fn towers_own_balancer_follows_the_watch() {
    let catalog = catalog(&[address(1), address(2)]);
    let discovery = Discovery::new(catalog.watch("users"), |endpoint: &Endpoint| {
        let port = endpoint.port();
        Constant::new(service_fn(move |()| std::future::ready(Ok::<_, io::Error>(port))), 1)
    });
    let mut balance = Balance::new(discovery);
    let mut seen = [0; 4];
    for _ in 0..100 {
        seen[usize::from(balance.ready().await.unwrap().call(()).await.unwrap())] += 1;
    }
    assert!(seen[1] > 0 && seen[2] > 0 && seen[1] + seen[2] == 100, "{seen:?}");
    catalog.set("users", [endpoints(&[address(3)]).remove(0)]);
    for _ in 0..100 {
        assert_eq!(balance.ready().await.unwrap().call(()).await.unwrap(), 3, "the others left");
    }
}

#[tokio::test]
async fn only_differences_are_told() {
    let catalog = catalog(&[address(1), address(2)]);
    let mut discovery = Discovery::new(catalog.watch("users"), |endpoint: &Endpoint| endpoint.port());
    let mut told = async |count: usize| {
        let mut told = Vec::new();
        for _ in 0..count {
            let news = std::future::poll_fn(|cx| std::pin::Pin::new(&mut discovery).poll_discover(cx)).await;
            told.push(match news.unwrap().unwrap() {
                Change::Insert(_, port) => i32::from(port),
                Change::Remove(_) => -1,
            });
        }
        told
    };
    assert_eq!(told(2).await, [1, 2]);
    let mut next = endpoints(&[address(1), address(2), address(3)]);
    next[0] = next[0].clone().weighted(7, 1);
    next[1] = next[1].clone().with_health(callboard::endpoint::Health::Critical);
    catalog.set("users", next);
    assert_eq!(told(2).await, [-1, 3], "a new weight is no news, a critical one has left");
}

#[tokio::test]
async fn the_server_counts_to_the_end_of_the_body_and_asks_to_close_when_it_leaves() {
    let in_flight = InFlight::default();
    let layer = FlightLayer::new(in_flight.clone());
    let service = layer.layer(service_fn(|_: Request<hyper::body::Incoming>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Frames::endless(b"half"))))
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { builder.serve_connection(TokioIo::new(stream), service).await.map_err(drop) });
        }
    });
    let balancer = catalog(&[address]).balancer("users", Policy::default());
    let calls = callboard::tower::HttpService::<Empty<Bytes>>::new(balancer);
    let before = calls.send(get()).await.unwrap();
    assert!(!before.headers().contains_key("connection"));
    assert_eq!(in_flight.count(), 1);
    layer.leave();
    let after = calls.send(get()).await.unwrap();
    assert_eq!(after.headers()["connection"], "close");
    assert_eq!(in_flight.count(), 2);
    drop((before, after));
    until(|| in_flight.count() == 0).await;
}
