//! From the wire to a handler.
//!
//! Decodes the path once, finds the route, reads the query, hands a [`Call`] to the handler, and counts the
//! answer on its way out.

use std::time::Instant;

use callboard_proto::api::query::Params;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::Api;
use super::reply::{self, Failure, Response};
use super::request::Call;
use super::routes;

/// Answers a request, whatever it is.
pub(super) async fn handle(api: &Api, request: Request<Incoming>) -> Response {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let length = parts.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()).and_then(|length| length.parse().ok());
    let accept_text = parts.headers.get(http::header::ACCEPT).is_some_and(|accept| accept == "text/plain");
    let (method, target) = (parts.method, parts.uri.path_and_query().map_or("", PathAndQuery::as_str).to_owned());
    // Headers and path are slices of the connection's read buffer: a read that waits must not keep it.
    drop((parts.headers, parts.uri));
    let (raw, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = percent_decode_str(raw).decode_utf8();
    let path = match &path {
        Ok(path) if !path.chars().any(char::is_control) => path.as_ref(),
        _ => {
            let text = "Invalid URL path: it must be printable UTF-8 after decoding";
            return api.telemetry.answered(None, begun, reply::seal(reply::text(StatusCode::BAD_REQUEST, text)));
        }
    };
    if let Some(clean) = unclean(raw) {
        let location = if query.is_empty() { clean } else { format!("{clean}?{query}") };
        return api.telemetry.answered(None, begun, reply::moved(&location));
    }
    let Some((entry, rest)) = routes::find(path) else {
        return api.telemetry.answered(None, begun, unknown(api, path, &method));
    };
    let answer = if method == Method::OPTIONS {
        Ok(reply::options(entry.allowed.clone()))
    } else if let Some(operation) = entry.operation(&method) {
        match Params::parse(query) {
            Err(error) => Err(error.into()),
            Ok(params) => {
                let mut call = Call { api, rest, params, query, accept_text, body: Some((body, length)) };
                (operation.run)(&mut call).await
            }
        }
    } else {
        Err(Failure::Method { method, allowed: entry.allowed.clone() })
    };
    let response = answer.unwrap_or_else(Failure::into_response);
    api.telemetry.answered(Some(entry.place), begun, reply::seal(response))
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
    reply::seal(reply::text(StatusCode::NOT_FOUND, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclean_paths_are_cleaned() {
        assert_eq!(unclean("/v1//kv/x").as_deref(), Some("/v1/kv/x"));
        assert_eq!(unclean("/v1/./kv/../kv/x/").as_deref(), Some("/v1/kv/x/"));
        assert_eq!(unclean("/v1/kv/a%2F%2Fb"), None);
        assert_eq!(unclean("/v1/kv/"), None);
    }
}
