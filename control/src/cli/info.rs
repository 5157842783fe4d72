//! `info`: what an agent counts, section by section.

use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target};
use super::talk::{say, text};

/// Shows the numbers of an agent.
#[derive(Debug, Args)]
pub(super) struct Info {
    #[command(flatten)]
    client: ClientFlags,
}

/// Prints each section and the figures in it, sorted.
pub(super) async fn run(info: Info) -> Ended {
    let doing = "Error querying agent";
    let found: Value = info.client.api()?.json(doing, Target::new("/v1/agent/self")).await?;
    // Objects of JSON are sorted by key here.
    for (section, figures) in found["Stats"].as_object().into_iter().flatten() {
        say(format!("{section}:"))?;
        for figure in figures.as_object().into_iter().flat_map(|figures| figures.keys()) {
            say(format!("\t{figure} = {}", text(figures, figure)))?;
        }
    }
    Ok(0)
}
