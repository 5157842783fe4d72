//! `acl`: who may do what; here the first token, and which noun is meant.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Ended;
use super::acl_show::{shown, token};
use super::client::{ClientFlags, Target, decode};
use super::failure::{Failure, Kind};
use super::flags::ShapeFlag;
use super::input::file_text;
use super::talk::say;
use super::{acl_method, acl_policy, acl_token};

/// Says who may do what.
#[derive(Debug, Args)]
pub(super) struct Acl {
    #[command(subcommand)]
    command: AclCommand,
}

#[derive(Debug, Subcommand)]
enum AclCommand {
    /// Makes the first token, which may do everything
    Bootstrap(Bootstrap),
    /// Tokens: who asks
    Token(acl_token::Tokens),
    /// Policies: what may be done
    Policy(acl_policy::Policies),
    /// Roles: policies under one name
    Role(acl_policy::Roles),
    /// Ways to log in with what others vouch for
    AuthMethod(acl_method::Methods),
    /// What somebody who logged in may do
    BindingRule(acl_method::Rules),
    /// Policies that are made to measure
    TemplatedPolicy(acl_method::Templates),
    /// Gives an agent the token that it uses itself
    SetAgentToken(SetAgentToken),
}

#[derive(Debug, Args)]
struct Bootstrap {
    #[command(flatten)]
    shape: ShapeFlag,
    #[command(flatten)]
    client: ClientFlags,
    /// A file that holds the secret of the token; `-` is standard input [default: a random one]
    secret: Option<String>,
}

#[derive(Debug, Args)]
struct SetAgentToken {
    #[command(flatten)]
    client: ClientFlags,
    /// default, agent, recovery, replication, config_file_service_registration or dns
    kind: String,
    /// The secret of the token
    secret: super::client::Secret,
}

/// Runs one of them.
pub(super) async fn run(acl: Acl) -> Ended {
    match acl.command {
        AclCommand::Bootstrap(bootstrap) => first(bootstrap).await,
        AclCommand::Token(tokens) => acl_token::run(tokens).await,
        AclCommand::Policy(policies) => acl_policy::policies(policies).await,
        AclCommand::Role(roles) => acl_policy::roles(roles).await,
        AclCommand::AuthMethod(methods) => acl_method::methods(methods).await,
        AclCommand::BindingRule(rules) => acl_method::rules(rules).await,
        AclCommand::TemplatedPolicy(templates) => acl_method::templates(templates).await,
        AclCommand::SetAgentToken(set) => {
            let target =
                Target::of("/v1/agent/token/", if set.kind == "recovery" { "agent_recovery" } else { &set.kind });
            let doing = format!("Failed to set ACL token {:?}", set.kind);
            set.client.api()?.put_json(&doing, target, &json!({"Token": set.secret.0})).await?;
            say(format!("ACL token {:?} set successfully", set.kind))?;
            Ok(0)
        }
    }
}

async fn first(bootstrap: Bootstrap) -> Ended {
    let body = match &bootstrap.secret {
        None => String::new(),
        Some(path) => {
            let secret = file_text(path)?.trim().to_owned();
            if secret.is_empty() {
                return Err(Failure::new(Kind::Usage, format!("{path} holds no secret")));
            }
            json!({"BootstrapSecret": secret}).to_string()
        }
    };
    let doing = "Failed ACL bootstrapping";
    let answer = bootstrap.client.api()?.put(doing, Target::new("/v1/acl/bootstrap"), body).await?;
    let made: Value = decode(doing, &answer)?;
    shown(&made, &bootstrap.shape, token)?;
    Ok(0)
}
