//! From the wire to a handler.
//!
//! Decodes the path once, finds the route, reads the query, hands a [`Call`] to the handler, and counts the
//! answer on its way out.

use std::net::IpAddr;
use std::time::Instant;

use callboard_proto::api::meta::TOKEN;
use callboard_proto::api::query::Params;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::Api;
use super::linger::Sent;
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes;
use crate::acl::Secret;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The longest body, in bytes, that is worth reading for nothing to keep a connection.
const LEFT_MAX: u64 = 256 * 1024;

/// Answers a request, whatever it is. `peer` is where it comes from; none for a Unix socket.
pub(super) async fn handle(api: &Api, request: Request<Incoming>, peer: Option<IpAddr>) -> Response {
    let begun = Instant::now();
    let zips = super::zip::accepts(request.headers());
    let (parts, body) = request.into_parts();
    let mut body = Sent::of(body, &parts);
    let (route, mut response) = answer(api, parts, &mut body, peer, begun).await;
    let cut = matches!(response.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
    if cut || body.as_ref().is_some_and(|body| body.is_longer_than(LEFT_MAX)) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(body) = body {
        body.linger();
    }
    for (name, value) in &api.rules.load().response_headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    if zips {
        response = api.zipped.zip(response).await;
    }
    api.telemetry.answered(route, begun, response)
}

/// The answer, and the place of the route that gave it.
async fn answer(
    api: &Api,
    parts: Parts,
    body: &mut Option<Sent>,
    peer: Option<IpAddr>,
    begun: Instant,
) -> (Option<usize>, Response) {
    let accept_text = parts.headers.get(http::header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    let cache_control = parts.headers.get(CACHE_CONTROL).cloned();
    let (method, target) = (parts.method, parts.uri.path_and_query().map_or("", PathAndQuery::as_str).to_owned());
    let from = forwarded_for(&parts.headers).or(peer);
    let token = if api.acl.is_enabled() { token(&parts.headers) } else { None };
    // Headers and path are slices of the connection's read buffer: a read that waits must not keep it.
    drop((parts.headers, parts.uri));
    let (raw, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = percent_decode_str(raw).decode_utf8();
    let path = match &path {
        Ok(path) if !path.chars().any(char::is_control) || api.rules.load().unprintable_paths => path.as_ref(),
        _ => {
            let text = "Invalid URL path: it must be printable UTF-8 after decoding";
            return (None, seal(api, reply::text(StatusCode::BAD_REQUEST, text)));
        }
    };
    if let Some(clean) = unclean(raw) {
        let location = if query.is_empty() { clean } else { format!("{clean}?{query}") };
        return (None, reply::moved(&location));
    }
    let Some((entry, rest)) = routes::find(path) else {
        return (None, unknown(api, path, &method));
    };
    let writes = method != Method::GET && method != Method::OPTIONS;
    if let Err((status, text)) = api.rules.load().admits(path, writes, peer, begun) {
        return (Some(entry.place), seal(api, reply::text(status, text)));
    }
    let answer = if method == Method::OPTIONS {
        Ok(reply::options(entry.allowed.clone()))
    } else if let Some(operation) = entry.operation(&method) {
        match Params::parse(query) {
            Err(error) => Err(error.into()),
            Ok(params) => {
                let token = match params.filled("token") {
                    Some(text) if api.acl.is_enabled() => Some(Secret::new(text)),
                    _ => token,
                };
                let mut call =
                    Call { api, rest, params, query, accept_text, cache_control, from, token, body: body.take() };
                let answer = (operation.run)(&mut call).await;
                *body = call.body.take();
                answer
            }
        }
    } else {
        Err(Failure::Method { method, allowed: entry.allowed.clone() })
    };
    (Some(entry.place), seal(api, answer.unwrap_or_else(Failure::into_response)))
}

/// Adds what every answer below `/v1/` carries.
fn seal(api: &Api, response: Response) -> Response {
    reply::seal(response, api.acl.fallback())
}

/// The token in the headers, in the order in which Consul looks: its own header, then a bearer's.
fn token(headers: &HeaderMap) -> Option<Secret> {
    // What is no text is nobody's token, and must not pass for none.
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
    let own = headers.get(TOKEN).map(text).filter(|token| !token.is_empty());
    let bearer = || {
        let value = headers.get(AUTHORIZATION).map(text)?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned()).filter(|token| !token.is_empty())
    };
    own.or_else(bearer).map(|token| Secret::new(&token))
}

/// For whom a proxy asks, who is the first of all that it names. Believed as Consul does: it only decides an order.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get(FORWARDED_FOR)?.to_str().ok()?.split(',').next()?.trim().parse().ok()
}

/// The path without repeated slashes and dot segments, if that makes a difference.
fn unclean(path: &str) -> Option<String> {
    let dotted = path.split('/').any(|segment| segment == "." || segment == "..");
    if !dotted && !path.contains("//") {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let tail = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{tail}", kept.join("/")))
}

fn unknown(api: &Api, path: &str, method: &Method) -> Response {
    if path == "/" && (method == Method::GET || method == Method::HEAD) {
        return if api.identity.console {
            reply::moved("/ui/")
        } else {
            let text = "Consul Agent: UI disabled. To enable, set ui_config.enabled=true in the agent configuration and restart.";
            reply::text(StatusCode::OK, text)
        };
    }
    let text = if path.contains("/v1/") {
        "Invalid URL path: not a recognized HTTP API endpoint\n"
    } else {
        "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
    };
    seal(api, reply::text(StatusCode::NOT_FOUND, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_the_order_of_consul() {
        let check = |pairs: &[(&'static str, &'static str)], expect: Option<&str>| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(token(&headers), expect.map(Secret::new), "{pairs:?}");
        };
        check(&[], None);
        check(&[("x-consul-token", "")], None);
        check(&[("x-consul-token", "a"), ("authorization", "Bearer b")], Some("a"));
        check(&[("x-consul-token", ""), ("authorization", "bEARER  b ")], Some("b"));
        check(&[("authorization", "Basic b")], None);
        check(&[("authorization", "Bearer")], None);
    }

    #[test]
    fn unclean_paths_are_cleaned() {
        assert_eq!(unclean("/v1//kv/x").as_deref(), Some("/v1/kv/x"));
        assert_eq!(unclean("/v1/./kv/../kv/x/").as_deref(), Some("/v1/kv/x/"));
        assert_eq!(unclean("/v1/kv/a%2F%2Fb"), None);
        assert_eq!(unclean("/v1/kv/"), None);
    }
}
