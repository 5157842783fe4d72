//! Signs in, stays signed in, and leaves in good order.
//!
//! `cargo run --bin register` stays until Ctrl-C or SIGTERM; with `--once` it leaves at once. The control node is the one at
//! `CALLBOARD_HTTP_ADDR`, by default 127.0.0.1:8500.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use callboard::{Client, Drain, Service};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let once = std::env::args().any(|argument| argument == "--once");
    // Listened for from the start: SIGTERM, or Ctrl-C.
    let shutdown = callboard::signal::shutdown();

    // Something to call. A real service would answer here.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();

    let client = Client::from_env()?;
    let service = Service::new("greeter")
        .id(format!("greeter-{port}"))
        .address("127.0.0.1")
        .port(port)
        .tags(["v1"])
        .meta("zone", "a")
        .ttl(Duration::from_secs(10));
    // Returns when the registry has it. From here on the guard beats, and registers again if it is ever forgotten.
    let me = client.register(service).await?;
    println!("signed in: {} on 127.0.0.1:{port}", me.id());

    if !once {
        shutdown.await;
    }

    // Critical first, then time for callers to see it, then what is in flight, then gone.
    let drain = if once { Drain { settle: Duration::ZERO, ..Drain::default() } } else { Drain::default() };
    let drained = me.drain(drain).await;
    client.shutdown().await;
    if !drained.deregistered {
        return Err("the registry could not be told; it will notice by the missing beat".into());
    }
    println!("left: everything finished: {}", drained.finished);
    Ok(())
}
