//! Follows a service: prints who is there now, then who comes, changes and goes.
//!
//! `cargo run --bin discover -- greeter` runs until Ctrl-C; with `--once` it prints the present and ends.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use callboard::Client;
use callboard::catalog::{Change, Member};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let once = arguments.iter().any(|argument| argument == "--once");
    let name = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("greeter", String::as_str);

    let client = Client::from_env()?;
    let mut watch = client.watch(name)?;

    // The first answer, even if nobody is there. Afterwards the watch waits on the server, not on a timer.
    let mut before = watch.changed().await?;
    println!("{name}: {} known, {} to be called", before.members().len(), before.eligible_len());
    for member in before.members() {
        show("is there", member);
    }

    if once {
        client.shutdown().await;
        return Ok(());
    }
    loop {
        let now = tokio::select! {
            now = watch.changed() => now?,
            _ = tokio::signal::ctrl_c() => break,
        };
        // Snapshots are whole and never change; what happened is the difference of two.
        let change = Change::between(&before, &now);
        change.added.iter().for_each(|member| show("came", member));
        change.updated.iter().for_each(|member| show("changed", member));
        change.removed.iter().for_each(|member| show("went", member));
        before = now;
    }
    client.shutdown().await;
    Ok(())
}

fn show(what: &str, member: &Member) {
    let endpoint = member.endpoint();
    println!("{what}: {} at {} ({:?})", endpoint.id(), endpoint.authority(), endpoint.health());
}
