//! A layer that makes one balanced service of something that makes a service per endpoint.
//!
//! For protocols that are tower services already and are not HTTP by [`super::HttpService`]: the maker is
//! given an endpoint and answers with its service, which is kept and cloned for every call. Tried again on another
//! endpoint is what never reached a service: the maker failed, or its service did not become ready. A request that was
//! handed over is not sent twice; put a retry around it that knows whether it may.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use parking_lot::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use super::held::HeldBody;
use super::{Judge, Reason, RetryBudget, Tries};
use crate::balance::{Ask, Balancer, Picked};
use crate::endpoint::{Endpoint, EndpointKey, Outcome};
use crate::error::{Cause, Error};

/// Balances over the services that a maker (`Service<Arc<Endpoint>>`) makes.
///
/// ```
/// use std::sync::Arc;
/// use callboard::balance::Policy;
/// use callboard::catalog::Catalog;
/// use callboard::endpoint::Endpoint;
/// use callboard::tower::BalanceLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let catalog = Catalog::fixed([("users", [Endpoint::new("users-1", "127.0.0.1", 8080)])]);
/// let balancer = catalog.balancer("users", Policy::default());
/// let maker = service_fn(|endpoint: Arc<Endpoint>| async move {
///     let id = endpoint.id().to_owned();
///     let answer = move |question: u32| std::future::ready(Ok::<_, std::io::Error>(format!("{id}: {question}")));
///     Ok::<_, std::io::Error>(service_fn(answer))
/// });
/// let service = ServiceBuilder::new().layer(BalanceLayer::new(balancer)).service(maker);
/// assert_eq!(service.oneshot(7).await.unwrap(), "users-1: 7");
/// # });
/// ```
pub struct BalanceLayer<K = Whole> {
    balancer: Balancer,
    attempts_max: usize,
    budget: Arc<RetryBudget>,
    keep: PhantomData<fn() -> K>,
}

/// Says when a call is over, by the type of its response.
pub trait Keep<R> {
    /// What the caller gets.
    type Response;

    /// Records what the response says, and puts the guard where it is dropped when the call is over.
    fn keep(response: R, picked: Picked) -> Self::Response;
}

/// The call is over when the response is there, and every response is a success.
#[derive(Debug, Clone, Copy)]
pub enum Whole {}

/// The call is over when the body of the HTTP response is; 502, 503 and 504 are failures.
#[derive(Debug, Clone, Copy)]
pub enum Bodies {}

impl<R> Keep<R> for Whole {
    type Response = R;

    fn keep(response: R, picked: Picked) -> R {
        picked.finish(Outcome::Success);
        response
    }
}

impl<B: Body> Keep<Response<B>> for Bodies {
    type Response = Response<HeldBody<B, Picked>>;

    fn keep(response: Response<B>, mut picked: Picked) -> Self::Response {
        if let Some(outcome) = Judge::Http.head(&response) {
            picked.record(outcome);
        }
        response.map(|body| HeldBody::new(body, picked))
    }
}

impl BalanceLayer<Whole> {
    /// Builds a layer for services with any response.
    #[must_use]
    pub fn new(balancer: Balancer) -> Self {
        Self::keeping(balancer)
    }
}

impl BalanceLayer<Bodies> {
    /// Builds a layer for services that answer with [`Response`]s.
    #[must_use]
    pub fn http(balancer: Balancer) -> Self {
        Self::keeping(balancer)
    }
}

impl<K> BalanceLayer<K> {
    /// Builds a layer whose calls are over as `K` says; three tries at most, and a budget of its own.
    #[must_use]
    pub fn keeping(balancer: Balancer) -> Self {
        Self { balancer, attempts_max: 3, budget: Arc::default(), keep: PhantomData }
    }

    /// Sets how many endpoints a call may try, at most 8. Above 1, one that could not be reached does not count.
    #[must_use]
    pub fn attempts_max(mut self, max: usize) -> Self {
        self.attempts_max = max;
        self
    }

    /// Shares a budget with others.
    #[must_use]
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = budget;
        self
    }
}

impl<K> Clone for BalanceLayer<K> {
    fn clone(&self) -> Self {
        Self {
            balancer: self.balancer.clone(),
            attempts_max: self.attempts_max,
            budget: Arc::clone(&self.budget),
            keep: PhantomData,
        }
    }
}

impl<K> fmt::Debug for BalanceLayer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalanceLayer").field("balancer", &self.balancer).finish_non_exhaustive()
    }
}

impl<M, K> Layer<M> for BalanceLayer<K>
where
    M: Service<Arc<Endpoint>>,
{
    type Service = Balanced<M, M::Response, K>;

    fn layer(&self, maker: M) -> Self::Service {
        Balanced { layer: self.clone(), maker, made: Arc::default() }
    }
}

/// Calls one service on the endpoint that is picked for each call; clones share what was made.
pub struct Balanced<M, S, K = Whole> {
    layer: BalanceLayer<K>,
    maker: M,
    made: Arc<Mutex<HashMap<EndpointKey, S>>>,
}

impl<M: Clone, S, K> Clone for Balanced<M, S, K> {
    fn clone(&self) -> Self {
        Self { layer: self.layer.clone(), maker: self.maker.clone(), made: Arc::clone(&self.made) }
    }
}

impl<M, S, K> fmt::Debug for Balanced<M, S, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balanced").field("layer", &self.layer).field("made", &self.made.lock().len()).finish()
    }
}

impl<M, S, K> Balanced<M, S, K>
where
    M: Service<Arc<Endpoint>, Response = S>,
    M::Error: Into<Cause>,
    S: Clone,
{
    /// Returns the service of an endpoint, made now if there is none.
    async fn service_of(&mut self, picked: &Picked) -> Result<S, Cause> {
        if let Some(made) = self.made.lock().get(&picked.key()) {
            return Ok(made.clone());
        }
        poll_fn(|cx| self.maker.poll_ready(cx)).await.map_err(Into::into)?;
        let service = self.maker.call(Arc::new(picked.endpoint().clone())).await.map_err(Into::into)?;
        let snapshot = self.layer.balancer.snapshot();
        let mut made = self.made.lock();
        if made.len() >= snapshot.members().len() {
            // Endpoints that left leave their services; the rest is never more than there are endpoints.
            made.retain(|key, _| snapshot.members().iter().any(|member| member.stats().key() == *key));
        }
        made.insert(picked.key(), service.clone());
        Ok(service)
    }
}

impl<M, S, K, R> Service<R> for Balanced<M, S, K>
where
    M: Service<Arc<Endpoint>, Response = S> + Clone + Send + 'static,
    M::Error: Into<Cause>,
    M::Future: Send,
    S: Service<R> + Clone + Send + 'static,
    S::Error: Into<Cause>,
    S::Future: Send,
    K: Keep<S::Response> + 'static,
    R: Send + 'static,
{
    type Response = K::Response;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<K::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let mut this = self.clone();
        Box::pin(async move {
            let layer = this.layer.clone();
            let ask = Ask::any();
            let mut tries = Tries::new(&layer.balancer, &layer.budget, &ask, layer.attempts_max).of_a_call();
            loop {
                let Some(picked) = tries.next() else { return Err(tries.failed().into()) };
                let key = picked.key();
                let mut service = match this.service_of(&picked).await {
                    Ok(service) => service,
                    Err(cause) => {
                        tries.note(picked, Outcome::ConnectFailed, Reason::Connect, cause);
                        continue;
                    }
                };
                if let Err(error) = poll_fn(|cx| service.poll_ready(cx)).await {
                    // A service that failed to become ready never will: tower's rule.
                    this.made.lock().remove(&key);
                    tries.note(picked, Outcome::Failed, Reason::Connect, error.into());
                    continue;
                }
                return match service.call(request).await {
                    Ok(response) => Ok(K::keep(response, picked)),
                    Err(error) => {
                        tries.note(picked, Outcome::Failed, Reason::Broken, error.into());
                        Err(tries.failed().into())
                    }
                };
            }
        })
    }
}
