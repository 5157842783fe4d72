//! `/v1/agent/service…`: what runs on a node, as the node itself says.
//!
//! Rows belong to the control node's own node, or to the one that the process names with `?node=`.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::Arc;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::agent::{AgentService, AgentServiceHealth, ServiceRequest};
use callboard_proto::api::check::NewCheck;
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::health::HealthCheck;
use callboard_proto::api::query::{ReadOptions, parse_bool};
use callboard_proto::api::valid;
use callboard_proto::check::{AggregatedStatus, CheckOwner, NODE_MAINTENANCE, SERVICE_MAINTENANCE};
use callboard_proto::duration::GoDuration;
use callboard_proto::text::{Tags, Text};
use callboard_proto::{Check, CheckId, CheckStatus, Index, Instance, InstanceId, NodeName, ServiceName};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::agent_checks::shown;
use super::describe::*;
use super::reply::{self, Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, now, put};
use super::select::filter;
use super::sidecar;
use crate::identity::CONSUL_SERVICE;
use crate::registry::{Command, Missing, Prune, Registration, Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/agent/services",
        operations: &[get("The instances registered on a node", |call| now(services(call)))
            .with(&[SCOPE, FILTER])
            .gives(shaped::<BTreeMap<Text, AgentService>>())],
    },
    Route {
        path: "/v1/agent/service/",
        operations: &[get("One instance of a node, with a hash to wait on", |call| Box::pin(service(call)))
            .of("id")
            .with(&[SCOPE, HASH])
            .gives(shaped::<AgentService>())],
    },
    Route {
        path: "/v1/agent/health/service/id/",
        operations: &[get("How well an instance of a node is", |call| now(health_by_id(call)))
            .of("id")
            .with(&[SCOPE, FORMAT])
            .gives(shaped::<AgentServiceHealth>())],
    },
    Route {
        path: "/v1/agent/health/service/name/",
        operations: &[get("How well the instances of a service on a node are", |call| now(health_by_name(call)))
            .of("name")
            .with(&[SCOPE, FORMAT])
            .gives(shaped::<Vec<AgentServiceHealth>>())],
    },
    Route {
        path: "/v1/agent/service/register",
        operations: &[put("Registers an instance on a node", |call| Box::pin(register(call)))
            .with(&[SCOPE, REPLACE])
            .takes(shaped::<ServiceRequest>())
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/service/deregister/",
        operations: &[put("Deregisters an instance of a node", |call| Box::pin(deregister(call)))
            .of("id")
            .with(&[SCOPE])
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/service/maintenance/",
        operations: &[put("Takes an instance out of service, and back", |call| Box::pin(service_maintenance(call)))
            .of("id")
            .with(&[SCOPE, MAINTENANCE])
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/maintenance",
        operations: &[put("Takes a node out of service, and back", |call| Box::pin(node_maintenance(call)))
            .with(&[SCOPE, MAINTENANCE])
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
];

/// The instances that a node's agent knows: all on the node but the control node's own.
fn local<'a>(registry: &'a Registry, node: &NodeName) -> impl Iterator<Item = &'a Arc<Instance>> {
    registry.instances_on(node).filter(|instance| instance.service.as_str() != CONSUL_SERVICE)
}

fn services(call: &Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let options = ReadOptions::from_params(&call.params)?;
    let filter = filter::<AgentService>(&options)?;
    let registry = call.api.cluster.registry();
    let access = call.access_in(&registry)?;
    let services: std::collections::BTreeMap<&InstanceId, AgentService> = local(&registry, &scope.node.name)
        .filter(|instance| access.allows(Resource::Service, instance.service.as_str(), Level::Read))
        .map(|instance| (&instance.id, AgentService::of(instance, call.api.datacenter())))
        .filter(|(_, service)| filter.matches(service))
        .collect();
    let mut response = json(&services, call.pretty());
    if access.left_out() {
        reply::tell_left_out(&mut response);
    }
    Ok(response)
}

/// One instance, with a hash to wait on.
async fn service(call: &Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let id = call.argument("Missing service ID")?;
    let wait = match call.params.filled("wait") {
        None => None,
        Some(text) => GoDuration::parse(text).map_err(|_| callboard_proto::api::query::QueryError::Wait)?.positive(),
    };
    let seen = call.params.filled("hash");
    let mut subscription = call.api.cluster.hub().subscribe(&[Topic::Services]);
    let deadline = Instant::now() + call.api.rules.load().wait(wait, fastrand::u64(..));
    loop {
        let registry = call.api.cluster.registry();
        let access = call.access_in(&registry)?;
        let Some(instance) = local(&registry, &scope.node.name).find(|instance| instance.id.as_str() == id) else {
            return Err(Failure::NotFound(format!("unknown service ID: {id}")));
        };
        access.permit(Resource::Service, instance.service.as_str(), Level::Read)?;
        let mut service = AgentService::of(instance, call.api.datacenter());
        let hash = content_hash(&service);
        if seen == Some(&hash) {
            let _waits = call.api.telemetry.waiter();
            if tokio::time::timeout_at(deadline, subscription.changed()).await.is_ok() {
                continue;
            }
        }
        service.content_hash = hash.as_str().into();
        let mut response = json(&service, call.pretty());
        if let Ok(hash) = HeaderValue::from_str(&hash) {
            let name = HeaderName::from_static(callboard_proto::api::meta::CONTENT_HASH);
            response.headers_mut().insert(name, hash);
        }
        return Ok(response);
    }
}

fn content_hash(service: &AgentService) -> String {
    let mut hasher = twox_hash::XxHash3_64::with_seed(0);
    hasher.write(&reply::encode(service, false));
    format!("{:016x}", hasher.finish())
}

async fn register(call: &mut Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let body = call.body(BODY_MAX).await?;
    let mut request: ServiceRequest = from_slice(&body, Unknown::Refuse)?;
    let along = sidecar::ready(call, &mut request, &scope.node.name).await?;
    let (instance, checks) = request.validate(&scope.node.name)?;
    for new in &checks {
        call.api.checks.allows(&new.check)?;
    }
    let replace = call
        .params
        .get("replace-existing-checks")
        .is_some_and(|text| text.is_empty() || parse_bool(text) == Some(true));
    let beaten: Vec<CheckId> = checks.iter().map(|new| new.check.id.clone()).collect();
    let node = scope.node.name.clone();
    let registration = Registration {
        node: scope.node,
        node_update: scope.update,
        instance: Some(instance),
        checks,
        checks_replace: replace,
    };
    call.permit_registration(&registration)?;
    call.api.cluster.propose(Command::Register(Box::new(registration))).await?;
    call.api.checks.registered(&node, beaten).await;
    if let Some(along) = along {
        along.register(call).await?;
    }
    Ok(reply::empty())
}

async fn deregister(call: &Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let id = instance_id(call.rest)?;
    let prune = if scope.own { Prune::Keep } else { Prune::EmptyNode };
    let node = scope.node.name;
    call.permit_instance(&node, &id)?;
    let along = sidecar::of(&call.api.cluster.registry(), &node, &id);
    let command = Command::DeregisterInstance { node: node.clone(), id, prune, missing: Missing::Refused };
    call.api.cluster.propose(command).await?;
    if let Some(along) = along {
        sidecar::remove(call, node, along, prune).await?;
    }
    Ok(reply::empty())
}

/// An id in a path; one that could never be registered is as unknown as any other.
fn instance_id(text: &str) -> Result<InstanceId, Failure> {
    InstanceId::parse(text).map_err(|_| Failure::NotFound(unknown_instance(text)))
}

fn unknown_instance(id: &str) -> String {
    format!("Unknown service ID {id:?}. Ensure that the service ID is passed, not the service name.")
}

/// Reads `?enable=`.
fn enable(call: &Call<'_>) -> Result<bool, Failure> {
    match call.params.filled("enable") {
        None => Err(Failure::BadRequest("Missing value for enable".to_owned())),
        Some(text) => {
            parse_bool(text).ok_or_else(|| Failure::BadRequest(format!("Invalid value for enable: {text:?}")))
        }
    }
}

async fn service_maintenance(call: &Call<'_>) -> Result<Response, Failure> {
    let id = call.argument("Missing service ID")?;
    let enable = enable(call)?;
    let scope = call.scope()?;
    let registry = call.api.cluster.registry();
    let access = call.access_in(&registry)?;
    let Some(instance) = local(&registry, &scope.node.name).find(|instance| instance.id.as_str() == id) else {
        return Err(Failure::NotFound(unknown_instance(id)));
    };
    access.permit(Resource::Service, instance.service.as_str(), Level::Write)?;
    maintenance(call, format!("{SERVICE_MAINTENANCE}{id}"), "Service Maintenance Mode", instance.id.clone(), enable)
        .await
}

async fn node_maintenance(call: &Call<'_>) -> Result<Response, Failure> {
    let enable = enable(call)?;
    call.permit(Resource::Node, call.scope()?.node.name.as_str(), Level::Write)?;
    maintenance(call, NODE_MAINTENANCE.to_owned(), "Node Maintenance Mode", InstanceId::none(), enable).await
}

async fn maintenance(
    call: &Call<'_>,
    id: String,
    name: &str,
    instance: InstanceId,
    enable: bool,
) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let id = CheckId::parse(&id).map_err(|error| Failure::BadRequest(format!("Invalid check: {error}")))?;
    let node = scope.node.name.clone();
    if !enable {
        call.api.cluster.propose(Command::DeregisterCheck { node, id, missing: Missing::Fine }).await?;
        return Ok(reply::empty());
    }
    let of = if instance.is_none() { "node" } else { "service" };
    let default =
        format!("Maintenance mode is enabled for this {of}, but no reason was provided. This is a default message.");
    let notes = valid::text("reason", call.params.filled("reason").unwrap_or(&default), 64 * 1024)?;
    let check = Check {
        node,
        id,
        name: name.into(),
        status: CheckStatus::Critical,
        notes,
        output: Text::default(),
        instance,
        service: ServiceName::none(),
        service_tags: Tags::default(),
        kind: "maintenance".into(),
        definition: None,
        shown_definition: Text::default(),
        owner: CheckOwner::Agent,
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    let registration = Registration {
        node: scope.node,
        node_update: scope.update,
        instance: None,
        checks: vec![NewCheck { check, status_given: true }],
        checks_replace: false,
    };
    call.api.cluster.propose(Command::Register(Box::new(registration))).await?;
    Ok(reply::empty())
}

/// The health of one instance as the agent sees it.
fn health(
    call: &Call<'_>,
    registry: &Registry,
    node: &NodeName,
    instance: &Instance,
) -> (AggregatedStatus, AgentServiceHealth) {
    let of_node = registry
        .checks_of(node, &InstanceId::none())
        .filter(|check| check.id.as_str() != callboard_proto::check::SERF_HEALTH);
    let checks: Vec<HealthCheck> =
        registry.checks_of(node, &instance.id).chain(of_node).map(|check| shown(call.api, check)).collect();
    let status = AggregatedStatus::of(checks.iter().map(|check| (check.id.as_str(), check.status)));
    let service = AgentService::of(instance, call.api.datacenter());
    (
        status,
        AgentServiceHealth { aggregated_status: status.as_str().into(), service: Some(service), checks: Some(checks) },
    )
}

fn health_status(status: AggregatedStatus) -> StatusCode {
    match status {
        AggregatedStatus::Status(CheckStatus::Passing) => StatusCode::OK,
        AggregatedStatus::Status(CheckStatus::Warning) => StatusCode::TOO_MANY_REQUESTS,
        AggregatedStatus::Status(CheckStatus::Critical) | AggregatedStatus::Maintenance => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

fn wants_text(call: &Call<'_>) -> bool {
    call.params.get("format") == Some("text") || call.accept_text
}

fn unhealthy(mut response: Response, status: StatusCode, reason: &str) -> Response {
    *response.status_mut() = status;
    if let Ok(reason) = HeaderValue::from_str(reason) {
        response.headers_mut().insert(HeaderName::from_static(callboard_proto::api::meta::REASON), reason);
    }
    response
}

fn health_by_id(call: &Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let id = call.argument("Missing serviceID")?;
    let registry = call.api.cluster.registry();
    let access = call.access_in(&registry)?;
    let Some(instance) = local(&registry, &scope.node.name).find(|instance| instance.id.as_str() == id) else {
        let absent = AgentServiceHealth { aggregated_status: "critical".into(), service: None, checks: None };
        let reason = format!("ServiceId {id} not found");
        let body = if wants_text(call) {
            reply::text(StatusCode::NOT_FOUND, reason.clone())
        } else {
            json(&absent, call.pretty())
        };
        return Ok(unhealthy(body, StatusCode::NOT_FOUND, &reason));
    };
    access.permit(Resource::Service, instance.service.as_str(), Level::Read)?;
    let (status, health) = health(call, &registry, &scope.node.name, instance);
    let body =
        if wants_text(call) { reply::text(StatusCode::OK, status.as_str()) } else { json(&health, call.pretty()) };
    Ok(unhealthy(body, health_status(status), status.as_str()))
}

fn health_by_name(call: &Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let name = call.argument("Missing service Name")?;
    call.permit(Resource::Service, name, Level::Read)?;
    let registry = call.api.cluster.registry();
    let found: Vec<_> = local(&registry, &scope.node.name)
        .filter(|instance| instance.service.as_str().eq_ignore_ascii_case(name))
        .map(|instance| health(call, &registry, &scope.node.name, instance))
        .collect();
    // Maintenance counts as the worst.
    let rank = |status: &AggregatedStatus| match status {
        AggregatedStatus::Status(status) => *status as u8,
        AggregatedStatus::Maintenance => u8::MAX,
    };
    let Some(worst) = found.iter().map(|(status, _)| *status).max_by_key(rank) else {
        let reason = format!("ServiceName {name} Not Found");
        let nothing: [AgentServiceHealth; 0] = [];
        let body = if wants_text(call) {
            reply::text(StatusCode::NOT_FOUND, "critical")
        } else {
            json(&nothing, call.pretty())
        };
        return Ok(unhealthy(body, StatusCode::NOT_FOUND, &reason));
    };
    let list: Vec<_> = found.into_iter().map(|(_, health)| health).collect();
    let body = if wants_text(call) { reply::text(StatusCode::OK, worst.as_str()) } else { json(&list, call.pretty()) };
    Ok(unhealthy(body, health_status(worst), worst.as_str()))
}
