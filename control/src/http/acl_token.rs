//! `/v1/acl/token…`: tokens. A secret is in the answer when it is made, and to its own holder; elsewhere it is hidden,
//! because only its hash is kept.

use std::sync::Arc;
use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::acl::rows::{ANONYMOUS, SecretHash, TokenRow};
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::acl::{Expanded, Given, HIDDEN, Link, Token, TokenRequest, parse_timestamp, timestamp};
use callboard_proto::text::Text;
use http::StatusCode;
use serde::Deserialize;

use super::acl::{absent, clip, description, given, ids, sources, uuid};
use super::acl_policy::shown_policy;
use super::acl_role::shown_role;
use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::reply::{Failure, Response, encode, json};
use super::request::Call;
use super::routes::{Route, delete, get, put};
use crate::acl::{Access, Denial, Secret, now, seed};
use crate::registry::{AclCommand, AclTopic, Command, Registry, Topic, Write};

/// How soon a token may end, and how late, unless told otherwise.
const EXPIRATION: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));
/// The ids that are ours to give.
const RESERVED: &str = "00000000-0000-0000-0000-0000000000";

/// Which tokens are wanted.
const WHICH: &[Parameter] = &[
    parameter("policy", "Only tokens with this policy, by id", Value::Text),
    parameter("role", "Only tokens with this role, by id", Value::Text),
    parameter("authmethod", "Only tokens that logins of this auth method made", Value::Text),
    parameter("servicename", "Only tokens with rights of this service", Value::Text),
];
const EXPANDED: &[Parameter] = &[parameter("expanded", "Shows what the links lead to", Value::Flag)];

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/acl/tokens",
        operations: &[get("The tokens", |call| Box::pin(list(call)))
            .with(&[READ, WHICH])
            .gives(shaped::<Vec<Token>>())],
    },
    Route {
        path: "/v1/acl/token",
        operations: &[put("Makes a token", |call| Box::pin(create(call))).takes(Body::Any).gives(shaped::<Token>())],
    },
    Route {
        path: "/v1/acl/token/self",
        operations: &[get("The caller's own token", |call| Box::pin(own(call)))
            .with(&[READ, EXPANDED])
            .gives(shaped::<Token>())],
    },
    Route {
        path: "/v1/acl/token/",
        operations: &[
            get("One token", |call| Box::pin(one(call)))
                .of("accessor")
                .with(&[READ, EXPANDED])
                .gives(shaped::<Token>()),
            put("Changes a token; with /clone at the end, copies it", |call| Box::pin(change(call)))
                .of("accessor")
                .takes(Body::Any)
                .gives(shaped::<Token>()),
            delete("Removes a token", |call| Box::pin(remove(call))).of("accessor").gives(shaped::<bool>()),
        ],
    },
];

/// A token as it is shown.
pub(super) fn shown(registry: &Registry, row: &TokenRow, secret: &str) -> Token {
    let Given { policies, services, nodes, templated } = given(registry, &row.sources);
    let roles = row.roles.iter().filter_map(|id| registry.acl_role(id));
    Token {
        id: String::new(),
        accessor_id: row.accessor.to_string(),
        secret_id: secret.to_owned(),
        description: row.description.to_string(),
        policies,
        roles: roles.map(|role| Link { id: role.id.to_string(), name: role.name.to_string() }).collect(),
        service_identities: services,
        node_identities: nodes,
        templated_policies: templated,
        local: row.local,
        auth_method: row.auth_method.to_string(),
        expiration_time: row.expires.map(timestamp),
        create_time: timestamp(row.created_at),
        hash: row.hash.to_string(),
        create_index: row.created,
        modify_index: row.modified,
        legacy: None,
        expanded: None,
    }
}

/// The same with what its links lead to.
fn expanded(call: &Call<'_>, registry: &Registry, row: &TokenRow, secret: &str) -> Token {
    let roles: Vec<_> = row.roles.iter().filter_map(|id| registry.acl_role(id)).collect();
    let of_roles = roles.iter().flat_map(|role| role.sources.policies.iter());
    let mut policies: Vec<&Text> = row.sources.policies.iter().chain(of_roles).collect();
    policies.sort();
    policies.dedup();
    let policies = policies.into_iter().filter_map(|id| registry.acl_policy(id));
    let expanded = Expanded {
        expanded_policies: policies.map(|policy| shown_policy(policy)).collect(),
        expanded_roles: roles.into_iter().map(|role| shown_role(registry, role)).collect(),
        agent_default_policy: call.api.acl.fallback().as_str().to_owned(),
        agent_down_policy: "extend-cache".to_owned(),
        resolved_by_agent: call.api.identity.node_name.to_string(),
    };
    Token { expanded: Some(expanded), ..shown(registry, row, secret) }
}

/// The token that was just written, with its secret if that was just made.
fn written(call: &Call<'_>, accessor: &str, secret: &str) -> Result<Response, Failure> {
    let registry = call.api.cluster.registry();
    let row = registry.acl_token(accessor).ok_or(crate::acl::UnknownToken)?;
    Ok(json(&shown(&registry, row, secret), call.pretty()))
}

struct Tokens {
    policy: Option<String>,
    role: Option<String>,
    method: Option<String>,
    service: Option<String>,
    pretty: bool,
}

impl Tokens {
    fn wants(&self, registry: &Registry, row: &TokenRow) -> bool {
        let policy = |id: &String| row.sources.policies.iter().any(|linked| **linked == **id);
        let role = |id: &String| row.roles.iter().any(|linked| **linked == **id);
        let method = |name: &String| row.auth_method.eq_ignore_ascii_case(name);
        let service = |name: &String| {
            let roles = row.roles.iter().filter_map(|id| registry.acl_role(id)).map(|role| &role.sources);
            std::iter::once(&row.sources)
                .chain(roles)
                .any(|sources| sources.services.iter().any(|row| *row.service == **name))
        };
        self.policy.as_ref().is_none_or(policy)
            && self.role.as_ref().is_none_or(role)
            && self.method.as_ref().is_none_or(method)
            && self.service.as_ref().is_none_or(service)
    }
}

impl Question for Tokens {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Acl(AclTopic::Tokens)]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.acl_index(AclTopic::Tokens)
    }

    fn permit(&self, access: &Access) -> Result<(), Denial> {
        access.permit(Resource::Acl, "", Level::Read)
    }

    fn answer(&self, registry: &Registry, _access: &Access) -> Answer {
        let rows = registry.acl_tokens().filter(|row| self.wants(registry, row));
        let tokens = rows.map(|row| Token { legacy: Some(false), ..shown(registry, row, HIDDEN) });
        Answer::Json(encode(&tokens.collect::<Vec<_>>(), self.pretty))
    }
}

async fn list(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let options = call.read_options()?;
    let wanted = |name: &str| call.params.filled(name).map(str::to_owned);
    let question = Tokens {
        policy: wanted("policy"),
        role: wanted("role"),
        method: wanted("authmethod"),
        service: wanted("servicename"),
        pretty: call.pretty(),
    };
    read(call, &options, &question).await
}

enum Which {
    /// By accessor, for whoever may read tokens.
    Other(Text),
    /// By secret, for whoever has it.
    Own(Secret),
}

struct OneToken<'a> {
    call: &'a Call<'a>,
    which: Which,
    expanded: bool,
}

impl OneToken<'_> {
    fn find<'r>(&self, registry: &'r Registry) -> Option<&'r Arc<TokenRow>> {
        match &self.which {
            Which::Other(accessor) => registry.acl_token(accessor),
            Which::Own(secret) => registry.acl_token_of(&secret.hash()),
        }
    }
}

impl Question for OneToken<'_> {
    fn topics(&self) -> Vec<Topic> {
        vec![Topic::Acl(AclTopic::Tokens)]
    }

    fn index(&self, registry: &Registry) -> Index {
        registry.acl_index(AclTopic::Tokens)
    }

    fn is_absent(&self, registry: &Registry) -> bool {
        self.find(registry).is_none()
    }

    fn permit(&self, access: &Access) -> Result<(), Denial> {
        match &self.which {
            Which::Other(_) => access.permit(Resource::Acl, "", Level::Read),
            Which::Own(_) => Ok(()),
        }
    }

    fn answer(&self, registry: &Registry, _access: &Access) -> Answer {
        let Some(row) = self.find(registry) else { return absent(StatusCode::FORBIDDEN, "ACL not found") };
        let secret = match &self.which {
            Which::Other(_) => HIDDEN,
            Which::Own(secret) => secret.reveal(),
        };
        let token = match self.expanded {
            true => expanded(self.call, registry, row, secret),
            false => shown(registry, row, secret),
        };
        Answer::Json(encode(&token, self.call.pretty()))
    }
}

async fn one(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let options = call.read_options()?;
    let which = Which::Other(call.argument("Missing token AccessorID")?.into());
    read(call, &options, &OneToken { call, which, expanded: call.params.has("expanded") }).await
}

async fn own(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let options = call.read_options()?;
    let which = Which::Own(call.token.clone().ok_or(crate::acl::UnknownToken)?);
    read(call, &options, &OneToken { call, which, expanded: call.params.has("expanded") }).await
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

async fn create(call: &mut Call<'_>) -> Result<Response, Failure> {
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

async fn change(call: &mut Call<'_>) -> Result<Response, Failure> {
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
    let request = match call.body(super::request::BODY_MAX).await? {
        body if body.is_empty() => CopyRequest::default(),
        body => {
            use callboard_proto::api::decode::{Unknown, from_slice};
            from_slice(&body, Unknown::Ignore)
                .map_err(|error| Failure::BadRequest(format!("Token decoding failed: {}", error.detail())))?
        }
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

async fn remove(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let accessor: Text = call.argument("Missing token AccessorID")?.into();
    if &*accessor != ANONYMOUS {
        uuid("Token AccessorID", &accessor)?;
    }
    let command = AclCommand::TokensDelete { accessors: vec![accessor] };
    call.api.cluster.propose(Command::Acl(command)).await?;
    Ok(json(&true, call.pretty()))
}
