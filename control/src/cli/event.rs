//! `event`: something is said to every node, once.

use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target, decode};
use super::failure::Failure;
use super::input::data;
use super::talk::{say, text};

/// Says something to every node, once.
#[derive(Debug, Args)]
pub(super) struct Fire {
    /// What it is called
    #[arg(long)]
    name: Option<String>,
    /// Only for nodes whose name this expression finds
    #[arg(long)]
    node: Option<String>,
    /// Only for nodes with such a service
    #[arg(long)]
    service: Option<String>,
    /// Only for nodes with such a tag on the service
    #[arg(long)]
    tag: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
    /// What is said: the words, joined by blanks; `-` is standard input, `@FILE` a file
    #[arg(allow_hyphen_values = true)]
    payload: Vec<String>,
}

/// Prints the id of the event.
pub(super) async fn run(fire: Fire) -> Ended {
    let Some(name) = fire.name.as_deref().filter(|name| !name.is_empty()) else {
        return Err(Failure::usage("Must specify the name of the event: -name"));
    };
    let payload = match fire.payload.as_slice() {
        [word] => data(word)?,
        words => words.join(" ").into_bytes(),
    };
    let target = Target::of("/v1/event/fire/", name)
        .maybe("node", fire.node.as_deref())
        .maybe("service", fire.service.as_deref())
        .maybe("tag", fire.tag.as_deref());
    let doing = "Error firing event";
    let answer = fire.client.api()?.put(doing, target, payload).await?;
    let event: Value = decode(doing, &answer)?;
    say(format!("Event ID: {}", text(&event, "ID")))?;
    Ok(0)
}
