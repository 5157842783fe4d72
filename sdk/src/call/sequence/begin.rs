//! How a call begins: what it may take and what it inherits is settled before anything is sent.

use http::{HeaderValue, Request};
use http_body::Body;

use super::super::attempt::Try;
use super::super::deadline::{Deadline, Inherited};
use super::super::error::{CallError, Reason};
use super::super::lane::Way;
use super::super::refusals::Refusals;
use super::super::retry::{self, Advice};
use super::super::shape::shape;
use super::{Account, Asked, Sequence};
use crate::error::Cause;
use crate::http::Payload;

impl<'a, B> Sequence<'a, B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Takes a request on: its time, its place under the limit, its shape for the wire.
    ///
    /// # Errors
    /// When its time is over, the limit is reached, or it cannot be sent. Nothing was sent then.
    pub(super) fn begin(way: &'a Way<'a, B>, account: Account<'a>, asked: Asked<B>) -> Result<Self, Box<CallError>> {
        let (mut head, body) = asked.request.into_parts();
        let inherited = Inherited::current();
        let own = head.extensions.get::<Deadline>().copied();
        let limit = way.call_timeout.map(Deadline::after);
        let deadline = [own, inherited.deadline, Deadline::of(&head.headers), limit].into_iter().flatten().min();
        let refuse = |reason, cause| {
            let error = CallError::new(reason, way.balancer, Vec::new(), false).with(deadline, cause);
            Err(error)
        };
        if deadline.is_some_and(|deadline| deadline.left().is_none()) {
            return refuse(Reason::Deadline, Some("it was over before anything was sent".into()));
        }
        let place = match &way.lane.limiter {
            None => None,
            Some(limiter) => match limiter.enter() {
                Some(place) => Some(place),
                None => {
                    let cause = format!("the limit of {} calls under way was reached", limiter.limit());
                    return refuse(Reason::Overloaded, Some(cause.into()));
                }
            },
        };
        let own_host = match shape(&mut head, way.lane.pool.settings().protocol) {
            Ok(own_host) => own_host,
            Err(cause) => return refuse(Reason::Request, Some(cause)),
        };
        let follows = inherited.retry || retry::is_retry(&head.headers);
        if inherited.retry {
            // Whatever a retry leads to is a part of a retry.
            head.headers.entry(retry::ATTEMPT).or_insert(HeaderValue::from_static("2"));
        }
        let payload = if body.is_end_stream() { Payload::empty() } else { Payload::new(body) };
        let steps = Try {
            pool: &way.lane.pool,
            bounds: way.bounds(),
            judge: way.judge,
            own_host,
            repeatable: !follows && way.retry.repeats(&head.method),
            bounded: false,
            response_timeout: way.response_timeout,
            per_try_timeout: way.retry.per_try_timeout,
            deadline,
            begun: asked.begun,
        };
        Ok(Self {
            way,
            account,
            steps,
            request: Some(Request::from_parts(head, payload)),
            hash: asked.hash,
            tried: Vec::new(),
            attempts: Vec::new(),
            tries: 0,
            unsent: 0,
            reason: Reason::NoEndpoint,
            budget_spent: false,
            passed_over: false,
            refusals: Refusals::default(),
            advice: Advice::default(),
            held: None,
            place,
        })
    }

    /// Reads a small body ahead, so that it can be sent twice.
    ///
    /// # Errors
    /// When it fails or does not come in time. Nothing was sent then.
    pub(super) async fn keep_body(&mut self) -> Result<(), Box<CallError>> {
        let Some(request) = self.request.take() else { return Ok(()) };
        if request.body().again().is_some() {
            self.request = Some(request);
            return Ok(());
        }
        let (head, body) = request.into_parts();
        let keeping = Box::pin(body.keep(self.way.retry.body_max));
        let kept = match self.steps.deadline {
            None => Ok(keeping.await),
            Some(deadline) => tokio::time::timeout_at(deadline.at(), keeping).await,
        };
        let (reason, cause) = match kept {
            Ok(Ok(body)) => {
                self.request = Some(Request::from_parts(head, body));
                return Ok(());
            }
            Ok(Err(error)) => (Reason::Request, error.into()),
            Err(_) => (Reason::Deadline, "the body of the request did not come in time".into()),
        };
        Err(CallError::new(reason, self.way.balancer, Vec::new(), false).with(self.steps.deadline, Some(cause)))
    }
}
