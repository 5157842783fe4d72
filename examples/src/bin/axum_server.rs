//! An axum service that signs in on a free port and leaves without losing a call.
//!
//! `cargo run --bin axum_server` serves until Ctrl-C or SIGTERM; with `--once` it is called once, by itself and
//! through the registry, and leaves.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use callboard::axum::serve;
use callboard::balance::Policy;
use callboard::{Client, Drain, Service};
use http_body_util::{BodyExt, Empty};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let once = std::env::args().any(|argument| argument == "--once");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let greeting = format!("hello from port {port}\n");
    let app = Router::new().route("/hello", get(|| async { greeting }));

    // Caught from here on: a signal during the start is not lost.
    let signal = callboard::signal::shutdown();

    // It serves first and signs in second: whoever finds this instance can call it. Address, port and id are taken from
    // the listener; `/live` and `/ready` are there too.
    let client = Client::from_env()?;
    let settle = if once { Duration::ZERO } else { Drain::default().settle };
    let serving = serve(listener, app)
        .drain(Drain { settle, ..Drain::default() })
        .register(&client, Service::new("greeter").tags(["axum"]))
        .start()
        .await?;
    println!("serving as {} on http://127.0.0.1:{port}/hello", serving.registered().id());

    if once {
        call(&client).await?;
    } else {
        signal.await;
        println!("asked to end");
    }

    // Critical first, then callers have time to see it, and only then: stop to accept, finish, deregister.
    let drained = serving.drain().await;
    client.shutdown().await;
    println!("left: finished {}, deregistered {}", drained.finished, drained.deregistered);
    Ok(())
}

async fn call(client: &Client) -> Result<(), Box<dyn Error>> {
    let mut watch = client.watch("greeter")?;
    watch.ready(1, Duration::from_secs(10)).await?;
    let greeter = client.http::<Empty<Bytes>>("greeter", Policy::default())?;
    let answer = greeter.send(http::Request::get("/hello").body(Empty::new())?).await?;
    let status = answer.status();
    let text = answer.into_body().collect().await?.to_bytes();
    println!("called: {status}, {}", String::from_utf8_lossy(&text).trim_end());
    Ok(())
}
