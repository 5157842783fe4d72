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
use callboard::balance::Policy;
use callboard::{Client, Drain, Service};
use http_body_util::{BodyExt, Empty};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let once = std::env::args().any(|argument| argument == "--once");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let greeting = format!("hello from port {port}\n");
    let app = Router::new().route("/hello", get(|| async { greeting }));

    // Serve first, sign in second: whoever finds this instance can call it.
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let mut server = tokio::spawn(server.into_future());

    let client = Client::from_env()?;
    let me = client
        .register(Service::new("greeter").id(format!("greeter-{port}")).address("127.0.0.1").port(port).tags(["axum"]))
        .await?;
    println!("serving as {} on http://127.0.0.1:{port}/hello", me.id());

    if once {
        call(&client).await?;
    } else {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            ended = &mut server => ended??,
        }
    }

    // The order matters: say critical, give callers time to see it, only then stop to accept, finish, deregister.
    let settle = if once { Duration::ZERO } else { Duration::from_secs(2) };
    let drained = me
        .drain_with(Drain { settle, ..Drain::default() }, async {
            let _ = stop.send(());
            let _ = server.await;
        })
        .await;
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
