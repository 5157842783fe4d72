//! The shared outbound port: routes by Host header, absolute URI or `CONNECT` target.
//!
//! `http_proxy=http://127.0.0.1:9100` makes an application use it. A name is read once per worker
//! and authority; afterwards a request costs one look-up. Called by `accept`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;

use crate::accept::Client;
use crate::conn::Kind;
use crate::directory::{Directory, Full};
use crate::forward::answer::Failure;
use crate::forward::body::Body;
use crate::forward::upload::Upload;
use crate::forward::{http as forward_http, tcp};
use crate::route::{self, RouteError};
use crate::upstream::Local;

/// Spellings of names remembered per worker; beyond it all are read anew, which costs a little time.
const NAMES_MAX: usize = 4_096;

/// One worker's half of the shared outbound port.
pub(crate) struct Outbound {
    directory: Arc<Directory>,
    domain: String,
    worker: usize,
    names: Mutex<HashMap<Box<[u8]>, Arc<Local>>>,
}

/// Why a request named no upstream.
#[derive(Debug, thiserror::Error)]
enum Unrouted {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Full(#[from] Full),
}

impl Unrouted {
    fn failure(&self) -> Failure {
        match self {
            Unrouted::Route(RouteError::Missing { .. }) => Failure::BadRequest,
            Unrouted::Route(_) => Failure::NoRoute,
            Unrouted::Full(_) => Failure::TooManyServices,
        }
    }
}

impl Outbound {
    /// Builds the half of worker number `worker`.
    pub(crate) fn new(directory: Arc<Directory>, domain: String, worker: usize) -> Outbound {
        Outbound { directory, domain, worker, names: Mutex::new(HashMap::new()) }
    }

    /// Answers one request.
    pub(crate) async fn call(&self, client: &Client, request: Request<Upload>) -> Response<Body> {
        let local = match self.find(&request) {
            Ok(local) => local,
            Err(error) => {
                let failure = error.failure();
                client.worker.counters.failed(failure);
                return failure.answer(error);
            }
        };
        local.upstream.touch(client.worker.ticks.load(Relaxed));
        local.upstream.known().await;
        if request.method() == Method::CONNECT {
            return connect(local, client, request).await;
        }
        forward_http::forward(&local, client, request).await
    }

    /// Finds the upstream a request names.
    fn find(&self, request: &Request<Upload>) -> Result<Arc<Local>, Unrouted> {
        let authority = match request.uri().authority() {
            Some(authority) => authority.as_str().as_bytes(),
            None => request.headers().get(HOST).map_or(&b""[..], |host| host.as_bytes()),
        };
        if let Some(local) = self.names.lock().get(authority)
            && !local.upstream.is_retired()
        {
            return Ok(Arc::clone(local));
        }
        let route = route::route(&String::from_utf8_lossy(authority), &self.domain)?;
        let local = self.directory.local(&route, self.worker)?;
        let mut names = self.names.lock();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(authority.into(), Arc::clone(&local));
        Ok(local)
    }

    /// Forgets what was taken out of service, and closes connections to instances that are gone.
    pub(crate) fn tidy(&self) {
        let mut names = self.names.lock();
        names.retain(|_, local| !local.upstream.is_retired());
        for local in names.values() {
            local.tidy();
        }
    }
}

/// Opens a tunnel to an instance: connects first, so that the client hears when nobody is there.
async fn connect(local: Arc<Local>, client: &Client, mut request: Request<Upload>) -> Response<Body> {
    let hash = local.upstream.hash_of_client(client.address);
    let (server, picked) = match tcp::connect(&local, hash).await {
        Ok(connected) => connected,
        Err(error) => {
            let failure = error.failure();
            local.counters().failed(failure);
            return failure.answer(error);
        }
    };
    let waiting = hyper::upgrade::on(&mut request);
    let watch = client.worker.register.add(Kind::Other);
    client.worker.tasks.spawn(async move {
        let _picked = picked;
        match waiting.await {
            Ok(client) => {
                local.counters().tunnels.fetch_add(1, Relaxed);
                tcp::tunnel(client, server, &watch, local.counters()).await;
            }
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "tunnel did not come about"),
        }
    });
    let mut response = Response::new(Body::text(Bytes::new()));
    *response.status_mut() = StatusCode::OK;
    response
}
