//! gRPC through the channel: a real tonic server, and servers that fail as gRPC servers do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use callboard::balance::Policy;
use callboard::endpoint::Endpoint;
use callboard::tonic::Channel;
use callboard::tower::{CallError, HttpSettings};
use http::{HeaderMap, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::backend::{Frames, catalog, failures, in_flight, nobody, server, until};

/// A message of `HealthCheckResponse { status: SERVING }` with its prefix.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// tonic's own health service; counts its connections.
async fn health() -> (SocketAddr, Arc<AtomicUsize>) {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("users", ServingStatus::Serving).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, SeqCst);
            let service = TowerToHyperService::new(service.clone());
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
        drop(reporter);
    });
    (address, connections)
}

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

fn grpc(body: Frames) -> Response<Frames> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
}

#[tokio::test]
async fn every_call_is_balanced_over_one_connection_an_endpoint() {
    let (first, second) = (health().await, health().await);
    let balancer = catalog(&[first.0, nobody().await, second.0]).balancer("users", Policy::RoundRobin);
    let mut client = HealthClient::new(Channel::new(balancer.clone()));
    for _ in 0..12 {
        let answer = client.check(ask("users")).await.unwrap();
        assert_eq!(answer.into_inner().status, 1);
    }
    assert_eq!((first.1.load(SeqCst), second.1.load(SeqCst)), (1, 1));
    let snapshot = balancer.snapshot();
    let calls = |at: usize| snapshot.members().get(at).unwrap().stats().calls();
    assert_eq!((calls(0) + calls(2), calls(1), failures(&balancer)), (12, 1, 1), "the dead one was asked once");
    assert!(calls(0).abs_diff(calls(2)) <= 2, "{} {}", calls(0), calls(2));
    assert_eq!(in_flight(&balancer), 0);
}

#[tokio::test]
async fn a_stream_counts_until_it_is_dropped() {
    let (address, _) = health().await;
    let balancer = catalog(&[address]).balancer("users", Policy::default());
    let mut client = HealthClient::new(Channel::new(balancer.clone()));
    let mut stream = client.watch(ask("users")).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    assert_eq!(in_flight(&balancer), 1);
    client.check(ask("users")).await.unwrap();
    assert_eq!(in_flight(&balancer), 1, "the stream is still there");
    drop(stream);
    until(|| in_flight(&balancer) == 0).await;
    assert_eq!((failures(&balancer), balancer.snapshot().members().first().unwrap().stats().abandoned()), (0, 1));
}

#[tokio::test]
async fn an_endpoint_that_left_keeps_its_streams_and_then_loses_its_connection() {
    let (old, new) = (health().await, health().await);
    let catalog = catalog(&[old.0]);
    let channel = Channel::new(catalog.balancer("users", Policy::default()));
    let mut client = HealthClient::new(channel.clone());
    let mut stream = client.watch(ask("users")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    catalog.set("users", [Endpoint::new("users-new", "127.0.0.1", new.0.port())]);
    client.check(ask("users")).await.unwrap();
    assert_eq!((new.1.load(SeqCst), channel.connections()), (1, 2), "the stream goes on");
    drop(stream);
    until(|| channel.connections() == 1).await;
}

#[tokio::test]
async fn an_answer_that_the_application_means_is_no_failure() {
    let (address, _) = health().await;
    let balancer = catalog(&[address]).balancer("users", Policy::default());
    let mut client = HealthClient::new(Channel::new(balancer.clone()));
    for _ in 0..10 {
        assert_eq!(client.check(ask("stranger")).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!((failures(&balancer), balancer.snapshot().aside_len()), (0, 0));
}

#[tokio::test]
async fn a_status_in_the_trailers_counts_after_a_head_that_looked_well() {
    let (sick, _) = server(|_| grpc(Frames::with_trailers(SERVING, trailers("14")))).await;
    let balancer = catalog(&[sick]).balancer("users", Policy::default());
    let mut client = HealthClient::new(Channel::new(balancer.clone()));
    for turn in 1..=5 {
        let mut stream = client.watch(ask("")).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
        assert_eq!(stream.message().await.unwrap_err().code(), Code::Unavailable);
        assert_eq!((failures(&balancer), in_flight(&balancer)), (turn, 0));
    }
    assert_eq!(balancer.snapshot().aside_len(), 1, "five in a row");
}

#[tokio::test]
async fn a_status_in_the_head_counts_at_once_and_an_end_without_one_counts_too() {
    let (refuses, _) = server(|_| {
        let mut response = grpc(Frames::data(""));
        response.headers_mut().extend(trailers("8"));
        response
    })
    .await;
    let (stops, _) = server(|_| grpc(Frames::data("\0\0\0\0\x02\x08\x01"))).await;
    for address in [refuses, stops] {
        let balancer = catalog(&[address]).balancer("users", Policy::default());
        let mut client = HealthClient::new(Channel::new(balancer.clone()));
        client.check(ask("")).await.unwrap_err();
        until(|| in_flight(&balancer) == 0).await;
        assert_eq!(failures(&balancer), 1, "{address}");
    }
}

#[tokio::test]
async fn a_call_without_an_answer_has_a_code_and_the_whole_story() {
    let balancer = catalog(&[nobody().await]).balancer("users", Policy::default());
    let error = HealthClient::new(Channel::new(balancer)).check(ask("")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let story = std::error::Error::source(&error).unwrap().downcast_ref::<CallError>().unwrap();
    assert_eq!(story.attempts.len(), 3, "asked again after a wait, since there is nobody else");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let balancer = catalog(&[listener.local_addr().unwrap()]).balancer("users", Policy::default());
    let settings = HttpSettings { response_timeout: Some(Duration::from_millis(50)), ..HttpSettings::default() };
    let mut client = HealthClient::new(Channel::with(balancer.clone(), settings, Arc::default()));
    assert_eq!(client.check(ask("")).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!((failures(&balancer), in_flight(&balancer)), (1, 0));
    drop(listener);
}
