//! reqwest through the middleware and through the resolver.

use std::sync::Arc;
use std::time::Duration;

use callboard::balance::{Policy, hash};
use callboard::catalog::Catalog;
use callboard::directory::Directory;
use callboard::reqwest::{Balance, Resolver};
use callboard::tower::{HashKey, Reason, RetryBudget};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::backend::{Frames, catalog, echo, failures, in_flight, nobody, server, until};

fn round_robin(catalog: &Catalog) -> Directory {
    Directory::from(catalog).settings(Policy::RoundRobin)
}

fn client(balance: Balance) -> ClientWithMiddleware {
    ClientBuilder::new(reqwest::Client::new()).with(balance).build()
}

fn story(error: Error) -> callboard::tower::CallError {
    let Error::Middleware(error) = error else { panic!("{error}") };
    match error.downcast::<callboard::Error>().unwrap() {
        callboard::Error::Call(call) => *call,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_request_is_balanced_and_who_refuses_is_passed_over() {
    let (first, second) = (echo().await, echo().await);
    let catalog = catalog(&[first.0, nobody().await, second.0]);
    let client = client(Balance::new(round_robin(&catalog)));
    let balancer = catalog.balancer("users", Policy::RoundRobin);
    for _ in 0..6 {
        let answer = client.post("http://users:1/a").body("once").send().await.unwrap();
        assert!([first.0, second.0].map(|address| Some(address.port())).contains(&answer.url().port()));
        assert_eq!(answer.text().await.unwrap(), "POST /a users:1", "the host stays the caller's");
        let answer = client.get("http://users.service.consul/a").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "GET /a users.service.consul");
    }
    assert_eq!(first.1.counts().1 + second.1.counts().1, 12);
    assert!(first.1.counts().1.abs_diff(second.1.counts().1) <= 2);
    assert_eq!((failures(&balancer), in_flight(&balancer)), (1, 0));
}

#[tokio::test]
async fn a_call_counts_until_its_body_is_read_or_dropped() {
    let (whole, _) = echo().await;
    let (half, _) = server(|_| http::Response::new(Frames::endless(b"half"))).await;
    for address in [whole, half] {
        let catalog = catalog(&[address]);
        let balancer = catalog.balancer("users", Policy::default());
        let client = client(Balance::new(&catalog));
        let mut answer = client.get("http://users/").send().await.unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
        if address == half {
            assert_eq!(in_flight(&balancer), 1);
        } else {
            assert!(answer.chunk().await.unwrap().is_none());
            assert_eq!(in_flight(&balancer), 0, "even while the response is held");
        }
        drop(answer);
        assert_eq!((in_flight(&balancer), failures(&balancer)), (0, 0));
    }
}

#[tokio::test]
async fn only_what_is_safe_is_done_twice() {
    // Reads a request, and closes.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slams = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let (good, seen) = echo().await;
    let catalog = catalog(&[slams, good]);
    let client = client(Balance::new(round_robin(&catalog)));
    let mut broken = 0;
    for _ in 0..4 {
        if let Err(error) = client.post("http://users/").body("pay").send().await {
            let story = story(error);
            assert_eq!((story.reason, story.attempts.len()), (Reason::Broken, 1));
            broken += 1;
        }
    }
    assert_eq!((broken, seen.counts().1), (2, 2));
    for _ in 0..4 {
        client.get("http://users/").send().await.unwrap().text().await.unwrap();
    }
    assert_eq!(seen.counts().1, 6);
}

#[tokio::test]
async fn an_error_tells_the_whole_story_and_the_budget_is_asked() {
    let catalog = catalog(&[nobody().await, nobody().await]);
    let error = story(client(Balance::new(&catalog)).get("http://users/?secret").send().await.unwrap_err());
    assert_eq!((error.reason, error.attempts.len(), error.is_unsent()), (Reason::Connect, 2, true));
    let said = error.to_string();
    assert!(said.contains("calling users: no connection") && !said.contains("secret"), "{said}");
    let budget = Arc::new(RetryBudget::new(0.0, 0));
    let error = story(client(Balance::with(&catalog, 3, budget)).get("http://users/").send().await.unwrap_err());
    assert!(error.budget_spent && error.attempts.len() == 1);
    let error = story(client(Balance::new(&catalog)).get("http://stranger/").send().await.unwrap_err());
    assert_eq!((error.reason, error.known), (Reason::NoEndpoint, 0));
}

#[tokio::test]
async fn a_failing_status_and_a_late_answer_count_against_the_endpoint() {
    let (sick, _) = server(|_| http::Response::builder().status(503).body(Frames::data("sick")).unwrap()).await;
    let sick_catalog = catalog(&[sick]);
    let answer = client(Balance::new(&sick_catalog)).get("http://users/").send().await.unwrap();
    assert_eq!(answer.status(), reqwest::StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(failures(&sick_catalog.balancer("users", Policy::default())), 1);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = catalog(&[listener.local_addr().unwrap()]);
    let call = client(Balance::new(&late)).get("http://users/").timeout(Duration::from_millis(50)).send();
    assert_eq!(story(call.await.unwrap_err()).reason, Reason::Timeout);
    let balancer = late.balancer("users", Policy::default());
    assert_eq!((failures(&balancer), in_flight(&balancer)), (1, 0));
    drop(listener);
}

#[tokio::test]
async fn a_key_finds_its_endpoint_again_and_other_hosts_are_left_alone() {
    let backends = [echo().await, echo().await, echo().await];
    let catalog = catalog(&[backends[0].0, backends[1].0, backends[2].0]);
    let client = client(Balance::new(Directory::from(&catalog).settings_of("users", Policy::RING_HASH)));
    let mut ports = Vec::new();
    for key in ["a", "b", "a", "b"] {
        let key = HashKey(hash::key(key.as_bytes()));
        ports.push(client.get("http://users/").with_extension(key).send().await.unwrap().url().port());
    }
    assert_eq!(ports[..2], ports[2..]);
    let outside = format!("http://{}/out", backends[0].0);
    assert_eq!(client.get(outside).send().await.unwrap().text().await.unwrap(), format!("GET /out {}", backends[0].0));
}

#[tokio::test]
async fn the_resolver_offers_endpoints_with_their_ports() {
    let (address, seen) = echo().await;
    let catalog = catalog(&[nobody().await, address]);
    let client = reqwest::Client::builder().dns_resolver(Resolver::new(round_robin(&catalog))).build().unwrap();
    for _ in 0..4 {
        assert_eq!(client.get("http://users/a").send().await.unwrap().text().await.unwrap(), "GET /a users");
    }
    assert_eq!(seen.counts(), (1, 4), "a kept connection stays where it is");
    let url = format!("http://users:{}/b", address.port());
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200, "a port in the URL is taken as it is");
    catalog.set("users", []);
    let client = reqwest::Client::builder().dns_resolver(Resolver::new(&catalog)).build().unwrap();
    let error = client.get("http://users/").send().await.unwrap_err();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    assert!(cause.to_string().contains("no endpoint of users to call"), "{cause}");
    until(|| in_flight(&catalog.balancer("users", Policy::RoundRobin)) == 0).await;
}
