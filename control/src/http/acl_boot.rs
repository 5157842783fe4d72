//! The first management token, the tokens that this node uses itself, and tokens that come and go with a login.

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::acl::{AgentTokenRequest, BootstrapRequest, LoginRequest, Token};
use callboard_proto::api::decode::{Unknown, from_slice};
use tracing::warn;

use super::acl::{clip, uuid};
use super::acl_token::shown;
use super::describe::*;
use super::reply::{self, Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, post, put};
use crate::acl::{Secret, TokenUse, UnknownToken, login, now, seed};
use crate::registry::{AclCommand, Command, Write};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/acl/bootstrap",
        operations: &[put("Makes the first management token", |call| Box::pin(bootstrap(call)))
            .takes(maybe::<BootstrapRequest>())
            .gives(shaped::<Token>())],
    },
    Route {
        path: "/v1/acl/login",
        operations: &[post("Makes a token for who proves who they are", |call| Box::pin(log_in(call)))
            .takes(shaped::<LoginRequest>())
            .gives(shaped::<Token>())],
    },
    Route {
        path: "/v1/acl/logout",
        operations: &[post("Ends the token that a login made", |call| Box::pin(log_out(call)))
            .takes(Body::Empty)
            .gives(shaped::<bool>())],
    },
    Route {
        path: "/v1/agent/token/",
        operations: &[put("Replaces a token that this node uses", |call| Box::pin(agent_token(call)))
            .of("use")
            .takes(shaped::<AgentTokenRequest>())
            .gives(Body::Empty)],
    },
];

async fn bootstrap(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let body = call.body(BODY_MAX).await?;
    let request: BootstrapRequest = match body.is_empty() {
        true => BootstrapRequest::default(),
        false => from_slice(&body, Unknown::Refuse)?,
    };
    let secret = match request.bootstrap_secret.as_str() {
        "" => uuid::Uuid::new_v4().to_string(),
        text => {
            uuid("BootstrapSecret", text)
                .map_err(|_| Failure::BadRequest("Invalid BootstrapSecret: a UUID is expected".to_owned()))?;
            text.to_owned()
        }
    };
    let secret = Secret::new(&secret);
    let reset = reset(call);
    let token = seed::management(&secret, "Bootstrap Token (Global Management)", now());
    let accessor = token.accessor.clone();
    let command = AclCommand::Bootstrap { token: Box::new(token), reset };
    call.api.cluster.propose(Command::Acl(command)).await?;
    if let (Some(_), Some(path)) = (reset, &call.api.acl.settings().reset_file)
        && let Err(error) = std::fs::remove_file(path)
    {
        // Harmless: the number in it allows nothing any more.
        warn!(error = &error as &dyn std::error::Error, "removing the file that allowed a new management token failed");
    }
    let registry = call.api.cluster.registry();
    let row = registry.acl_token(&accessor).ok_or(UnknownToken)?;
    let token = shown(&registry, row, secret.reveal());
    Ok(json(&Token { id: secret.reveal().to_string(), ..token }, call.pretty()))
}

/// The number that an operator wrote into the data folder to allow another management token.
fn reset(call: &Call<'_>) -> Option<Index> {
    let path = call.api.acl.settings().reset_file.as_ref()?;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, ?path, "reading what allows a new management token failed");
            return None;
        }
    };
    let index = text.trim().parse().ok();
    if index.is_none() {
        warn!(?path, "what allows a new management token is no number");
    }
    index
}

async fn agent_token(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    call.permit(Resource::Agent, call.api.identity.node_name.as_str(), Level::Write)?;
    let token_use = TokenUse::from_name(call.rest);
    let token_use = token_use.ok_or_else(|| Failure::NotFound(format!("Token {:?} is unknown", clip(call.rest))))?;
    let body = call.body(BODY_MAX).await?;
    let request: AgentTokenRequest = from_slice(&body, Unknown::Ignore)?;
    call.api.acl.set_token(token_use, &request.token).map_err(|error| {
        warn!(error = &error as &dyn std::error::Error, "keeping a token of this node failed");
        Failure::Refused(
            "the token is used until this node stops, but it could not be kept in the data folder".to_owned(),
        )
    })?;
    Ok(reply::empty())
}

async fn log_in(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let request: LoginRequest = call.acl_body("Login").await?;
    let registry = call.api.cluster.registry();
    let method = registry.acl_auth_method(&request.auth_method).ok_or_else(|| {
        Failure::Forbidden(format!("ACL not found: auth method {:?} not found", clip(&request.auth_method)))
    })?;
    let secret = Secret::new(&uuid::Uuid::new_v4().to_string());
    let token = login::token(&registry, call.api.acl.settings(), method, &request, &secret, now()).map_err(
        |error| match error {
            login::LoginError::Refused(_) | login::LoginError::NoRule => Failure::Forbidden(error.to_string()),
            login::LoginError::Unsupported(_) | login::LoginError::Settings(_) => Failure::Refused(error.to_string()),
        },
    )?;
    let accessor = token.accessor.clone();
    let command = AclCommand::TokenPut { token: Box::new(token), write: Write::Create };
    call.api.cluster.propose(Command::Acl(command)).await?;
    let registry = call.api.cluster.registry();
    let row = registry.acl_token(&accessor).ok_or(UnknownToken)?;
    Ok(json(&shown(&registry, row, secret.reveal()), call.pretty()))
}

async fn log_out(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let access = call.access()?;
    let accessor = match access.token() {
        Some(token) if call.token.is_some() && !token.auth_method.is_empty() => token.accessor.clone(),
        _ => return Err(Failure::Forbidden("Permission denied: no login made this token".to_owned())),
    };
    let command = AclCommand::TokensDelete { accessors: vec![accessor] };
    call.api.cluster.propose(Command::Acl(command)).await?;
    Ok(json(&true, call.pretty()))
}
