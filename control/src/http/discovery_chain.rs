//! `/v1/discovery-chain/`: what the config entries make of a service's name.

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::discovery_chain::{ChainAnswer, ChainRequest};
use callboard_proto::config_entry::EntryKind;
use callboard_proto::config_entry::compile::Asked;
use http::StatusCode;

use super::blocking::{Answer, Question, read};
use super::describe::*;
use super::reply::{self, Failure, Response, encode};
use super::request::{BODY_MAX, Call};
use super::routes::{self, Route};
use crate::acl::Access;
use crate::connect::{Error, domain};
use crate::registry::{Registry, Topic};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[Route {
    path: "/v1/discovery-chain/",
    operations: &[
        routes::get("What the config entries make of a service's name", |call| Box::pin(chain(call)))
            .of("service")
            .with(&[READ, COMPILE])
            .gives(shaped::<ChainAnswer>()),
        routes::post("The same, with a protocol, timeout or gateway of the caller's own", |call| Box::pin(chain(call)))
            .of("service")
            .with(&[READ, COMPILE])
            .takes(maybe::<ChainRequest>())
            .gives(shaped::<ChainAnswer>()),
    ],
}];

const COMPILE: &[Parameter] = &[parameter("compile-dc", "The datacenter that the chain is compiled for", Value::Text)];

/// The entries that a chain is made of.
const KINDS: [EntryKind; 5] = [
    EntryKind::ServiceDefaults,
    EntryKind::ProxyDefaults,
    EntryKind::ServiceRouter,
    EntryKind::ServiceSplitter,
    EntryKind::ServiceResolver,
];

async fn chain(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let body = call.body(BODY_MAX).await?;
    let service = call.argument("Missing chain name")?.to_owned();
    call.permit(Resource::Service, &service, Level::Read)?;
    let request: ChainRequest = match body.is_empty() {
        true => ChainRequest::default(),
        false => from_slice(&body, Unknown::Refuse)
            .map_err(|error| Failure::BadRequest(format!("Request decoding failed: {}", error.detail())))?,
    };
    if !matches!(request.override_mesh_gateway.mode.as_str(), "" | "none" | "local" | "remote") {
        return Err(Failure::BadRequest("Invalid OverrideMeshGateway.Mode: expected none, local or remote".to_owned()));
    }
    // Names of targets hold the name of the mesh; without a mesh they end in nothing.
    match call.api.authority.begun().await {
        Ok(_) | Err(Error::Disabled) => {}
        Err(error) => return Err(error.into()),
    }
    let datacenter = call.params.filled("compile-dc").unwrap_or(call.api.datacenter()).to_lowercase();
    read(call, &options, &Chained { service, datacenter, request, pretty: call.pretty() }).await
}

/// The chain of one service.
struct Chained {
    service: String,
    datacenter: String,
    request: ChainRequest,
    pretty: bool,
}

impl Question for Chained {
    fn topics(&self) -> Vec<Topic> {
        KINDS.into_iter().map(Topic::Config).chain([Topic::CaRoots]).collect()
    }

    fn index(&self, registry: &Registry) -> Index {
        KINDS.into_iter().map(|kind| registry.config_index(kind)).fold(registry.ca_index(), Ord::max)
    }

    fn is_cacheable(&self) -> bool {
        true
    }

    fn answer(&self, registry: &Registry, access: &Access) -> Answer {
        // Rights may have gone while it waited.
        if !access.allows(Resource::Service, &self.service, Level::Read) {
            return Answer::Ready(Box::new(reply::text(StatusCode::FORBIDDEN, "Permission denied")));
        }
        let trust_domain = domain(registry.trust_domain());
        let (service, datacenter, request) = (&*self.service, &*self.datacenter, &self.request);
        match registry.chain(Asked { service, datacenter, trust_domain: &trust_domain, request }) {
            Ok(chain) => Answer::Json(encode(&ChainAnswer { chain }, self.pretty)),
            Err(error) => Answer::Ready(Box::new(reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))),
        }
    }
}
