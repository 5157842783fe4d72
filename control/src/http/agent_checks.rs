//! `/v1/agent/check…`: checks of a node, and the beats that keep them passing.

use std::collections::BTreeMap;

use callboard_proto::acl::Level;
use callboard_proto::api::check::{CheckRequest, CheckUpdate};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::health::HealthCheck;
use callboard_proto::api::query::ReadOptions;
use callboard_proto::check::SERF_HEALTH;
use callboard_proto::definition::Figures;
use callboard_proto::text::Text;
use callboard_proto::{Check, CheckId, CheckStatus, Index, InstanceId};

use super::Api;
use super::describe::*;
use super::permit::of_check;
use super::reply::{self, Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, now, put};
use super::select::filter;
use crate::check::Beat;
use crate::registry::{Command, Missing, Registration};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/agent/checks",
        operations: &[get("The checks registered on a node", |call| now(checks(call)))
            .with(&[SCOPE, FILTER])
            .gives(shaped::<BTreeMap<Text, HealthCheck>>())],
    },
    Route {
        path: "/v1/agent/check/register",
        operations: &[put("Registers a check on a node", |call| Box::pin(register(call)))
            .with(&[SCOPE])
            .takes(shaped::<CheckRequest>())
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/check/deregister/",
        operations: &[put("Deregisters a check of a node", |call| Box::pin(deregister(call)))
            .of("id")
            .with(&[SCOPE])
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/check/pass/",
        operations: &[put("Beats a TTL check: passing", |call| Box::pin(beat(call, CheckStatus::Passing)))
            .of("id")
            .with(&[SCOPE, NOTE])
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/check/warn/",
        operations: &[put("Beats a TTL check: warning", |call| Box::pin(beat(call, CheckStatus::Warning)))
            .of("id")
            .with(&[SCOPE, NOTE])
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/check/fail/",
        operations: &[put("Beats a TTL check: critical", |call| Box::pin(beat(call, CheckStatus::Critical)))
            .of("id")
            .with(&[SCOPE, NOTE])
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/check/update/",
        operations: &[put("Beats a TTL check with a status and an output", |call| Box::pin(update(call)))
            .of("id")
            .with(&[SCOPE])
            .takes(shaped::<CheckUpdate>())
            .gives(Body::Empty)],
    },
];

/// A check as the agent knows it: with the newest output, which may not be in the registry yet, and without a
/// place in the catalog's history.
pub(super) fn shown(api: &Api, check: &Check) -> HealthCheck {
    let mut shown = HealthCheck::of(check);
    shown.create_index = Index::ZERO;
    shown.modify_index = Index::ZERO;
    if let Some(output) = api.checks.newest_output(check) {
        shown.output = output;
    }
    shown
}

fn checks(call: &Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let options = ReadOptions::from_params(&call.params)?;
    let filter = filter::<HealthCheck>(&options)?;
    let registry = call.api.cluster.registry();
    let access = call.access_in(&registry)?;
    let checks: BTreeMap<&CheckId, HealthCheck> = registry
        .checks_on(&scope.node.name)
        .filter(|check| {
            let (resource, name) = of_check(check);
            access.allows(resource, name, Level::Read)
        })
        .filter(|check| check.id.as_str() != SERF_HEALTH)
        .map(|check| (&check.id, shown(call.api, check)))
        .filter(|(_, check)| filter.matches(check))
        .collect();
    let mut response = json(&checks, call.pretty());
    if access.left_out() {
        reply::tell_left_out(&mut response);
    }
    Ok(response)
}

async fn register(call: &mut Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let body = call.body(BODY_MAX).await?;
    let request: CheckRequest = from_slice(&body, Unknown::Refuse)?;
    let instance = match request.service_id.as_str() {
        "" => InstanceId::none(),
        text => InstanceId::parse(text).map_err(|error| Failure::BadRequest(format!("Invalid ServiceID: {error}")))?,
    };
    let new = request.validate(&scope.node.name, instance, None, None)?;
    call.api.checks.allows(&new.check)?;
    let (node, id) = (scope.node.name.clone(), new.check.id.clone());
    let registration = Registration {
        node: scope.node,
        node_update: scope.update,
        instance: None,
        checks: vec![new],
        checks_replace: false,
    };
    call.permit_registration(&registration)?;
    call.api.cluster.propose(Command::Register(Box::new(registration))).await?;
    call.api.checks.registered(&node, vec![id]).await;
    Ok(reply::empty())
}

fn check_id(text: &str) -> Result<CheckId, Failure> {
    CheckId::parse(text).map_err(|_| {
        Failure::NotFound(format!("Unknown check ID {text:?}. Ensure that the check ID is passed, not the check name."))
    })
}

async fn deregister(call: &Call<'_>) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let (node, id) = (scope.node.name, check_id(call.rest)?);
    call.permit_check(&node, &id)?;
    let command = Command::DeregisterCheck { node, id, missing: Missing::Refused };
    call.api.cluster.propose(command).await?;
    Ok(reply::empty())
}

/// `pass`, `warn` and `fail`: the status is in the path, the output in the query.
async fn beat(call: &Call<'_>, status: CheckStatus) -> Result<Response, Failure> {
    let output = call.params.get("note").unwrap_or("").to_owned();
    deliver(call, status, output, None).await
}

/// `update`: everything is in the body.
async fn update(call: &mut Call<'_>) -> Result<Response, Failure> {
    let body = call.body(BODY_MAX).await?;
    let update: CheckUpdate = from_slice(&body, Unknown::Refuse)?;
    let status = update.status.parse().map_err(|_| {
        let status: String = update.status.chars().take(64).collect();
        Failure::BadRequest(format!("Invalid check status: '{status}'; Status must be passing, warning or critical"))
    })?;
    deliver(call, status, update.output, update.figures).await
}

async fn deliver(
    call: &Call<'_>,
    status: CheckStatus,
    output: String,
    figures: Option<Figures>,
) -> Result<Response, Failure> {
    let scope = call.scope()?;
    let beat = Beat { node: scope.node.name, id: check_id(call.rest)?, status, output, figures };
    call.permit_check(&beat.node, &beat.id)?;
    call.api.checks.beat(beat).await?;
    Ok(reply::empty())
}
