//! `version`: which program this is, and which interface it speaks.

use clap::Args;
use serde_json::json;

use super::Ended;
use super::failure::Manner;
use super::flags::ShapeFlag;
use super::talk::{say, say_json};
use crate::identity::VERSION;

/// Says how the version is shown.
#[derive(Debug, Args)]
pub(super) struct Version {
    #[command(flatten)]
    shape: ShapeFlag,
}

/// Prints the version; scripts of Consul's users read it off the first line.
pub(super) fn run(version: &Version, manner: Manner) -> Ended {
    let own = env!("CARGO_PKG_VERSION");
    match manner {
        _ if version.shape.json() => say_json(&json!({"Version": VERSION, "Callboard": own}))?,
        Manner::Consul => say(format!("Consul v{VERSION}\nCallboard v{own}"))?,
        Manner::Own => say(format!("Callboard v{own}\nConsul v{VERSION} interface"))?,
    }
    Ok(0)
}
