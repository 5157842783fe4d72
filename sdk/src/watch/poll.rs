//! The task that asks, waits and publishes for one service.
//!
//! Decides nothing about what an answer means (that is `cursor`); it owns the timing: socket timeouts
//! beyond the server's wait, waits after failures, the bound on questions per second, and when another source
//! (`stand_in`) is used because no server has answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::ServiceName;
use callboard_proto::api::meta::ReadMeta;
use callboard_proto::api::query::{ReadOptions, SLOTS_PARAM, escape};
use http::{Method, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::cursor::{Cursor, CursorSettings, Reply, Step};
use super::doubt::{Dialled, Doubt, Verdict};
use super::handle::{Origin, Shared};
use super::pace::Pace;
use super::rows::endpoints;
use super::stand_in::StandIn;
use crate::catalog::{Change, LastGood, Member, Store, Writer};
use crate::client::Api;
use crate::endpoint::Endpoint;
use crate::error::{Error, chain};
use crate::http::{Dialer, Repeat};

/// How long a question may go unanswered, while none has been, before another source stands in.
const STAND_IN_AFTER: Duration = Duration::from_millis(25);
/// The questions a watch may ask: a burst, then so many a second.
const BURST: u32 = 10;
const PERIOD: Duration = Duration::from_millis(100);

/// What the task needs.
pub(crate) struct Poll {
    pub(crate) service: ServiceName,
    pub(crate) api: Arc<Api>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: CursorSettings,
    /// Where good answers are kept.
    pub(crate) store: Option<Store>,
    pub(crate) stand_in: Option<StandIn>,
    pub(crate) doubt: Doubt,
    /// How those that the registry suddenly misses are dialled, if they can be.
    pub(crate) dialer: Option<Dialer>,
    pub(crate) connect_timeout: Duration,
    pub(crate) samples: usize,
    pub(crate) tracker: TaskTracker,
}

/// Runs until the token is cancelled.
pub(crate) async fn run(poll: Poll, end: CancellationToken) {
    end.run_until_cancelled(poll.follow()).await;
}

impl Poll {
    async fn follow(mut self) {
        let mut cursor = Cursor::new(self.settings);
        let mut stand_in = self.stand_in.take();
        if let Some(stand_in) = &mut stand_in {
            stand_in.prepare();
        }
        let mut pace = Pace::new(PERIOD, BURST, Instant::now());
        let writer = self.store.take().map(|store| store.start(&self.tracker));
        loop {
            tokio::time::sleep_until(pace.take(Instant::now())).await;
            let asked = self.ask(&cursor);
            let answer = match self.shared.origin() {
                Origin::Registry => asked.await,
                _ => Box::pin(self.ask_with_stand_in(asked, &mut stand_in)).await,
            };
            let old = Arc::clone(&self.shared.snapshot.borrow());
            let missing = match &answer {
                Ok(good) => self.doubt.missing(&old, &good.rows, good.meta.index.0),
                Err(_) => Vec::new(),
            };
            let reply = match &answer {
                Ok(good) => {
                    Reply::Rows { meta: good.meta, empty: good.rows.is_empty(), suspicious: !missing.is_empty() }
                }
                Err(error) => refusal(error),
            };
            let before = cursor.failures();
            match (cursor.reply(reply, !old.members().is_empty(), fastrand::u32(..)), answer) {
                (Step::Publish, Ok(good)) => self.accept(good, writer.as_ref()),
                (Step::Unchanged, _) => {
                    self.doubt.settle();
                    self.shared.confirm(Instant::now());
                }
                (Step::Confirm, _) => {
                    warn!(
                        service = %self.service, seen = cursor.seen().0, missing = missing.len(),
                        "the registry went backwards or lost endpoints; asking the leader"
                    );
                }
                (Step::Doubt, Ok(good)) => match self.weigh(&good, missing).await {
                    Verdict::Believe => {
                        cursor.believe(good.meta.index);
                        self.accept(good, writer.as_ref());
                    }
                    Verdict::Hold(after) => tokio::time::sleep(after).await,
                },
                (Step::Retry(after), answer) => {
                    self.failed(answer.err(), before, after);
                    tokio::time::sleep(after).await;
                }
                // Only rows are published or doubted.
                (Step::Publish | Step::Doubt, Err(_)) => {}
            }
        }
    }

    fn accept(&mut self, good: Good, writer: Option<&Writer>) {
        self.doubt.settle();
        if let Some(writer) = writer {
            writer.write(LastGood::now(good.meta.index, good.body));
        }
        self.publish(good.rows, good.meta.index.0, Origin::Registry);
        self.shared.confirm(Instant::now());
    }

    /// Dials a few of those that the registry misses, and weighs its answer by what comes of it.
    async fn weigh(&mut self, good: &Good, missing: Vec<Arc<Member>>) -> Verdict {
        let lost = missing.len();
        let dialled = match &self.dialer {
            Some(dialer) => dial(dialer, missing, &good.rows, self.samples, self.connect_timeout).await,
            None => Dialled::default(),
        };
        let was_held = self.doubt.since().is_some();
        let verdict = self.doubt.weigh(dialled, Instant::now());
        let (service, listed) = (self.service.as_str(), good.rows.len());
        match (verdict, self.doubt.since()) {
            (Verdict::Hold(_), Some(since)) => {
                let error = Error::Doubted {
                    service: service.to_owned(),
                    listed,
                    missing: lost,
                    answered: dialled.answered,
                    dialled: dialled.answered + dialled.failed,
                };
                if !was_held {
                    warn!(service, error = chain(&error), "the registry lost endpoints that still answer");
                }
                self.shared.hold(since, lost, error);
            }
            _ => warn!(
                service,
                listed,
                missing = lost,
                answered = dialled.answered,
                failed = dialled.failed,
                "believing the leader that nearly all endpoints are gone"
            ),
        }
        verdict
    }

    /// Logs the first failure of a row loudly, the others quietly.
    fn failed(&self, error: Option<Error>, failures_before: u32, after: Duration) {
        let error = error.unwrap_or_else(|| Error::Answer {
            doing: format!("watching {}", self.service),
            source: "an empty answer from a server that knows no leader".into(),
        });
        let (text, retry_ms) = (chain(&error), after.as_millis() as u64);
        if failures_before == 0 {
            warn!(service = %self.service, error = text, retry_ms, "watch failed; the last good snapshot stays");
        } else {
            debug!(service = %self.service, error = text, retry_ms, "watch failed again");
        }
        self.shared.fail(error);
    }

    fn publish(&self, rows: Vec<Endpoint>, index: u64, origin: Origin) {
        let old = Arc::clone(&self.shared.snapshot.borrow());
        let new = old.next(rows, index);
        let change = Change::between(&old, &new);
        // The index may move without a change that can be seen here; nobody needs to be woken for that.
        if old.index() != 0 && change.is_empty() && self.shared.origin() == origin {
            return;
        }
        debug!(
            service = %self.service, index, added = change.added.len(), removed = change.removed.len(),
            updated = change.updated.len(), known = new.members().len(), "catalog changed"
        );
        if self.shared.publish(new, origin) {
            let shared = Arc::clone(&self.shared);
            self.tracker.spawn_blocking(move || shared.complete());
        }
    }

    async fn ask(&self, cursor: &Cursor) -> Result<Good, Error> {
        let question = cursor.question();
        let options = ReadOptions {
            index: question.index,
            wait: question.wait,
            consistency: question.consistency,
            ..ReadOptions::default()
        };
        let path = format!("/v1/health/service/{}?{SLOTS_PARAM}", escape(self.service.as_str()));
        let target = self.api.target(&path, &options);
        // The server may wait a sixteenth longer than it was asked to; what comes on top is for a slow network.
        let wait = question.wait.unwrap_or_default();
        let timeout = wait + wait / 16 + self.api.request_timeout;
        let doing = || format!("watching {}", self.service);
        let answer = match question.index {
            Some(_) => self.api.transport.wait(&target, timeout).await?,
            None => self.api.transport.send(&Method::GET, &target, &Bytes::new(), Repeat::Safe, timeout).await?,
        };
        let answer = answer.success(&doing())?;
        let meta = ReadMeta::from_headers(|name| answer.header(name))
            .map_err(|error| Error::Answer { doing: doing(), source: error.into() })?;
        let rows = endpoints(&answer.body).map_err(|error| Error::Answer { doing: doing(), source: error.into() })?;
        Ok(Good { meta, rows, body: answer.body })
    }

    /// Waits for the answer, but lets another source stand in when it is late or fails.
    async fn ask_with_stand_in(
        &self,
        asked: impl Future<Output = Result<Good, Error>>,
        stand_in: &mut Option<StandIn>,
    ) -> Result<Good, Error> {
        let Some(stand_in) = stand_in else { return asked.await };
        tokio::pin!(asked);
        let late = match tokio::time::timeout(STAND_IN_AFTER, &mut asked).await {
            Ok(Ok(good)) => return Ok(good),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let standing = self.begin_with(stand_in);
        tokio::pin!(standing);
        if let Some(error) = late {
            standing.await;
            return Err(error);
        }
        tokio::select! {
            biased;
            answer = &mut asked => {
                if answer.is_err() {
                    standing.await;
                }
                answer
            }
            () = &mut standing => asked.await,
        }
    }

    async fn begin_with(&self, stand_in: &mut StandIn) {
        let Some(found) = stand_in.find().await else { return };
        if let Some(said) = found.said {
            self.shared.confirmed_then(said, Instant::now());
        }
        self.publish(found.rows, found.index, found.origin);
    }
}

/// Connects to some of the missing where they were and where `rows` list them now, at once, and hangs up.
async fn dial(
    dialer: &Dialer,
    mut missing: Vec<Arc<Member>>,
    rows: &[Endpoint],
    samples: usize,
    timeout: Duration,
) -> Dialled {
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..samples.min(missing.len()) {
        let member = missing.swap_remove(fastrand::usize(..missing.len()));
        let elsewhere = rows.iter().rfind(|row| row.identity() == member.endpoint().identity()).cloned();
        tries.spawn(is_lost(dialer.clone(), member, elsewhere, timeout));
    }
    let mut dialled = Dialled::default();
    while let Some(answered) = tries.join_next().await {
        match answered {
            Ok(true) => dialled.answered += 1,
            _ => dialled.failed += 1,
        }
    }
    dialled
}

/// Says whether an endpoint answers where it was and not where it is listed now. An answer there is enough: who has moved
/// may well be heard at its old place for a while.
async fn is_lost(dialer: Dialer, member: Arc<Member>, elsewhere: Option<Endpoint>, timeout: Duration) -> bool {
    let answers = |endpoint: &Endpoint| {
        let (dialer, authority, socket) = (dialer.clone(), endpoint.authority().to_owned(), endpoint.socket());
        async move { dialer.answers(&authority, socket, timeout).await }
    };
    let here = answers(member.endpoint());
    let Some(elsewhere) = elsewhere else { return here.await };
    let there = answers(&elsewhere);
    tokio::pin!(here, there);
    tokio::select! {
        is_there = &mut there => !is_there && here.await,
        is_here = &mut here => is_here && !there.await,
    }
}

struct Good {
    meta: ReadMeta,
    rows: Vec<Endpoint>,
    body: Bytes,
}

/// Tells a wrong question from a server in trouble.
pub(super) fn refusal(error: &Error) -> Reply {
    match error.status() {
        Some(status) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => Reply::Refused,
        _ => Reply::Failed,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::catalog::Snapshot;

    const LONG: Duration = Duration::from_secs(10);

    fn at(port: u16) -> Endpoint {
        Endpoint::new("web-1", "127.0.0.1", port)
    }

    #[tokio::test]
    async fn who_answers_where_it_is_listed_is_not_lost_and_who_answers_only_where_it_was_is() {
        let (old, new) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let (was, is) = (old.local_addr().unwrap().port(), new.local_addr().unwrap().port());
        let snapshot = Snapshot::empty("web").next([at(was)], 1);
        let missing = || snapshot.members().iter().map(Arc::clone).collect::<Vec<_>>();
        let lost = async |rows: &[Endpoint]| dial(&Dialer::Tcp, missing(), rows, 3, LONG).await.answered;
        assert_eq!((lost(&[at(is)]).await, lost(&[]).await), (0, 1), "it moved; and it is not listed");
        drop(new);
        assert_eq!(lost(&[at(is)]).await, 1, "nobody is there where an old row says");
        drop(old);
        assert_eq!((lost(&[at(is)]).await, lost(&[]).await), (0, 0), "it is nowhere");
    }
}
