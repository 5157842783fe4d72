//! An answer that is read piece by piece: for what is long, or has no end.
//!
//! Decides nothing: `transport` opens it, whoever asked reads it and may stop at any time, which closes the connection.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use super::lease::Lease;
use super::question::Answer;
use crate::error::Error;

/// The largest body that [`Streamed::whole`] takes, in bytes.
const WHOLE_MAX: usize = 1 << 20;

/// Holds the head of an answer, and the way to its body.
#[derive(Debug)]
pub struct Streamed {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Who answered.
    pub server: String,
    pub(super) doing: String,
    pub(super) body: Incoming,
    // The connection lives as long as the answer is read.
    pub(super) _lease: Lease<u32, Full<Bytes>>,
}

impl Streamed {
    /// Returns the next piece of the body, none at its end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the connection broke; what came before is what there is.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| Error::Unreachable {
                doing: self.doing.clone(),
                server: self.server.clone(),
                source: source.into(),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads the rest of a short body, say that of an error.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the connection broke, or the body is longer than 1 MiB.
    pub async fn whole(self) -> Result<Answer, Error> {
        let (doing, server) = (self.doing, self.server);
        let collected = Limited::new(self.body, WHOLE_MAX).collect().await;
        let body = collected.map_err(|source| Error::Unreachable { doing, server: server.clone(), source })?.to_bytes();
        Ok(Answer { status: self.status, headers: self.headers, body, server, fresh: true })
    }
}
