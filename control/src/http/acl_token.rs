//! `/v1/acl/token…`: tokens. A secret is in the answer when it is made, and to its own holder; elsewhere it is hidden,
//! because only its hash is kept.

use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::acl::rows::TokenRow;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::acl::{Expanded, Given, HIDDEN, Link, Token, TokenRequest, timestamp};
use callboard_proto::filter::{Document, Filter, shapes};
use callboard_proto::text::Text;
use http::StatusCode;

use super::acl::{absent, given};
use super::acl_policy::shown_policy;
use super::acl_role::shown_role;
use super::acl_token_write::{change, create, remove};
use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::reply::{Failure, Response, encode};
use super::request::Call;
use super::routes::{Route, delete, get, put};
use super::select::filter;
use crate::acl::{Access, Denial, Secret};
use crate::registry::{AclTopic, Registry, Topic};

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
            .with(&[READ, FILTER, WHICH])
            .gives(shaped::<Vec<Token>>())],
    },
    Route {
        path: "/v1/acl/token",
        operations: &[put("Makes a token", |call| Box::pin(create(call)))
            .takes(shaped::<TokenRequest>())
            .gives(shaped::<Token>())],
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
                .takes(maybe::<TokenRequest>())
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

struct Tokens {
    policy: Option<String>,
    role: Option<String>,
    method: Option<String>,
    service: Option<String>,
    filter: Filter<Document<shapes::Tokens>>,
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
        let tokens = rows
            .map(|row| Token { legacy: Some(false), ..shown(registry, row, HIDDEN) })
            .filter(|token| self.filter.matches(&Document::of(token)));
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
        filter: filter(&options)?,
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
