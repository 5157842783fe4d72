//! `/v1/agent/connect…`: what a proxy beside a service asks of its agent.

use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::connect::{AuthorizeAnswer, AuthorizeRequest, CaRoots, LeafShown};
use callboard_proto::api::decode::{Unknown, from_slice};
use callboard_proto::api::meta;
use callboard_proto::index::wait_for;
use callboard_proto::intention::{Intention, ServiceId, decide};
use http::{HeaderName, HeaderValue};

use super::connect::{Shape, rfc3339, roots};
use super::describe::*;
use super::intention::rows;
use super::reply::{Failure, Response, json};
use super::request::{BODY_MAX, Call};
use super::routes::{self, Route};
use crate::connect::Leaf;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/agent/connect/ca/roots",
        operations: &[routes::get("The roots that certificates of the mesh are trusted by", |call| {
            Box::pin(roots(call, Shape::Json))
        })
        .with(&[READ])
        .gives(shaped::<CaRoots>())],
    },
    Route {
        path: "/v1/agent/connect/ca/leaf/",
        operations: &[routes::get("The certificate of a service, with its key", |call| Box::pin(leaf(call)))
            .of("service")
            .with(&[READ])
            .gives(shaped::<LeafShown>())],
    },
    Route {
        path: "/v1/agent/connect/authorize",
        operations: &[routes::post("Whether a caller may come in", |call| Box::pin(authorize(call)))
            .takes(shaped::<AuthorizeRequest>())
            .gives(shaped::<AuthorizeAnswer>())],
    },
];

const INDEX: HeaderName = HeaderName::from_static(meta::INDEX);
const KNOWN_LEADER: HeaderName = HeaderName::from_static(meta::KNOWN_LEADER);
const LAST_CONTACT: HeaderName = HeaderName::from_static(meta::LAST_CONTACT);
const CACHE: HeaderName = HeaderName::from_static(meta::CACHE);

async fn leaf(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let service = call.argument("Missing service name")?;
    if service.len() > 255 || service.chars().any(char::is_control) {
        return Err(Failure::BadRequest("Invalid service name: expected up to 255 printable characters".to_owned()));
    }
    call.permit(Resource::Service, service, Level::Write)?;
    // Counted among those that wait, as every read with an index.
    let _waits = options.index.map(|_| call.api.telemetry.waiter());
    let wait = wait_for(options.wait, fastrand::u64(..));
    let leaf = call.api.authority.leaf(service, options.index, wait).await?;
    // Rights may have gone while it waited.
    call.permit(Resource::Service, service, Level::Write)?;
    let view = call.api.cluster.query(callboard_proto::api::query::Consistency::Stale).await?;
    let mut response = json(&show(&leaf), call.pretty());
    let headers = response.headers_mut();
    headers.insert(INDEX, HeaderValue::from(leaf.index.on_wire().0));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static(if view.known_leader { "true" } else { "false" }));
    headers.insert(LAST_CONTACT, HeaderValue::from(view.last_contact.as_millis() as u64));
    headers.insert(CACHE, HeaderValue::from_static("MISS"));
    Ok(response)
}

async fn authorize(call: &mut Call<'_>) -> Result<Response, Failure> {
    let options = call.read_options()?;
    let body = call.body(BODY_MAX).await?;
    let asked: AuthorizeRequest = from_slice(&body, Unknown::Refuse)?;
    if asked.target.is_empty() {
        return Err(Failure::BadRequest("Target service must be specified".to_owned()));
    }
    for (field, given) in [("Namespace", &asked.namespace), ("Partition", &asked.partition)] {
        if !matches!(given.as_str(), "" | "default") {
            return Err(Failure::BadRequest(format!("{field} must be \"default\"; there is only that one")));
        }
    }
    let caller = ServiceId::parse(&asked.client_cert_uri).ok_or_else(|| {
        let expected = "spiffe://DOMAIN/ns/default/dc/DATACENTER/svc/SERVICE";
        Failure::BadRequest(format!("ClientCertURI not a valid Connect identifier; expected {expected}"))
    })?;
    call.permit(Resource::Service, &asked.target, Level::Write)?;
    let view = call.api.cluster.query(options.consistency).await?;
    let default = call.api.authority.default_action();
    let intentions = Intention::all(rows(&view.registry).map(|(_, entry)| entry));
    let verdict = decide(intentions, &caller.service, &asked.target, default);
    let answer = AuthorizeAnswer { authorized: verdict.is_allowed(), reason: verdict.reason().into() };
    let mut response = json(&answer, call.pretty());
    response.headers_mut().insert(CACHE, HeaderValue::from_static("MISS"));
    Ok(response)
}

fn show(leaf: &Leaf) -> LeafShown {
    // As in certificates: big-endian, without leading zeros.
    let bytes = leaf.serial.to_be_bytes();
    let digits = bytes.iter().skip_while(|byte| **byte == 0).map(|byte| format!("{byte:02x}"));
    LeafShown {
        serial_number: digits.collect::<Vec<_>>().join(":").into(),
        cert_pem: leaf.chain.clone(),
        private_key_pem: leaf.key.reveal().into(),
        service: leaf.service.clone(),
        service_uri: leaf.uri.clone(),
        valid_after: rfc3339(leaf.valid_after),
        valid_before: rfc3339(leaf.valid_before),
        create_index: leaf.index,
        modify_index: leaf.index,
    }
}
