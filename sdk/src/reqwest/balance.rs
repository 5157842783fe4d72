//! The middleware: one pick, one try, and another endpoint where that is safe.
//!
//! Tried again, as over [`crate::tower::HttpService`]: any request that found no connection, and an idempotent
//! one without a body whose connection broke. Not tried again: one whose body is a stream (it cannot be sent twice), one
//! that ran out of time, and anything after the head of the response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::HOST;
use http::{Extensions, HeaderValue};
use reqwest::{Body, Request, Response, ResponseBuilderExt, Url};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::balance::{Ask, Picked};
use crate::directory::Directory;
use crate::endpoint::{Endpoint, Outcome};
use crate::error::Cause;
use crate::tower::{HashKey, HeldBody, Judge, Reason, RetryBudget, Tries};

/// Balances requests whose host means a service. The port is the endpoint's, whatever the URL says; the `Host` header stays
/// what the URL said. `https://` passes through unchanged, because a certificate is for the name: resolve it by
/// [`super::Resolver`].
///
/// A hash policy takes its key from a [`HashKey`] among the request's extensions. Failures are a
/// [`crate::tower::CallError`] within [`Error::Middleware`]; what other middlewares fail with stays as it is. A redirect
/// stays with its endpoint when it is relative; one that names a service again needs the resolver too.
///
/// ```
/// use callboard::catalog::Catalog;
/// use callboard::endpoint::Endpoint;
/// use callboard::reqwest::Balance;
/// use reqwest_middleware::ClientBuilder;
///
/// let catalog = Catalog::fixed([("users", [Endpoint::new("users-1", "127.0.0.1", 8080)])]);
/// let client = ClientBuilder::new(reqwest::Client::new()).with(Balance::new(&catalog)).build();
/// let call = client.get("http://users/7").send();
/// # drop(call);
/// ```
#[derive(Debug, Clone)]
pub struct Balance {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: Directory,
    attempts_max: usize,
    budget: Arc<RetryBudget>,
}

impl Balance {
    /// Builds the middleware over a client's registry, a fixed catalog or a directory: three tries at most, and a budget
    /// of its own.
    #[must_use]
    pub fn new(directory: impl Into<Directory>) -> Self {
        Self::with(directory, 3, Arc::default())
    }

    /// Builds the middleware with a bound on tries, at most 8, and a budget that may be shared with others. Above 1, an
    /// endpoint that could not be reached does not count as a try.
    #[must_use]
    pub fn with(directory: impl Into<Directory>, attempts_max: usize, budget: Arc<RetryBudget>) -> Self {
        Self { shared: Arc::new(Shared { directory: directory.into(), attempts_max, budget }) }
    }

    async fn call(&self, mut request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response> {
        let host = request.url().host_str().filter(|_| request.url().scheme() == "http");
        let Some(service) = host.and_then(Directory::service_of) else { return next.run(request, extensions).await };
        let balancer = self.shared.directory.balancer(service).map_err(Error::middleware)?;
        if !request.headers().contains_key(HOST) {
            let host = authority(request.url()).map_err(Error::middleware)?;
            request.headers_mut().insert(HOST, host);
        }
        let ask = extensions.get::<HashKey>().map_or_else(Ask::any, |key| Ask::hash(key.0));
        let mut tries = Tries::new(&balancer, &self.shared.budget, &ask, self.shared.attempts_max).of_a_call();
        let mut left = Some(request);
        while let Some(mut request) = left.take() {
            let Some(picked) = tries.next() else { break };
            if let Err(cause) = aim(request.url_mut(), picked.endpoint()) {
                // Such an address cannot be dialled by anybody.
                tries.note(picked, Outcome::ConnectFailed, Reason::Connect, cause);
                left = Some(request);
                continue;
            }
            let repeatable = request.body().is_none() && request.method().is_idempotent();
            let copy = request.try_clone();
            let error = match next.clone().run(request, extensions).await {
                Ok(response) => return Ok(hold(response, picked)),
                Err(Error::Reqwest(error)) if !(error.is_builder() || error.is_redirect()) => error,
                // Not the endpoint's fault: the guard is dropped without a word.
                Err(other) => return Err(other),
            };
            let (outcome, reason) = match () {
                () if error.is_connect() => (Outcome::ConnectFailed, Reason::Connect),
                () if error.is_timeout() => (Outcome::Failed, Reason::Timeout),
                () => (Outcome::Failed, Reason::Broken),
            };
            let again = reason == Reason::Connect || reason == Reason::Broken && repeatable;
            left = copy.filter(|_| again);
            // The error says whom it was about; a URL may hold what no log should.
            tries.note(picked, outcome, reason, error.without_url().into());
        }
        Err(Error::middleware(crate::Error::from(tries.failed())))
    }
}

impl Middleware for Balance {
    // What `#[async_trait]` would write.
    fn handle<'a, 'b, 'c, 'f>(
        &'a self,
        request: Request,
        extensions: &'b mut Extensions,
        next: Next<'c>,
    ) -> Pin<Box<dyn Future<Output = Result<Response>> + Send + 'f>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        Self: 'f,
    {
        Box::pin(self.call(request, extensions, next))
    }
}

/// Returns `host[:port]` as the application wrote it.
fn authority(url: &Url) -> std::result::Result<HeaderValue, http::header::InvalidHeaderValue> {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
        None => HeaderValue::from_str(host),
    }
}

fn aim(url: &mut Url, endpoint: &Endpoint) -> std::result::Result<(), Cause> {
    url.set_host(Some(endpoint.host()))?;
    url.set_port(Some(endpoint.port())).map_err(|()| "the URL can have no port".into())
}

/// Records what the head says, and holds the guard until the body ends.
fn hold(response: Response, mut picked: Picked) -> Response {
    let url = response.url().clone();
    let (mut head, body) = http::Response::<Body>::from(response).into_parts();
    // reqwest keeps the URL in an extension that only this builder can write.
    if let Ok(marked) = http::Response::builder().url(url).body(()) {
        head.extensions.extend(marked.into_parts().0.extensions);
    }
    let response = http::Response::from_parts(head, body);
    if let Some(outcome) = Judge::Http.head(&response) {
        picked.record(outcome);
    }
    Response::from(response.map(|body| Body::wrap(HeldBody::new(body, picked))))
}
