//! What gateways carry, and through which of their instances a service is reached from outside.

use callboard_proto::CheckStatus;
use callboard_proto::Index;
use callboard_proto::ServiceName;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::gateway::GatewayService;
use callboard_proto::api::health::ServiceEntry;
use callboard_proto::api::query::{ReadOptions, passing};
use callboard_proto::filter::Filter;
use callboard_proto::text::Text;

use super::blocking::{Answer, Question, read};
use super::describe::{FILTER, NODES, PASSING, READ, TAGS, shaped};
use super::health;
use super::reply::{Failure, Response, encode};
use super::request::Call;
use super::routes::{Route, get};
use super::select::{filter, has_meta, has_tags, service_name, sort_near, tags};
use crate::acl::Access;
use crate::gateway;
use crate::registry::{Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/catalog/gateway-services/",
        operations: &[get("The services that a gateway carries", |call| Box::pin(carried(call)))
            .of("gateway")
            .with(&[READ])
            .gives(shaped::<Vec<GatewayService>>())],
    },
    Route {
        path: "/v1/health/ingress/",
        operations: &[get("The ingress gateways of a service with their checks", |call| Box::pin(ingress(call)))
            .of("service")
            .with(&[READ, FILTER, NODES, TAGS, PASSING])
            .gives(shaped::<Vec<ServiceEntry>>())],
    },
];

/// What a gateway carries.
struct Carried {
    gateway: ServiceName,
    pretty: bool,
}

impl Question for Carried {
    fn topics(&self) -> Vec<Topic> {
        gateway::topics()
    }

    fn index(&self, registry: &Registry) -> Index {
        gateway::index(registry)
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let may_see = |name: &str| access.allows(Resource::Service, name, Level::Read);
        let mut rows = match may_see(self.gateway.as_str()) {
            true => gateway::services(registry, self.gateway.as_str()),
            false => Vec::new(),
        };
        rows.retain(|row| may_see(&row.service.name));
        Answer::Json(encode(&rows, self.pretty))
    }
}

async fn carried(call: &Call<'_>) -> Result<Response, Failure> {
    let gateway = service_name(call.argument("Missing gateway name")?)?;
    read(call, &call.read_options()?, &Carried { gateway, pretty: call.pretty() }).await
}

/// The gateways through which a service is reached.
struct Ingress {
    service: ServiceName,
    tags: Vec<String>,
    passing: bool,
    options: ReadOptions,
    filter: Filter<ServiceEntry>,
    datacenter: Text,
    pretty: bool,
}

impl Question for Ingress {
    fn topics(&self) -> Vec<Topic> {
        gateway::ingress_topics()
    }

    fn index(&self, registry: &Registry) -> Index {
        gateway::ingress_index(registry)
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        let mut entries: Vec<ServiceEntry> = gateway::ingress(registry, self.service.as_str())
            .into_iter()
            .filter(|(node, instance)| {
                access.allows(Resource::Node, node.name.as_str(), Level::Read)
                    && access.allows(Resource::Service, instance.service.as_str(), Level::Read)
            })
            .filter(|(node, instance)| has_tags(instance, &self.tags) && has_meta(node, &self.options.node_meta))
            .map(|(node, instance)| health::entry(registry, node, instance, &self.datacenter))
            .filter(|entry| !self.passing || entry.checks.iter().all(|check| check.status == CheckStatus::Passing))
            .filter(|entry| self.filter.matches(entry))
            .collect();
        sort_near(registry, &self.options, &mut entries, |entry| &entry.node.node);
        Answer::Json(encode(&entries, self.pretty))
    }
}

async fn ingress(call: &Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let question = Ingress {
        service: service_name(call.argument("Missing service name")?)?,
        tags: tags(call),
        passing: passing(&call.params)?,
        filter: filter(&options)?,
        datacenter: call.api.datacenter().clone(),
        pretty: call.pretty(),
        options,
    };
    read(call, &question.options, &question).await
}
