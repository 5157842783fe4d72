//! Consistent hashing keeps caches warm: the same key goes to the same instance, and when one instance leaves,
//! only its own keys move.
//!
//! `cargo run --bin hash_cache` starts five caches, reads 1,000 keys through them, lets one leave, and ends. The same is
//! done with random choice, for comparison.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use bytes::Bytes;
use callboard::balance::{Policy, hash};
use callboard::tower::{HashKey, HttpService};
use callboard::{Client, Drain, Registered, Service};
use http::Request;
use http_body_util::{BodyExt, Empty};
use parking_lot::Mutex;

const CACHES: u32 = 5;
const KEYS: u32 = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::from_env()?;
    for (name, policy) in [("cache-hashed", Policy::RING_HASH), ("cache-random", Policy::Random)] {
        let (before, after) = story(&client, name, policy).await?;
        println!("{name}: {before} of {KEYS} keys warm; after one of {CACHES} caches left, {after}");
    }
    client.shutdown().await;
    Ok(())
}

/// Warms the caches, reads again, lets one leave and reads once more: how many keys were found warm each time.
async fn story(client: &Client, name: &str, policy: Policy) -> Result<(u32, u32), Box<dyn Error>> {
    let mut caches = Vec::new();
    for number in 1..=CACHES {
        caches.push(cache(client, name, number).await?);
    }
    let mut watch = client.watch(name)?;
    watch.ready(CACHES as usize, Duration::from_secs(10)).await?;
    let service = client.http(name, policy)?;

    read_all(&service).await?;
    let before = read_all(&service).await?;

    if let Some(leaver) = caches.pop() {
        let _ = leaver.drain(Drain { settle: Duration::ZERO, ..Drain::default() }).await;
    }
    while watch.snapshot().eligible_len() >= CACHES {
        watch.changed().await?;
    }
    let after = read_all(&service).await?;
    for cache in caches {
        let _ = cache.drain(Drain { settle: Duration::ZERO, ..Drain::default() }).await;
    }
    Ok((before, after))
}

/// Reads every key once; returns how many were warm.
async fn read_all(service: &HttpService<Empty<Bytes>>) -> Result<u32, Box<dyn Error>> {
    let mut warm = 0;
    for number in 0..KEYS {
        let key = format!("user-{number}");
        let mut request = Request::get(format!("/{key}")).body(Empty::new())?;
        // The key decides who is called, for a policy that hashes; others ignore it.
        request.extensions_mut().insert(HashKey(hash::key(key.as_bytes())));
        let answer = service.send(request).await?.into_body().collect().await?.to_bytes();
        warm += u32::from(answer == "warm");
    }
    Ok(warm)
}

/// A cache that remembers which keys it was asked for.
async fn cache(client: &Client, name: &str, number: u32) -> Result<Registered, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let answer = move |Path(key): Path<String>| async move { if seen.lock().insert(key) { "cold" } else { "warm" } };
    tokio::spawn(axum::serve(listener, Router::new().route("/{key}", get(answer))).into_future());
    let service = Service::new(name).id(format!("{name}-{number}")).address("127.0.0.1").port(port);
    Ok(client.register(service).await?)
}
