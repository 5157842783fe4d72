//! A connection held for one request: what [`super::Pool`] hands out, and takes back.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};

use super::payload::Payload;
use super::pool::{Protocol, Shared};
use crate::error::Cause;

pub(super) enum Carrier<K, B> {
    Http1 { sender: http1::SendRequest<Payload<B>>, key: K, pool: Arc<Shared<K, B>> },
    Http2(http2::SendRequest<Payload<B>>),
}

/// Holds a connection for one request.
pub struct Lease<K, B> {
    pub(super) carrier: Carrier<K, B>,
    pub(super) reused: bool,
}

impl<K, B> fmt::Debug for Lease<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("reused", &self.reused).finish_non_exhaustive()
    }
}

/// Says why no response came; holds the request if not a byte of it was sent.
#[derive(Debug)]
pub struct Unsent<B> {
    /// The request, if it was never begun and may go to anybody else.
    pub request: Option<Box<Request<Payload<B>>>>,
    /// Why.
    pub cause: hyper::Error,
}

impl<K, B> Lease<K, B>
where
    K: Copy + Eq + Hash + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    /// Says whether an earlier request used the connection, so that the server may have closed it since.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Returns what the connection speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.carrier {
            Carrier::Http1 { .. } => Protocol::Http1,
            Carrier::Http2(_) => Protocol::Http2,
        }
    }

    /// Sends a request and returns the head of the response. The request must have its `Host` header and an
    /// origin-form target for HTTP/1.1, an absolute target for HTTP/2.
    ///
    /// # Errors
    /// When the connection ended or broke before the response's head was complete.
    pub async fn send(&mut self, request: Request<Payload<B>>) -> Result<Response<Incoming>, Unsent<B>> {
        let sent = match &mut self.carrier {
            Carrier::Http1 { sender, .. } => sender.try_send_request(request).await,
            Carrier::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| Unsent { request: error.take_message().map(Box::new), cause: error.into_error() })
    }

    /// Gives the connection back; to be called when the response has been read to its end.
    pub fn give_back(self) {
        if let Carrier::Http1 { sender, key, pool } = self.carrier {
            pool.put(key, sender);
        }
    }
}
