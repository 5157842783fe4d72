//! Calls a service by name through tower: a timeout of one's own around discovery, balancing and retries.
//!
//! `cargo run --bin tower_client -- greeter` makes five calls and ends. Start `axum_server` first, twice or more
//! often to see the calls spread.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use callboard::Client;
use callboard::balance::Policy;
use http::Request;
use http_body_util::{BodyExt, Empty};
use tower::timeout::Timeout;
use tower::{Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "greeter".to_owned());
    let client = Client::from_env()?;

    // `http` is a `tower::Service` over requests: any tower layer goes around it. The path is the request's, the
    // host is whoever is picked.
    let service = client.http::<Empty<Bytes>>(&name, Policy::RoundRobin)?;
    let mut service = Timeout::new(service, Duration::from_secs(5));

    // A process that has just started waits until it knows somebody; later calls never wait for the registry.
    client.watch(&name)?.ready(1, Duration::from_secs(10)).await?;

    for turn in 1..=5 {
        let request = Request::get("/hello").body(Empty::new())?;
        // What can be told apart is in the error: whom it was tried on, and why each try failed.
        let answer = service.ready().await.map_err(text)?.call(request).await.map_err(text)?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        println!("call {turn}: {status}, {}", String::from_utf8_lossy(&body).trim_end());
    }
    client.shutdown().await;
    println!("done: 5 calls to {name}");
    Ok(())
}

/// Layers of tower answer with boxed errors.
fn text(error: tower::BoxError) -> String {
    error.to_string()
}
