//! `/v1/acl/auth-method…` and `/v1/acl/binding-rule…`: how a login becomes a token, and what that is good for.

use std::sync::Arc;
use std::time::Duration;

use callboard_proto::Index;
use callboard_proto::acl::Level;
use callboard_proto::acl::rows::{AuthMethodRow, BindingRuleRow};
use callboard_proto::api::acl::{AuthMethod, BindVars, BindingRule};
use callboard_proto::duration::GoDuration;
use callboard_proto::filter::shapes::{AuthMethods, BindingRules};
use callboard_proto::text::Text;
use http::StatusCode;

use super::acl::{clip, description, name, uuid};
use super::acl_read::{row, rows};
use super::describe::*;
use super::reply::{Failure, Response, json};
use super::request::Call;
use super::routes::{Route, delete, get, put};
use crate::acl::login;
use crate::registry::{AclCommand, AclTopic, Command, Registry, Write};

/// The longest name of an auth method.
const NAME_MAX: usize = 128;
/// The kinds of auth method that can be kept.
const KINDS: [&str; 4] = ["aws-iam", "jwt", "kubernetes", "oidc"];
const WHICH: &[Parameter] = &[parameter("authmethod", "Only rules of this auth method", Value::Text)];

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/acl/auth-methods",
        operations: &[get("The auth methods, without their settings", |call| Box::pin(methods(call)))
            .with(&[READ, FILTER])
            .gives(shaped::<Vec<AuthMethod>>())],
    },
    Route {
        path: "/v1/acl/auth-method",
        operations: &[put("Makes an auth method", |call| Box::pin(create_method(call)))
            .takes(shaped::<AuthMethod>())
            .gives(shaped::<AuthMethod>())],
    },
    Route {
        path: "/v1/acl/auth-method/",
        operations: &[
            get("One auth method", |call| Box::pin(method(call))).with(&[READ]).gives(shaped::<AuthMethod>()),
            put("Changes an auth method", |call| Box::pin(change_method(call)))
                .takes(shaped::<AuthMethod>())
                .gives(shaped::<AuthMethod>()),
            delete("Removes an auth method, its rules and its tokens", |call| Box::pin(remove_method(call)))
                .gives(shaped::<bool>()),
        ],
    },
    Route {
        path: "/v1/acl/binding-rules",
        operations: &[get("The binding rules", |call| Box::pin(rules(call)))
            .with(&[READ, FILTER, WHICH])
            .gives(shaped::<Vec<BindingRule>>())],
    },
    Route {
        path: "/v1/acl/binding-rule",
        operations: &[put("Makes a binding rule", |call| Box::pin(create_rule(call)))
            .takes(shaped::<BindingRule>())
            .gives(shaped::<BindingRule>())],
    },
    Route {
        path: "/v1/acl/binding-rule/",
        operations: &[
            get("One binding rule", |call| Box::pin(rule(call))).of("id").with(&[READ]).gives(shaped::<BindingRule>()),
            put("Changes a binding rule", |call| Box::pin(change_rule(call)))
                .of("id")
                .takes(shaped::<BindingRule>())
                .gives(shaped::<BindingRule>()),
            delete("Removes a binding rule", |call| Box::pin(remove_rule(call))).of("id").gives(shaped::<bool>()),
        ],
    },
];

fn shown_method(row: &AuthMethodRow) -> AuthMethod {
    AuthMethod {
        name: row.name.to_string(),
        kind: row.kind.to_string(),
        display_name: row.display_name.to_string(),
        description: row.description.to_string(),
        token_ttl_max: (!row.token_ttl_max.is_zero()).then(|| GoDuration::from(row.token_ttl_max)),
        token_locality: row.locality.to_string(),
        // It was written by this door.
        config: Some(serde_json::from_str(&row.config).unwrap_or_default()),
        create_index: row.created,
        modify_index: row.modified,
    }
}

fn shown_rule(row: &BindingRuleRow) -> BindingRule {
    BindingRule {
        id: row.id.to_string(),
        description: row.description.to_string(),
        auth_method: row.auth_method.to_string(),
        selector: row.selector.to_string(),
        bind_type: row.bind_type.to_string(),
        bind_name: row.bind_name.to_string(),
        bind_vars: (!row.bind_variable.is_empty()).then(|| BindVars { name: row.bind_variable.to_string() }),
        create_index: row.created,
        modify_index: row.modified,
    }
}

async fn methods(call: &Call<'_>) -> Result<Response, Failure> {
    let listed = |row: &Arc<AuthMethodRow>| AuthMethod { config: None, ..shown_method(row) };
    rows::<AuthMethods, _>(call, AclTopic::AuthMethods, |registry| registry.acl_auth_methods().map(listed).collect())
        .await
}

async fn method(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let name: Text = call.argument("Missing auth method name")?.into();
    let shown = |registry: &Registry| registry.acl_auth_method(&name).map(|row| shown_method(row));
    row(call, AclTopic::AuthMethods, shown, (StatusCode::NOT_FOUND, "Auth method not found")).await
}

async fn rules(call: &Call<'_>) -> Result<Response, Failure> {
    let of = call.params.filled("authmethod").map(str::to_owned);
    let wanted =
        |row: &&Arc<BindingRuleRow>| of.as_ref().is_none_or(|method| row.auth_method.eq_ignore_ascii_case(method));
    let shown = |registry: &Registry| registry.acl_binding_rules().filter(wanted).map(|row| shown_rule(row)).collect();
    rows::<BindingRules, BindingRule>(call, AclTopic::BindingRules, shown).await
}

async fn rule(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let id: Text = call.argument("Missing binding rule ID")?.into();
    let shown = |registry: &Registry| registry.acl_binding_rule(&id).map(|row| shown_rule(row));
    row(call, AclTopic::BindingRules, shown, (StatusCode::NOT_FOUND, "Binding rule not found")).await
}

async fn create_method(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let request: AuthMethod = call.acl_body("AuthMethod").await?;
    put_method(call, request, Write::Create).await
}

async fn change_method(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let name = call.argument("Missing auth method name")?.to_owned();
    let request: AuthMethod = call.acl_body("AuthMethod").await?;
    if !request.name.is_empty() && request.name != name {
        return Err(Failure::BadRequest("AuthMethod name in URL and payload do not match".to_owned()));
    }
    put_method(call, AuthMethod { name, ..request }, Write::Update).await
}

async fn put_method(call: &Call<'_>, request: AuthMethod, write: Write) -> Result<Response, Failure> {
    let name = name("Auth Method", &request.name, NAME_MAX)?;
    if !KINDS.contains(&request.kind.as_str()) {
        let text = format!("Invalid Auth Method: Type {:?} is none of {}", clip(&request.kind), KINDS.join(", "));
        return Err(Failure::Refused(text));
    }
    if !["", "local", "global"].contains(&request.token_locality.as_str()) {
        let text =
            format!("Invalid Auth Method: TokenLocality {:?} is none of local, global", clip(&request.token_locality));
        return Err(Failure::Refused(text));
    }
    let config = request.config.unwrap_or_default();
    if request.kind == "jwt" {
        login::check(&config).map_err(|error| Failure::Refused(format!("Invalid Auth Method: {error}")))?;
    }
    let config = serde_json::Value::Object(config).to_string();
    let method = Box::new(AuthMethodRow {
        name: name.clone(),
        kind: request.kind.into(),
        display_name: description(&request.display_name)?,
        description: description(&request.description)?,
        token_ttl_max: request.token_ttl_max.and_then(|ttl| ttl.positive()).unwrap_or(Duration::ZERO),
        locality: request.token_locality.into(),
        config: config.into(),
        created: Index::ZERO,
        modified: Index::ZERO,
    });
    call.api.cluster.propose(Command::Acl(AclCommand::AuthMethodPut { method, write })).await?;
    let registry = call.api.cluster.registry();
    let row = registry.acl_auth_method(&name).ok_or(crate::acl::UnknownToken)?;
    Ok(json(&shown_method(row), call.pretty()))
}

async fn remove_method(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let name = call.argument("Missing auth method name")?.into();
    call.api.cluster.propose(Command::Acl(AclCommand::AuthMethodDelete { name })).await?;
    Ok(json(&true, call.pretty()))
}

async fn create_rule(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let request: BindingRule = call.acl_body("BindingRule").await?;
    if !request.id.is_empty() {
        return Err(Failure::BadRequest("Cannot specify the ID when creating a new binding rule".to_owned()));
    }
    put_rule(call, uuid::Uuid::new_v4().to_string().into(), request, Write::Create).await
}

async fn change_rule(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let id: Text = call.argument("Missing binding rule ID")?.into();
    let request: BindingRule = call.acl_body("BindingRule").await?;
    if !request.id.is_empty() && *request.id != *id {
        return Err(Failure::BadRequest("BindingRule ID in URL and payload do not match".to_owned()));
    }
    uuid("binding rule ID", &id)?;
    put_rule(call, id, request, Write::Update).await
}

async fn put_rule(call: &Call<'_>, id: Text, request: BindingRule, write: Write) -> Result<Response, Failure> {
    let rule = BindingRuleRow {
        id: id.clone(),
        description: description(&request.description)?,
        auth_method: request.auth_method.into(),
        selector: request.selector.into(),
        bind_type: request.bind_type.into(),
        bind_name: description(&request.bind_name)?,
        bind_variable: description(&request.bind_vars.unwrap_or_default().name)?,
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    login::check_rule(&rule).map_err(|error| Failure::Refused(format!("Invalid Binding Rule: {error}")))?;
    call.api.cluster.propose(Command::Acl(AclCommand::BindingRulePut { rule: Box::new(rule), write })).await?;
    let registry = call.api.cluster.registry();
    let row = registry.acl_binding_rule(&id).ok_or(crate::acl::UnknownToken)?;
    Ok(json(&shown_rule(row), call.pretty()))
}

async fn remove_rule(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let id: Text = call.argument("Missing binding rule ID")?.into();
    uuid("binding rule ID", &id)?;
    call.api.cluster.propose(Command::Acl(AclCommand::BindingRuleDelete { id })).await?;
    Ok(json(&true, call.pretty()))
}
