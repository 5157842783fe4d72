//! Proxies that are registered along with a service, and go with it.
//!
//! What such a proxy is, is decided in `callboard_proto::api::sidecar`; here it gets a port that nobody on its node has.
//! Called by the agent routes.

use std::collections::BTreeSet;

use callboard_proto::api::agent::ServiceRequest;
use callboard_proto::api::sidecar::{Sidecar, free_port, sidecar_id};
use callboard_proto::{InstanceId, NodeName};
use tokio::sync::MutexGuard;

use super::reply::Failure;
use super::request::Call;
use crate::registry::{Command, Missing, NodeUpdate, Prune, Registration, Registry};

/// A proxy that is ready to be registered. While it is held, no other one gets a port.
pub(super) struct Ready<'a> {
    registration: Registration,
    _turn: MutexGuard<'a, ()>,
}

/// Takes the proxy out of a service's request, and finds it a port.
pub(super) async fn ready<'a>(
    call: &Call<'a>,
    request: &mut ServiceRequest,
    node: &NodeName,
) -> Result<Option<Ready<'a>>, Failure> {
    let Some(sidecar) = Sidecar::take(request)? else { return Ok(None) };
    let turn = call.api.sidecar_turn.lock().await;
    let registry = call.api.cluster.registry();
    let port = match sidecar.port() {
        Some(port) => port,
        None => {
            let known = registry.instances_on(node).find(|instance| instance.id.as_str() == sidecar.id());
            let taken: BTreeSet<u16> = registry.instances_on(node).map(|instance| instance.port).collect();
            let (first, last) = call.api.sidecar_ports;
            free_port((first, last), &taken, known.map(|instance| instance.port)).ok_or_else(|| {
                let text = format!("Invalid SidecarService: no port is left between {first} and {last}");
                Failure::BadRequest(text)
            })?
        }
    };
    let (instance, checks) = sidecar.at(port).validate(node)?;
    for new in &checks {
        call.api.checks.allows(&new.check)?;
    }
    let node = callboard_proto::Node { name: node.clone(), ..callboard_proto::Node::default() };
    // Its service made the node, or found it.
    let node_update = NodeUpdate::Skip;
    let registration = Registration { node, node_update, instance: Some(instance), checks, checks_replace: true };
    call.permit_registration(&registration)?;
    Ok(Some(Ready { registration, _turn: turn }))
}

impl Ready<'_> {
    /// Registers it.
    pub(super) async fn register(self, call: &Call<'_>) -> Result<(), Failure> {
        let node = self.registration.node.name.clone();
        let beaten: Vec<_> = self.registration.checks.iter().map(|new| new.check.id.clone()).collect();
        call.api.cluster.propose(Command::Register(Box::new(self.registration))).await?;
        call.api.checks.registered(&node, beaten).await;
        Ok(())
    }
}

/// The proxy that goes with an instance, if there is one.
pub(super) fn of(registry: &Registry, node: &NodeName, id: &InstanceId) -> Option<InstanceId> {
    let wanted = sidecar_id(id.as_str());
    let found = registry.instances_on(node).find(|instance| instance.id.as_str() == wanted)?;
    let proxy: serde_json::Value = serde_json::from_str(&found.proxy).ok()?;
    let goes = &*found.kind == "connect-proxy" && proxy["DestinationServiceID"] == id.as_str();
    goes.then(|| found.id.clone())
}

/// Deregisters a proxy whose service is gone.
pub(super) async fn remove(call: &Call<'_>, node: NodeName, id: InstanceId, prune: Prune) -> Result<(), Failure> {
    let command = Command::DeregisterInstance { node, id, prune, missing: Missing::Fine };
    call.api.cluster.propose(command).await?;
    Ok(())
}
