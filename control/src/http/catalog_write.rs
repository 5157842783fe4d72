//! Writes of `/v1/catalog/…`: what others registered on behalf of nodes.

use callboard_proto::api::agent::ServiceRequest;
use callboard_proto::api::catalog::{CatalogCheckRequest, CatalogServiceRequest, DeregisterRequest, RegisterRequest};
use callboard_proto::api::check::{CheckRequest, NewCheck};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::valid::{InvalidRequest, text, validate_meta};
use callboard_proto::check::CheckOwner;
use callboard_proto::text::{Meta, Text};
use callboard_proto::{Check, CheckId, CheckStatus, Index, InstanceId, Node, NodeName, ServiceName};

use super::describe::*;
use super::reply::{Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, put};
use crate::registry::{Command, Missing, NodeUpdate, Prune, Registration};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/catalog/register",
        operations: &[put("Writes a node, an instance and checks as one", |call| Box::pin(register(call)))
            .takes(shaped::<RegisterRequest>())
            .gives(shaped::<bool>())],
    },
    Route {
        path: "/v1/catalog/deregister",
        operations: &[put("Removes a node, an instance or a check", |call| Box::pin(deregister(call)))
            .takes(shaped::<DeregisterRequest>())
            .gives(shaped::<bool>())],
    },
];

fn refused(message: impl Into<String>) -> Failure {
    Failure::Refused(message.into())
}

async fn register(call: &mut Call<'_>) -> Result<Response, Failure> {
    let body = call.body(BODY_MAX).await?;
    let request: RegisterRequest = from_slice(&body, Unknown::Ignore)?;
    call.is_ours(&request.datacenter)?;
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let registration = registration(request)?;
    call.permit_registration(&registration)?;
    call.api.cluster.propose(Command::Register(Box::new(registration))).await?;
    Ok(json(&true, call.pretty()))
}

pub(super) fn registration(request: RegisterRequest) -> Result<Registration, Failure> {
    if request.node.is_empty() {
        return Err(refused("Must provide node"));
    }
    if request.address.is_empty() && !request.skip_node_update {
        return Err(refused("Must provide address if SkipNodeUpdate is not set"));
    }
    if !request.id.is_empty() && uuid::Uuid::parse_str(&request.id).is_err() {
        return Err(refused(format!(
            "Bad node ID: {:?} is not a UUID",
            request.id.chars().take(64).collect::<String>()
        )));
    }
    let name = NodeName::parse(&request.node).map_err(|error| InvalidRequest(format!("Invalid Node: {error}")))?;
    let node = Node {
        id: text("ID", &request.id, 64)?,
        address: text("Address", &request.address, 512)?,
        tagged_addresses: addresses(&request)?,
        meta: node_meta(&request)?,
        name: name.clone(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    let instance = match request.service {
        None => None,
        Some(service) if service.service.is_empty() && service.id.is_empty() => None,
        Some(service) if service.service.is_empty() => return Err(refused("Must provide service name with ID")),
        Some(service) => Some(service_request(service).instance()?),
    };
    let checks: Vec<CatalogCheckRequest> = request.checks.into_iter().chain(request.check).collect();
    if checks.len() > callboard_proto::api::agent::CHECKS_MAX {
        return Err(Failure::BadRequest(format!(
            "Invalid Checks: {} given; at most {} are accepted",
            checks.len(),
            callboard_proto::api::agent::CHECKS_MAX
        )));
    }
    let checks = checks.into_iter().map(|check| new_check(check, &name)).collect::<Result<_, _>>()?;
    let node_update = if request.skip_node_update { NodeUpdate::Skip } else { NodeUpdate::Put };
    Ok(Registration { node, node_update, instance, checks, checks_replace: false })
}

fn addresses(request: &RegisterRequest) -> Result<Meta, Failure> {
    if request.tagged_addresses.len() > 64 {
        return Err(Failure::BadRequest("Invalid TaggedAddresses: at most 64 are accepted".to_owned()));
    }
    let pairs = request.tagged_addresses.iter().map(|(name, address)| {
        Ok::<_, InvalidRequest>((text("TaggedAddresses", name, 128)?, text("TaggedAddresses", address, 512)?))
    });
    Ok(pairs.collect::<Result<Vec<_>, _>>()?.into_iter().collect())
}

fn node_meta(request: &RegisterRequest) -> Result<Meta, Failure> {
    Ok(validate_meta("Node Meta", &request.node_meta)?)
}

/// The same service in the words of the agent, whose rules it shares.
pub(super) fn service_request(service: CatalogServiceRequest) -> ServiceRequest {
    ServiceRequest {
        id: service.id,
        name: service.service,
        tags: service.tags,
        address: service.address,
        tagged_addresses: service.tagged_addresses,
        meta: service.meta,
        port: service.port,
        socket_path: service.socket_path,
        weights: service.weights,
        enable_tag_override: service.enable_tag_override,
        kind: service.kind,
        proxy: service.proxy,
        connect: service.connect,
        ..ServiceRequest::default()
    }
}

pub(super) fn new_check(request: CatalogCheckRequest, node: &NodeName) -> Result<NewCheck, Failure> {
    if !request.node.is_empty() && !request.node.eq_ignore_ascii_case(node.as_str()) {
        return Err(refused(format!("check node {:?} does not match node {:?}", request.node, node.as_str())));
    }
    let id = if request.id.is_empty() { &request.name } else { &request.id };
    let id = CheckId::parse(id).map_err(|error| InvalidRequest(format!("Invalid CheckID: {error}")))?;
    let status = match request.status.as_str() {
        "" => CheckStatus::Critical,
        text => text.parse().map_err(|error| InvalidRequest(format!("Invalid check Status: {error}")))?,
    };
    let instance = match request.service_id.as_str() {
        "" => InstanceId::none(),
        text => InstanceId::parse(text).map_err(|error| InvalidRequest(format!("Invalid ServiceID: {error}")))?,
    };
    let (definition, stated_kind, shown_definition) = definition(request.definition)?;
    let kind = if request.kind.is_empty() { stated_kind } else { &request.kind };
    Ok(NewCheck {
        status_given: true,
        check: Check {
            node: node.clone(),
            id,
            name: text("check Name", &request.name, 512)?,
            status,
            notes: text("check Notes", &request.notes, 64 * 1024)?,
            output: text("check Output", &request.output, 64 * 1024)?,
            instance,
            service: ServiceName::none(),
            service_tags: callboard_proto::text::Tags::default(),
            kind: text("check Type", kind, 64)?,
            definition,
            shown_definition,
            owner: CheckOwner::Catalog,
            created: Index::ZERO,
            modified: Index::ZERO,
        },
    })
}

/// What to do, if it is to be done; the kind of it; and how it was written.
type Definition = (Option<Box<callboard_proto::CheckDefinition>>, &'static str, Text);

/// A definition that says what to do is done by the control nodes; one that says nothing is only shown.
fn definition(value: Option<serde_json::Value>) -> Result<Definition, Failure> {
    let Some(serde_json::Value::Object(mut shown)) = value.filter(|value| !value.is_null()) else {
        return Ok((None, "", Text::default()));
    };
    let body = serde_json::Value::Object(shown.clone()).to_string();
    // Some clients send each duration twice: as text, and in nanoseconds under a name of its own.
    shown.retain(|name, _| !name.ends_with("Duration"));
    let request: CheckRequest = from_slice(serde_json::Value::Object(shown).to_string().as_bytes(), Unknown::Ignore)?;
    let probes = [
        ("http", &request.http),
        ("tcp", &request.tcp),
        ("udp", &request.udp),
        ("grpc", &request.grpc),
        ("h2ping", &request.h2ping),
    ];
    let kind = probes.iter().find(|(_, address)| !address.is_empty()).map_or("", |(kind, _)| kind);
    let definition = match !kind.is_empty() && request.interval.0 > 0 {
        true => Some(Box::new(request.definition()?)),
        false => None,
    };
    Ok((definition, kind, text("check Definition", &body, 64 * 1024)?))
}

async fn deregister(call: &mut Call<'_>) -> Result<Response, Failure> {
    let body = call.body(BODY_MAX).await?;
    let request: DeregisterRequest = from_slice(&body, Unknown::Ignore)?;
    call.is_ours(&request.datacenter)?;
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    if request.node.is_empty() {
        return Err(refused("Must provide node"));
    }
    let node = NodeName::parse(&request.node).map_err(|error| InvalidRequest(format!("Invalid Node: {error}")))?;
    let command = if let Ok(id) = InstanceId::parse(&request.service_id) {
        call.permit_removal(&node, Some(&id), None)?;
        Command::DeregisterInstance { node, id, prune: Prune::Keep, missing: Missing::Fine }
    } else if let Ok(id) = CheckId::parse(&request.check_id) {
        call.permit_removal(&node, None, Some(&id))?;
        Command::DeregisterCheck { node, id, missing: Missing::Fine }
    } else if request.service_id.is_empty() && request.check_id.is_empty() {
        call.permit_removal(&node, None, None)?;
        Command::DeregisterNode { node }
    } else {
        return Err(Failure::BadRequest(
            "Invalid ServiceID or CheckID: too long, or with control characters".to_owned(),
        ));
    };
    call.api.cluster.propose(command).await?;
    Ok(json(&true, call.pretty()))
}
