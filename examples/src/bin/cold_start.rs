//! Calls a service once, as soon as the process knows somebody to call, and tells how long after its start that was.
//!
//! `cargo run --release --bin cold_start -- greeter FOLDER` keeps the last good answer in `FOLDER`. Run it once while the
//! control node lives, and again when it does not: the second run begins with the file.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard::balance::Policy;
use callboard::{Client, ClientBuilder};
use http::Request;
use http_body_util::Empty;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let service = arguments.next().unwrap_or_else(|| "greeter".to_owned());
    let folder = arguments.next().unwrap_or_else(|| "callboard-last-good".to_owned());

    let client: Client = ClientBuilder::from_env().cache_dir(folder).build()?;
    let mut watch = client.watch(&service)?;
    let caller = client.http::<Empty<Bytes>>(&service, Policy::default())?;
    watch.ready(1, Duration::from_secs(10)).await?;
    let known = started.elapsed();
    let answer = caller.send(Request::get("/").body(Empty::new())?).await?;
    let called = started.elapsed();
    println!(
        "{} by {:?}; known after {:.1} ms, first call done after {:.1} ms",
        answer.status(),
        watch.origin(),
        known.as_secs_f64() * 1e3,
        called.as_secs_f64() * 1e3
    );
    // Writes what is left to be written.
    client.shutdown().await;
    Ok(())
}
