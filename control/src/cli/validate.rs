//! `validate`: reads configuration as an agent would, and says whether it could be used.

use std::path::PathBuf;

use clap::Args;

use super::Ended;
use super::failure::{Failure, Kind};
use super::talk::say;
use crate::config::Config;

/// Files and folders of configuration.
#[derive(Debug, Args)]
pub(super) struct Validate {
    /// Says nothing when all is well
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    quiet: Option<bool>,
    /// The notation of all files: hcl, json or toml [default: by their ending]
    #[arg(long = "config-format", value_name = "FORMAT")]
    config_format: Option<String>,
    /// Files and folders, read in this order
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(validate: Validate) -> Ended {
    let config = Config::check(validate.paths, validate.config_format);
    let config = config.map_err(|error| Failure::because(Kind::Failed, "the configuration is not valid", &error))?;
    if !validate.quiet.unwrap_or(false) {
        for note in &config.notes {
            say(format!("taken, and not needed: {note}"))?;
        }
        say("Configuration is valid!")?;
    }
    Ok(0)
}
