//! A canary of 5 %, without a proxy and without a restart: the registry says which share of the calls goes where, and
//! every caller does it.
//!
//! `cargo run --bin canary` starts two old instances and a new one, makes 400 calls, lets the registry give 5 % to the new
//! one, makes 400 more, gives it everything, and ends.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use callboard::balance::Policy;
use callboard::call::HttpService;
use callboard::{Client, Drain, Registered, Service};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::from_env()?;
    let mut instances = Vec::new();
    for (number, version) in ["v1", "v1", "v2"].into_iter().enumerate() {
        instances.push(instance(&client, number, version).await?);
    }
    client.watch("shop")?.ready(instances.len(), Duration::from_secs(10)).await?;

    // Routes and splits are for services that speak HTTP; subsets tell the versions apart.
    write(&client, json!({"Kind": "service-defaults", "Name": "shop", "Protocol": "http"})).await?;
    let subsets =
        json!({"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"Filter": "Service.Meta.version == v2"}});
    write(&client, json!({"Kind": "service-resolver", "Name": "shop", "Subsets": subsets})).await?;
    write(&client, split(100, 0)).await?;

    let shop = client.http::<Empty<Bytes>>("shop", Policy::RoundRobin)?;
    shop.rules_known(Duration::from_secs(10)).await;
    println!("nothing for the canary: {:?}", calls(&shop, 400).await?);
    for (share, name) in [(5, "5 % for the canary"), (100, "all for the canary")] {
        write(&client, split(100 - share, share)).await?;
        // The news takes a moment; nobody is restarted.
        while !calls(&shop, 20).await?.contains_key("v2") {}
        while share == 100 && calls(&shop, 20).await?.contains_key("v1") {}
        println!("{name}: {:?}", calls(&shop, 400).await?);
    }
    println!("failed calls: {}", shop.stats().counts().failures());
    for instance in instances {
        let _ = instance.drain(Drain { settle: Duration::ZERO, ..Drain::default() }).await;
    }
    client.shutdown().await;
    Ok(())
}

fn split(v1: u32, v2: u32) -> Value {
    json!({"Kind": "service-splitter", "Name": "shop", "Splits": [
        {"Weight": v1, "ServiceSubset": "v1"}, {"Weight": v2, "ServiceSubset": "v2"}]})
}

async fn write(client: &Client, entry: Value) -> Result<(), Box<dyn Error>> {
    let answer = client.request(Method::PUT, "/v1/config", entry.to_string()).await?;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into()),
    }
}

/// Which version answered how many of so many calls.
async fn calls(shop: &HttpService<Empty<Bytes>>, count: usize) -> Result<BTreeMap<String, usize>, Box<dyn Error>> {
    let mut versions = BTreeMap::new();
    for _ in 0..count {
        let answer = shop.send(Request::get("/").body(Empty::new())?).await?;
        let version = answer.into_body().collect().await?.to_bytes();
        *versions.entry(String::from_utf8_lossy(&version).into_owned()).or_default() += 1;
    }
    Ok(versions)
}

/// Starts an instance that says its version, and signs it in.
async fn instance(client: &Client, number: usize, version: &'static str) -> Result<Registered, Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(axum::serve(listener, Router::new().route("/", get(move || async move { version }))).into_future());
    let service = Service::new("shop").id(format!("shop-{number}")).address("127.0.0.1").port(port);
    Ok(client.register(service.meta("version", version)).await?)
}
