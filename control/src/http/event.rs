//! `/v1/event/…`: messages to whoever listens.

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::event::{EVENT_BYTES_MAX, UserEvent};
use callboard_proto::api::meta;
use callboard_proto::api::query::ReadOptions;
use callboard_proto::config_entry::PATTERN_BYTES_MAX;
use http::{HeaderName, HeaderValue};
use regex::{Regex, RegexBuilder};
use tokio::time::Instant;

use super::describe::*;
use super::reply::{Failure, Response, json, tell_left_out};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, put};
use crate::identity::CONSUL_SERVICE;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        path: "/v1/event/fire/",
        operations: &[put("Fires an event", |call| Box::pin(fire(call)))
            .of("name")
            .with(&[FOR_WHOM])
            .takes(Body::Bytes)
            .gives(shaped::<UserEvent>())],
    },
    Route {
        path: "/v1/event/list",
        operations: &[get("The latest events", |call| Box::pin(list(call)))
            .with(&[READ, NAMED])
            .gives(shaped::<Vec<UserEvent>>())],
    },
];

const INDEX: HeaderName = HeaderName::from_static(meta::INDEX);

async fn fire(call: &mut Call<'_>) -> Result<Response, Failure> {
    call.is_ours(call.params.get("dc").unwrap_or(""))?;
    let name = call.argument("Missing name")?.to_owned();
    call.permit(Resource::Event, &name, Level::Write)?;
    let payload = call.body(BODY_MAX).await?;
    let filter = |name: &str| call.params.get(name).unwrap_or("").to_owned();
    let event = UserEvent {
        id: uuid::Uuid::new_v4().to_string(),
        payload: UserEvent::encode(&payload),
        node_filter: filter("node"),
        service_filter: filter("service"),
        tag_filter: filter("tag"),
        version: 1,
        ltime: 0,
        name,
    };
    if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
        return Err(Failure::Refused("Cannot provide tag filter without service filter".to_owned()));
    }
    let filters = [&event.node_filter, &event.service_filter, &event.tag_filter];
    let size = event.name.len() + payload.len() + filters.iter().map(|filter| filter.len()).sum::<usize>();
    if size > EVENT_BYTES_MAX {
        let text = format!("user event exceeds configured limit of {EVENT_BYTES_MAX} bytes before encoding");
        return Err(Failure::Refused(text));
    }
    let filters = Filters {
        node: pattern("node", &event.node_filter)?,
        service: pattern("service", &event.service_filter)?,
        tag: pattern("tag", &event.tag_filter)?,
    };
    let response = json(&event, call.pretty());
    if filters.are_for(call) {
        call.api.events.keep(event);
    }
    Ok(response)
}

/// For whom an event is; each is evaluated by the node that hears it.
struct Filters {
    node: Regex,
    service: Regex,
    tag: Regex,
}

fn pattern(what: &str, text: &str) -> Result<Regex, Failure> {
    let compiled = RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build();
    compiled.map_err(|error| Failure::Refused(format!("Invalid {what} filter: {error}")))
}

impl Filters {
    /// Whether this node keeps the event: by its name, and by a service of its own with a tag that fits.
    fn are_for(&self, call: &Call<'_>) -> bool {
        let own = &call.api.identity.node_name;
        if !self.node.is_match(own.as_str()) {
            return false;
        }
        if self.service.as_str().is_empty() {
            return true;
        }
        let registry = call.api.cluster.registry();
        registry
            .instances_on(own)
            .filter(|instance| instance.service.as_str() != CONSUL_SERVICE)
            .filter(|instance| self.service.is_match(instance.service.as_str()))
            .any(|instance| self.tag.as_str().is_empty() || instance.tags.iter().any(|tag| self.tag.is_match(tag)))
    }
}

/// Lists events; with an index, once the list no longer ends with the event that the index stands for.
async fn list(call: &Call<'_>) -> Result<Response, Failure> {
    let options = ReadOptions::from_params(&call.params)?;
    call.is_ours(options.datacenter.as_deref().unwrap_or(""))?;
    let mut changed = call.api.events.subscribe();
    let deadline = Instant::now() + call.api.rules.load().wait(options.wait, fastrand::u64(..));
    let mut over = false;
    loop {
        let access = call.access()?;
        let mut events = call.api.events.list(call.params.filled("name"));
        events.retain(|event| access.allows(Resource::Event, &event.name, Level::Read));
        let index = events.last().map_or(Index::ZERO.on_wire(), |event| event.list_index());
        if options.index != Some(index) || over {
            let mut response = json(&events, call.pretty());
            response.headers_mut().insert(INDEX, HeaderValue::from(index.0));
            if access.left_out() {
                tell_left_out(&mut response);
            }
            return Ok(response);
        }
        let _waits = call.api.telemetry.waiter();
        over = tokio::time::timeout_at(deadline, changed.changed()).await.is_err();
    }
}
