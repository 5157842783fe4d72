//! What all of `/v1/acl/…` has in common, and the questions about it: replication, and what a token may do.
//!
//! Nothing here is answered while access control is off. Links come by id or by name, and are kept as ids.

use std::collections::BTreeSet;

use callboard_proto::acl::rows::{NodeIdentityRow, ServiceIdentityRow, Sources, TemplatedRow};
use callboard_proto::acl::templates::Template;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::acl::{
    Authorization, Given, Link, NodeIdentity, ServiceIdentity, TemplateVariables, TemplatedPolicy,
};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::text::Text;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::blocking::Answer;
use super::describe::*;
use super::reply::{self, Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, now, post};
use crate::registry::Registry;

/// The most links of one kind that a token or a role has.
const LINKS_MAX: usize = 256;
/// The most questions that are answered at once.
const QUESTIONS_MAX: usize = 1024;
/// The longest name, description or value.
const NAME_MAX: usize = 256;
const DESCRIPTION_MAX: usize = 4096;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/acl/replication",
        operations: &[get("How copying from another datacenter stands", |call| now(replication(call)))
            .gives(Body::Object(REPLICATION))],
    },
    Route {
        path: "/v1/internal/acl/authorize",
        operations: &[post("What the token may do, question by question", |call| Box::pin(authorize(call)))
            .takes(shaped::<Vec<Authorization>>())
            .gives(shaped::<Vec<Authorization>>())],
    },
];

const REPLICATION: &[Member] = &[
    ("Enabled", Kind::Bool),
    ("Running", Kind::Bool),
    ("SourceDatacenter", Kind::Text),
    ("ReplicationType", Kind::Text),
    ("ReplicatedIndex", Kind::Number),
    ("LastSuccess", Kind::Text),
    ("LastError", Kind::Text),
];

impl Call<'_> {
    /// Refuses everything about access control while there is none.
    pub(super) fn acl_enabled(&self) -> Result<(), Failure> {
        if self.api.acl.is_enabled() { Ok(()) } else { Err(Failure::NoAccessControl) }
    }

    /// The same, and refuses who may not read or write access control.
    pub(super) fn acl_permit(&self, level: Level) -> Result<(), Failure> {
        self.acl_enabled()?;
        self.is_ours(self.params.get("dc").unwrap_or(""))?;
        self.permit(Resource::Acl, "", level)
    }

    /// Reads a body about access control.
    pub(super) async fn acl_body<T: DeserializeOwned>(&mut self, what: &str) -> Result<T, Failure> {
        let body = self.body(BODY_MAX).await?;
        from_slice(&body, Unknown::Refuse)
            .map_err(|error| Failure::BadRequest(format!("{what} decoding failed: {}", error.detail())))
    }
}

fn replication(call: &Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let never = "0001-01-01T00:00:00Z";
    let status = json!({
        "Enabled": false, "Running": false, "SourceDatacenter": "", "ReplicationType": "", "ReplicatedIndex": 0,
        "ReplicatedRoleIndex": 0, "ReplicatedTokenIndex": 0, "LastSuccess": never, "LastError": never,
        "LastErrorMessage": "",
    });
    Ok(json(&status, call.pretty()))
}

async fn authorize(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.acl_enabled()?;
    let mut questions: Vec<Authorization> = call.acl_body("Authorization").await?;
    if questions.len() > QUESTIONS_MAX {
        let text = format!("{} questions given; at most {QUESTIONS_MAX} are accepted", questions.len());
        return Err(Failure::BadRequest(text));
    }
    let access = call.access()?;
    for question in &mut questions {
        let resource = Resource::from_word(&question.resource);
        let resource = resource.ok_or_else(|| Failure::BadRequest(unknown("Resource", &question.resource)))?;
        let level = Level::from_word(&question.access);
        let level = level.ok_or_else(|| Failure::BadRequest(unknown("Access", &question.access)))?;
        question.allow = access.may(resource, &question.segment, level);
    }
    Ok(json(&questions, call.pretty()))
}

fn unknown(field: &str, text: &str) -> String {
    let accepted = match field {
        "Access" => "read, list, write".to_owned(),
        _ => Resource::ALL.map(Resource::as_str).join(", "),
    };
    format!("Invalid {field} {:?}; accepted: {accepted}", clip(text))
}

pub(super) fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Refuses an id that cannot be one.
pub(super) fn uuid(what: &str, text: &str) -> Result<(), Failure> {
    match text.len() == 36 && uuid::Uuid::try_parse(text).is_ok() {
        true => Ok(()),
        false => Err(Failure::Refused(format!("Invalid {what} {:?}: a UUID is expected", clip(text)))),
    }
}

/// Refuses a name of a policy, a role or an auth method that cannot be one.
pub(super) fn name(kind: &str, text: &str, max: usize) -> Result<Text, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() {
        return Err(Failure::Refused(format!("Invalid {kind}: no Name is set")));
    }
    if text.len() > max || !text.bytes().all(plain) {
        let text = format!(
            "Invalid {kind}: invalid Name. Only alphanumeric characters, '-' and '_' are allowed, {max} of them at most"
        );
        return Err(Failure::Refused(text));
    }
    Ok(text.into())
}

pub(super) fn description(text: &str) -> Result<Text, Failure> {
    if text.len() > DESCRIPTION_MAX {
        let text = format!("Invalid Description: {} bytes; at most {DESCRIPTION_MAX} are accepted", text.len());
        return Err(Failure::BadRequest(text));
    }
    Ok(text.into())
}

pub(super) fn datacenters(names: &[String]) -> Result<Vec<Text>, Failure> {
    bounded("Datacenters", names.len())?;
    names.iter().map(|name| short("Datacenters", name)).collect()
}

fn short(field: &str, text: &str) -> Result<Text, Failure> {
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        let text = format!("Invalid {field} {:?}: 1 to {NAME_MAX} printable bytes are accepted", clip(text));
        return Err(Failure::BadRequest(text));
    }
    Ok(text.into())
}

fn bounded(field: &str, count: usize) -> Result<(), Failure> {
    match count <= LINKS_MAX {
        true => Ok(()),
        false => Err(Failure::BadRequest(format!("Invalid {field}: {count} given; at most {LINKS_MAX} are accepted"))),
    }
}

/// The ids of links, each once, in the order in which they were given.
pub(super) fn ids<'a>(
    kind: &str,
    links: &[Link],
    by_id: impl Fn(&str) -> Option<&'a Text>,
    by_name: impl Fn(&str) -> Option<&'a Text>,
) -> Result<Vec<Text>, Failure> {
    bounded(kind, links.len())?;
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for link in links {
        let found = if link.id.is_empty() { by_name(&link.name) } else { by_id(&link.id) };
        let id = found.cloned().ok_or_else(|| {
            let (what, text) = if link.id.is_empty() { ("name", &link.name) } else { ("ID", &link.id) };
            Failure::Refused(format!("No such ACL {kind} with {what} {:?}", clip(text)))
        })?;
        if seen.insert(id.clone()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// What was given as the sources of rights, as it is kept.
pub(super) fn sources(registry: &Registry, given: &Given) -> Result<Sources, Failure> {
    bounded("ServiceIdentities", given.services.len())?;
    bounded("NodeIdentities", given.nodes.len())?;
    bounded("TemplatedPolicies", given.templated.len())?;
    let by_id = |id: &str| registry.acl_policy(id).map(|policy| &policy.id);
    let by_name = |name: &str| registry.acl_policy_named(name).map(|policy| &policy.id);
    Ok(Sources {
        policies: ids("policy", &given.policies, by_id, by_name)?,
        services: given.services.iter().map(service).collect::<Result<_, _>>()?,
        nodes: given.nodes.iter().map(node).collect::<Result<_, _>>()?,
        templated: given.templated.iter().map(templated).collect::<Result<_, _>>()?,
    })
}

fn service(identity: &ServiceIdentity) -> Result<ServiceIdentityRow, Failure> {
    let service = identity_name("service", &identity.service_name)?;
    Ok(ServiceIdentityRow { service, datacenters: datacenters(&identity.datacenters)? })
}

fn node(identity: &NodeIdentity) -> Result<NodeIdentityRow, Failure> {
    if identity.datacenter.is_empty() {
        let text = format!("Node identity {:?} is missing the datacenter field", clip(&identity.node_name));
        return Err(Failure::Refused(text));
    }
    let node = identity_name("node", &identity.node_name)?;
    Ok(NodeIdentityRow { node, datacenter: short("Datacenter", &identity.datacenter)? })
}

/// Rules about a name that a service or a node may have.
fn identity_name(kind: &str, text: &str) -> Result<Text, Failure> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let fits = text.len() <= NAME_MAX && text.bytes().all(plain) && ends(text.bytes().next());
    match fits && ends(text.bytes().next_back()) {
        true => Ok(text.into()),
        false => Err(Failure::Refused(format!(
            "{} identity {:?} has an invalid name. Only lowercase alphanumeric characters, '-' and '_' are allowed",
            if kind == "node" { "Node" } else { "Service" },
            clip(text)
        ))),
    }
}

fn templated(given: &TemplatedPolicy) -> Result<TemplatedRow, Failure> {
    let template = Template::from_name(&given.template_name).ok_or_else(|| {
        Failure::Refused(format!("No such ACL templated policy with Name {:?}", clip(&given.template_name)))
    })?;
    let name = template_name(template, given.template_variables.as_ref())?;
    Ok(TemplatedRow { template: template.as_str().into(), name, datacenters: datacenters(&given.datacenters)? })
}

/// What the name variable of a template stands for.
pub(super) fn template_name(template: Template, variables: Option<&TemplateVariables>) -> Result<Text, Failure> {
    let name = variables.map_or("", |variables| variables.name.as_str());
    match template.takes_name() {
        true => identity_name("service", name).map_err(|_| {
            Failure::BadRequest(format!("Invalid template variables of {}: name {:?}", template.as_str(), clip(name)))
        }),
        false => Ok(Text::default()),
    }
}

/// The sources of rights as they are shown.
pub(super) fn given(registry: &Registry, sources: &Sources) -> Given {
    let policies = sources.policies.iter().filter_map(|id| registry.acl_policy(id));
    Given {
        policies: policies.map(|policy| Link { id: policy.id.to_string(), name: policy.name.to_string() }).collect(),
        services: sources
            .services
            .iter()
            .map(|row| ServiceIdentity { service_name: row.service.to_string(), datacenters: texts(&row.datacenters) })
            .collect(),
        nodes: sources
            .nodes
            .iter()
            .map(|row| NodeIdentity { node_name: row.node.to_string(), datacenter: row.datacenter.to_string() })
            .collect(),
        templated: sources
            .templated
            .iter()
            .map(|row| TemplatedPolicy {
                template_name: row.template.to_string(),
                template_variables: (!row.name.is_empty()).then(|| TemplateVariables { name: row.name.to_string() }),
                datacenters: texts(&row.datacenters),
                ..TemplatedPolicy::default()
            })
            .collect(),
    }
}

pub(super) fn texts(texts: &[Text]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// The answer about something that is not there.
pub(super) fn absent(status: StatusCode, text: &'static str) -> Answer {
    Answer::Ready(Box::new(reply::text(status, text)))
}
