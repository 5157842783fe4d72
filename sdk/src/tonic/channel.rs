//! The channel: an [`HttpService`] over HTTP/2 that answers with what tonic expects.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::Client;
use crate::balance::{Balancer, BalancerSettings};
use crate::call::CallStats;
use crate::endpoint::EndpointKey;
use crate::error::Error;
use crate::http::Protocol;
use crate::tower::{CallError, HttpService, HttpSettings, Judge, Reason, ResponseBody, RetryBudget};

/// Calls a service over gRPC; clones share the connections. Build one per runtime.
///
/// What was not sent (no connection) is tried on another endpoint, whatever the call. What was sent is never
/// repeated: a gRPC call does not say whether it may be. A call that fails before there is an answer fails with
/// `UNAVAILABLE`, or with `DEADLINE_EXCEEDED` when the head of the answer did not come within
/// [`HttpSettings::response_timeout`]; the [`CallError`] is its source.
///
/// ```no_run
/// use callboard::balance::Policy;
/// use callboard::tonic::Channel;
/// use tonic_health::pb::HealthCheckRequest;
/// use tonic_health::pb::health_client::HealthClient;
///
/// # async fn example(client: &callboard::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let channel = Channel::of(client, "users", Policy::default())?;
/// let mut health = HealthClient::new(channel);
/// let answer = health.check(HealthCheckRequest { service: String::new() }).await?;
/// println!("{:?}", answer.into_inner().status());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Channel {
    service: HttpService<Body>,
    /// The generation of the snapshot by which connections were last tidied.
    tidied: Arc<AtomicU64>,
}

impl Channel {
    /// Builds a channel to a service with default settings and a budget of its own.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub fn of(client: &Client, service: &str, settings: impl Into<BalancerSettings>) -> Result<Self, Error> {
        let balancer = client.balancer(service, settings)?;
        let stats = client.call_stats(&balancer);
        Ok(Self::counted(balancer, HttpSettings::default(), Arc::default(), stats))
    }

    /// Builds a channel over a balancer, with default settings and a budget of its own.
    #[must_use]
    pub fn new(balancer: Balancer) -> Self {
        Self::with(balancer, HttpSettings::default(), Arc::default())
    }

    /// Builds a channel over a balancer with settings and a budget that may be shared with others. What is spoken is
    /// HTTP/2 and judged as gRPC, whatever the settings say.
    #[must_use]
    pub fn with(balancer: Balancer, settings: HttpSettings, budget: Arc<RetryBudget>) -> Self {
        Self::counted(balancer, settings, budget, Arc::default())
    }

    fn counted(
        balancer: Balancer,
        mut settings: HttpSettings,
        budget: Arc<RetryBudget>,
        stats: Arc<CallStats>,
    ) -> Self {
        settings.pool.protocol = Protocol::Http2;
        settings.judge = Judge::Grpc;
        let tidied = Arc::new(AtomicU64::new(balancer.snapshot().generation()));
        Self { service: HttpService::following(None, None, balancer, settings, budget, stats), tidied }
    }

    /// Returns the balancer.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        self.service.balancer()
    }

    /// Returns how many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.service.pool().connections()
    }

    /// Closes connections to endpoints that left, once per snapshot: nothing else ends one that is kept alive. Calls under
    /// way on them go on to their end.
    fn tidy(&self) {
        let snapshot = self.balancer().snapshot();
        let generation = snapshot.generation();
        if self.tidied.swap(generation, Relaxed) != generation {
            let there: HashSet<EndpointKey> = snapshot.members().iter().map(|member| member.stats().key()).collect();
            self.service.pool().retain(|key| there.contains(key));
        }
    }
}

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<ResponseBody<Body>>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.tidy();
        let service = self.service.clone();
        Box::pin(async move { service.send(request).await.map_err(status) })
    }
}

/// Says in gRPC's words why there is no answer.
fn status(error: Box<CallError>) -> Status {
    let code = match error.reason {
        Reason::Timeout | Reason::Deadline => Code::DeadlineExceeded,
        Reason::Overloaded => Code::ResourceExhausted,
        Reason::Request => Code::Internal,
        _ => Code::Unavailable,
    };
    let mut status = Status::new(code, error.to_string());
    status.set_source(Arc::new(*error));
    status
}
