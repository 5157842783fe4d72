//! What a rule changes about a request or an answer: headers, and the beginning of the path.

use callboard_proto::config_entry::{HeaderModifiers, HttpMatch};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::compile::RuleError;

/// Changes headers: takes away, puts in place, adds, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderChanges {
    /// Compiles what an entry says.
    ///
    /// # Errors
    /// [`RuleError::Malformed`] for what no header can be called or carry.
    pub fn new(entry: Option<&HeaderModifiers>) -> Result<Self, RuleError> {
        let Some(entry) = entry else { return Ok(Self::default()) };
        let name = |text: &String| {
            HeaderName::from_bytes(text.as_bytes())
                .map_err(|_| RuleError::Malformed { what: "header name", text: text.clone() })
        };
        let pair = |(header, text): (&String, &String)| {
            let value = HeaderValue::from_str(text)
                .map_err(|_| RuleError::Malformed { what: "header value", text: text.clone() })?;
            Ok((name(header)?, value))
        };
        Ok(Self {
            remove: entry.remove.iter().map(name).collect::<Result<_, _>>()?,
            set: entry.set.iter().map(pair).collect::<Result<_, RuleError>>()?,
            add: entry.add.iter().map(pair).collect::<Result<_, RuleError>>()?,
        })
    }

    /// Says whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Changes headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

/// Puts something in place of the path, or prefix, that a route matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    matched: usize,
    with: String,
}

impl Rewrite {
    /// Compiles what an entry says; none when nothing was matched that could be replaced.
    #[must_use]
    pub fn new(with: &str, http: Option<&HttpMatch>) -> Option<Self> {
        let http = http?;
        let matched = http.path_exact.len().max(http.path_prefix.len());
        (!with.is_empty() && matched > 0).then(|| Self { matched, with: with.to_owned() })
    }

    /// Changes a target whose path was matched; the query stays. A target that would not be one stays as it is.
    pub fn apply(&self, uri: &mut Uri) {
        let rest = uri.path().get(self.matched..).unwrap_or_default();
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        let Ok(path) = PathAndQuery::try_from(format!("{}{rest}{query}", self.with)) else { return };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(path);
        if let Ok(changed) = Uri::from_parts(parts) {
            *uri = changed;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_are_taken_away_set_and_added() {
        let entry =
            serde_json::from_value(json!({"Remove": ["a"], "Set": {"B": "new"}, "Add": {"c": "more"}})).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "old"), ("b", "older"), ("c", "there")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        HeaderChanges::new(Some(&entry)).unwrap().apply(&mut headers);
        let all = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        assert_eq!((all("a"), all("b"), all("c")), (vec![], vec![&b"new"[..]], vec![&b"there"[..], b"more"]));
        let bad = serde_json::from_value(json!({"Set": {"a b": "x"}})).unwrap();
        assert!(HeaderChanges::new(Some(&bad)).is_err());
    }

    #[test]
    fn the_matched_part_of_the_path_is_replaced() {
        for (rule, with, from, to) in [
            (json!({"PathPrefix": "/api/"}), "/", "/api/users?x=1", "/users?x=1"),
            (json!({"PathPrefix": "/api"}), "/v2", "http://h/api/users", "http://h/v2/users"),
            (json!({"PathExact": "/old"}), "/new", "/old?a=b", "/new?a=b"),
            (json!({"PathPrefix": "/api"}), "/v 2", "/api/x", "/api/x"),
        ] {
            let mut uri: Uri = from.parse().unwrap();
            let http: HttpMatch = serde_json::from_value(rule).unwrap();
            Rewrite::new(with, Some(&http)).unwrap().apply(&mut uri);
            assert_eq!(uri.to_string(), to);
        }
        assert_eq!(Rewrite::new("/x", None), None);
    }
}
