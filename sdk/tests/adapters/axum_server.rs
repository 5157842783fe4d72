//! An axum server in a registry: it is found where it listens, and leaves without losing a call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use callboard::axum::serve;
use callboard::{Drain, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::backend::Frames;
use crate::fake::{Fake, Fault};

/// Keeps paused time from passing by itself while real sockets are waited for.
struct Standstill(#[allow(dead_code, reason = "dropping it ends the standstill")] mpsc::Sender<()>);

fn standstill() -> Standstill {
    let (sender, receiver) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || receiver.recv());
    Standstill(sender)
}

/// Waits until it is so, while no time passes.
async fn until(wanted: impl Fn() -> bool) {
    while !wanted() {
        tokio::task::yield_now().await;
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Asks, and reads until the server closes the connection.
async fn ask(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: web\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn leaving_loses_no_call() {
    let _standstill = standstill();
    let fake = Fake::start();
    let client = fake.client();
    let (listener, address) = bind().await;
    let id = format!("web-{}", address.port());
    let gate = Arc::new(Notify::new());
    let slow = {
        let gate = gate.clone();
        get(move || async move {
            gate.notified().await;
            "slow"
        })
    };
    let router = Router::new().route("/slow", slow).route("/fast", get(|| async { "fast" }));
    let drain = Drain { settle: Duration::from_secs(10), grace: Duration::from_secs(600) };
    let serving = serve(listener, router).drain(drain).register(&client, Service::new("web")).start().await.unwrap();

    assert_eq!(serving.address(), address);
    {
        let state = fake.state.lock();
        let request = &state.rows[&id].request;
        assert_eq!((request.address.as_str(), request.port), ("127.0.0.1", address.port()));
    }
    let close = "connection: close\r\n";
    assert!(ask(address, "/live", close).await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, "/ready", close).await.ends_with("ready\n"));

    let in_flight = serving.in_flight();
    let slow = tokio::spawn(ask(address, "/slow", ""));
    until(|| in_flight.count() == 1).await;
    assert_eq!(serving.registered().in_flight().count(), 1, "one count, of server and registration");
    let draining = tokio::spawn(serving.drain());
    until(|| fake.state.lock().rows[&id].status == "critical").await;

    // It settles: still serves, and asks its callers to close.
    let fast = ask(address, "/fast", "").await;
    assert!(fast.contains("connection: close\r\n") && fast.ends_with("fast"), "{fast}");
    let ready = ask(address, "/ready", close).await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("leaving\n"), "{ready}");

    let mut passed = 0;
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::advance(Duration::from_secs(1)).await;
        passed += 1;
        assert!(passed < 30, "it stops to accept when it has settled");
    }
    assert!(passed >= 10, "but not before: {passed} s");
    assert!(fake.has(&id) && !draining.is_finished(), "one is in flight");
    gate.notify_one();
    let slow = slow.await.unwrap();
    assert!(slow.contains("connection: close\r\n") && slow.ends_with("slow"), "{slow}");
    let drained = draining.await.unwrap();
    assert!(drained.finished && drained.deregistered && !fake.has(&id), "{drained:?}");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_dropped_half_way_is_in_flight_no_more() {
    let _standstill = standstill();
    let fake = Fake::start();
    let client = fake.client();
    let (listener, address) = bind().await;
    let router = Router::new().route("/", get(|| async { Body::new(Frames::endless(b"half")) }));
    let serving = serve(listener, router).register(&client, Service::new("web")).start().await.unwrap();
    let in_flight = serving.in_flight();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
    let mut some = [0; 16];
    stream.read_exact(&mut some).await.unwrap();
    assert_eq!(in_flight.count(), 1);
    drop(stream);
    until(|| in_flight.count() == 0).await;
    drop(serving);
    client.shutdown().await;
    assert!(fake.state.lock().rows.is_empty(), "dropped, it leaves as well as it can");
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_comes_before_the_registration_ends_it_too() {
    let fake = Fake::start();
    fake.fault("", "/", Fault::Hang);
    let client = fake.client();
    let (listener, address) = bind().await;
    let serving = serve(listener, Router::new()).register(&client, Service::new("web"));
    let left = serving.run_until_drained(std::future::ready(())).await.unwrap();
    assert!(left.finished && !left.deregistered);
    assert!(TcpStream::connect(address).await.is_err());
    fake.heal();
    client.shutdown().await;
    assert!(fake.state.lock().rows.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_registration_ends_the_server() {
    let fake = Fake::start();
    let client = fake.client();
    let (listener, address) = bind().await;
    let service = Service::new("web").address("0.0.0.0");
    let error = serve(listener, Router::new()).register(&client, service).start().await.unwrap_err();
    assert!(error.to_string().contains("Invalid service address"), "{error}");
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_not_well_is_not_ready() {
    let _standstill = standstill();
    let fake = Fake::start();
    let client = fake.client();
    let (listener, address) = bind().await;
    let server = serve(listener, Router::new()).probes("/healthz", "/readyz");
    let serving = server.register(&client, Service::new("web")).start().await.unwrap();
    let close = "connection: close\r\n";
    assert!(ask(address, "/readyz", close).await.starts_with("HTTP/1.1 200"));
    serving.registered().set_status(callboard_proto::CheckStatus::Critical, "no database");
    serving.registered().wait_for(|standing| standing.status == Some(callboard_proto::CheckStatus::Critical)).await;
    assert!(ask(address, "/readyz", close).await.starts_with("HTTP/1.1 503"));
    assert!(ask(address, "/healthz", close).await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, "/ready", close).await.starts_with("HTTP/1.1 404"));
    drop(serving);
    client.shutdown().await;
}
