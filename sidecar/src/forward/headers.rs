//! PURE: which headers end at this hop (RFC 9110 section 7.6.1, RFC 9112 section 6.1).
//!
//! Nothing is added on the way: no `Via`, `Forwarded` or `X-Forwarded-*`. The sidecar speaks as the
//! application beside it, whose address on the loopback interface tells an instance nothing, and
//! what an application or a gateway wrote there stays as it is. Called once per direction by `http`.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what concerns the client's connection to us alone; returns the protocol it wants to
/// change to, if any.
pub(crate) fn strip_request(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let upgrade = strip_connection(headers);
    // Credentials for a proxy are not for the instance behind it.
    headers.remove(http::header::PROXY_AUTHORIZATION);
    // Only the will to see trailers passes on; codings of the hop do not.
    let wants_trailers = headers.remove(TE).is_some_and(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    upgrade
}

/// Removes what concerns the instance's connection to us alone; returns the protocol it changes to.
pub(crate) fn strip_response(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.remove(http::header::PROXY_AUTHENTICATE);
    strip_connection(headers)
}

fn strip_connection(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut upgrade = None;
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            let value = headers.remove(&name);
            if name == UPGRADE {
                upgrade = value;
            }
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    upgrade
}

/// Headers that `Connection` cannot name away: removing them would change the message itself, which
/// has been used to make two hops read two requests. `TE` is looked at later.
fn is_end_to_end(name: &HeaderName) -> bool {
    *name == http::header::HOST || *name == CONTENT_LENGTH || *name == TE || *name == http::header::AUTHORIZATION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_ends_at_this_hop_is_removed() {
        let mut map = headers(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Mine , x-other"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("x-mine", "1"),
            ("x-other", "2"),
            ("x-kept", "3"),
            ("upgrade", "h2c"),
            ("te", "gzip, Trailers"),
        ]);
        assert_eq!(strip_request(&mut map), None, "an upgrade not named by connection is none");
        assert_eq!(names(&map), ["host", "te", "x-kept"]);
        assert_eq!(map["te"], "trailers");
    }

    #[test]
    fn the_message_itself_cannot_be_named_away() {
        let mut map = headers(&[
            ("connection", "host, content-length, authorization, te"),
            ("host", "a"),
            ("content-length", "3"),
            ("authorization", "Bearer x"),
            ("te", "trailers"),
        ]);
        assert_eq!(strip_request(&mut map), None);
        assert_eq!(names(&map), ["authorization", "content-length", "host", "te"]);
    }

    #[test]
    fn an_upgrade_is_handed_out() {
        let mut map = headers(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("x", "1")]);
        assert_eq!(strip_request(&mut map).unwrap(), "websocket");
        assert_eq!(names(&map), ["x"]);
    }
}
