//! One request to one server, with what identifies the caller; the answer is read whole, or left to be read in pieces.
//!
//! Which server is asked, and who is asked next, is `transport`'s.

use std::hash::Hash;

use bytes::Bytes;
use callboard_proto::api::meta;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderValue, Request};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, Limited};

use super::address::UNIX;
use super::payload::Payload;
use super::pool::{Bounds, Pool, Protocol};
use super::question::{Answer, Failure, Question, Repeat};
use super::servers::Server;
use super::streamed::Streamed;
use crate::error::Error;

/// The largest answer that is taken, in bytes: a hundred thousand instances with their checks.
const ANSWER_MAX: usize = 256 << 20;

/// Identifies the caller to servers.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) token: Option<HeaderValue>,
    pub(super) authorization: Option<HeaderValue>,
}

impl Caller {
    /// Sends a request over a new connection; the body of the answer is read in pieces.
    pub(super) async fn open(
        &self,
        pool: &Pool<u32, Full<Bytes>>,
        server: &Server,
        question: Question<'_>,
    ) -> Result<Streamed, Failure> {
        let unreachable = |unsent, source| Failure {
            unsent,
            error: Error::Unreachable { doing: question.doing(), server: server.to_string(), source },
        };
        let authority = server.address.authority();
        let request = self.request(authority, Protocol::Http1, question).map_err(|error| Failure {
            unsent: false,
            error: Error::Answer { doing: question.doing(), source: error.into() },
        })?;
        let lease = pool.lease_fresh(server.id, authority, server.socket, Bounds::NONE).await;
        let mut lease = lease.map_err(|error| unreachable(true, error.into()))?;
        let response = lease.send(request).await;
        let response = response.map_err(|unsent| unreachable(unsent.request.is_some(), unsent.cause.into()))?;
        let (head, body) = response.into_parts();
        Ok(Streamed {
            status: head.status,
            headers: head.headers,
            server: server.to_string(),
            doing: question.doing(),
            body,
            _lease: lease,
        })
    }

    /// Sends a request and reads the answer. One that met a connection which the server had closed is sent again over a new
    /// one, if that can do no harm.
    pub(super) async fn exchange<K>(
        &self,
        pool: &Pool<K, Full<Bytes>>,
        key: K,
        server: &Server,
        question: Question<'_>,
    ) -> Result<Answer, Failure>
    where
        K: Copy + Eq + Hash + Send + 'static,
    {
        let unreachable = |unsent, source| Failure {
            unsent,
            error: Error::Unreachable { doing: question.doing(), server: server.to_string(), source },
        };
        let bad = |source| Failure { unsent: false, error: Error::Answer { doing: question.doing(), source } };
        let authority = server.address.authority();
        let mut fresh = false;
        loop {
            let protocol = pool.settings().protocol;
            let request = self.request(authority, protocol, question).map_err(|error| bad(error.into()))?;
            let lease = match fresh {
                false => pool.lease(key, authority, server.socket, Bounds::NONE).await,
                true => pool.lease_fresh(key, authority, server.socket, Bounds::NONE).await,
            };
            let mut lease = lease.map_err(|error| unreachable(true, error.into()))?;
            let response = match lease.send(request).await {
                Ok(response) => response,
                Err(unsent) => {
                    // The server closed a connection that had lain here: not a sign that it is ill.
                    let harmless = unsent.request.is_some() || question.repeat == Repeat::Safe;
                    if lease.is_reused() && !fresh && harmless {
                        fresh = true;
                        continue;
                    }
                    return Err(unreachable(unsent.request.is_some(), unsent.cause.into()));
                }
            };
            let (head, incoming) = response.into_parts();
            if incoming.size_hint().lower() > ANSWER_MAX as u64 {
                return Err(bad(format!("it is longer than {ANSWER_MAX} bytes").into()));
            }
            let body = match Limited::new(incoming, ANSWER_MAX).collect().await {
                Ok(collected) => collected.to_bytes(),
                Err(error) => return Err(unreachable(false, error)),
            };
            let fresh = !lease.is_reused();
            lease.give_back();
            return Ok(Answer { status: head.status, headers: head.headers, body, server: server.to_string(), fresh });
        }
    }

    fn request(
        &self,
        authority: &str,
        protocol: Protocol,
        question: Question<'_>,
    ) -> Result<Request<Payload<Full<Bytes>>>, http::Error> {
        let request = Request::builder().method(question.method.clone());
        // A path in the file system is no host.
        let authority = if authority.starts_with(UNIX) { "localhost" } else { authority };
        let mut request = match protocol {
            Protocol::Http1 => request.uri(question.target).header(HOST, authority),
            // The authority is a part of the target (RFC 9113 section 8.3.1).
            Protocol::Http2 => request.uri(format!("http://{authority}{}", question.target)),
        }
        .header(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            request = request.header(meta::TOKEN, token.clone());
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let body = question.body;
        request.body(if body.is_empty() { Payload::empty() } else { Payload::new(Full::new(body.clone())) })
    }
}
