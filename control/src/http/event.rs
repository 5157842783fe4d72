//! `/v1/event/…`: messages to whoever listens.

use callboard_proto::Index;
use callboard_proto::acl::{Level, Resource};
use callboard_proto::api::event::{EVENT_BYTES_MAX, UserEvent};
use callboard_proto::api::meta;
use callboard_proto::api::query::ReadOptions;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::describe::*;
use super::reply::{Failure, Response, json, tell_left_out};
use super::request::{BODY_MAX, Call};
use super::routes::{Route, get, put};
use crate::event::Audience;

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
    let filters = [&event.node_filter, &event.service_filter, &event.tag_filter];
    let size = event.name.len() + payload.len() + filters.iter().map(|filter| filter.len()).sum::<usize>();
    Audience::of(&event).map_err(|error| Failure::Refused(error.to_string()))?;
    if size > EVENT_BYTES_MAX {
        let text = format!("user event exceeds configured limit of {EVENT_BYTES_MAX} bytes before encoding");
        return Err(Failure::Refused(text));
    }
    call.api.events.fire(&event).await?;
    Ok(json(&event, call.pretty()))
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
