//! One request, from the wire to its handler.
//!
//! Decodes the path once, finds the route, reads the query, and hands over a [`Call`]. Bodies are read on
//! demand, up to a bound, within a time.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use callboard_proto::api::agent::{InvalidRequest, NODE_ADDRESS_PARAM, NODE_PARAM};
use callboard_proto::api::query::{Params, ReadOptions};
use callboard_proto::{Node, NodeName};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::reply::{self, Failure, Response};
use super::routes::{self, Endpoint};
use super::{Api, agent, agent_checks, catalog, catalog_write, health, kv, status};
use crate::registry::NodeUpdate;

/// How long a body may pause between two pieces.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);
/// The largest body of anything but a key, in bytes.
pub(super) const BODY_MAX: usize = 512 * 1024;

/// A request whose path is known.
pub(super) struct Call<'a> {
    pub(super) api: &'a Api,
    pub(super) method: Method,
    /// What follows the route's prefix, decoded.
    pub(super) rest: &'a str,
    pub(super) params: Params<'a>,
    /// The query as it was sent.
    pub(super) query: &'a str,
    pub(super) accept_text: bool,
    body: Option<(Incoming, Option<u64>)>,
}

impl Call<'_> {
    /// The options that every read understands, for our datacenter.
    pub(super) fn read_options(&self) -> Result<ReadOptions, Failure> {
        let options = ReadOptions::from_params(&self.params)?;
        self.is_ours(options.datacenter.as_deref().unwrap_or(""))?;
        Ok(options)
    }

    /// Refuses a datacenter that is not ours; none is ours.
    pub(super) fn is_ours(&self, datacenter: &str) -> Result<(), Failure> {
        let ours = datacenter.is_empty() || datacenter.eq_ignore_ascii_case(self.api.datacenter());
        if ours { Ok(()) } else { Err(Failure::Datacenter) }
    }

    /// Whether the answer is for people.
    pub(super) fn pretty(&self) -> bool {
        self.params.has("pretty") || self.api.identity.dev
    }

    /// The argument in the path.
    pub(super) fn argument(&self, missing: &str) -> Result<&str, Failure> {
        if self.rest.is_empty() { Err(Failure::BadRequest(missing.to_owned())) } else { Ok(self.rest) }
    }

    /// The whole body, up to a bound.
    pub(super) async fn body(&mut self, max: usize) -> Result<Bytes, Failure> {
        let Some((body, length)) = self.body.take() else { return Ok(Bytes::new()) };
        if let Some(length) = length.filter(|length| *length > max as u64) {
            return Err(too_large(Some(length), max));
        }
        let mut body = Limited::new(body, max);
        let mut whole: Option<Cow<'static, [u8]>> = None;
        let mut only = Bytes::new();
        loop {
            let frame = match tokio::time::timeout(BODY_IDLE_MAX, body.frame()).await {
                Err(_) => return Err(Failure::Incomplete(format!("nothing came for {BODY_IDLE_MAX:?}"))),
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large(None, max)),
                Ok(Some(Err(error))) => return Err(Failure::Incomplete(error.to_string())),
            };
            let Ok(data) = frame.into_data() else { continue };
            // One piece, the usual case, is not copied.
            match &mut whole {
                Some(whole) => whole.to_mut().extend_from_slice(&data),
                None if only.is_empty() => only = data,
                None => whole = Some(Cow::Owned([&only[..], &data[..]].concat())),
            }
        }
        Ok(whole.map_or(only, |whole| Bytes::from(whole.into_owned())))
    }

    /// The node that an agent route is about: this one, or the one that the process names.
    pub(super) fn scope(&self) -> Result<Scope, Failure> {
        let identity = &self.api.identity;
        let Some(name) = self.params.filled(NODE_PARAM) else {
            return Ok(Scope { node: identity.node(), update: NodeUpdate::Ensure, own: true });
        };
        let name = NodeName::parse(name).map_err(|error| InvalidRequest(format!("Invalid node: {error}")))?;
        if name.folded() == identity.node_name.folded() {
            return Ok(Scope { node: identity.node(), update: NodeUpdate::Ensure, own: true });
        }
        let address = self.params.filled(NODE_ADDRESS_PARAM).unwrap_or("");
        let address = callboard_proto::api::agent::text(NODE_ADDRESS_PARAM, address, 512)?;
        let update = if address.is_empty() { NodeUpdate::Skip } else { NodeUpdate::Put };
        Ok(Scope { node: Node { name, address, ..Node::default() }, update, own: false })
    }
}

/// The node that an agent route is about.
pub(super) struct Scope {
    pub(super) node: Node,
    pub(super) update: NodeUpdate,
    /// Whether it is this control node.
    pub(super) own: bool,
}

fn too_large(length: Option<u64>, max: usize) -> Failure {
    let size = length.map(|length| format!("({length} bytes)")).unwrap_or_default();
    Failure::TooLarge(format!(
        "Request body{size} too large, max size: {max} bytes. The value is too large for the registry; keep it elsewhere and store a reference."
    ))
}

/// Answers a request, whatever it is.
pub(super) async fn handle(api: &Api, request: Request<Incoming>) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    let accept_text = parts.headers.get(http::header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    let query = parts.uri.query().unwrap_or("");
    let raw = parts.uri.path();
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
        return api.telemetry.answered(None, begun, unknown(api, path, &parts.method));
    };
    let answer = if parts.method == Method::OPTIONS {
        Ok(reply::options(methods))
    } else if !methods.has(&parts.method) {
        Err(Failure::Method { method: parts.method, allowed: methods })
    } else {
        match Params::parse(query) {
            Err(error) => Err(error.into()),
            Ok(params) => {
                let call =
                    Call { api, method: parts.method, rest, params, query, accept_text, body: Some((body, length)) };
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
        Endpoint::AgentCheckPass => Box::pin(agent_checks::beat(&call, callboard_proto::CheckStatus::Passing)).await,
        Endpoint::AgentCheckWarn => Box::pin(agent_checks::beat(&call, callboard_proto::CheckStatus::Warning)).await,
        Endpoint::AgentCheckFail => Box::pin(agent_checks::beat(&call, callboard_proto::CheckStatus::Critical)).await,
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
