//! Calls over HTTP against real sockets: what is reused, what is tried again, and what never is.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::{Balancer, Policy};
use callboard::catalog::Catalog;
use callboard::endpoint::Endpoint;
use callboard::http::{PoolSettings, Protocol};
use callboard::tower::{HashKey, HttpService, HttpSettings, Reason, RetryBudget};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Calls = HttpService<Full<Bytes>>;

/// Counts what a backend saw.
#[derive(Clone, Default)]
struct Seen {
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Seen {
    fn counts(&self) -> (usize, usize) {
        (self.connections.load(SeqCst), self.requests.load(SeqCst))
    }
}

/// Answers every request with its own target, host and body.
async fn echo() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.connections.fetch_add(1, SeqCst);
            let counts = counts.clone();
            let service = service_fn(move |request| answer(request, counts.clone()));
            tokio::spawn(
                hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .into_owned(),
            );
        }
    });
    (address, seen)
}

async fn answer(mut request: Request<Incoming>, seen: Seen) -> Result<Response<Full<Bytes>>, hyper::Error> {
    seen.requests.fetch_add(1, SeqCst);
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            io.read_exact(&mut word).await.unwrap();
            io.write_all(&word).await.unwrap();
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        return Ok(response);
    }
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default();
    let head = format!("{} {} {host} ", request.method(), request.uri().path());
    let mut text = head.into_bytes();
    text.extend_from_slice(&request.into_body().collect().await?.to_bytes());
    Ok(Response::new(Full::new(text.into())))
}

/// Reads one request and closes the connection without an answer.
async fn slammer() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counts.connections.fetch_add(1, SeqCst);
            if read_head(&mut stream).await {
                counts.requests.fetch_add(1, SeqCst);
            }
        }
    });
    (address, seen)
}

/// Answers one request per connection with keep-alive and then closes it: the race every client meets.
async fn forgetful() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counts.connections.fetch_add(1, SeqCst);
            let counts = counts.clone();
            tokio::spawn(async move {
                if read_head(&mut stream).await {
                    counts.requests.fetch_add(1, SeqCst);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    // Closes only when the next request is on its way.
                    let _ = stream.read_u8().await;
                }
            });
        }
    });
    (address, seen)
}

async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn balancer(addresses: &[SocketAddr]) -> Balancer {
    let endpoints: Vec<Endpoint> = addresses
        .iter()
        .enumerate()
        .map(|(at, address)| Endpoint::new(&format!("web-{at}"), &address.ip().to_string(), address.port()))
        .collect();
    Catalog::fixed([("web", endpoints)]).balancer("web", Policy::RoundRobin)
}

fn calls(addresses: &[SocketAddr]) -> Calls {
    HttpService::new(balancer(addresses))
}

fn request(method: Method, body: &'static str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri("/path").body(Full::from(body)).unwrap()
}

async fn text(response: Response<impl http_body::Body<Data = Bytes, Error = hyper::Error>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let (address, seen) = echo().await;
    let calls = calls(&[address]);
    for _ in 0..20 {
        let response = calls.send(request(Method::POST, "x")).await.unwrap();
        assert_eq!(text(response).await, format!("POST /path {address} x"));
    }
    assert_eq!(seen.counts(), (1, 20));
    assert_eq!(calls.pool().connections(), 1);
    let stats = calls.balancer().snapshot();
    let stats = stats.members().first().unwrap().stats();
    assert_eq!((stats.in_flight(), stats.calls(), stats.failures(), stats.abandoned()), (0, 20, 0, 0));
}

#[tokio::test]
async fn a_call_counts_in_flight_until_its_body_ends() {
    let (address, _) = echo().await;
    let calls = calls(&[address]);
    let in_flight = || calls.balancer().snapshot().members().first().unwrap().stats().in_flight();
    let mut response = calls.send(request(Method::POST, "body")).await.unwrap();
    assert_eq!(in_flight(), 1);
    while response.body_mut().frame().await.is_some() {}
    assert_eq!(in_flight(), 0, "even while the response is held");
    let dropped = calls.send(request(Method::POST, "body")).await.unwrap();
    drop(dropped);
    assert_eq!(in_flight(), 0);
}

#[tokio::test]
async fn the_host_is_the_callers_or_else_the_endpoints() {
    let (address, _) = echo().await;
    let calls = calls(&[address]);
    let absolute = Request::get("http://web.service.consul/a?b=c").body(Full::default()).unwrap();
    assert_eq!(text(calls.send(absolute).await.unwrap()).await, "GET /a web.service.consul ");
    let named = Request::get("/a").header("host", "h").body(Full::default()).unwrap();
    assert_eq!(text(calls.send(named).await.unwrap()).await, "GET /a h ");
}

#[tokio::test]
async fn who_refuses_connections_is_passed_over_whatever_the_method() {
    let (address, seen) = echo().await;
    let calls = calls(&[nobody().await, address]);
    for _ in 0..10 {
        let response = calls.send(request(Method::POST, "once")).await.unwrap();
        assert!(text(response).await.ends_with(" once"));
    }
    assert_eq!(seen.counts().1, 10);
    let snapshot = calls.balancer().snapshot();
    let failures: u64 = snapshot.members().iter().map(|member| member.stats().failures()).sum();
    assert_eq!(failures, 1, "found out once, then aside");
}

#[tokio::test]
async fn who_cannot_be_reached_is_no_try_while_somebody_was_not_asked() {
    let (address, seen) = echo().await;
    let mut addresses = vec![address];
    for _ in 0..5 {
        addresses.push(nobody().await);
    }
    for _ in 0..10 {
        // Nothing was learned before: up to five are asked in vain.
        let calls = calls(&addresses);
        assert!(text(calls.send(request(Method::POST, "once")).await.unwrap()).await.ends_with(" once"));
        let snapshot = calls.balancer().snapshot();
        let failures: u64 = snapshot.members().iter().map(|member| member.stats().failures()).sum();
        assert_eq!(calls.stats().counts().retries, failures, "each is charged");
    }
    assert_eq!(seen.counts().1, 10);
    for _ in 0..6 {
        addresses.push(nobody().await);
    }
    let error = calls(&addresses[1..]).send(request(Method::POST, "")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts.len()), (Reason::Connect, 8), "eight of eleven, the bound");
    let error = calls(&addresses[1..6]).send(request(Method::POST, "")).await.unwrap_err();
    assert_eq!(error.attempts.len(), 5, "nobody twice");
}

#[tokio::test]
async fn a_connection_closed_while_it_lay_is_no_failure() {
    let (address, seen) = forgetful().await;
    let calls = calls(&[address]);
    for _ in 0..5 {
        let response = calls.send(request(Method::GET, "")).await.unwrap();
        assert_eq!(text(response).await, "ok");
    }
    assert_eq!(seen.counts(), (5, 5));
    assert_eq!(calls.balancer().snapshot().members().first().unwrap().stats().failures(), 0);
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    let (slam, slammed) = slammer().await;
    let (good, served) = echo().await;
    let calls = calls(&[slam, good]);
    let mut broken = 0;
    for _ in 0..4 {
        match calls.send(request(Method::POST, "pay")).await {
            Ok(response) => drop(text(response).await),
            Err(error) => {
                assert_eq!((error.reason, error.attempts.len(), error.is_unsent()), (Reason::Broken, 1, false));
                broken += 1;
            }
        }
    }
    assert_eq!((broken, slammed.counts().1 + served.counts().1), (2, 4), "each was seen by one server only");
    for _ in 0..4 {
        let response = calls.send(request(Method::GET, "")).await.unwrap();
        assert!(text(response).await.starts_with("GET"));
    }
    assert!(slammed.counts().1 > 2, "the idempotent were tried elsewhere");
}

#[tokio::test]
async fn an_error_says_it_all() {
    let (first, second) = (nobody().await, nobody().await);
    let error = calls(&[first, second]).send(request(Method::GET, "")).await.unwrap_err();
    let said = error.to_string();
    for part in [
        "calling web",
        "no connection",
        "2 endpoints known",
        "round_robin",
        &first.to_string(),
        &second.to_string(),
        "refused",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(error.is_unsent());
    let error = calls(&[]).send(request(Method::GET, "")).await.unwrap_err();
    assert_eq!(error.reason, Reason::NoEndpoint);
    assert!(error.to_string().contains("0 endpoints known"), "{error}");
}

#[tokio::test]
async fn a_response_has_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let held = tokio::spawn(async move { listener.accept().await.unwrap() });
    let settings = HttpSettings { response_timeout: Some(Duration::from_millis(50)), ..HttpSettings::default() };
    let calls = Calls::with(balancer(&[address]), settings, Arc::default());
    let error = calls.send(request(Method::GET, "")).await.unwrap_err();
    assert_eq!(error.reason, Reason::Timeout);
    drop(held);
}

#[tokio::test]
async fn retries_have_a_budget() {
    let budget = Arc::new(RetryBudget::new(0.0, 0));
    let calls = Calls::with(balancer(&[nobody().await, nobody().await]), HttpSettings::default(), budget);
    let error = calls.send(request(Method::GET, "")).await.unwrap_err();
    assert!(error.budget_spent && error.attempts.len() == 1);
}

#[tokio::test]
async fn an_upgrade_passes_through() {
    let (address, _) = echo().await;
    let calls = calls(&[address]);
    let upgrade = Request::get("/").header("connection", "upgrade").header("upgrade", "echo");
    let mut response = calls.send(upgrade.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    io.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    io.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"ping");
    let in_flight = || calls.balancer().snapshot().members().first().unwrap().stats().in_flight();
    assert_eq!(in_flight(), 1, "as long as the response is held");
    drop(response);
    assert_eq!(in_flight(), 0);
}

#[tokio::test]
async fn http2_shares_one_connection() {
    let (address, seen) = echo().await;
    let pool = PoolSettings { protocol: Protocol::Http2, ..PoolSettings::default() };
    let calls = Calls::with(balancer(&[address]), HttpSettings { pool, ..HttpSettings::default() }, Arc::default());
    let many = (0..20).map(|_| {
        let calls = calls.clone();
        tokio::spawn(async move { text(calls.send(request(Method::POST, "x")).await.unwrap()).await })
    });
    for one in many.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), format!("POST /path {address} x"));
    }
    assert_eq!(seen.counts(), (1, 20));
}

#[tokio::test]
async fn a_key_finds_its_endpoint_again() {
    let mut addresses = Vec::new();
    for _ in 0..4 {
        addresses.push(echo().await.0);
    }
    let endpoints =
        addresses.iter().map(|address| Endpoint::new(&address.port().to_string(), "127.0.0.1", address.port()));
    let catalog = Catalog::fixed([("web", endpoints.collect::<Vec<_>>())]);
    let calls = Calls::new(catalog.balancer("web", Policy::RING_HASH));
    let mut found = Vec::new();
    for key in [1u64, u64::MAX / 3, 1, u64::MAX / 3] {
        let mut request = request(Method::GET, "");
        request.extensions_mut().insert(HashKey(key));
        found.push(text(calls.send(request).await.unwrap()).await);
    }
    assert_eq!(found[..2], found[2..]);
}

#[tokio::test]
async fn it_is_a_tower_service() {
    let (address, _) = echo().await;
    let mut service = calls(&[address]);
    std::future::poll_fn(|cx| tower_service::Service::poll_ready(&mut service, cx)).await.unwrap();
    let response = tower_service::Service::call(&mut service, request(Method::PUT, "y")).await.unwrap();
    assert!(text(response).await.ends_with(" y"));
}
