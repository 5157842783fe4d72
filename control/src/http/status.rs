//! `/v1/status/…`, `/v1/agent/self` and `/metrics`: the node about itself.

use std::collections::BTreeMap;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::check::CheckOwner;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::describe::*;
use super::members;
use super::payload::Payload;
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{Route, get, now};
use crate::cluster::MemberStatus;
use crate::identity::VERSION;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/agent/self",
        operations: &[get("This node: its settings, numbers and place in the cluster", |call| now(agent_self(call)))
            .gives(shaped::<BTreeMap<String, BTreeMap<String, serde_json::Value>>>())],
    },
    Route {
        path: "/v1/status/leader",
        operations: &[get("The address of the leader", |call| now(leader(call))).gives(shaped::<String>())],
    },
    Route {
        path: "/v1/status/peers",
        operations: &[get("The addresses of the voters", |call| now(peers(call))).gives(shaped::<Vec<String>>())],
    },
    Route {
        path: "/metrics",
        operations: &[get("This node's numbers as Prometheus text", |call| now(metrics(call))).gives(Body::Text)],
    },
    Route {
        path: "/ui/",
        operations: &[get("The console", |call| now(Ok(crate::console::page(call.rest).map(Payload::Whole))))
            .gives(Body::Free("a page, or a file of one"))],
    },
];

fn leader(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    Ok(reply::json(&call.api.cluster.leader_address(), call.pretty()))
}

fn peers(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    Ok(reply::json(&call.api.cluster.voter_addresses(), call.pretty()))
}

fn agent_self(call: &Call<'_>) -> Result<Response, Failure> {
    let api = call.api;
    let identity = &api.identity;
    call.permit(Resource::Agent, identity.node_name.as_str(), Level::Read)?;
    let acl = api.acl.is_enabled();
    let registry = api.cluster.registry();
    let status = api.cluster.status();
    let members = api.cluster.members();
    let checks: Vec<_> =
        registry.checks_on(&identity.node_name).filter(|check| check.owner == CheckOwner::Agent).collect();
    let beaten = checks.iter().filter(|check| &*check.kind == "ttl").count();
    let services = registry.instances_on(&identity.node_name).count();
    let meta: serde_json::Map<String, Value> =
        identity.node().meta.iter().map(|(key, value)| (key.to_string(), json!(value))).collect();
    let mut debug = json!({
        "Datacenter": identity.datacenter, "NodeName": identity.node_name, "BindAddr": identity.bind.to_string(),
        "AdvertiseAddrLAN": identity.advertise.to_string(), "HTTPPort": identity.http_port, "HTTPSPort": -1,
        "DNSPort": identity.dns_port, "ServerPort": identity.server_port, "SerfPortLAN": identity.serf_port,
        "SerfPortWAN": identity.serf_wan_port, "ACLsEnabled": acl, "ACLDefaultPolicy": api.acl.fallback().as_str(),
        "DNSDomain": identity.domain,
    });
    if let (Value::Object(debug), Value::Object(settings)) = (&mut debug, &**identity.settings.load()) {
        debug.extend(settings.clone());
    }
    debug["Bootstrap"] = json!(identity.bootstrap);
    let body = json!({
        "Config": {
            "Datacenter": identity.datacenter, "PrimaryDatacenter": identity.datacenter, "NodeName": identity.node_name,
            "NodeID": identity.node_id, "Revision": "", "Server": identity.server, "Version": VERSION, "BuildDate": "",
        },
        "DebugConfig": debug,
        "Coord": api.cluster.gossip().place(),
        "Member": members::own(api),
        "Stats": {
            "agent": {
                "check_monitors": (checks.len() - beaten).to_string(), "check_ttls": beaten.to_string(),
                "checks": checks.len().to_string(), "services": services.saturating_sub(1).to_string(),
            },
            "build": {"prerelease": "", "revision": "", "version": VERSION, "version_metadata": ""},
            "consul": {
                "acl": if acl { "enabled" } else { "disabled" }, "bootstrap": identity.bootstrap.to_string(), "known_datacenters": "1",
                "leader": api.cluster.is_leader().to_string(), "leader_addr": api.cluster.leader_address(), "server": identity.server.to_string(),
            },
            "raft": {
                "term": status.term.to_string(), "last_log_index": status.last_log.to_string(),
                "commit_index": status.committed.to_string(), "applied_index": status.applied.to_string(),
                "last_snapshot_index": status.checkpoint.to_string(), "state": format!("{:?}", status.role),
                "num_peers": status.voters.len().saturating_sub(1).to_string(),
            },
            "runtime": {
                "arch": std::env::consts::ARCH, "os": std::env::consts::OS,
                "cpu_count": std::thread::available_parallelism().map_or(1, usize::from).to_string(),
            },
            "serf_lan": {
                "members": members.len().to_string(), "failed": members.count(MemberStatus::Failed).to_string(),
                "left": members.count(MemberStatus::Left).to_string(),
                "encrypted": api.cluster.gossip().keyring().is_sealing().to_string(),
            },
            "serf_wan": {"members": "1", "failed": "0", "left": "0"},
        },
        "Meta": meta,
        "xDS": {"SupportedProxies": {}, "Port": -1, "Ports": {"Plaintext": -1, "TLS": -1}},
    });
    Ok(reply::json(&body, call.pretty()))
}

pub(super) fn metrics(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Agent, call.api.identity.node_name.as_str(), Level::Read)?;
    let body = call.api.telemetry.render(&call.api.cluster);
    let mut response = reply::text(http::StatusCode::OK, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    Ok(response)
}
