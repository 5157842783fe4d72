//! From the wire to a handler: one match per door.
//!
//! Decodes the path once, finds the route, reads the query, hands a [`Call`] to the handler, and counts the
//! answer on its way out.

use std::time::Instant;

use callboard_proto::CheckStatus;
use callboard_proto::api::query::Params;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{self, Endpoint};
use super::{Api, agent, agent_checks, catalog, catalog_write, config, event, health, kv, session, status};

/// Answers a request, whatever it is.
pub(super) async fn handle(api: &Api, request: Request<Incoming>) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    let accept_text = parts.headers.get(http::header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    let (method, target) = (parts.method, parts.uri.path_and_query().map_or("", PathAndQuery::as_str).to_owned());
    // Headers and path are slices of the connection's read buffer: a read that waits must not keep it.
    drop((parts.headers, parts.uri));
    let (raw, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = percent_decode_str(raw).decode_utf8();
    let path = match &path {
        Ok(path) if !path.chars().any(char::is_control) => path.as_ref(),
        _ => {
            let text = "Invalid URL path: it must be printable UTF-8 after decoding";
            return api.telemetry.answered(None, begun, reply::seal(reply::text(StatusCode::BAD_REQUEST, text)));
        }
    };
    if let Some(clean) = unclean(raw) {
        let location = if query.is_empty() { clean } else { format!("{clean}?{query}") };
        return api.telemetry.answered(None, begun, reply::moved(&location));
    }
    let Some((methods, endpoint, rest)) = routes::find(path) else {
        return api.telemetry.answered(None, begun, unknown(api, path, &method));
    };
    let answer = if method == Method::OPTIONS {
        Ok(reply::options(methods))
    } else if !methods.has(&method) {
        Err(Failure::Method { method, allowed: methods })
    } else {
        match Params::parse(query) {
            Err(error) => Err(error.into()),
            Ok(params) => {
                let call = Call { api, method, rest, params, query, accept_text, body: Some((body, length)) };
                dispatch(endpoint, call).await
            }
        }
    };
    let response = answer.unwrap_or_else(Failure::into_response);
    api.telemetry.answered(Some(endpoint.place()), begun, reply::seal(response))
}

/// The path without repeated slashes and dot segments, if that makes a difference.
fn unclean(path: &str) -> Option<String> {
    let dotted = path.split('/').any(|segment| segment == "." || segment == "..");
    if !dotted && !path.contains("//") {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let tail = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{tail}", kept.join("/")))
}

fn unknown(api: &Api, path: &str, method: &Method) -> Response {
    if path == "/" && (method == Method::GET || method == Method::HEAD) {
        return if api.identity.console {
            reply::moved("/ui/")
        } else {
            let text = "Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent configuration and restart.";
            reply::text(StatusCode::OK, text)
        };
    }
    let text = if path.contains("/v1/") {
        "Invalid URL path: not a recognized HTTP API endpoint\n"
    } else {
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
    };
    reply::seal(reply::text(StatusCode::NOT_FOUND, text))
}

/// One match per door. Writes are boxed: a waiting read must not carry the largest handler's future.
async fn dispatch(endpoint: Endpoint, call: Call<'_>) -> Result<Response, Failure> {
    match endpoint {
        Endpoint::HealthService => health::service(&call).await,
        Endpoint::Kv => kv::kv(call).await,
        Endpoint::HealthConnect => Box::pin(health::connect(&call)).await,
        Endpoint::HealthNode => Box::pin(health::node(&call)).await,
        Endpoint::HealthChecks => Box::pin(health::checks(&call)).await,
        Endpoint::HealthState => Box::pin(health::state(&call)).await,
        Endpoint::CatalogNodes => Box::pin(catalog::nodes(&call)).await,
        Endpoint::CatalogServices => Box::pin(catalog::services(&call)).await,
        Endpoint::CatalogService => Box::pin(catalog::service(&call)).await,
        Endpoint::CatalogConnect => Box::pin(catalog::connect(&call)).await,
        Endpoint::CatalogNode => Box::pin(catalog::node(&call)).await,
        Endpoint::CatalogNodeServices => Box::pin(catalog::node_services(&call)).await,
        Endpoint::ConfigPut => Box::pin(config::put(call)).await,
        Endpoint::Config => Box::pin(config::config(&call)).await,
        Endpoint::EventFire => Box::pin(event::fire(call)).await,
        Endpoint::EventList => Box::pin(event::list(&call)).await,
        Endpoint::SessionCreate => Box::pin(session::create(call)).await,
        Endpoint::SessionDestroy => Box::pin(session::destroy(&call)).await,
        Endpoint::SessionRenew => session::renew(&call),
        Endpoint::SessionInfo => Box::pin(session::info(&call)).await,
        Endpoint::SessionNode => Box::pin(session::node(&call)).await,
        Endpoint::SessionList => Box::pin(session::list(&call)).await,
        Endpoint::CatalogDatacenters => catalog::datacenters(&call),
        Endpoint::CatalogRegister => Box::pin(catalog_write::register(call)).await,
        Endpoint::CatalogDeregister => Box::pin(catalog_write::deregister(call)).await,
        Endpoint::AgentSelf => status::agent_self(&call),
        Endpoint::AgentMembers => status::members(&call),
        Endpoint::StatusLeader => status::leader(&call),
        Endpoint::StatusPeers => status::peers(&call),
        Endpoint::Metrics => Ok(status::metrics(&call)),
        Endpoint::Console => Ok(crate::console::page(call.rest)),
        Endpoint::AgentServices => agent::services(&call),
        Endpoint::AgentService => Box::pin(agent::service(&call)).await,
        Endpoint::AgentChecks => agent_checks::checks(&call),
        Endpoint::AgentHealthById => agent::health_by_id(&call),
        Endpoint::AgentHealthByName => agent::health_by_name(&call),
        Endpoint::AgentServiceRegister => Box::pin(agent::register(call)).await,
        Endpoint::AgentServiceDeregister => Box::pin(agent::deregister(&call)).await,
        Endpoint::AgentServiceMaintenance => Box::pin(agent::service_maintenance(&call)).await,
        Endpoint::AgentMaintenance => Box::pin(agent::node_maintenance(&call)).await,
        Endpoint::AgentCheckRegister => Box::pin(agent_checks::register(call)).await,
        Endpoint::AgentCheckDeregister => Box::pin(agent_checks::deregister(&call)).await,
        Endpoint::AgentCheckPass => Box::pin(agent_checks::beat(&call, CheckStatus::Passing)).await,
        Endpoint::AgentCheckWarn => Box::pin(agent_checks::beat(&call, CheckStatus::Warning)).await,
        Endpoint::AgentCheckFail => Box::pin(agent_checks::beat(&call, CheckStatus::Critical)).await,
        Endpoint::AgentCheckUpdate => Box::pin(agent_checks::update(call)).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclean_paths_are_cleaned() {
        assert_eq!(unclean("/v1//kv/x").as_deref(), Some("/v1/kv/x"));
        assert_eq!(unclean("/v1/./kv/../kv/x/").as_deref(), Some("/v1/kv/x/"));
        assert_eq!(unclean("/v1/kv/a%2F%2Fb"), None);
        assert_eq!(unclean("/v1/kv/"), None);
    }
}
