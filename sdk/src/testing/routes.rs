//! The routes of agent, health, catalog and status: what a request asks of the state. No I/O.
//!
//! Requests are read by the same strict reader, and answers written from the same types, as a control node's. What is not
//! here is answered 404 with a text that says so. Called by `serve`, which waits, and meets the faults.

use std::collections::{BTreeMap, BTreeSet};

use callboard_proto::api::agent::{AgentService, NODE_ADDRESS_PARAM, NODE_PARAM, ServiceRequest};
use callboard_proto::api::catalog::{CatalogService, NodeService, NodeShown};
use callboard_proto::api::check::CheckUpdate;
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::health::{HealthCheck, ServiceEntry};
use callboard_proto::api::query::{Params, ReadOptions, parse_bool};
use callboard_proto::filter::Filter;
use callboard_proto::text::Text;
use callboard_proto::{CheckStatus, check::AggregatedStatus};
use http::Method;
use serde::Serialize;
use tokio::time::Instant;

use super::state::{NODE, Row, State};
use super::store_routes;

/// A request, taken apart.
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    /// Still escaped.
    pub(super) path: &'a str,
    pub(super) params: &'a Params<'a>,
    pub(super) options: &'a ReadOptions,
    pub(super) body: &'a [u8],
    pub(super) now: Instant,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// None: not a read that can wait.
    pub(super) index: Option<u64>,
    /// What was asked for is not there, so that news of others must not wake whoever waits for it.
    pub(super) absent: bool,
    /// The index can only be compared for equality.
    pub(super) pseudo: bool,
}

impl Reply {
    pub(super) fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, body: text.into().into_bytes(), index: None, absent: false, pseudo: false }
    }

    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { body, ..Self::text(200, "") },
            Err(error) => Self::text(500, error.to_string()),
        }
    }

    pub(super) fn at(self, index: u64) -> Self {
        Self { index: Some(index.max(1)), ..self }
    }

    pub(super) fn nothing(self) -> Self {
        Self { absent: true, ..self }
    }
}

impl Call<'_> {
    /// Returns the rest of the path behind a prefix, unescaped.
    pub(super) fn after(&self, prefix: &str) -> Option<String> {
        let rest = self.path.strip_prefix(prefix)?;
        Some(percent_encoding::percent_decode_str(rest).decode_utf8_lossy().into_owned())
    }

    fn node(&self) -> &str {
        self.params.filled(NODE_PARAM).unwrap_or(NODE)
    }

    fn key(&self, id: &str) -> (String, String) {
        (id.to_owned(), self.node().to_owned())
    }
}

/// Answers a request.
pub(super) fn answer(state: &mut State, call: &Call<'_>) -> Reply {
    let put = *call.method == Method::PUT;
    if call.path.starts_with("/v1/agent/") {
        return if put { agent_write(state, call) } else { agent_read(state, call) };
    }
    if let Some(reply) = store_routes::answer(state, call) {
        return reply;
    }
    catalog(state, call)
        .unwrap_or_else(|| Reply::text(404, format!("the kit has no route {} {}", call.method, call.path)))
}

fn agent_write(state: &mut State, call: &Call<'_>) -> Reply {
    if call.path == "/v1/agent/service/register" {
        let request: ServiceRequest = match from_slice(call.body, Unknown::Refuse) {
            Ok(request) => request,
            Err(error) => return Reply::text(400, error.to_string()),
        };
        let address = call.params.filled(NODE_ADDRESS_PARAM).unwrap_or("127.0.0.1");
        return match state.register(request, call.node(), address, call.now) {
            Ok(()) => Reply::text(200, ""),
            Err(text) => Reply::text(400, text),
        };
    }
    let known = |known: bool, what: &str, id: &str| match known {
        true => Reply::text(200, ""),
        false => {
            Reply::text(404, format!("Unknown {what} ID {id:?}. Ensure that the {what} ID is passed, not the name."))
        }
    };
    if let Some(id) = call.after("/v1/agent/service/deregister/") {
        return known(state.remove_at(&call.key(&id)), "service", &id);
    }
    if let Some(id) = call.after("/v1/agent/service/maintenance/") {
        let Some(on) = call.params.get("enable").and_then(parse_bool) else {
            return Reply::text(400, "Missing value for enable");
        };
        return known(
            state.maintain(&call.key(&id), on, call.params.get("reason").unwrap_or_default()),
            "service",
            &id,
        );
    }
    let short = [("pass", CheckStatus::Passing), ("warn", CheckStatus::Warning), ("fail", CheckStatus::Critical)];
    let short =
        short.into_iter().find_map(|(word, status)| Some((call.after(&format!("/v1/agent/check/{word}/"))?, status)));
    let (id, update) = match (call.after("/v1/agent/check/update/"), short) {
        (Some(id), _) => match from_slice::<CheckUpdate>(call.body, Unknown::Refuse) {
            Ok(update) => (id, update),
            Err(error) => return Reply::text(400, error.to_string()),
        },
        (None, Some((id, status))) => {
            let output = call.params.get("note").unwrap_or_default().to_owned();
            (id, CheckUpdate { status: status.to_string(), output, figures: None })
        }
        (None, None) => return Reply::text(404, format!("the kit has no route PUT {}", call.path)),
    };
    match state.beat(call.node(), &id, update, call.now) {
        Ok(found) => known(found, "check", &id),
        Err(text) => Reply::text(400, text),
    }
}

fn agent_read(state: &State, call: &Call<'_>) -> Reply {
    let mine = || state.rows.values().filter(|row| row.node.name.as_str() == call.node());
    let datacenter = datacenter();
    match call.path {
        "/v1/agent/services" => {
            let rows = mine().map(|row| (row.instance.id.to_string(), AgentService::of(&row.instance, &datacenter)));
            Reply::json(&rows.collect::<BTreeMap<_, _>>())
        }
        "/v1/agent/checks" => {
            let checks = mine().flat_map(|row| &row.checks);
            Reply::json(&checks.map(|check| (check.id.to_string(), HealthCheck::of(check))).collect::<BTreeMap<_, _>>())
        }
        "/v1/agent/self" => Reply::json(&serde_json::json!({"Config": {"Datacenter": "dc1", "NodeName": NODE}})),
        _ => match call.after("/v1/agent/service/") {
            Some(id) => match state.rows.get(&call.key(&id)) {
                Some(row) => Reply::json(&AgentService::of(&row.instance, &datacenter)),
                None => Reply::text(404, format!("unknown service ID: {id}")),
            },
            None => Reply::text(404, format!("the kit has no route GET {}", call.path)),
        },
    }
}

fn catalog(state: &State, call: &Call<'_>) -> Option<Reply> {
    let datacenter = datacenter();
    if let Some(service) = call.after("/v1/health/service/") {
        let filter = match Filter::<ServiceEntry>::parse(call.options.filter.as_deref().unwrap_or_default()) {
            Ok(filter) => filter,
            Err(error) => return Some(Reply::text(400, error.to_string())),
        };
        let passing = call.params.has("passing");
        let rows: Vec<ServiceEntry> = of_service(state, &service)
            .map(|row| entry(row, &datacenter))
            .filter(|entry| !passing || entry.status() == AggregatedStatus::Status(CheckStatus::Passing))
            .filter(|entry| filter.matches(entry))
            .collect();
        let reply = Reply::json(&rows).at(state.service_index(&service));
        return Some(if of_service(state, &service).next().is_none() { reply.nothing() } else { reply });
    }
    if let Some(service) = call.after("/v1/catalog/service/") {
        let rows = of_service(state, &service).map(|row| CatalogService::of(&row.node, &row.instance, &datacenter));
        return Some(Reply::json(&rows.collect::<Vec<_>>()).at(state.service_index(&service)));
    }
    let reply = match call.path {
        "/v1/catalog/services" => {
            let mut services: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for row in state.rows.values() {
                let tags = services.entry(row.instance.service.to_string()).or_default();
                tags.extend(row.instance.tags.iter().map(ToString::to_string));
            }
            Reply::json(&services).at(state.services_index())
        }
        "/v1/catalog/nodes" => {
            let nodes: BTreeMap<_, _> = state.rows.values().map(|row| (row.node.name.clone(), &row.node)).collect();
            Reply::json(&nodes.values().map(|node| NodeShown::of(node, &datacenter)).collect::<Vec<_>>())
                .at(state.services_index())
        }
        "/v1/catalog/datacenters" => Reply::json(&["dc1"]),
        "/v1/status/leader" => Reply::json(&"127.0.0.1:8300"),
        "/v1/status/peers" => Reply::json(&["127.0.0.1:8300"]),
        _ => return None,
    };
    Some(reply)
}

fn datacenter() -> Text {
    "dc1".into()
}

fn of_service<'a>(state: &'a State, service: &'a str) -> impl Iterator<Item = &'a Row> {
    state.rows.values().filter(move |row| row.instance.service.as_str().eq_ignore_ascii_case(service))
}

fn entry(row: &Row, datacenter: &Text) -> ServiceEntry {
    ServiceEntry {
        node: NodeShown::of(&row.node, datacenter),
        service: NodeService::of(&row.instance),
        checks: row.checks.iter().map(HealthCheck::of).collect(),
    }
}
