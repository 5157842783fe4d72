//! The route table, and nothing else: which path means what, with which methods.
//!
//! A path that ends in a slash takes the rest as its argument; the longest such prefix wins.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::{HeaderValue, Method};

/// The methods of a path, as `OPTIONS` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Methods(&'static str);

impl Methods {
    pub(super) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.0)
    }

    pub(super) fn has(self, method: &Method) -> bool {
        self.0.split(',').any(|one| one == method.as_str())
    }
}

const GET: Methods = Methods("OPTIONS,GET");
const PUT: Methods = Methods("OPTIONS,PUT");
const CONFIG: Methods = Methods("OPTIONS,GET,DELETE");
const KV: Methods = Methods("OPTIONS,GET,PUT,DELETE");

/// What a path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    AgentSelf,
    AgentMembers,
    AgentServices,
    AgentService,
    AgentChecks,
    AgentHealthById,
    AgentHealthByName,
    AgentServiceRegister,
    AgentServiceDeregister,
    AgentServiceMaintenance,
    AgentMaintenance,
    AgentCheckRegister,
    AgentCheckDeregister,
    AgentCheckPass,
    AgentCheckWarn,
    AgentCheckFail,
    AgentCheckUpdate,
    CatalogRegister,
    CatalogDeregister,
    CatalogDatacenters,
    CatalogNodes,
    CatalogServices,
    CatalogService,
    CatalogConnect,
    CatalogNode,
    CatalogNodeServices,
    HealthService,
    HealthConnect,
    HealthNode,
    HealthChecks,
    HealthState,
    Kv,
    ConfigPut,
    Config,
    EventFire,
    EventList,
    SessionCreate,
    SessionDestroy,
    SessionRenew,
    SessionInfo,
    SessionNode,
    SessionList,
    StatusLeader,
    StatusPeers,
    Metrics,
    Console,
}

impl Endpoint {
    /// Its place in the table, and in [`names`].
    pub(super) fn place(self) -> usize {
        self as usize
    }
}

/// In the order of [`Endpoint`], which indexes it.
const ROUTES: &[(&str, Methods, Endpoint)] = &[
    ("/v1/agent/self", GET, Endpoint::AgentSelf),
    ("/v1/agent/members", GET, Endpoint::AgentMembers),
    ("/v1/agent/services", GET, Endpoint::AgentServices),
    ("/v1/agent/service/", GET, Endpoint::AgentService),
    ("/v1/agent/checks", GET, Endpoint::AgentChecks),
    ("/v1/agent/health/service/id/", GET, Endpoint::AgentHealthById),
    ("/v1/agent/health/service/name/", GET, Endpoint::AgentHealthByName),
    ("/v1/agent/service/register", PUT, Endpoint::AgentServiceRegister),
    ("/v1/agent/service/deregister/", PUT, Endpoint::AgentServiceDeregister),
    ("/v1/agent/service/maintenance/", PUT, Endpoint::AgentServiceMaintenance),
    ("/v1/agent/maintenance", PUT, Endpoint::AgentMaintenance),
    ("/v1/agent/check/register", PUT, Endpoint::AgentCheckRegister),
    ("/v1/agent/check/deregister/", PUT, Endpoint::AgentCheckDeregister),
    ("/v1/agent/check/pass/", PUT, Endpoint::AgentCheckPass),
    ("/v1/agent/check/warn/", PUT, Endpoint::AgentCheckWarn),
    ("/v1/agent/check/fail/", PUT, Endpoint::AgentCheckFail),
    ("/v1/agent/check/update/", PUT, Endpoint::AgentCheckUpdate),
    ("/v1/catalog/register", PUT, Endpoint::CatalogRegister),
    ("/v1/catalog/deregister", PUT, Endpoint::CatalogDeregister),
    ("/v1/catalog/datacenters", GET, Endpoint::CatalogDatacenters),
    ("/v1/catalog/nodes", GET, Endpoint::CatalogNodes),
    ("/v1/catalog/services", GET, Endpoint::CatalogServices),
    ("/v1/catalog/service/", GET, Endpoint::CatalogService),
    ("/v1/catalog/connect/", GET, Endpoint::CatalogConnect),
    ("/v1/catalog/node/", GET, Endpoint::CatalogNode),
    ("/v1/catalog/node-services/", GET, Endpoint::CatalogNodeServices),
    ("/v1/health/service/", GET, Endpoint::HealthService),
    ("/v1/health/connect/", GET, Endpoint::HealthConnect),
    ("/v1/health/node/", GET, Endpoint::HealthNode),
    ("/v1/health/checks/", GET, Endpoint::HealthChecks),
    ("/v1/health/state/", GET, Endpoint::HealthState),
    ("/v1/kv/", KV, Endpoint::Kv),
    ("/v1/config", PUT, Endpoint::ConfigPut),
    ("/v1/config/", CONFIG, Endpoint::Config),
    ("/v1/event/fire/", PUT, Endpoint::EventFire),
    ("/v1/event/list", GET, Endpoint::EventList),
    ("/v1/session/create", PUT, Endpoint::SessionCreate),
    ("/v1/session/destroy/", PUT, Endpoint::SessionDestroy),
    ("/v1/session/renew/", PUT, Endpoint::SessionRenew),
    ("/v1/session/info/", GET, Endpoint::SessionInfo),
    ("/v1/session/node/", GET, Endpoint::SessionNode),
    ("/v1/session/list", GET, Endpoint::SessionList),
    ("/v1/status/leader", GET, Endpoint::StatusLeader),
    ("/v1/status/peers", GET, Endpoint::StatusPeers),
    ("/metrics", GET, Endpoint::Metrics),
    ("/ui/", GET, Endpoint::Console),
];

static TABLE: LazyLock<HashMap<&'static str, (Methods, Endpoint)>> =
    LazyLock::new(|| ROUTES.iter().map(|&(path, methods, endpoint)| (path, (methods, endpoint))).collect());

/// The path of every route, without its argument: the label that its numbers are kept under.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(path, ..)| *path)
}

/// Finds what a decoded path means, and the argument in it.
pub(super) fn find(path: &str) -> Option<(Methods, Endpoint, &str)> {
    if let Some(&(methods, endpoint)) = TABLE.get(path) {
        return Some((methods, endpoint, ""));
    }
    // From the right: the longest registered prefix wins.
    let mut end = path.len();
    while let Some(slash) = path[..end].rfind('/') {
        if let Some(&(methods, endpoint)) = TABLE.get(&path[..=slash]) {
            return Some((methods, endpoint, &path[slash + 1..]));
        }
        end = slash;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_they_should() {
        let check = |path: &str, expect: Option<(Endpoint, &str)>| {
            assert_eq!(find(path).map(|(_, endpoint, rest)| (endpoint, rest)), expect, "{path}");
        };
        check("/v1/kv/", Some((Endpoint::Kv, "")));
        check("/v1/kv/a/b c/d", Some((Endpoint::Kv, "a/b c/d")));
        check("/v1/kv", None);
        check("/v1/agent/service/register", Some((Endpoint::AgentServiceRegister, "")));
        check("/v1/agent/service/web", Some((Endpoint::AgentService, "web")));
        check("/v1/agent/service/deregister/a/b", Some((Endpoint::AgentServiceDeregister, "a/b")));
        check("/v1/agent/health/service/name/x", Some((Endpoint::AgentHealthByName, "x")));
        check("/v1/status/leader", Some((Endpoint::StatusLeader, "")));
        check("/v1/status/leader/x", None);
        check("/v1/nope", None);
        check("/", None);
    }

    #[test]
    fn the_table_is_in_the_order_of_the_endpoints() {
        for (place, (.., endpoint)) in ROUTES.iter().enumerate() {
            assert_eq!(*endpoint as usize, place, "{endpoint:?}");
        }
    }

    #[test]
    fn every_route_is_its_own() {
        assert_eq!(TABLE.len(), ROUTES.len());
    }
}
