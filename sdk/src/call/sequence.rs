//! The tries of one call: whom to ask next, whether at all, after how long, and whether two at a time.
//!
//! Tried again on another endpoint, up to a number of tries and within a budget: a request of which no byte was sent (any
//! method), and one that may be carried out twice when [`super::RetryPolicy`] says so of what happened. An endpoint is
//! asked a second time only when everybody has been asked, and then after a wait. While somebody was not, a try that
//! could not connect does not count, but for the budget and the bound on all tries. A request that is itself a retry
//! of its caller, by its header or by what the task inherits, is tried again only while nothing was sent.
//! A server that refuses a request by the bound it was told is passed over as if it had not been picked, whatever the
//! method: see `refusals`. What one try does is in `attempt`; built and run by `service`.

mod begin;
mod hedge;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;

use super::attempt::{Answer, Miss, Try};
use super::body::ResponseBody;
use super::budget::RetryBudget;
use super::error::{Attempt, CallError, Reason};
use super::lane::Way;
use super::limiter::Place;
use super::refusals::Refusals;
use super::retry::{self, Advice};
use super::shape::copy;
use super::stats::CallStats;
use crate::balance::{Ask, Picked};
use crate::catalog::Member;
use crate::endpoint::EndpointKey;
use crate::error::Cause;
use crate::http::Payload;
use crate::load::{self, BOUND_HEADER, LOAD_HEADER};
use crate::observe;

/// A server that asks for more patience than this has its answer passed on.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What is shared by all calls of a service.
#[derive(Clone, Copy)]
pub(super) struct Account<'a> {
    pub(super) budget: &'a RetryBudget,
    pub(super) stats: &'a CallStats,
}

/// A request on its way, and what happened to it so far.
pub(super) struct Sequence<'a, B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    way: &'a Way<'a, B>,
    account: Account<'a>,
    steps: Try<'a, B>,
    // None while it is with a connection.
    request: Option<Request<Payload<B>>>,
    hash: Option<u64>,
    // Empty, and so without a heap, for nearly all calls.
    tried: Vec<EndpointKey>,
    attempts: Vec<Attempt>,
    tries: usize,
    // Of the tries, those that sent nothing.
    unsent: usize,
    reason: Reason,
    budget_spent: bool,
    // The last pick was refused by a bound, ours or the server's; the next one costs nothing.
    passed_over: bool,
    refusals: Refusals<Arc<Member>>,
    advice: Advice,
    // An answer that was a reason to try again, in case nothing better comes.
    held: Option<Answer<B>>,
    place: Option<Place>,
}

/// What a call brings along.
pub(super) struct Asked<B> {
    pub(super) request: Request<B>,
    pub(super) hash: Option<u64>,
    pub(super) begun: Instant,
}

impl<'a, B> Sequence<'a, B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Makes a call, and returns the head of its answer.
    pub(super) async fn run(
        way: &'a Way<'a, B>,
        account: Account<'a>,
        asked: Asked<B>,
    ) -> Result<Response<ResponseBody<B>>, Box<CallError>> {
        let mut sequence = Self::begin(way, account, asked)?;
        if sequence.steps.repeatable || way.balancer.has_bounds() {
            sequence.keep_body().await?;
        }
        loop {
            let Some(picked) = sequence.next().await else { return sequence.end() };
            if let Some(answer) = sequence.ask(picked).await {
                return Ok(sequence.respond(answer));
            }
        }
    }

    /// Picks whom to ask; none when the call is over.
    async fn next(&mut self) -> Option<Picked> {
        let again = self.tries > 0 && !self.passed_over;
        if again {
            if self.request.is_none() || self.advice.never || !self.may_ask_another() {
                return None;
            }
            if !self.granted() {
                self.budget_spent = true;
                return None;
            }
            if !self.pause(self.advice.everybody_after).await {
                return None;
            }
        }
        self.passed_over = false;
        let picked = match self.pick_or_settle() {
            Some(picked) => picked,
            // Everybody has been asked; who failed may be well again after a while.
            None if again && self.reason != Reason::Overloaded && self.tries < self.way.retry.attempts() => {
                let failures = u32::try_from(self.tries).unwrap_or(u32::MAX);
                let wait = self.way.retry.backoff.delay(failures, fastrand::u32(..)).max(self.advice.same_after);
                if !self.pause(wait).await {
                    return None;
                }
                self.tried.clear();
                // From here on every try counts.
                self.unsent = 0;
                self.pick()?
            }
            None => return None,
        };
        if again {
            self.account.stats.retried();
        }
        Some(picked)
    }

    fn may_ask_another(&self) -> bool {
        retry::may_ask_another(self.way.retry.attempts(), self.tries, self.unsent)
    }

    /// Asks the budget for one more try.
    fn granted(&self) -> bool {
        let granted = self.account.budget.withdraw(std::time::Instant::now());
        observe::retry(self.way.balancer, granted);
        if !granted {
            self.account.stats.budget_refused();
        }
        granted
    }

    /// Picks somebody; where enough have refused the call by their bounds, or nobody else is left, the least loaded of them.
    fn pick_or_settle(&mut self) -> Option<Picked> {
        if self.refusals.may_come()
            && let Some(picked) = self.pick()
        {
            return Some(picked);
        }
        let Some(member) = self.refusals.settle() else {
            // Nobody refused lately: either there was nobody to pick, or the least loaded has had its turn.
            return if self.refusals.may_come() { None } else { self.pick() };
        };
        let picked = self.way.balancer.hold(member);
        if picked.stats().in_flight() <= u64::from(self.way.breaker.requests_max) {
            return Some(picked);
        }
        picked.release();
        self.pick()
    }

    /// Picks somebody who was not asked yet and has not reached the bound of requests in flight.
    fn pick(&mut self) -> Option<Picked> {
        loop {
            let ask = self.hash.map_or_else(Ask::any, Ask::hash);
            // The error of the call says all that a refused pick says, and which tries went before.
            let picked = self.way.balancer.pick(&ask.without(&self.tried)).ok()?;
            let max = self.way.breaker.requests_max;
            if picked.stats().in_flight() <= u64::from(max) {
                return Some(picked);
            }
            self.reason = Reason::Overloaded;
            let cause = format!("the bound of {max} requests in flight to the endpoint was reached");
            let mut attempt = Attempt::new(picked.endpoint(), Reason::Overloaded, cause.into());
            attempt.begun = self.steps.begun.elapsed();
            self.attempts.push(attempt);
            self.tried.push(picked.key());
            picked.release();
        }
    }

    /// Waits, if the call's time allows it; false when it does not.
    async fn pause(&mut self, wait: Duration) -> bool {
        if wait.is_zero() {
            return true;
        }
        let left = self.steps.deadline.map_or(PAUSE_MAX, |deadline| deadline.left().unwrap_or_default());
        if wait >= left.min(PAUSE_MAX) {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }

    /// Asks an endpoint. Returns none when the call is to go on; whether there is a request left decides whether it can.
    async fn ask(&mut self, picked: Picked) -> Option<Answer<B>> {
        let mut request = self.request.take()?;
        self.tries += 1;
        if self.tries > 1 {
            request.headers_mut().insert(retry::ATTEMPT, HeaderValue::from(self.tries as u64));
        }
        self.steps.bounded = self.tell_bound(&picked, &mut request);
        let hedge = self.way.lane.hedges.as_ref().filter(|_| self.steps.repeatable).and_then(|hedges| hedges.wait());
        let came = match hedge.and_then(|wait| Some((wait, copy(&request)?))) {
            None => self.steps.go(picked, request).await,
            // Apart, and so off the stack of the calls that are not hedged.
            Some((wait, spare)) => Box::pin(self.ask_two(picked, request, wait, spare)).await,
        };
        match came {
            Ok(answer) if answer.refused => {
                self.request = self.refused(answer);
                self.passed_over = true;
                None
            }
            Ok(mut answer) => {
                let status = answer.response.status().as_u16();
                if self.follows(&answer) {
                    self.advice = Advice::of(answer.response.headers());
                    let mut attempt =
                        Attempt::new(answer.picked.endpoint(), Reason::Status, format!("answered {status}").into());
                    (attempt.begun, attempt.took) = (answer.begun - self.steps.begun, answer.begun.elapsed());
                    self.request = answer.copy.take();
                    self.tried.push(answer.picked.key());
                    self.attempts.push(attempt);
                    self.reason = Reason::Status;
                    self.held = Some(answer);
                    return None;
                }
                Some(answer)
            }
            Err(miss) => {
                self.miss(*miss);
                None
            }
        }
    }

    /// Tells the server how many requests it may have in flight, where that is known and the request can be had again
    /// after a refusal; says whether it did. What others told is taken away: it was not about this server.
    fn tell_bound(&self, picked: &Picked, request: &mut Request<Payload<B>>) -> bool {
        let bound = self.way.balancer.bound_of(picked).filter(|_| self.refusals.may_come());
        match bound.filter(|_| request.body().again().is_some()) {
            Some(bound) => {
                request.headers_mut().insert(BOUND_HEADER, HeaderValue::from(bound));
                true
            }
            None => {
                request.headers_mut().remove(&BOUND_HEADER);
                false
            }
        }
    }

    /// Hears that a server has all that it may have; returns the request, of which no application saw anything.
    #[cold]
    fn refused(&mut self, answer: Answer<B>) -> Option<Request<Payload<B>>> {
        let Answer { response, lease, picked, copy, begun, .. } = answer;
        let said = response.headers().get(LOAD_HEADER).and_then(load::read);
        let bound = response.headers().get(BOUND_HEADER).and_then(load::read_bound).unwrap_or(u32::MAX);
        if let Some(load) = said {
            self.way.balancer.note_load(&picked, load);
        }
        let in_flight = said.map_or(u32::MAX, |load| load.in_flight);
        let cause = format!("the server has {in_flight} requests in flight and may have {bound}");
        let mut attempt = Attempt::new(picked.endpoint(), Reason::Overloaded, cause.into());
        (attempt.begun, attempt.took) = (begun - self.steps.begun, begun.elapsed());
        observe::try_failed(self.way.balancer, &attempt);
        self.attempts.push(attempt);
        self.reason = Reason::Overloaded;
        self.tries -= 1;
        self.tried.push(picked.key());
        self.refusals.note(Arc::clone(picked.member()), in_flight, picked.endpoint().weight_effective());
        if response.body().is_end_stream() {
            lease.give_back();
        }
        picked.release();
        copy
    }

    /// Says whether an answer is a reason for another try, and there may be one.
    fn follows(&self, answer: &Answer<B>) -> bool {
        answer.copy.is_some()
            && self.may_ask_another()
            && self.way.retry.follows_answer(answer.response.status().as_u16(), answer.response.headers())
    }

    #[cold]
    fn miss(&mut self, miss: Miss<B>) {
        let reason = miss.attempt.reason;
        self.tried.push(miss.key);
        self.passed_over = reason == Reason::Overloaded;
        self.unsent += usize::from(reason == Reason::Connect);
        if self.passed_over {
            self.tries -= 1;
        } else if matches!(reason, Reason::Timeout | Reason::Deadline)
            && let Some(place) = &self.place
        {
            place.done(true);
        }
        self.reason = reason;
        observe::try_failed(self.way.balancer, &miss.attempt);
        self.attempts.push(miss.attempt);
        let again = self.passed_over || self.way.retry.follows(reason);
        self.request = miss.request.filter(|_| again);
    }

    fn respond(mut self, answer: Answer<B>) -> Response<ResponseBody<B>> {
        let Answer { mut response, lease, picked, judge, begun, .. } = answer;
        if let Some(load) = response.headers_mut().remove(&LOAD_HEADER).as_ref().and_then(load::read) {
            self.way.balancer.note_load(&picked, load);
        }
        if let Some(hedges) = &self.way.lane.hedges {
            hedges.record(begun.elapsed(), picked.stats().clock().micros());
        }
        let place = self.place.take();
        if let Some(place) = &place {
            let lost = matches!(response.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
            place.done(lost);
        }
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        response.map(|incoming| ResponseBody::new(incoming, (!upgraded).then_some(lease), picked, judge, place))
    }

    /// Ends a call that nobody is left for: with the answer that was held, or with all that happened.
    #[cold]
    fn end(mut self) -> Result<Response<ResponseBody<B>>, Box<CallError>> {
        if let Some(answer) = self.held.take() {
            return Ok(self.respond(answer));
        }
        let error = CallError::new(self.reason, self.way.balancer, self.attempts, self.budget_spent);
        Err(error.with(self.steps.deadline, None))
    }
}
