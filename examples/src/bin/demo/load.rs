//! Callers: so many each way, each making one call at a time at a steady pace.
//!
//! A call is one that fails for good: the retries of the SDK and of the sidecar are behind it. Counted in `tally`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard::balance::Policy;
use callboard::tower::HttpService;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Error;
use crate::instance::HEADER;
use crate::stage::{Open, SERVICE};
use crate::tally::{Tally, Way};

/// How long one call may take before its caller gives up, which counts as a failure.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Starts the callers; they end when `stop` says so, each after the call it is at.
pub(crate) fn start(
    open: &Open,
    callers: u32,
    every: Duration,
    tally: &Arc<Tally>,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, Error> {
    let sdk = open.client.http(SERVICE, Policy::default())?;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        // Spread over the pace, so that the load is even.
        let first = Instant::now() + every * caller / callers;
        for way in [Way::Sdk, Way::Sidecar] {
            let mut caller = match way {
                Way::Sdk => Caller::Sdk(sdk.clone()),
                Way::Sidecar => Caller::Plain(Plain::new(&open.upstream)),
            };
            let (tally, stop) = (Arc::clone(tally), stop.clone());
            tasks.spawn(async move {
                let mut pace = interval_at(first, every);
                // A caller that was held up does not make up for it with a burst.
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while stop.run_until_cancelled(pace.tick()).await.is_some() {
                    let outcome = match timeout(CALL_LIMIT, caller.call()).await {
                        Ok(outcome) => outcome.map_err(|error| error.to_string()),
                        Err(_) => Err(format!("no answer within {CALL_LIMIT:?}")),
                    };
                    tally.count(way, outcome);
                }
            });
        }
    }
    Ok(tasks)
}

/// Says whether the sidecar is ready.
pub(crate) async fn is_ready(admin: &str) -> bool {
    matches!(Plain::new(admin).get("/ready").await, Ok((head, _)) if head.status() == StatusCode::OK)
}

enum Caller {
    Sdk(HttpService<Empty<Bytes>>),
    Plain(Plain),
}

impl Caller {
    /// Makes a call; returns who answered.
    async fn call(&mut self) -> Result<String, Error> {
        match self {
            Caller::Sdk(service) => {
                let answer = service.clone().oneshot(Request::get("/").body(Empty::new())?).await?;
                let (head, body) = answer.into_parts();
                body.collect().await?;
                who(&Response::from_parts(head, ()))
            }
            Caller::Plain(plain) => who(&plain.get("/").await?.0),
        }
    }
}

fn who(answer: &Response<()>) -> Result<String, Error> {
    if !answer.status().is_success() {
        return Err(format!("answered {}", answer.status()).into());
    }
    let header = answer.headers().get(HEADER).ok_or("the answer does not say who gave it")?;
    Ok(header.to_str()?.to_owned())
}

/// HTTP without discovery, balancing or retries: what an application beside a sidecar does.
pub(crate) struct Plain {
    address: String,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Plain {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connection: None }
    }

    /// Gets a path, on the connection of the call before if that is still open.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(Response<()>, Bytes), Error> {
        let mut kept = self.connection.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            // The server closed it between two calls; nothing was sent on it.
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => {
                let (sender, connection) = handshake(TokioIo::new(TcpStream::connect(&self.address).await?)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        let request = Request::get(path).header("host", &self.address).body(Empty::new())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.connection = Some(sender);
        Ok((Response::from_parts(head, ()), body))
    }
}
