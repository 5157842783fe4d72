//! `connect`: the certificate authority of the mesh.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Ended;
use super::client::{ClientFlags, Target};
use super::failure::{Failure, Kind};
use super::input::file_text;
use super::talk::{say, say_json};

/// Looks after the mesh.
#[derive(Debug, Args)]
pub(super) struct Connect {
    #[command(subcommand)]
    command: ConnectCommand,
}

#[derive(Debug, Subcommand)]
enum ConnectCommand {
    /// The certificate authority
    Ca(Ca),
}

#[derive(Debug, Args)]
struct Ca {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Shows its settings
    GetConfig(GetConfig),
    /// Replaces its settings
    SetConfig(SetConfig),
}

#[derive(Debug, Args)]
struct GetConfig {
    #[command(flatten)]
    client: ClientFlags,
}

#[derive(Debug, Args)]
struct SetConfig {
    /// The settings, JSON; `-` is standard input
    #[arg(long, value_name = "FILE")]
    config_file: String,
    /// Go on without certificates that the old root signs for the new one
    #[arg(long)]
    force_without_cross_signing: bool,
    #[command(flatten)]
    client: ClientFlags,
}

/// Runs one of them.
pub(super) async fn run(connect: Connect) -> Ended {
    let ConnectCommand::Ca(ca) = connect.command;
    let target = Target::new("/v1/connect/ca/configuration");
    match ca.command {
        CaCommand::GetConfig(flags) => {
            let found: Value = flags.client.api()?.json("Error querying CA configuration", target).await?;
            say_json(&found)?;
        }
        CaCommand::SetConfig(flags) => {
            let read: Result<Value, _> = serde_json::from_str(&file_text(&flags.config_file)?);
            let wrong = |error| Failure::because(Kind::Usage, format!("reading {}", flags.config_file), &error);
            let mut body = read.map_err(wrong)?;
            if !body.is_object() {
                return Err(Failure::usage(format!("{} holds no object of JSON", flags.config_file)));
            }
            if flags.force_without_cross_signing {
                body["ForceWithoutCrossSigning"] = Value::Bool(true);
            }
            flags.client.api()?.put_json("Error setting CA configuration", target, &body).await?;
            say("Configuration updated!")?;
        }
    }
    Ok(0)
}
