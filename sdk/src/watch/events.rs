//! Events as they come: those that a list holds and the list before did not.
//!
//! The index of a list of events only says whether it is the same one, and after a failure another server may answer, whose list
//! is another; so what was seen is remembered by id. Built by [`crate::Client::watch_events`].

use std::collections::HashSet;

use callboard_proto::api::event::UserEvent;
use tracing::debug;

use super::follow::{Follow, News};
use crate::error::{Error, chain};

/// Follows the events of a name. A server remembers 256; who falls further behind misses some.
pub struct EventWatch {
    follow: Follow<Vec<UserEvent>>,
    seen: HashSet<String>,
}

impl EventWatch {
    /// Begins after what the server remembers now.
    pub(crate) async fn begin(mut follow: Follow<Vec<UserEvent>>) -> Result<Self, Error> {
        loop {
            match follow.next().await {
                News::Changed(events) => {
                    let seen = events.unwrap_or_default().into_iter().map(|event| event.id).collect();
                    return Ok(Self { follow, seen });
                }
                News::Unchanged => {}
                News::Failed(error) => return Err(error),
            }
        }
    }

    /// Waits for events that were not returned yet, and returns them in the order of the server. Servers that do not answer
    /// are waited for. May be dropped and called again; nothing is missed by that.
    ///
    /// # Errors
    /// When the question is refused. It may be asked again.
    pub async fn next(&mut self) -> Result<Vec<UserEvent>, Error> {
        loop {
            match self.follow.next().await {
                News::Changed(events) => {
                    let events = events.unwrap_or_default();
                    let ids = events.iter().map(|event| event.id.clone()).collect();
                    let seen = std::mem::replace(&mut self.seen, ids);
                    let fresh: Vec<_> = events.into_iter().filter(|event| !seen.contains(&event.id)).collect();
                    if !fresh.is_empty() {
                        return Ok(fresh);
                    }
                }
                News::Unchanged => {}
                News::Failed(error) if error.is_retryable() => debug!(error = chain(&error), "events are not listed"),
                News::Failed(error) => return Err(error),
            }
        }
    }
}

impl std::fmt::Debug for EventWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventWatch").field("seen", &self.seen.len()).finish_non_exhaustive()
    }
}
