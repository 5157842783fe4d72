//! TCP: who is dialled, and what the stream tells about it.

use std::sync::Arc;

use callboard::balance::{Ask, Policy};
use callboard::connect::{ConnectSettings, Connector};
use callboard::tower::{Reason, RetryBudget};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::backend::{catalog, failures, in_flight, nobody};

/// Sends back what it is sent; hangs up at once on whoever says `x`.
async fn parrot() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() && byte != *b"x" {
                    stream.write_all(&byte).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn who_refuses_is_passed_over_and_the_stream_counts_until_it_is_dropped() {
    let balancer = catalog(&[nobody().await, parrot().await]).balancer("users", Policy::RoundRobin);
    let connector = Connector::new(balancer.clone());
    for _ in 0..6 {
        let mut stream = connector.connect(&Ask::any()).await.unwrap();
        assert_eq!(stream.endpoint().id(), "users-1");
        assert_eq!(in_flight(&balancer), 1);
        stream.write_all(b"a").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        drop(stream);
        assert_eq!(in_flight(&balancer), 0);
    }
    assert_eq!(failures(&balancer), 1, "found out once, then aside");
}

#[tokio::test]
async fn an_end_without_a_byte_speaks_against_the_endpoint_and_one_after_it_does_not() {
    let balancer = catalog(&[parrot().await]).balancer("users", Policy::RoundRobin);
    let connector = Connector::new(balancer.clone());
    let mut stream = connector.connect(&Ask::any()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(failures(&balancer), 1);
    let mut stream = connector.connect(&Ask::any()).await.unwrap();
    stream.write_all(b"ax").await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert_eq!((all.as_slice(), failures(&balancer)), (b"a".as_slice(), 1));
    drop((stream, connector.connect(&Ask::any()).await.unwrap()));
    let stats = balancer.snapshot();
    assert_eq!(stats.members().first().unwrap().stats().abandoned(), 1, "unused, it says nothing");
}

#[tokio::test]
async fn an_error_names_every_try_and_the_budget_is_asked() {
    let balancer = catalog(&[nobody().await, nobody().await]).balancer("users", Policy::RoundRobin);
    let error = Connector::new(balancer.clone()).connect(&Ask::any()).await.unwrap_err();
    assert_eq!((error.reason, error.attempts.len(), error.is_unsent()), (Reason::Connect, 2, true));
    let budget = Arc::new(RetryBudget::new(0.0, 0));
    let error = Connector::with(balancer, ConnectSettings::default(), budget).connect(&Ask::any()).await.unwrap_err();
    assert!(error.budget_spent && error.attempts.len() == 1);
    let error = Connector::new(catalog(&[]).balancer("users", Policy::RoundRobin)).connect(&Ask::any()).await;
    assert_eq!(error.unwrap_err().reason, Reason::NoEndpoint);
}
