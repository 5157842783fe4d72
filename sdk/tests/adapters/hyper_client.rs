//! hyper's own client through the connector.

use bytes::Bytes;
use callboard::balance::Policy;
use callboard::directory::Directory;
use callboard::hyper::Connector;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::backend::{Frames, catalog, echo, failures, in_flight, nobody, server, until};

type HyperClient = Client<Connector, Empty<Bytes>>;

fn client(directory: impl Into<Directory>) -> HyperClient {
    Client::builder(TokioExecutor::new()).build(Connector::new(directory))
}

#[tokio::test]
async fn a_host_is_a_service_and_who_refuses_is_passed_over() {
    let (address, seen) = echo().await;
    let catalog = catalog(&[nobody().await, address]);
    let client = client(Directory::from(&catalog).settings(Policy::RoundRobin));
    for uri in ["http://users/a", "http://users:1/a", "http://users.service.consul/a"] {
        for _ in 0..3 {
            let answer = client.get(uri.parse().unwrap()).await.unwrap();
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(text.starts_with(b"GET /a users"), "{text:?}");
        }
    }
    assert_eq!(seen.counts().1, 9);
    assert_eq!(failures(&catalog.balancer("users", Policy::RoundRobin)), 1);
    drop(client);
    until(|| in_flight(&catalog.balancer("users", Policy::RoundRobin)) == 0).await;
}

#[tokio::test]
async fn an_answer_dropped_half_way_gives_its_connection_up() {
    let (address, _) = server(|_| http::Response::new(Frames::endless(b"half"))).await;
    let catalog = catalog(&[address]);
    let balancer = catalog.balancer("users", Policy::default());
    let client = client(&catalog);
    let mut answer = client.get("http://users/".parse().unwrap()).await.unwrap();
    assert!(answer.body_mut().frame().await.is_some());
    assert_eq!(in_flight(&balancer), 1);
    drop(answer);
    until(|| in_flight(&balancer) == 0).await;
}

#[tokio::test]
async fn what_is_no_service_is_refused_and_names_do_not_pile_up() {
    let catalog = catalog(&[]);
    let client = client(&catalog);
    let error = client.get("http://127.0.0.1:1/".parse().unwrap()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("not a service"), "{cause}");
    let error = client.get("http://stranger/".parse().unwrap()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("calling stranger: no endpoint to call; 0 endpoints known"), "{cause}");
    assert_eq!(format!("{catalog:?}"), r#"["users"]"#);
}
