//! Asks one question again and again under the rules of `cursor`, whatever the answer is made of.
//!
//! It owns the timing, as `poll` does for services: socket timeouts beyond the server's wait, waits after failures, the
//! bound on questions per second. It publishes nothing; whoever calls it decides what news are worth. Called by `live`, by
//! locks and by sessions. May be dropped between any two answers, and the next call asks again.

use std::sync::Arc;
use std::time::Duration;

use callboard_proto::api::meta::{self, ReadMeta};
use callboard_proto::api::query::ReadOptions;
use http::StatusCode;
use tokio::time::Instant;

use super::cursor::{Cursor, CursorSettings, Reply, Step};
use super::pace::Pace;
use super::poll::refusal;
use crate::client::Api;
use crate::error::Error;
use crate::http::Answer;

/// The questions one follower may ask: a burst, then so many a second.
const BURST: u32 = 10;
const PERIOD: Duration = Duration::from_millis(100);

/// What came of asking.
#[derive(Debug)]
pub(crate) enum News<T> {
    /// The answer may differ from the last one.
    Changed(T),
    /// The last answer was confirmed.
    Unchanged,
    /// There was no usable answer; what is known stays. The next call waits first.
    Failed(Error),
}

/// Reads what an answer says: none where there is nothing.
pub(crate) type Reader<T> = Box<dyn Fn(&Answer) -> Result<Option<T>, Error> + Send + Sync>;

/// Follows one question.
pub(crate) struct Follow<T> {
    api: Arc<Api>,
    path: String,
    cursor: Cursor,
    pace: Pace,
    // When the next question may be asked after a failure.
    resume: Instant,
    holding: bool,
    read: Reader<T>,
}

impl<T> Follow<T> {
    /// Builds a follower of a path, which may have a query.
    pub(crate) fn new(api: Arc<Api>, path: String, cursor: Cursor, read: Reader<T>) -> Self {
        let now = Instant::now();
        Self { api, path, cursor, pace: Pace::new(PERIOD, BURST, now), resume: now, holding: false, read }
    }

    /// Asks, waits, and returns what came of it. Questions that only confirm the leader's word are asked within.
    pub(crate) async fn next(&mut self) -> News<Option<T>> {
        loop {
            tokio::time::sleep_until(self.resume).await;
            tokio::time::sleep_until(self.pace.take(Instant::now())).await;
            let answer = self.ask().await;
            let reply = match &answer {
                Ok((value, meta)) => Reply::Rows { meta: *meta, empty: value.is_none(), suspicious: false },
                Err(error) => refusal(error),
            };
            match (self.cursor.reply(reply, self.holding, fastrand::u32(..)), answer) {
                (Step::Publish, Ok((value, _))) => {
                    self.holding = value.is_some();
                    return News::Changed(value);
                }
                (Step::Unchanged, _) => return News::Unchanged,
                // Nothing here is weighed: the leader's word counts.
                (Step::Confirm | Step::Doubt, _) => {}
                (Step::Retry(after), answer) => {
                    self.resume = Instant::now() + after;
                    return News::Failed(answer.err().unwrap_or_else(|| Error::Answer {
                        doing: format!("GET {}", self.path),
                        source: "an empty answer from a server that knows no leader".into(),
                    }));
                }
                // Only answers are published.
                (Step::Publish, Err(_)) => {}
            }
        }
    }

    async fn ask(&self) -> Result<(Option<T>, ReadMeta), Error> {
        let question = self.cursor.question();
        let options = ReadOptions {
            index: question.index,
            wait: question.wait,
            consistency: question.consistency,
            ..ReadOptions::default()
        };
        let answer = self.api.read_raw(&self.path, &options).await?;
        let doing = format!("GET {}", self.path.split('?').next().unwrap_or(&self.path));
        // A 404 with an index says that there is nothing; without one, that the question is wrong.
        let nothing = answer.status == StatusCode::NOT_FOUND && answer.header(meta::INDEX).is_some();
        let answer = if nothing { answer } else { answer.success(&doing)? };
        let meta = ReadMeta::from_headers(|name| answer.header(name))
            .map_err(|error| Error::Answer { doing, source: error.into() })?;
        Ok((if nothing { None } else { (self.read)(&answer)? }, meta))
    }
}

/// Reads a whole answer as JSON.
pub(crate) fn shown<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body).map_err(|error| Error::Answer {
        doing: format!("reading an answer of {}", answer.server),
        source: error.into(),
    })
}

/// Returns the settings of a follower that must not be misled by a server that lags.
pub(crate) fn of_the_leader(settings: CursorSettings) -> CursorSettings {
    CursorSettings { stale: false, ..settings }
}
