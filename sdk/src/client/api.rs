//! How requests to the registry are put together and their answers taken apart.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use callboard_proto::api::agent::{NODE_ADDRESS_PARAM, NODE_PARAM};
use callboard_proto::api::meta::ReadMeta;
use callboard_proto::api::query::{ReadOptions, escape};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Client;
use crate::config::ClientBuilder;
use crate::error::Error;
use crate::http::{Answer, Repeat, Streamed, Transport};

/// Holds a value that was read, and how the answer came about.
#[derive(Debug, Clone)]
pub struct Read<T> {
    /// The value.
    pub value: T,
    /// What the headers said; the index is what a blocking read asks with next.
    pub meta: ReadMeta,
}

/// Sends requests with what the client's settings add to each.
pub(crate) struct Api {
    pub(crate) transport: Transport,
    pub(crate) request_timeout: Duration,
    datacenter: Option<String>,
    // `&node=…&node-address=…`, or empty.
    scope: String,
}

impl Api {
    pub(super) fn new(transport: Transport, config: &ClientBuilder) -> Self {
        let mut scope = String::new();
        if let Some((name, address)) = &config.node {
            let _ = write!(scope, "&{NODE_PARAM}={}&{NODE_ADDRESS_PARAM}={}", escape(name), escape(address));
        }
        Self { transport, request_timeout: config.request_timeout, datacenter: config.datacenter.clone(), scope }
    }

    /// Writes a read's target; `path` may already have a query.
    pub(crate) fn target(&self, path: &str, options: &ReadOptions) -> String {
        let mut query = String::new();
        options.write_to(&mut query);
        if let (None, Some(datacenter)) = (&options.datacenter, &self.datacenter) {
            let _ = write!(query, "&dc={}", escape(datacenter));
        }
        join(path, &query)
    }

    /// Writes a target of an agent's route, which names this process's node.
    pub(crate) fn agent_target(&self, path: &str) -> String {
        join(path, &self.scope)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        let (doing, answer) = self.call(&Method::GET, target, Bytes::new(), Repeat::Safe).await?;
        decode(&doing, &answer.body)
    }

    /// Reads with the headers of a blocking read.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str, options: &ReadOptions) -> Result<Read<T>, Error> {
        let answer = self.read_raw(path, options).await?;
        let doing = doing(&Method::GET, path);
        let answer = answer.success(&doing)?;
        Ok(Read { meta: meta(&doing, &answer)?, value: decode(&doing, &answer.body)? })
    }

    /// Reads an answer that may be a 404.
    pub(crate) async fn read_raw(&self, path: &str, options: &ReadOptions) -> Result<Answer, Error> {
        let wait = options.index.map_or(Duration::ZERO, |_| {
            options.wait.unwrap_or(callboard_proto::index::WAIT_DEFAULT).min(callboard_proto::index::WAIT_MAX)
        });
        let timeout = wait + wait / 16 + self.request_timeout;
        let target = self.target(path, options);
        match options.index {
            Some(_) => self.transport.wait(&target, timeout).await,
            None => self.transport.send(&Method::GET, &target, &Bytes::new(), Repeat::Safe, timeout).await,
        }
    }

    /// Writes, and expects nothing back. Every such write is one whose repetition does no harm.
    pub(crate) async fn put(&self, target: &str, body: Bytes) -> Result<(), Error> {
        self.call(&Method::PUT, target, body, Repeat::Safe).await.map(drop)
    }

    pub(crate) async fn put_json(&self, target: &str, body: &impl Serialize) -> Result<(), Error> {
        self.put(target, json(&doing(&Method::PUT, target), body)?).await
    }

    /// Sends a request and takes a 2xx.
    pub(crate) async fn call(
        &self,
        method: &Method,
        target: &str,
        body: Bytes,
        repeat: Repeat,
    ) -> Result<(String, Answer), Error> {
        let answer = self.transport.send(method, target, &body, repeat, self.request_timeout).await?;
        let doing = doing(method, target);
        let answer = answer.success(&doing)?;
        Ok((doing, answer))
    }
}

fn join(path: &str, query: &str) -> String {
    match query.strip_prefix('&') {
        Some(rest) if !path.contains('?') => format!("{path}?{rest}"),
        _ => format!("{path}{query}"),
    }
}

fn doing(method: &Method, target: &str) -> String {
    format!("{method} {}", target.split('?').next().unwrap_or(target))
}

pub(super) fn meta(doing: &str, answer: &Answer) -> Result<ReadMeta, Error> {
    ReadMeta::from_headers(|name| answer.header(name))
        .map_err(|error| Error::Answer { doing: doing.to_owned(), source: error.into() })
}

pub(super) fn decode<T: DeserializeOwned>(doing: &str, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Answer { doing: doing.to_owned(), source: error.into() })
}

fn json(doing: &str, body: &impl Serialize) -> Result<Bytes, Error> {
    let bytes =
        serde_json::to_vec(body).map_err(|error| Error::Answer { doing: doing.to_owned(), source: error.into() })?;
    Ok(bytes.into())
}

impl Client {
    /// Sends any request; `target` is a path with its query, to which nothing is added. The answer may
    /// have any status. Only reads are asked of another server after a failure.
    ///
    /// # Errors
    /// When no whole answer came.
    pub async fn request(&self, method: Method, target: &str, body: impl Into<Bytes>) -> Result<Answer, Error> {
        let api = self.api();
        api.transport.send(&method, target, &body.into(), Repeat::Unsafe, api.request_timeout).await
    }

    /// Sends any request as [`Self::request`], with a time of its own: for blocking reads.
    ///
    /// # Errors
    /// When no whole answer came in time.
    pub async fn request_within(
        &self,
        method: Method,
        target: &str,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, Error> {
        self.api().transport.send(&method, target, &body.into(), Repeat::Unsafe, timeout).await
    }

    /// Sends any request as [`Self::request`]; the body of the answer is read piece by piece, however long it takes and
    /// however large it is. Only the head must come within the time.
    ///
    /// # Errors
    /// When no head of an answer came in time.
    pub async fn request_streamed(
        &self,
        method: Method,
        target: &str,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Streamed, Error> {
        self.api().transport.open(&method, target, &body.into(), timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_joined() {
        for (path, query, target) in
            [("/a", "", "/a"), ("/a", "&b=c", "/a?b=c"), ("/a?x", "&b=c", "/a?x&b=c"), ("/a?x", "", "/a?x")]
        {
            assert_eq!(join(path, query), target);
        }
    }
}
