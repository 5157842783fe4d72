//! Calls of `/v1/event/…`: messages to whoever listens, which nobody stores.

use std::fmt::Write as _;

use bytes::Bytes;
use callboard_proto::api::event::UserEvent;
use callboard_proto::api::query::{ReadOptions, escape};
use http::Method;

use super::Client;
use super::api::{Read, decode};
use crate::error::Error;
use crate::http::Repeat;
use crate::watch::{Cursor, EventWatch, Follow, shown};

/// Says which nodes keep an event: regular expressions, empty for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Over the names of nodes.
    pub node: String,
    /// Over the names of a node's own services.
    pub service: String,
    /// Over the tags of those services; only with a service.
    pub tag: String,
}

impl Client {
    /// Fires an event. Name and payload together may take about 500 bytes.
    ///
    /// # Errors
    /// As every call; after [`Error::Unreachable`] or [`Error::Timeout`] it may have been fired.
    pub async fn event_fire(
        &self,
        name: &str,
        payload: impl Into<Bytes>,
        filter: &EventFilter,
    ) -> Result<UserEvent, Error> {
        let api = self.api();
        let mut path = format!("/v1/event/fire/{}?", escape(name));
        for (name, value) in [("node", &filter.node), ("service", &filter.service), ("tag", &filter.tag)] {
            if !value.is_empty() {
                let _ = write!(path, "&{name}={}", escape(value));
            }
        }
        let target = api.target(path.trim_end_matches('?'), &ReadOptions::default());
        let (doing, answer) = api.call(&Method::PUT, &target, payload.into(), Repeat::Unsafe).await?;
        decode(&doing, &answer.body)
    }

    /// Lists the events that the server remembers, the oldest first; of one name, unless it is empty. The index can only be
    /// compared for equality.
    ///
    /// # Errors
    /// As every call.
    pub async fn event_list(&self, name: &str, options: &ReadOptions) -> Result<Read<Vec<UserEvent>>, Error> {
        self.api().read(&events_path(name), options).await
    }

    /// Follows the events of a name, or all if it is empty, beginning after those that the server remembers now.
    ///
    /// # Errors
    /// As every call.
    pub async fn watch_events(&self, name: &str) -> Result<EventWatch, Error> {
        let cursor = Cursor::by_equality(self.cursor_settings());
        let read = |answer: &crate::http::Answer| shown(answer).map(Some);
        EventWatch::begin(Follow::new(self.api().clone(), events_path(name), cursor, Box::new(read))).await
    }
}

fn events_path(name: &str) -> String {
    if name.is_empty() { "/v1/event/list".into() } else { format!("/v1/event/list?name={}", escape(name)) }
}
