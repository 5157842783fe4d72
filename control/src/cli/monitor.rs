//! `monitor`: what an agent logs, as it happens.

use bytes::Bytes;
use clap::Args;
use http::Method;

use super::Ended;
use super::client::{ClientFlags, PATIENCE, Target};
use super::failure::{Failure, Kind};
use super::talk::write;

/// Shows what an agent logs, as it happens.
#[derive(Debug, Args)]
pub(super) struct Monitor {
    /// How much: trace, debug, info, warn, err
    #[arg(long, default_value = "info")]
    log_level: String,
    /// Each line as JSON
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    client: ClientFlags,
}

/// Prints until the agent ends or somebody interrupts.
pub(super) async fn run(monitor: Monitor) -> Ended {
    let api = monitor.client.api()?;
    let target =
        Target::new("/v1/agent/monitor").pair("loglevel", &monitor.log_level).flag("logjson", monitor.log_json);
    let target = api.full(target, true);
    let mut answer = api.client.request_streamed(Method::GET, &target, Bytes::new(), PATIENCE).await?;
    if !answer.status.is_success() {
        return Err(Failure::answered("Error starting monitor", &answer.whole().await?));
    }
    while let Some(piece) = answer.piece().await? {
        write(&piece)?;
    }
    Err(Failure::new(
        Kind::Failed,
        "Remote side ended the monitor! This usually means that the remote side has exited or crashed",
    ))
}
