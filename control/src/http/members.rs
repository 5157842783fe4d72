//! `/v1/agent/members`, `join`, `leave` and `force-leave`: who is in the cluster, and how to change that.

use std::collections::BTreeMap;

use callboard_proto::acl::{Level, Resource};
use callboard_proto::filter::Document;
use callboard_proto::filter::shapes::Members;
use serde_json::{Value, json};

use super::Api;
use super::describe::*;
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{Route, get, now, put};
use super::select::filter;
use crate::cluster::{Card, Member, MemberRole, MemberStatus};
use crate::identity::VERSION;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/agent/members",
        operations: &[get("The members of the cluster", |call| now(members(call)))
            .with(&[MEMBERS, FILTER])
            .gives(shaped::<Vec<BTreeMap<String, Value>>>())],
    },
    Route {
        path: "/v1/agent/join/",
        operations: &[put("Joins another node's cluster", |call| Box::pin(join(call)))
            .of("address")
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/leave",
        operations: &[put("Leaves the cluster and ends this node's process", |call| now(leave(call)))
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
    Route {
        path: "/v1/agent/force-leave/",
        operations: &[put("Takes a member for one that left", |call| Box::pin(force_leave(call)))
            .of("node")
            .takes(Body::Empty)
            .gives(Body::Empty)],
    },
];

/// Whether a parameter is there and does not say no.
fn flag(call: &Call<'_>, name: &str) -> bool {
    call.params.get(name).is_some_and(|value| value.is_empty() || value == "1" || value == "true")
}

/// A member as clients know it.
fn shown(api: &Api, card: &Card, status: MemberStatus) -> Value {
    let mut tags = json!({
        "dc": card.datacenter, "id": card.node_id, "build": format!("{VERSION}:callboard"),
        "vsn": "2", "vsn_min": "2", "vsn_max": "3", "segment": "",
    });
    match card.role {
        MemberRole::Client => tags["role"] = json!("node"),
        MemberRole::Server { bootstrap, expect } => {
            let more = [
                ("role", "consul".to_owned()),
                ("port", card.rpc.port().to_string()),
                ("raft_vsn", "3".to_owned()),
                ("wan_join_port", card.wan_port.to_string()),
                ("acls", u8::from(api.acl.is_enabled()).to_string()),
                ("ft_fs", "1".to_owned()),
                ("ft_si", "1".to_owned()),
                ("grpc_port", "-1".to_owned()),
                ("grpc_tls_port", "-1".to_owned()),
            ];
            for (name, value) in more {
                tags[name] = json!(value);
            }
            if bootstrap {
                tags["bootstrap"] = json!("1");
            }
            if expect > 0 {
                tags["expect"] = json!(expect.to_string());
            }
        }
    }
    json!({
        "Name": card.name, "Addr": card.gossip.ip().to_string(), "Port": card.gossip.port(), "Tags": tags,
        "Status": status as u8,
        "ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2,
        "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
    })
}

/// This node as a member.
pub(super) fn own(api: &Api) -> Value {
    let members = api.cluster.members();
    let card = api.cluster.card();
    let status = members.get(&card.name).map_or(MemberStatus::Alive, |member| member.status);
    shown(api, card, status)
}

fn members(call: &Call<'_>) -> Result<Response, Failure> {
    let access = call.access()?;
    let roll = call.api.cluster.members();
    let wan = flag(call, "wan");
    // Of the wide area, a node knows the servers of its own datacenter.
    let asked: Vec<&Member> = roll.iter().filter(|member| !wan || member.card.is_server()).collect();
    let may = |member: &&&Member| access.may(Resource::Node, member.name.as_str(), Level::Read);
    let filter = filter::<Document<Members>>(&call.read_options()?)?;
    let seen: Vec<Value> = asked
        .iter()
        .filter(may)
        .map(|member| {
            let mut row = shown(call.api, &member.card, member.status);
            if wan {
                row["Name"] = json!(format!("{}.{}", member.card.name, member.card.datacenter));
                row["Port"] = json!(member.card.wan_port);
            }
            row
        })
        .collect();
    let left_out = seen.len() < asked.len();
    let members: Vec<Value> = seen.into_iter().filter(|row| filter.matches(&Document::of(row))).collect();
    let mut response = reply::json(&members, call.pretty());
    if left_out {
        reply::tell_left_out(&mut response);
    }
    Ok(response)
}

async fn join(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Agent, call.api.identity.node_name.as_str(), Level::Write)?;
    let address = call.argument("Missing address")?;
    if flag(call, "wan") {
        return Err(Failure::Refused("there is only one datacenter; join its members without ?wan".to_owned()));
    }
    call.api.cluster.gossip().join(address).await.map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(reply::empty())
}

fn leave(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Agent, call.api.identity.node_name.as_str(), Level::Write)?;
    call.api.leave.cancel();
    Ok(reply::empty())
}

async fn force_leave(call: &Call<'_>) -> Result<Response, Failure> {
    call.permit(Resource::Operator, "", Level::Write)?;
    let mut name = call.argument("Missing node name")?;
    if flag(call, "wan") {
        // Names of the wide area end in the datacenter.
        name = name.strip_suffix(&format!(".{}", call.api.datacenter())).unwrap_or(name);
    }
    let told = call.api.cluster.force_leave(name, flag(call, "prune")).await;
    told.map_err(|error| Failure::Refused(error.to_string()))?;
    Ok(reply::empty())
}
