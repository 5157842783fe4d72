//! `/v1/operator/usage`: how much there is.

use std::collections::BTreeMap;

use callboard_proto::acl::{Level, Resource};
use serde_json::json;

use super::describe::{Body, Kind, MODES, Member};
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes::{Route, get};
use crate::identity::CONSUL_SERVICE;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/operator/usage",
    operations: &[get("How many nodes, services and instances there are", |call| Box::pin(usage(call)))
        .with(&[MODES])
        .gives(Body::Object(USED))],
}];

const USED: &[Member] = &[
    ("Usage", Kind::Object),
    ("Index", Kind::Number),
    ("LastContact", Kind::Number),
    ("KnownLeader", Kind::Bool),
    ("ConsistencyLevel", Kind::Text),
    ("NotModified", Kind::Bool),
    ("Backend", Kind::Number),
    ("ResultsFilteredByACLs", Kind::Bool),
];

/// The kinds of instances that are counted by themselves.
const KINDS: [&str; 5] = ["connect-native", "connect-proxy", "ingress-gateway", "mesh-gateway", "terminating-gateway"];

async fn usage(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    call.permit(Resource::Operator, "", Level::Read)?;
    let view = call.api.cluster.query(options.consistency).await?;
    let registry = &view.registry;
    let mut mesh: BTreeMap<&str, usize> = KINDS.iter().map(|kind| (*kind, 0)).collect();
    let (mut instances, mut billable) = (0, 0);
    for (_, instance) in registry.services().flat_map(|row| registry.members(row)) {
        instances += 1;
        let kind = if instance.connect_native { "connect-native" } else { &*instance.kind };
        if let Some(count) = mesh.get_mut(kind) {
            *count += 1;
        }
        // What carries the traffic of others, and the control nodes, are nobody's own services.
        billable += usize::from(instance.kind.is_empty() && instance.service.as_str() != CONSUL_SERVICE);
    }
    let used = json!({
        "Nodes": registry.nodes().count(), "Services": registry.services().count(), "ServiceInstances": instances,
        "ConnectServiceInstances": mesh, "BillableServiceInstances": billable,
    });
    let index = registry.nodes_index().max(registry.services_index()).on_wire();
    let body = json!({
        "Usage": {&**call.api.datacenter(): used}, "Index": index, "LastContact": view.last_contact.as_millis() as u64,
        "KnownLeader": view.known_leader, "ConsistencyLevel": options.consistency.as_str(), "NotModified": false,
        "Backend": 0, "ResultsFilteredByACLs": false,
    });
    Ok(reply::json(&body, call.pretty()))
}
