//! The form of a request: what HTTP/1.1 and HTTP/2 want of its target, its version and its host.
//!
//! Decides nothing about where it goes. Called by `sequence` once a call, and by `attempt` for each endpoint.

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version, request};

use crate::error::Cause;
use crate::http::{Payload, Protocol};

/// Brings target and version into the form that the protocol wants; true when the `Host` is left to us.
pub(super) fn shape(head: &mut request::Parts, protocol: Protocol) -> Result<bool, Cause> {
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
pub(super) fn host_of<B>(request: &mut Request<B>, authority: &str, protocol: Protocol) {
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

/// Builds the same request once more, if its body can be had once more.
pub(super) fn copy<B>(request: &Request<Payload<B>>) -> Option<Request<Payload<B>>> {
    let mut copy = Request::new(request.body().again()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
