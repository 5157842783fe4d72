//! User events for the application, in any language: a stream on the admin port, as server-sent events (WHATWG HTML,
//! section 9.2), which begins with what is fired from then on.
//!
//! Each message has the event's id, its name as the type, and the event as Consul writes it as JSON, payload in base64. The
//! SDK follows; readers are bounded. Called by `admin`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::Client;
use callboard::watch::EventWatch;
use callboard_proto::api::event::UserEvent;
use callboard_proto::api::query::Params;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::admin::{Body, text};

/// Streams read at once; each waits at the control node.
const READERS_MAX: usize = 16;
/// How often a quiet stream says that it is there, by which a reader that went away is noticed.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Hands events on.
pub(crate) struct Events {
    client: Option<Client>,
    readers: Arc<Semaphore>,
    end: CancellationToken,
}

/// What one stream goes on from.
struct Reader {
    watch: EventWatch,
    end: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Events {
    /// Builds it over a client, if there is a registry; streams end with `end`.
    pub(crate) fn new(client: Option<Client>, end: CancellationToken) -> Events {
        Events { client, readers: Arc::new(Semaphore::new(READERS_MAX)), end }
    }

    /// Answers with a stream of all events, or those of `?name=`.
    pub(crate) async fn answer(&self, query: &str) -> Response<Body> {
        let params = match Params::parse(query) {
            Ok(params) => params,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let Some(client) = &self.client else {
            return text(StatusCode::NOT_FOUND, "there is no control node that events could come from\n");
        };
        let Ok(place) = Arc::clone(&self.readers).try_acquire_owned() else {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{READERS_MAX} streams of events are read already\n"),
            );
        };
        let watch = match client.watch_events(params.get("name").unwrap_or_default()).await {
            Ok(watch) => watch,
            Err(error) => {
                return text(StatusCode::SERVICE_UNAVAILABLE, format!("events cannot be followed: {error}\n"));
            }
        };
        let reader = Reader { watch, end: self.end.clone(), _place: place };
        let pieces = stream::unfold(reader, |mut reader| async move {
            let piece = reader.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(piece)), reader))
        });
        let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl Reader {
    /// Waits for what is to be written next; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let came = tokio::select! {
            () = self.end.cancelled() => return None,
            came = tokio::time::timeout(ALIVE_EVERY, self.watch.next()) => came,
        };
        match came {
            Err(_) => Some(Bytes::from_static(b":\n\n")),
            Ok(Ok(events)) => Some(events.iter().map(message).collect::<String>().into()),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a stream of events ends: they are refused");
                None
            }
        }
    }
}

/// Writes an event as a message.
fn message(event: &UserEvent) -> String {
    let mut message = format!("id: {}\n", one_line(&event.id));
    // Whoever fired it chose the name: only one that is a line can be a type, and the event itself has it in any case.
    if !event.name.is_empty() && event.name == one_line(&event.name) {
        let _ = writeln!(message, "event: {}", event.name);
    }
    // Texts and a number, so it can be written; and JSON holds no line ends but escaped ones.
    let data = serde_json::to_string(event).unwrap_or_default();
    let _ = write!(message, "data: {data}\n\n");
    message
}

fn one_line(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_message_whatever_its_name() {
        let event = |name: &str| UserEvent { id: "7d".into(), name: name.into(), ..UserEvent::default() };
        let deploy = message(&event("deploy"));
        assert!(deploy.starts_with("id: 7d\nevent: deploy\ndata: {\"ID\":\"7d\",\"Name\":\"deploy\""), "{deploy}");
        assert!(deploy.ends_with("}\n\n"));
        let forged = message(&event("a\n\nevent: b"));
        assert_eq!(forged.matches('\n').count(), 3, "{forged}");
        assert!(forged.starts_with("id: 7d\ndata: "), "{forged}");
    }
}
