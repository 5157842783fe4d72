//! Writes of `/v1/acl/token…`: made, changed, copied and removed.

use std::time::Duration;

use callboard_proto::acl::Level;
use callboard_proto::acl::rows::{ANONYMOUS, SecretHash, TokenRow};
use callboard_proto::api::acl::{Given, HIDDEN, Link, TokenRequest, parse_timestamp};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::text::Text;
use serde::Deserialize;

use super::acl::{clip, description, ids, sources, uuid};
use super::acl_token::shown;
use super::reply::{Failure, Response, json};
use super::request::{BODY_MAX, Call};
use crate::acl::{Secret, now, seed};
use crate::registry::{AclCommand, Command, Registry, Write};

/// How soon a token may end, and how late, unless told otherwise.
const EXPIRATION: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));
/// The ids that are ours to give.
const RESERVED: &str = "00000000-0000-0000-0000-0000000000";

/// The token that was just written, with its secret if that was just made.
fn written(call: &Call<'_>, accessor: &str, secret: &str) -> Result<Response, Failure> {
    let registry = call.api.cluster.registry();
    let row = registry.acl_token(accessor).ok_or(crate::acl::UnknownToken)?;
    Ok(json(&shown(&registry, row, secret), call.pretty()))
}

/// A secret as it was given, or a new one.
fn secret(text: &str) -> Result<Secret, Failure> {
    if text.is_empty() {
        return Ok(Secret::new(&uuid::Uuid::new_v4().to_string()));
    }
    // Not with the text: it is a secret, if a bad one.
    uuid("Token SecretID", text)
        .map_err(|_| Failure::Refused("Invalid Token SecretID: a UUID is expected".to_owned()))?;
    match text.starts_with(RESERVED) {
        true => Err(Failure::Refused("Invalid Token SecretID: UUIDs with this beginning are reserved".to_owned())),
        false => Ok(Secret::new(text)),
    }
}

/// When a new token ends.
fn expires(call: &Call<'_>, request: &TokenRequest, now: Duration) -> Result<Option<Duration>, Failure> {
    let ttl = request.expiration_ttl.and_then(|ttl| ttl.positive());
    let time = request.expiration_time.as_deref().filter(|text| !text.is_empty() && !text.starts_with("0001-01-01"));
    let ends = match (ttl, time) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let text = "Invalid Token: ExpirationTTL and ExpirationTime cannot both be set";
            return Err(Failure::BadRequest(text.to_owned()));
        }
        (Some(ttl), None) => now.saturating_add(ttl),
        (None, Some(text)) => parse_timestamp(text).ok_or_else(|| {
            let text = clip(text);
            Failure::BadRequest(format!("Invalid Token: ExpirationTime {text:?} is no RFC 3339 time in UTC"))
        })?,
    };
    let (min, max) = call.api.acl.settings().expiration.unwrap_or(EXPIRATION);
    let left = ends.checked_sub(now).unwrap_or_default();
    let go = callboard_proto::duration::GoDuration::from;
    if left < min {
        return Err(Failure::Refused(format!("Invalid Token: it cannot end less than {} in the future", go(min))));
    }
    if left > max {
        return Err(Failure::Refused(format!("Invalid Token: it cannot end more than {} in the future", go(max))));
    }
    Ok(Some(ends))
}

fn roles(registry: &Registry, links: &[Link]) -> Result<Vec<Text>, Failure> {
    let by_id = |id: &str| registry.acl_role(id).map(|role| &role.id);
    ids("role", links, by_id, |name| registry.acl_role_named(name).map(|role| &role.id))
}

fn split(request: &TokenRequest) -> Given {
    Given {
        policies: request.policies.clone(),
        services: request.service_identities.clone(),
        nodes: request.node_identities.clone(),
        templated: request.templated_policies.clone(),
    }
}

pub(super) async fn create(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let request: TokenRequest = call.acl_body("Token").await?;
    let registry = call.api.cluster.registry();
    if !request.accessor_id.is_empty() {
        uuid("Token AccessorID", &request.accessor_id)?;
        if request.accessor_id.starts_with(RESERVED) {
            let text = "Invalid Token AccessorID: UUIDs with this beginning are reserved";
            return Err(Failure::Refused(text.to_owned()));
        }
    }
    if request.auth_method.as_ref().is_some_and(|method| !method.is_empty()) {
        let text = "Invalid Token: AuthMethod is set by a login only";
        return Err(Failure::BadRequest(text.to_owned()));
    }
    let secret = secret(&request.secret_id)?;
    let begun = now();
    let mut token = seed::token(&secret, "", sources(&registry, &split(&request))?, begun);
    token.description = description(&request.description)?;
    token.roles = roles(&registry, &request.roles)?;
    token.local = request.local;
    token.expires = expires(call, &request, begun)?;
    if !request.accessor_id.is_empty() {
        token.accessor = request.accessor_id.as_str().into();
    }
    put_token(call, token, Write::Create, secret.reveal()).await
}

async fn put_token(call: &Call<'_>, token: TokenRow, write: Write, secret: &str) -> Result<Response, Failure> {
    let token = seed::digested(token);
    let accessor = token.accessor.clone();
    call.api.cluster.propose(Command::Acl(AclCommand::TokenPut { token: Box::new(token), write })).await?;
    written(call, &accessor, secret)
}

pub(super) async fn change(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    if let Some(accessor) = call.rest.strip_suffix("/clone") {
        return copy(call, accessor).await;
    }
    let accessor: Text = call.argument("Missing token AccessorID")?.into();
    let request: TokenRequest = call.acl_body("Token").await?;
    if !request.accessor_id.is_empty() && *request.accessor_id != *accessor {
        let text = "Token Accessor ID in URL and payload do not match";
        return Err(Failure::BadRequest(text.to_owned()));
    }
    let registry = call.api.cluster.registry();
    let known = registry.acl_token(&accessor).ok_or(crate::acl::UnknownToken)?;
    if !same_secret(&request.secret_id, &known.secret) {
        return Err(Failure::Refused("Changing a token's SecretID is not permitted".to_owned()));
    }
    let time = request.expiration_time.as_deref().filter(|text| !text.is_empty());
    if time.is_some_and(|text| parse_timestamp(text) != known.expires) {
        return Err(Failure::Refused("Changing a token's ExpirationTime is not permitted".to_owned()));
    }
    let token = TokenRow {
        description: description(&request.description)?,
        sources: sources(&registry, &split(&request))?,
        roles: roles(&registry, &request.roles)?,
        ..(**known).clone()
    };
    put_token(call, token, Write::Update, HIDDEN).await
}

/// Whether a secret in an update is none, hidden, or the one that is known.
fn same_secret(given: &str, known: &SecretHash) -> bool {
    given.is_empty() || given == HIDDEN || Secret::new(given).is(known)
}

/// What is said of a copy.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CopyRequest {
    description: String,
}

async fn copy(call: &mut Call<'_>, accessor: &str) -> Result<Response, Failure> {
    let request = match call.body(BODY_MAX).await? {
        body if body.is_empty() => CopyRequest::default(),
        body => from_slice(&body, Unknown::Ignore)
            .map_err(|error| Failure::BadRequest(format!("Token decoding failed: {}", error.detail())))?,
    };
    let registry = call.api.cluster.registry();
    let known = registry.acl_token(accessor).ok_or(crate::acl::UnknownToken)?;
    if !known.auth_method.is_empty() {
        return Err(Failure::Refused("Cannot clone a token that a login made".to_owned()));
    }
    let secret = secret("")?;
    let text = if request.description.is_empty() { &*known.description } else { request.description.as_str() };
    let token = TokenRow {
        roles: known.roles.clone(),
        local: known.local,
        expires: known.expires,
        ..seed::token(&secret, &description(text)?, known.sources.clone(), now())
    };
    put_token(call, token, Write::Create, secret.reveal()).await
}

pub(super) async fn remove(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let accessor: Text = call.argument("Missing token AccessorID")?.into();
    if &*accessor != ANONYMOUS {
        uuid("Token AccessorID", &accessor)?;
    }
    let command = AclCommand::TokensDelete { accessors: vec![accessor] };
    call.api.cluster.propose(Command::Acl(command)).await?;
    Ok(json(&true, call.pretty()))
}
