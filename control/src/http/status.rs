//! `/v1/status/…`, `/v1/agent/self`, `/v1/agent/members` and `/metrics`: the node about itself.

use std::collections::BTreeMap;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::check::CheckOwner;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::describe::*;
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{Route, get, now};
use crate::identity::VERSION;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/agent/self",
        operations: &[get("This node: its settings, numbers and place in the cluster", |call| now(agent_self(call)))
            .gives(shaped::<BTreeMap<String, BTreeMap<String, serde_json::Value>>>())],
    },
    Route {
        path: "/v1/agent/members",
        operations: &[get("The members of the cluster", |call| now(members(call)))
            .with(&[MEMBERS])
            .gives(shaped::<Vec<BTreeMap<String, serde_json::Value>>>())],
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
    Route { path: "/ui/", operations: &[get("The console", |call| now(Ok(crate::console::page(call.rest))))] },
];

fn leader_address(call: &Call<'_>) -> String {
    let status = call.api.cluster.status();
    status.leader.map(|leader| leader.address).unwrap_or_default()
}

fn leader(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    Ok(reply::json(&leader_address(call), call.pretty()))
}

fn peers(call: &Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let peers: Vec<String> = call.api.cluster.status().voters.into_iter().map(|peer| peer.address).collect();
    Ok(reply::json(&peers, call.pretty()))
}

/// This node as a member of the cluster.
fn member(call: &Call<'_>) -> Value {
    let identity = &call.api.identity;
    json!({
        "Name": identity.node_name,
        "Addr": identity.advertise.to_string(),
        "Port": identity.serf_port,
        "Tags": {
            "role": "consul", "dc": identity.datacenter, "id": identity.node_id, "port": identity.server_port.to_string(),
            "build": format!("{VERSION}:callboard"), "vsn": "2", "vsn_min": "2", "vsn_max": "3", "raft_vsn": "3",
            "segment": "", "wan_join_port": identity.serf_wan_port.to_string(), "acls": if call.api.acl.is_enabled() { "1" } else { "0" }, "bootstrap": "1",
            "ft_fs": "1", "ft_si": "1", "grpc_port": "-1", "grpc_tls_port": "-1",
        },
        "Status": 1,
        "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2,
        "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
    })
}

fn members(call: &Call<'_>) -> Result<Response, Failure> {
    if !call.access()?.may(Resource::Node, call.api.identity.node_name.as_str(), Level::Read) {
        let mut response = reply::json::<[Value]>(&[], call.pretty());
        reply::tell_left_out(&mut response);
        return Ok(response);
    }
    let mut member = member(call);
    if call.params.get("wan").is_some_and(|wan| wan.is_empty() || wan == "1" || wan == "true") {
        let identity = &call.api.identity;
        member["Name"] = json!(format!("{}.{}", identity.node_name, identity.datacenter));
        member["Port"] = json!(identity.serf_wan_port);
    }
    Ok(reply::json(&[member], call.pretty()))
}

fn agent_self(call: &Call<'_>) -> Result<Response, Failure> {
    let api = call.api;
    let identity = &api.identity;
    call.permit(Resource::Agent, identity.node_name.as_str(), Level::Read)?;
    let acl = api.acl.is_enabled();
    let registry = api.cluster.registry();
    let status = api.cluster.status();
    let checks: Vec<_> =
        registry.checks_on(&identity.node_name).filter(|check| check.owner == CheckOwner::Agent).collect();
    let beaten = checks.iter().filter(|check| &*check.kind == "ttl").count();
    let services = registry.instances_on(&identity.node_name).count();
    let meta: serde_json::Map<String, Value> =
        identity.node().meta.iter().map(|(key, value)| (key.to_string(), json!(value))).collect();
    let client: Vec<String> = identity.client.iter().map(ToString::to_string).collect();
    let body = json!({
        "Config": {
            "Datacenter": identity.datacenter, "PrimaryDatacenter": identity.datacenter, "NodeName": identity.node_name,
            "NodeID": identity.node_id, "Revision": "", "Server": true, "Version": VERSION, "BuildDate": "",
        },
        "DebugConfig": {
            "Datacenter": identity.datacenter, "NodeName": identity.node_name, "ServerMode": true, "DevMode": identity.dev,
            "Bootstrap": true, "ClientAddrs": client, "BindAddr": identity.bind.to_string(),
            "AdvertiseAddrLAN": identity.advertise.to_string(), "HTTPPort": identity.http_port, "HTTPSPort": -1,
            "DNSPort": identity.dns_port, "GRPCPort": -1, "GRPCTLSPort": -1, "ServerPort": identity.server_port,
            "SerfPortLAN": identity.serf_port, "SerfPortWAN": identity.serf_wan_port, "ConnectEnabled": false,
            "ACLsEnabled": acl, "ACLDefaultPolicy": api.acl.fallback().as_str(), "DNSDomain": identity.domain,
            "EnableRemoteScriptChecks": api.checks.scripts_enabled(),
            "EnableLocalScriptChecks": api.checks.scripts_local_enabled(),
            "UIConfig": {"Enabled": identity.console},
        },
        "Coord": {"Vec": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5},
        "Member": member(call),
        "Stats": {
            "agent": {
                "check_monitors": (checks.len() - beaten).to_string(), "check_ttls": beaten.to_string(),
                "checks": checks.len().to_string(), "services": services.saturating_sub(1).to_string(),
            },
            "build": {"prerelease": "", "revision": "", "version": VERSION, "version_metadata": ""},
            "consul": {
                "acl": if acl { "enabled" } else { "disabled" }, "bootstrap": "true", "known_datacenters": "1",
                "leader": api.cluster.is_leader().to_string(), "leader_addr": leader_address(call), "server": "true",
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
            "serf_lan": {"members": "1", "failed": "0", "left": "0"},
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
