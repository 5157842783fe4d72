//! The one wait loop: every read of the registry goes through here.
//!
//! A read is a [`Question`]. Without an index it is answered at once; with one, as soon as its own index
//! is past it or the wait is over. A question about a single thing that is not there is answered at once
//! if its table moved on, and afterwards sleeps until the thing appears: writes to other things do not
//! wake it. What the caller may do is found in the state that is answered from, again after each wake.

use std::fmt::Write as _;

use bytes::Bytes;
use callboard_proto::Index;
use callboard_proto::api::meta;
use callboard_proto::api::query::ReadOptions;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::answers::{Age, Shared};
use super::reply::{self, Failure, Response};
use super::request::Call;
use crate::acl::{Access, Denial};
use crate::cluster::View;
use crate::registry::{Registry, Topic};

const INDEX: HeaderName = HeaderName::from_static(meta::INDEX);
const KNOWN_LEADER: HeaderName = HeaderName::from_static(meta::KNOWN_LEADER);
const LAST_CONTACT: HeaderName = HeaderName::from_static(meta::LAST_CONTACT);
const CONSISTENCY: HeaderName = HeaderName::from_static(meta::EFFECTIVE_CONSISTENCY);
const BACKEND: HeaderName = HeaderName::from_static(meta::QUERY_BACKEND);
const CACHE: HeaderName = HeaderName::from_static(meta::CACHE);

/// Something that a reader asks of the registry.
pub(super) trait Question {
    /// What can change the answer.
    fn topics(&self) -> Vec<Topic>;
    /// The place in history of the answer.
    fn index(&self, registry: &Registry) -> Index;
    /// Whether the single thing asked for is not there.
    fn is_absent(&self, _registry: &Registry) -> bool {
        false
    }
    /// A text that is the same for the same question, if answers are worth sharing.
    fn key(&self) -> Option<String> {
        None
    }
    /// Whether Consul's agents answer it from a cache where that is allowed.
    fn is_cacheable(&self) -> bool {
        false
    }
    /// What the caller must be allowed to do to get any answer.
    fn permit(&self, _access: &Access) -> Result<(), Denial> {
        Ok(())
    }
    /// The answer, encoded, without what the caller may not see.
    fn answer(&self, registry: &Registry, access: &Access) -> Answer;
}

/// An encoded answer.
pub(super) enum Answer {
    /// JSON.
    Json(Bytes),
    /// Nothing there: 404 without a body.
    Absent,
    /// Anything else, ready to go.
    Ready(Box<Response>),
}

/// Answers a question, now or when there is news.
pub(super) async fn read<Q: Question>(
    call: &Call<'_>,
    options: &ReadOptions,
    question: &Q,
) -> Result<Response, Failure> {
    let api = call.api;
    let Some(seen) = options.index else {
        let view = api.cluster.query_within(options.consistency, options.max_stale).await?;
        return answer(call, options, question, &view);
    };
    let mut subscription = api.cluster.hub().subscribe(&question.topics());
    let mut view = api.cluster.query_within(options.consistency, options.max_stale).await?;
    // Nobody waits for what they may not see.
    question.permit(&call.access_in(&view.registry)?)?;
    let mut past = seen;
    let deadline = Instant::now() + api.rules.load().wait(options.wait, fastrand::u64(..));
    // Where the whole state was replaced, what was seen before means nothing.
    let lineage = view.registry.lineage();
    while view.registry.lineage() == lineage && question.index(&view.registry).on_wire() <= past {
        let was_absent = question.is_absent(&view.registry);
        // A waiter holds no state: the registry it looked at may be replaced meanwhile.
        drop(view);
        let _waits = api.telemetry.waiter();
        let woken = loop {
            if tokio::time::timeout_at(deadline, subscription.changed()).await.is_err() {
                break false;
            }
            let registry = api.cluster.registry();
            if was_absent && question.is_absent(&registry) && registry.lineage() == lineage {
                past = past.max(question.index(&registry));
            } else {
                break true;
            }
        };
        view = api.cluster.query_within(options.consistency, options.max_stale).await?;
        if !woken {
            break;
        }
        question.permit(&call.access_in(&view.registry)?)?;
    }
    answer(call, options, question, &view)
}

fn answer<Q: Question>(call: &Call<'_>, options: &ReadOptions, question: &Q, view: &View) -> Result<Response, Failure> {
    let registry = &view.registry;
    let access = call.access_in(registry)?;
    question.permit(&access)?;
    let index = question.index(registry);
    let mut left_out = None;
    // The order of distances changes without the index, so answers in it are not shared.
    let encoded = match question.key().filter(|_| options.near.is_none()) {
        Some(mut key) => {
            if let Some(rights) = access.fingerprint() {
                key.push_str("\na");
                key.push_str(rights);
            }
            let shared = call.api.answers.get(&key, Age { lineage: registry.lineage(), index }, || {
                let body = match question.answer(registry, &access) {
                    Answer::Json(body) => body,
                    Answer::Absent | Answer::Ready(_) => Bytes::new(),
                };
                Shared { body, left_out: access.left_out() }
            });
            left_out = Some(shared.left_out);
            Answer::Json(shared.body)
        }
        None => question.answer(registry, &access),
    };
    let mut response = match encoded {
        Answer::Json(body) => reply::json_bytes(body),
        Answer::Absent => {
            let mut response = reply::empty();
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
        Answer::Ready(response) => *response,
    };
    stamp(&mut response, index, view, options);
    if options.cached && question.is_cacheable() {
        stamp_cache(&mut response);
    }
    if left_out.unwrap_or_else(|| access.left_out()) {
        reply::tell_left_out(&mut response);
    }
    Ok(response)
}

/// Says in the headers how an answer was come by.
pub(super) fn stamp(response: &mut Response, index: Index, view: &View, options: &ReadOptions) {
    let headers = response.headers_mut();
    headers.insert(INDEX, HeaderValue::from(index.on_wire().0));
    headers.insert(KNOWN_LEADER, HeaderValue::from_static(if view.known_leader { "true" } else { "false" }));
    headers.insert(LAST_CONTACT, HeaderValue::from(view.last_contact.as_millis() as u64));
    headers.insert(CONSISTENCY, HeaderValue::from_static(options.consistency.as_str()));
    headers.insert(BACKEND, HeaderValue::from_static("blocking-query"));
}

/// Says that no cache answered: every read is answered from the newest state, so none is ever a hit of an older one, and
/// whatever `Cache-Control` asks for holds.
pub(super) fn stamp_cache(response: &mut Response) {
    response.headers_mut().insert(CACHE, HeaderValue::from_static("MISS"));
}

/// Writes the part of a question's key that the common options make up.
pub(super) fn common_key(kind: &str, argument: &str, options: &ReadOptions, pretty: bool) -> String {
    let mut key = String::with_capacity(kind.len() + argument.len() + 16);
    key.push_str(kind);
    key.push('\n');
    key.push_str(argument);
    key.push(if pretty { 'p' } else { 'c' });
    if let Some(filter) = &options.filter {
        // Writing to a String cannot fail.
        let _ = write!(key, "\nf{filter}");
    }
    if let Some(peer) = &options.peer {
        let _ = write!(key, "\np{peer}");
    }
    for (name, value) in &options.node_meta {
        let _ = write!(key, "\nm{name}\n{value}");
    }
    key
}
