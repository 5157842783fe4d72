//! `/v1/acl/polic…` and `/v1/acl/templated-polic…`: named rules.

use std::collections::BTreeMap;

use callboard_proto::Index;
use callboard_proto::acl::rows::PolicyRow;
use callboard_proto::acl::templates::{Template, hcl};
use callboard_proto::acl::{Level, RuleSet};
use callboard_proto::api::acl::{Policy, PolicyRequest, TemplateShown, TemplateVariables};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::filter::shapes::Policies;
use callboard_proto::text::Text;
use http::StatusCode;

use super::acl::{clip, datacenters, description, name, template_name, texts, uuid};
use super::acl_read::{Missing, row, rows};
use super::describe::*;
use super::reply::{Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, delete, get, now, post, put};
use crate::acl::{digest, seed};
use crate::registry::{AclCommand, AclTopic, Command, Registry, Write};

/// The longest name of a policy.
const NAME_MAX: usize = 128;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/acl/policies",
        operations: &[get("The policies, without their rules", |call| Box::pin(list(call)))
            .with(&[READ, FILTER])
            .gives(shaped::<Vec<Policy>>())],
    },
    Route {
        path: "/v1/acl/policy",
        operations: &[put("Makes a policy", |call| Box::pin(create(call)))
            .takes(shaped::<PolicyRequest>())
            .gives(shaped::<Policy>())],
    },
    Route {
        path: "/v1/acl/policy/name/",
        operations: &[get("One policy, by name", |call| Box::pin(by_name(call)))
            .with(&[READ])
            .gives(shaped::<Policy>())],
    },
    Route {
        path: "/v1/acl/policy/",
        operations: &[
            get("One policy, by id", |call| Box::pin(by_id(call))).of("id").with(&[READ]).gives(shaped::<Policy>()),
            put("Changes a policy", |call| Box::pin(change(call)))
                .of("id")
                .takes(shaped::<PolicyRequest>())
                .gives(shaped::<Policy>()),
            delete("Removes a policy, and every link to it", |call| Box::pin(remove(call)))
                .of("id")
                .gives(shaped::<bool>()),
        ],
    },
    Route {
        path: "/v1/acl/templated-policies",
        operations: &[get("The templates, by name", |call| now(templates(call)))
            .gives(shaped::<BTreeMap<String, TemplateShown>>())],
    },
    Route {
        path: "/v1/acl/templated-policy/name/",
        operations: &[get("One template", |call| now(template(call))).gives(shaped::<TemplateShown>())],
    },
    Route {
        path: "/v1/acl/templated-policy/preview/",
        operations: &[post("The policy that a template stands for", |call| Box::pin(preview(call)))
            .takes(maybe::<TemplateVariables>())
            .gives(shaped::<Policy>())],
    },
];

/// A policy as it is shown by itself.
pub(super) fn shown_policy(row: &PolicyRow) -> Policy {
    Policy {
        id: row.id.to_string(),
        name: row.name.to_string(),
        description: row.description.to_string(),
        rules: Some(row.rules.to_string()),
        datacenters: (!row.datacenters.is_empty()).then(|| Some(texts(&row.datacenters))),
        hash: row.hash.to_string(),
        create_index: row.created,
        modify_index: row.modified,
    }
}

/// The same in a list.
fn listed(row: &PolicyRow) -> Policy {
    let datacenters = (!row.datacenters.is_empty()).then(|| texts(&row.datacenters));
    Policy { rules: None, datacenters: Some(datacenters), ..shown_policy(row) }
}

/// What is said of a policy that is not there.
const MISSING: Missing = (StatusCode::FORBIDDEN, "ACL not found");

async fn list(call: &Call<'_>) -> Result<Response, Failure> {
    let shown = |registry: &Registry| {
        let mut policies: Vec<Policy> = registry.acl_policies().map(|row| listed(row)).collect();
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        policies
    };
    rows::<Policies, _>(call, AclTopic::Policies, shown).await
}

async fn by_id(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let id: Text = call.argument("Missing policy ID")?.into();
    row(call, AclTopic::Policies, |registry| registry.acl_policy(&id).map(|row| shown_policy(row)), MISSING).await
}

async fn by_name(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let name: Text = call.argument("Missing policy Name")?.into();
    row(call, AclTopic::Policies, |registry| registry.acl_policy_named(&name).map(|row| shown_policy(row)), MISSING)
        .await
}

async fn create(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let request: PolicyRequest = call.acl_body("Policy").await?;
    if !request.id.is_empty() {
        return Err(Failure::BadRequest("Cannot specify the ID when creating a new policy".to_owned()));
    }
    put_policy(call, uuid::Uuid::new_v4().to_string().into(), &request, Write::Create).await
}

async fn change(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let id: Text = call.argument("Missing policy ID")?.into();
    let request: PolicyRequest = call.acl_body("Policy").await?;
    if !request.id.is_empty() && *request.id != *id {
        return Err(Failure::BadRequest("Policy ID in URL and payload do not match".to_owned()));
    }
    uuid("policy ID", &id)?;
    put_policy(call, id, &request, Write::Update).await
}

async fn put_policy(call: &Call<'_>, id: Text, request: &PolicyRequest, write: Write) -> Result<Response, Failure> {
    RuleSet::read(&request.rules).map_err(|error| Failure::Refused(error.to_string()))?;
    let registry = call.api.cluster.registry();
    let policy = PolicyRow {
        // A built-in policy has a name that nobody may give.
        name: match registry.acl_policy(&id).filter(|known| *known.name == *request.name) {
            Some(known) => known.name.clone(),
            None => name("Policy", &request.name, NAME_MAX)?,
        },
        description: description(&request.description)?,
        rules: request.rules.as_str().into(),
        datacenters: datacenters(&request.datacenters)?,
        hash: Text::default(),
        created: Index::ZERO,
        modified: Index::ZERO,
        id: id.clone(),
    };
    let policy = Box::new(seed::digested_policy(policy));
    call.api.cluster.propose(Command::Acl(AclCommand::PolicyPut { policy, write })).await?;
    let registry = call.api.cluster.registry();
    let row = registry.acl_policy(&id).ok_or(crate::acl::UnknownToken)?;
    Ok(json(&shown_policy(row), call.pretty()))
}

async fn remove(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Write)?;
    let id: Text = call.argument("Missing policy ID")?.into();
    uuid("policy ID", &id)?;
    call.api.cluster.propose(Command::Acl(AclCommand::PolicyDelete { id })).await?;
    Ok(json(&true, call.pretty()))
}

fn shown_template(template: Template) -> TemplateShown {
    TemplateShown {
        template_name: template.as_str().to_owned(),
        schema: template.schema().to_owned(),
        template: template.text(),
        description: template.description().to_owned(),
    }
}

fn templates(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Read)?;
    let templates = Template::ALL.map(|template| (template.as_str(), shown_template(template)));
    Ok(json(&BTreeMap::from(templates), call.pretty()))
}

fn named(call: &Call<'_>) -> Result<Template, Failure> {
    let name = call.argument("Missing templated policy Name")?;
    let unknown = || Failure::NotFound(format!("Invalid templated policy Name: {:?}", clip(name)));
    Template::from_name(name).ok_or_else(unknown)
}

fn template(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Read)?;
    Ok(json(&shown_template(named(call)?), call.pretty()))
}

async fn preview(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_permit(Level::Read)?;
    let template = named(call)?;
    let body = call.body(BODY_MAX).await?;
    let variables: TemplateVariables = match body.is_empty() {
        true => TemplateVariables::default(),
        false => from_slice(&body, Unknown::Ignore)?,
    };
    let name = template_name(template, Some(&variables))?;
    let rules = hcl(&template.rules(&name));
    let hash = digest(&(template.as_str(), &name));
    let short: String = hash.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let policy = Policy {
        id: uuid::Uuid::new_v4().to_string(),
        name: format!("synthetic-policy-{}", short.to_lowercase()),
        description: format!("synthetic policy generated from templated policy: {}", template.as_str()),
        rules: Some(rules),
        hash: hash.to_string(),
        ..Policy::default()
    };
    Ok(json(&policy, call.pretty()))
}
