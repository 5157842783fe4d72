//! One call: pick, connect, send, and what to do when one of them fails.
//!
//! Tried again on another endpoint, up to a number of tries and within a budget: a request of which no
//! byte was sent (any method), and one that may be repeated (idempotent, without a body) when its connection
//! broke. Not counted as a try: a kept connection that the server had closed in the meantime.
//! Never tried again: anything after the response's head, and a response that did not come in time.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, request};
use http_body::Body;

use super::body::ResponseBody;
use super::budget::RetryBudget;
use super::error::{Attempt, CallError, Reason};
use crate::balance::{Ask, Balancer, Picked};
use crate::endpoint::{EndpointKey, Outcome};
use crate::error::Cause;
use crate::http::{Lease, Payload, Pool, PoolSettings, Protocol};
use crate::load::{self, LOAD_HEADER};

/// The bound on tries of one call, whatever the settings say.
const ATTEMPTS_MAX: usize = 8;

/// Carries the hash of a call in the extensions of its request, for the hash policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub u64);

/// Holds the settings of calls.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The connections.
    pub pool: PoolSettings,
    /// The time from sending a request to the head of its response; none waits for ever.
    pub response_timeout: Option<Duration>,
    /// How many endpoints one call may try, at most 8.
    pub attempts_max: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { pool: PoolSettings::default(), response_timeout: Some(Duration::from_secs(30)), attempts_max: 3 }
    }
}

/// Calls one service over HTTP; clones share the pool, the balancer and the budget. Build one per runtime: a
/// connection lives on the runtime that opened it.
pub struct HttpService<B> {
    shared: Arc<Shared<B>>,
}

struct Shared<B> {
    balancer: Balancer,
    pool: Pool<EndpointKey, B>,
    budget: Arc<RetryBudget>,
    response_timeout: Option<Duration>,
    attempts_max: usize,
}

impl<B> Clone for HttpService<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B> fmt::Debug for HttpService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").field("balancer", &self.shared.balancer).finish_non_exhaustive()
    }
}

impl<B> HttpService<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Builds a service over a balancer, with default settings and a budget of its own.
    #[must_use]
    pub fn new(balancer: Balancer) -> Self {
        Self::with(balancer, HttpSettings::default(), Arc::default())
    }

    /// Builds a service over a balancer with settings and a budget that may be shared with others.
    #[must_use]
    pub fn with(balancer: Balancer, settings: HttpSettings, budget: Arc<RetryBudget>) -> Self {
        Self {
            shared: Arc::new(Shared {
                balancer,
                pool: Pool::new(settings.pool),
                budget,
                response_timeout: settings.response_timeout,
                attempts_max: settings.attempts_max.clamp(1, ATTEMPTS_MAX),
            }),
        }
    }

    /// Returns the balancer.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.shared.balancer
    }

    /// Returns the connections, to count or to close them.
    #[must_use]
    pub fn pool(&self) -> &Pool<EndpointKey, B> {
        &self.shared.pool
    }

    /// Calls an endpoint of the service; a hash policy takes its key from a [`HashKey`] among the request's
    /// extensions.
    ///
    /// # Errors
    /// [`CallError`] when no response's head came; see [`Reason`] for what is true then.
    pub async fn send(&self, request: Request<B>) -> Result<Response<ResponseBody<B>>, Box<CallError>> {
        let hash = request.extensions().get::<HashKey>().map(|key| key.0);
        self.send_hashed(request, hash).await
    }

    /// Calls an endpoint of the service, by a key's hash if the policy wants one.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_hashed(
        &self,
        request: Request<B>,
        hash: Option<u64>,
    ) -> Result<Response<ResponseBody<B>>, Box<CallError>> {
        let shared = &*self.shared;
        shared.budget.deposit();
        let mut call = Call::new(shared, request, hash)?;
        loop {
            let Some(picked) = call.pick() else { return Err(call.failed()) };
            if let Some(response) = call.attempt(picked).await {
                return Ok(response);
            }
        }
    }
}

impl<B> tower_service::Service<Request<B>> for HttpService<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = crate::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.send(request).await?) })
    }
}

/// A request on its way, and what happened to it so far.
struct Call<'a, B> {
    shared: &'a Shared<B>,
    // None while it is with a connection.
    request: Option<Request<Payload<B>>>,
    // Whether it may be carried out twice, so that a copy of its head is worth having.
    repeatable: bool,
    // Whether the Host header is ours, and so changes with the endpoint.
    own_host: bool,
    hash: Option<u64>,
    // One per attempt; empty, and so without a heap, for nearly all calls.
    tried: Vec<EndpointKey>,
    attempts: Vec<Attempt>,
    reason: Reason,
    budget_spent: bool,
}

impl<'a, B> Call<'a, B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    fn new(shared: &'a Shared<B>, request: Request<B>, hash: Option<u64>) -> Result<Self, Box<CallError>> {
        let (mut head, body) = request.into_parts();
        let empty = body.is_end_stream();
        let own_host = match shape(&mut head, shared.pool.settings().protocol) {
            Ok(own_host) => own_host,
            Err(cause) => {
                let attempt =
                    Attempt { instance: String::new(), authority: String::new(), reason: Reason::Request, cause };
                return Err(CallError::new(Reason::Request, &shared.balancer, vec![attempt], false));
            }
        };
        let repeatable = empty && head.method.is_idempotent() && shared.attempts_max > 1;
        let payload = if empty { Payload::empty() } else { Payload::new(body) };
        Ok(Self {
            shared,
            request: Some(Request::from_parts(head, payload)),
            repeatable,
            own_host,
            hash,
            tried: Vec::new(),
            attempts: Vec::new(),
            reason: Reason::NoEndpoint,
            budget_spent: false,
        })
    }

    /// Picks an endpoint that was not tried yet; none when the call has failed.
    fn pick(&mut self) -> Option<Picked> {
        let count = self.attempts.len();
        let ask = self.hash.map_or_else(Ask::any, Ask::hash);
        let picked = if count == 0 {
            self.shared.balancer.pick(&ask)
        } else {
            if self.request.is_none() || count >= self.shared.attempts_max {
                return None;
            }
            if !self.shared.budget.withdraw(Instant::now()) {
                self.budget_spent = true;
                return None;
            }
            self.shared.balancer.pick(&ask.without(&self.tried))
        };
        // The error of the call says all that a refused pick says, and which tries went before.
        picked.ok()
    }

    #[cold]
    fn failed(self) -> Box<CallError> {
        CallError::new(self.reason, &self.shared.balancer, self.attempts, self.budget_spent)
    }

    /// Tries one endpoint. Returns none when the try failed; whether there is a request left decides
    /// whether there can be another.
    async fn attempt(&mut self, mut picked: Picked) -> Option<Response<ResponseBody<B>>> {
        let key = picked.key();
        let pool = &self.shared.pool;
        let mut fresh = false;
        loop {
            let (authority, socket) = dial(&picked);
            let lease = match fresh {
                false => pool.lease(key, authority, socket).await,
                true => pool.lease_fresh(key, authority, socket).await,
            };
            let mut lease = match lease {
                Ok(lease) => lease,
                Err(error) => {
                    self.note(&mut picked, Outcome::ConnectFailed, Reason::Connect, error.into());
                    return None;
                }
            };
            let mut request = self.request.take()?;
            if self.own_host {
                host_of(&mut request, authority, lease.protocol());
            }
            let copy = self.repeatable.then(|| copy(&request));
            let sent = match self.shared.response_timeout {
                Some(after) => match tokio::time::timeout(after, lease.send(request)).await {
                    Ok(sent) => sent,
                    Err(_) => {
                        let cause = format!("no response within {after:?}").into();
                        self.note(&mut picked, Outcome::Failed, Reason::Timeout, cause);
                        return None;
                    }
                },
                None => lease.send(request).await,
            };
            let unsent = match sent {
                Ok(mut response) => {
                    if let Some(load) = response.headers_mut().remove(&LOAD_HEADER).as_ref().and_then(load::read) {
                        self.shared.balancer.note_load(&picked, load);
                    }
                    return Some(respond(response, lease, picked));
                }
                Err(unsent) => unsent,
            };
            let never_begun = unsent.request.is_some();
            self.request = unsent.request.map(|request| *request).or(copy);
            if lease.is_reused() && !fresh && self.request.is_some() {
                fresh = true;
                continue;
            }
            let reason = if never_begun { Reason::Connect } else { Reason::Broken };
            self.note(&mut picked, Outcome::Failed, reason, unsent.cause.into());
            return None;
        }
    }

    #[cold]
    fn note(&mut self, picked: &mut Picked, outcome: Outcome, reason: Reason, cause: Cause) {
        picked.record(outcome);
        self.reason = reason;
        self.tried.push(picked.key());
        let endpoint = picked.endpoint();
        self.attempts.push(Attempt {
            instance: endpoint.id().to_owned(),
            authority: endpoint.authority().to_owned(),
            reason,
            cause,
        });
    }
}

fn dial(picked: &Picked) -> (&str, Option<SocketAddr>) {
    let endpoint = picked.endpoint();
    (endpoint.authority(), endpoint.socket())
}

fn respond<B>(
    response: Response<hyper::body::Incoming>,
    lease: Lease<EndpointKey, B>,
    mut picked: Picked,
) -> Response<ResponseBody<B>>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    // These three say that the endpoint could not serve; a 500 may be the fault of one request.
    let failed = matches!(
        response.status(),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    );
    picked.record(if failed { Outcome::Failed } else { Outcome::Success });
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    response.map(|incoming| ResponseBody::new(incoming, (!upgraded).then_some(lease), picked))
}

/// Brings target and version into the form that the protocol wants; true when the `Host` is left to us.
fn shape(head: &mut request::Parts, protocol: Protocol) -> Result<bool, Cause> {
    let own_host = match protocol {
        Protocol::Http1 => {
            head.version = Version::HTTP_11;
            let authority = head.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
            if let Some(authority) = authority {
                head.headers.entry(HOST).or_insert(authority?);
                let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
                head.uri = Uri::from(path);
            }
            !head.headers.contains_key(HOST)
        }
        Protocol::Http2 => {
            head.version = Version::HTTP_2;
            let host = head.headers.remove(HOST);
            let authority = match (head.uri.authority(), host) {
                (Some(authority), _) => Some(authority.clone()),
                (None, Some(host)) => Some(Authority::try_from(host.as_bytes())?),
                (None, None) => None,
            };
            let own_host = authority.is_none();
            let mut parts = std::mem::take(&mut head.uri).into_parts();
            parts.scheme = Some(Scheme::HTTP);
            parts.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
            parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
            head.uri = Uri::from_parts(parts)?;
            own_host
        }
    };
    Ok(own_host)
}

/// Names the endpoint as the host, where the application named none.
fn host_of<B>(request: &mut Request<B>, authority: &str, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            if let Ok(value) = HeaderValue::from_str(authority) {
                request.headers_mut().insert(HOST, value);
            }
        }
        Protocol::Http2 => {
            let mut parts = std::mem::take(request.uri_mut()).into_parts();
            // What cannot be an authority cannot have been dialled.
            parts.authority = authority.parse().ok().or(parts.authority);
            *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        }
    }
}

/// Builds the same request once more; it has no body.
fn copy<B>(request: &Request<Payload<B>>) -> Request<Payload<B>> {
    let mut copy = Request::new(Payload::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
