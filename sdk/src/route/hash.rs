//! The hash of a call, made of what a resolver names: headers, cookies, query parameters, the source's address.
//!
//! Each thing that the call has gives XXH3-64 of its bytes; they are combined as Envoy does: the sum so far is rotated left by
//! one bit and mixed with the next by exclusive or. A terminal thing ends the list once it gave a hash.

use std::net::IpAddr;
use std::time::Duration;

use callboard_proto::api::query::Params;
use callboard_proto::config_entry::{CookieConfig, HashPolicy};
use http::header::COOKIE;
use http::{HeaderName, HeaderValue};

use super::compile::RuleError;
use super::matcher::CallView;
use crate::balance::hash::key;

/// Carries, among the extensions of a request, the address of whoever it is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceAddress(pub IpAddr);

#[derive(Debug)]
enum Thing {
    Header(HeaderName),
    Cookie(String, Option<CookieConfig>),
    Query(String),
    Source,
}

/// Makes the hash of a call.
#[derive(Debug, Default)]
pub struct Hashes(Vec<(Thing, bool)>);

/// A cookie that the answer is to carry, so that the caller comes back to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCookie {
    name: String,
    value: u64,
    path: String,
    ttl: Option<Duration>,
}

impl NewCookie {
    /// Returns the value of the `Set-Cookie` header (RFC 6265, section 4.1); none for a name that no header can carry.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let mut text = format!("{}={:016x}", self.name, self.value);
        if let Some(ttl) = self.ttl {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if !self.path.is_empty() {
            text.push_str(&format!("; Path={}", self.path));
        }
        text.push_str("; HttpOnly");
        HeaderValue::try_from(text).ok()
    }
}

impl Hashes {
    /// Compiles a list.
    ///
    /// # Errors
    /// [`RuleError::Malformed`] for a thing that does not exist.
    pub fn new(list: &[HashPolicy]) -> Result<Self, RuleError> {
        let thing = |entry: &HashPolicy| {
            if entry.source_ip {
                return Ok((Thing::Source, entry.terminal));
            }
            let name = entry.field_value.clone();
            let bad = |what| RuleError::Malformed { what, text: name.clone() };
            let thing = match entry.field.as_str() {
                "header" => Thing::Header(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("header name"))?),
                "cookie" => Thing::Cookie(name, entry.cookie_config.clone()),
                "query_parameter" => Thing::Query(name),
                other => return Err(RuleError::Malformed { what: "field of a hash policy", text: other.to_owned() }),
            };
            Ok((thing, entry.terminal))
        };
        list.iter().map(thing).collect::<Result<_, _>>().map(Self)
    }

    /// Says whether there is nothing to hash.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the hash of a call, if it has anything of what is named, and the cookie that its answer is to carry. `dice` is
    /// any random word, from which a new cookie is made.
    #[must_use]
    pub fn hash(&self, call: &CallView<'_>, dice: u64) -> (Option<u64>, Option<NewCookie>) {
        let (mut sum, mut new): (Option<u64>, _) = (None, None);
        for (thing, terminal) in &self.0 {
            let mut hash = thing.of(call);
            if let (None, Thing::Cookie(name, Some(config))) = (hash, thing)
                && (config.session || config.ttl.0 > 0)
                && new.is_none()
            {
                let ttl = config.ttl.positive();
                hash = Some(key(format!("{dice:016x}").as_bytes()));
                new = Some(NewCookie { name: name.clone(), value: dice, path: config.path.clone(), ttl });
            }
            if let Some(hash) = hash {
                sum = Some(sum.map_or(hash, |sum| sum.rotate_left(1) ^ hash));
                if *terminal {
                    break;
                }
            }
        }
        (sum, new)
    }
}

impl Thing {
    fn of(&self, call: &CallView<'_>) -> Option<u64> {
        match self {
            Thing::Header(name) => call.headers.get(name).map(|value| key(value.as_bytes())),
            Thing::Cookie(name, _) => call
                .headers
                .get_all(COOKIE)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(';'))
                .filter_map(|pair| pair.split_once('='))
                .find(|(given, _)| given.trim() == name)
                .map(|(_, value)| key(value.trim().as_bytes())),
            Thing::Query(name) => {
                let params = Params::parse(call.uri.query()?).ok()?;
                params.get(name).map(|value| key(value.as_bytes()))
            }
            Thing::Source => call.source.map(|source| match source {
                IpAddr::V4(address) => key(&address.octets()),
                IpAddr::V6(address) => key(&address.octets()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde_json::{Value, json};

    use super::*;

    fn hash(list: Value, request: http::request::Builder) -> (Option<u64>, Option<NewCookie>) {
        let list: Vec<HashPolicy> = serde_json::from_value(list).unwrap();
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(SourceAddress("10.0.0.1".parse().unwrap()));
        Hashes::new(&list).unwrap().hash(&CallView::of(&request), 7)
    }

    #[test]
    fn each_thing_is_hashed_by_its_bytes() {
        let request = || Request::get("/?user=anna").header("x-user", "anna").header("cookie", "a=b; user=anna");
        for list in [
            json!([{"Field": "header", "FieldValue": "X-User"}]),
            json!([{"Field": "cookie", "FieldValue": "user"}]),
            json!([{"Field": "query_parameter", "FieldValue": "user"}]),
        ] {
            assert_eq!(hash(list, request()).0, Some(key(b"anna")));
        }
        assert_eq!(hash(json!([{"SourceIP": true}]), request()).0, Some(key(&[10, 0, 0, 1])));
        assert_eq!(hash(json!([{"Field": "header", "FieldValue": "x-none"}]), request()).0, None);
    }

    #[test]
    fn later_things_are_mixed_in_unless_one_is_terminal() {
        let request = || Request::get("/").header("a", "1").header("b", "2");
        let list = |terminal: bool| {
            json!([{"Field": "header", "FieldValue": "a", "Terminal": terminal},
            {"Field": "header", "FieldValue": "b"}])
        };
        let (one, two) = (key(b"1"), key(b"2"));
        assert_eq!(hash(list(false), request()).0, Some(one.rotate_left(1) ^ two));
        assert_eq!(hash(list(true), request()).0, Some(one));
        assert_eq!(hash(list(true), Request::get("/").header("b", "2")).0, Some(two), "only once it gave a hash");
    }

    #[test]
    fn a_missing_cookie_is_made() {
        let list = json!([{"Field": "cookie", "FieldValue": "stay", "CookieConfig": {"TTL": "60s", "Path": "/"}}]);
        let (made, cookie) = hash(list.clone(), Request::get("/"));
        let header = cookie.unwrap().header().unwrap();
        assert_eq!(header, "stay=0000000000000007; Max-Age=60; Path=/; HttpOnly");
        let again = Request::get("/").header("cookie", "stay=0000000000000007");
        assert_eq!(hash(list, again), (made, None), "and leads to the same place when it comes back");
    }
}
