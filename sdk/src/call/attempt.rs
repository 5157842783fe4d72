//! One try at one endpoint: connection, request, head of the answer, within its time.
//!
//! Records what the try says about the endpoint. Not counted as a try of its own: a kept connection that the server had closed
//! in the meantime is replaced by a fresh one. Whether there is another try is decided by `sequence`.

use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::deadline::Deadline;
use super::error::{Attempt, Reason};
use super::judge::Judge;
use super::shape::{copy, host_of};
use crate::balance::Picked;
use crate::endpoint::{EndpointKey, Outcome};
use crate::error::Cause;
use crate::http::{Bounds, ConnectError, Lease, Payload, Pool};
use crate::load;

/// What every try of a call has in common.
pub(super) struct Try<'a, B> {
    pub(super) pool: &'a Pool<EndpointKey, B>,
    pub(super) bounds: Bounds,
    pub(super) judge: Judge,
    /// Whether the Host header is ours, and so changes with the endpoint.
    pub(super) own_host: bool,
    /// Whether the request may be carried out twice, so that a copy of it is worth having.
    pub(super) repeatable: bool,
    /// Whether the request carries a bound, by which the server may refuse it unseen.
    pub(super) bounded: bool,
    pub(super) response_timeout: Option<Duration>,
    pub(super) per_try_timeout: Option<Duration>,
    pub(super) deadline: Option<Deadline>,
    /// When the call began.
    pub(super) begun: Instant,
}

impl<B> Clone for Try<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Try<'_, B> {}

/// The head of an answer, and what holds its connection and its endpoint.
pub(super) struct Answer<B> {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease<EndpointKey, B>,
    pub(super) picked: Picked,
    /// Whether the server refused the request by the bound that it carried: says nothing against it.
    pub(super) refused: bool,
    /// None when the head said how the call went.
    pub(super) judge: Option<Judge>,
    pub(super) copy: Option<Request<Payload<B>>>,
    pub(super) begun: Instant,
}

/// A try that failed.
pub(super) struct Miss<B> {
    pub(super) key: EndpointKey,
    pub(super) attempt: Attempt,
    /// The request, if it may be sent again.
    pub(super) request: Option<Request<Payload<B>>>,
}

/// The time a step has, and what it means when it is over.
#[derive(Clone, Copy)]
struct Until {
    at: Instant,
    reason: Reason,
    cause: &'static str,
}

async fn within<F: Future>(until: Option<Until>, work: F) -> Result<F::Output, Until> {
    match until {
        None => Ok(work.await),
        Some(until) => tokio::time::timeout_at(until.at, work).await.map_err(|_| until),
    }
}

fn earlier(first: Option<Until>, second: Option<Until>) -> Option<Until> {
    [first, second].into_iter().flatten().min_by_key(|until| until.at)
}

impl<B> Try<'_, B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    pub(super) async fn go(self, mut picked: Picked, request: Request<Payload<B>>) -> Result<Answer<B>, Box<Miss<B>>> {
        let begun = Instant::now();
        let deadline = self.deadline.map(|deadline| Until {
            at: deadline.at(),
            reason: Reason::Deadline,
            cause: "no response before the deadline of the call",
        });
        let per_try = self.per_try_timeout.map(|time| Until {
            at: begun + time,
            reason: Reason::Timeout,
            cause: "no response within the time of one try",
        });
        let until = earlier(deadline, per_try);
        let mut request = Some(request);
        let mut fresh = false;
        loop {
            let miss = |picked: &mut Picked, outcome: Option<Outcome>, reason, cause, request| {
                self.miss(picked, outcome, reason, cause, request, begun)
            };
            let (authority, socket) = (picked.endpoint().authority(), picked.endpoint().socket());
            let leased = within(until, async {
                match fresh {
                    false => self.pool.lease(picked.key(), authority, socket, self.bounds).await,
                    true => self.pool.lease_fresh(picked.key(), authority, socket, self.bounds).await,
                }
            });
            let mut lease = match leased.await {
                Ok(Ok(lease)) => lease,
                // Our own bound says nothing about the endpoint.
                Ok(Err(error @ ConnectError::Bound { .. })) => {
                    return Err(miss(&mut picked, None, Reason::Overloaded, error.into(), request));
                }
                Ok(Err(error)) => {
                    return Err(miss(
                        &mut picked,
                        Some(Outcome::ConnectFailed),
                        Reason::Connect,
                        error.into(),
                        request,
                    ));
                }
                Err(until) => {
                    // Nothing was sent, whoever's time was over.
                    let (reason, outcome) = match until.reason {
                        // A call that came with little time says nothing about who was to be called.
                        Reason::Deadline => (Reason::Deadline, None),
                        _ => (Reason::Connect, Some(Outcome::ConnectFailed)),
                    };
                    return Err(miss(&mut picked, outcome, reason, "no connection in time".into(), request));
                }
            };
            let Some(mut sent) = request.take() else {
                return Err(miss(&mut picked, None, Reason::Broken, "the request is gone".into(), None));
            };
            if self.own_host {
                host_of(&mut sent, authority, lease.protocol());
            }
            if let Some(left) = self.left(until) {
                Deadline::write(left, sent.headers_mut());
            }
            let spare = if self.repeatable || self.bounded { copy(&sent) } else { None };
            let until = earlier(
                until,
                self.response_timeout.map(|time| Until {
                    at: Instant::now() + time,
                    reason: Reason::Timeout,
                    cause: "no response in time",
                }),
            );
            let came = match within(until, lease.send(sent)).await {
                Ok(Ok(response)) => return Ok(self.answer(response, lease, picked, spare, begun)),
                Ok(Err(unsent)) => Ok(unsent),
                Err(until) => Err(until),
            };
            // A copy that was made for a refusal is for nothing else.
            let spare = spare.filter(|_| self.repeatable);
            let unsent = match came {
                Ok(unsent) => unsent,
                Err(until) => {
                    let cause = format!("{}: {:?} from its beginning", until.cause, until.at - begun).into();
                    return Err(miss(&mut picked, Some(Outcome::Failed), until.reason, cause, spare));
                }
            };
            let never_begun = unsent.request.is_some();
            request = unsent.request.map(|request| *request).or(spare);
            if lease.is_reused() && !fresh && request.is_some() {
                fresh = true;
                continue;
            }
            let reason = if never_begun { Reason::Connect } else { Reason::Broken };
            return Err(miss(&mut picked, Some(Outcome::Failed), reason, unsent.cause.into(), request));
        }
    }

    /// Returns what the next hop is told, where the call has a deadline.
    fn left(&self, until: Option<Until>) -> Option<Duration> {
        self.deadline?;
        until.map(|until| until.at.saturating_duration_since(Instant::now()))
    }

    fn answer(
        self,
        response: Response<Incoming>,
        lease: Lease<EndpointKey, B>,
        mut picked: Picked,
        copy: Option<Request<Payload<B>>>,
        begun: Instant,
    ) -> Answer<B> {
        if self.bounded && load::is_refusal(&response) {
            return Answer { response, lease, picked, refused: true, judge: None, copy, begun };
        }
        let told = self.judge.head(&response);
        match told {
            Some(outcome) => picked.record(outcome),
            None => picked.answered(),
        }
        // What the head has said, the end does not say again.
        let judge = told.is_none().then_some(self.judge);
        let copy = copy.filter(|_| self.repeatable);
        Answer { response, lease, picked, refused: false, judge, copy, begun }
    }

    #[cold]
    fn miss(
        self,
        picked: &mut Picked,
        outcome: Option<Outcome>,
        reason: Reason,
        cause: Cause,
        request: Option<Request<Payload<B>>>,
        begun: Instant,
    ) -> Box<Miss<B>> {
        if let Some(outcome) = outcome {
            picked.record(outcome);
        }
        let mut attempt = Attempt::new(picked.endpoint(), reason, cause);
        (attempt.begun, attempt.took) = (begun - self.begun, begun.elapsed());
        Box::new(Miss { key: picked.key(), attempt, request })
    }
}
