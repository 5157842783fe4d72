//! Whether a route is for a call: path, headers, query and method, all of which must match.

use std::borrow::Cow;

use callboard_proto::api::query::Params;
use callboard_proto::config_entry::{HeaderMatch, HttpMatch, PATTERN_BYTES_MAX, QueryMatch};
use http::{HeaderMap, HeaderName, Method, Request, Uri};
use regex::{Regex, RegexBuilder};

use super::compile::RuleError;

/// Shows of a call what rules look at.
#[derive(Debug, Clone, Copy)]
pub struct CallView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The address of whoever the call is made for, if that is known.
    pub source: Option<std::net::IpAddr>,
}

impl<'a> CallView<'a> {
    /// Shows a request; the source is a [`super::SourceAddress`] among its extensions.
    #[must_use]
    pub fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            source: request.extensions().get::<super::SourceAddress>().map(|source| source.0),
        }
    }
}

#[derive(Debug)]
enum Way {
    Present,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

impl Way {
    /// `fold`: the way's own text is in small letters already.
    fn holds(&self, text: &str, fold: bool) -> bool {
        let text = if fold { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) };
        match self {
            Way::Present => true,
            Way::Exact(exact) => *text == **exact,
            Way::Prefix(prefix) => text.starts_with(&**prefix),
            Way::Suffix(suffix) => text.ends_with(&**suffix),
            Way::Contains(part) => text.contains(&**part),
            Way::Regex(regex) => regex.is_match(&text),
        }
    }
}

#[derive(Debug)]
struct OnHeader {
    name: HeaderName,
    way: Way,
    fold: bool,
    invert: bool,
}

#[derive(Debug)]
struct OnQuery {
    name: String,
    way: Way,
}

/// Says which calls a route is for; the default is for all.
#[derive(Debug, Default)]
pub struct Matcher {
    path: Option<(Way, bool)>,
    headers: Vec<OnHeader>,
    query: Vec<OnQuery>,
    methods: Vec<Method>,
}

fn whole(pattern: &str) -> Result<Regex, RuleError> {
    // The whole text must match, as with Envoy.
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| RuleError::Pattern { pattern: pattern.to_owned(), reason: error.to_string() })
}

impl Matcher {
    /// Compiles what an entry says.
    ///
    /// # Errors
    /// [`RuleError::Pattern`] and [`RuleError::Malformed`].
    pub fn new(http: &HttpMatch) -> Result<Self, RuleError> {
        let fold = http.case_insensitive;
        let folded = |text: &String| if fold { text.to_ascii_lowercase() } else { text.clone() };
        let path = if !http.path_exact.is_empty() {
            Some((Way::Exact(folded(&http.path_exact)), fold))
        } else if !http.path_prefix.is_empty() {
            Some((Way::Prefix(folded(&http.path_prefix)), fold))
        } else if !http.path_regex.is_empty() {
            Some((Way::Regex(whole(&http.path_regex)?), false))
        } else {
            None
        };
        let methods = http.methods.iter().map(|method| {
            Method::from_bytes(method.as_bytes())
                .map_err(|_| RuleError::Malformed { what: "method", text: method.clone() })
        });
        Ok(Self {
            path,
            headers: http.header.iter().map(OnHeader::new).collect::<Result<_, _>>()?,
            query: http.query_param.iter().map(OnQuery::new).collect::<Result<_, _>>()?,
            methods: methods.collect::<Result<_, _>>()?,
        })
    }

    /// Says whether it names methods.
    #[must_use]
    pub fn names_methods(&self) -> bool {
        !self.methods.is_empty()
    }

    /// Says whether the route is for this call.
    #[must_use]
    pub fn matches(&self, call: &CallView<'_>) -> bool {
        self.path.as_ref().is_none_or(|(way, fold)| way.holds(call.uri.path(), *fold))
            && (self.methods.is_empty() || self.methods.contains(call.method))
            && self.headers.iter().all(|header| header.matches(call.headers))
            && self.matches_query(call.uri)
    }

    fn matches_query(&self, uri: &Uri) -> bool {
        if self.query.is_empty() {
            return true;
        }
        // A query that cannot be read has no parameters.
        let Ok(params) = Params::parse(uri.query().unwrap_or_default()) else { return false };
        self.query.iter().all(|query| params.all(&query.name).any(|value| query.way.holds(value, false)))
    }
}

impl OnHeader {
    fn new(entry: &HeaderMatch) -> Result<Self, RuleError> {
        let name = HeaderName::from_bytes(entry.name.as_bytes())
            .map_err(|_| RuleError::Malformed { what: "header name", text: entry.name.clone() })?;
        let text = |text: &String| if entry.ignore_case { text.to_ascii_lowercase() } else { text.clone() };
        let way = if !entry.exact.is_empty() {
            Way::Exact(text(&entry.exact))
        } else if !entry.prefix.is_empty() {
            Way::Prefix(text(&entry.prefix))
        } else if !entry.suffix.is_empty() {
            Way::Suffix(text(&entry.suffix))
        } else if !entry.contains.is_empty() {
            Way::Contains(text(&entry.contains))
        } else if !entry.regex.is_empty() {
            Way::Regex(whole(&entry.regex)?)
        } else {
            Way::Present
        };
        Ok(Self { name, way, fold: entry.ignore_case, invert: entry.invert })
    }

    /// A header that is given several times is the list of its values (RFC 9110, section 5.3).
    fn matches(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter().filter_map(|value| value.to_str().ok());
        let text = match (values.next(), values.next()) {
            (None, _) => return self.invert,
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => {
                let mut all = format!("{first},{second}");
                for value in values {
                    all.push(',');
                    all.push_str(value);
                }
                Cow::Owned(all)
            }
        };
        self.way.holds(&text, self.fold) != self.invert
    }
}

impl OnQuery {
    fn new(entry: &QueryMatch) -> Result<Self, RuleError> {
        let way = if !entry.exact.is_empty() {
            Way::Exact(entry.exact.clone())
        } else if !entry.regex.is_empty() {
            Way::Regex(whole(&entry.regex)?)
        } else {
            Way::Present
        };
        Ok(Self { name: entry.name.clone(), way })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(rule: Value, request: http::request::Builder, holds: bool) {
        let entry: HttpMatch = serde_json::from_value(rule.clone()).unwrap();
        let request = request.body(()).unwrap();
        assert_eq!(Matcher::new(&entry).unwrap().matches(&CallView::of(&request)), holds, "{rule} of {request:?}");
    }

    #[test]
    fn paths() {
        let get = |path: &str| Request::get(path);
        check(json!({}), get("/any"), true);
        check(json!({"PathExact": "/a"}), get("/a?x=1"), true);
        check(json!({"PathExact": "/a"}), get("/a/"), false);
        check(json!({"PathExact": "/a"}), get("/A"), false);
        check(json!({"PathExact": "/a", "CaseInsensitive": true}), get("/A"), true);
        check(json!({"PathPrefix": "/a/"}), get("/a/b"), true);
        check(json!({"PathPrefix": "/A/", "CaseInsensitive": true}), get("/a/b"), true);
        check(json!({"PathPrefix": "/a/"}), get("/b/a/"), false);
        check(json!({"PathRegex": "/v[0-9]+"}), get("/v12"), true);
        check(json!({"PathRegex": "/v[0-9]+"}), get("/v12/x"), false);
        check(json!({"PathRegex": "/a|/b"}), get("/bc"), false);
    }

    #[test]
    fn headers() {
        let with = |value: &str| Request::get("/").header("x-who", value);
        let rule = |way: &str, text: Value| json!({"Header": [{"Name": "X-Who", way: text}]});
        check(rule("Present", json!(true)), with(""), true);
        check(rule("Present", json!(true)), Request::get("/"), false);
        check(rule("Exact", json!("anna")), with("anna"), true);
        check(rule("Exact", json!("anna")), with("Anna"), false);
        check(rule("Prefix", json!("an")), with("anna"), true);
        check(rule("Suffix", json!("na")), with("anna"), true);
        check(rule("Contains", json!("nn")), with("anna"), true);
        check(rule("Regex", json!("a.*a")), with("anna"), true);
        check(rule("Regex", json!("n+")), with("anna"), false);
        check(json!({"Header": [{"Name": "x-who", "Exact": "anna", "Invert": true}]}), with("bert"), true);
        check(json!({"Header": [{"Name": "x-who", "Present": true, "Invert": true}]}), Request::get("/"), true);
        check(json!({"Header": [{"Name": "x-who", "Exact": "ANNA", "IgnoreCase": true}]}), with("anna"), true);
        check(json!({"Header": [{"Name": "x-who", "Exact": "a,b"}]}), with("a").header("x-who", "b"), true);
        let both = json!({"Header": [{"Name": "x-who", "Prefix": "a"}, {"Name": "x-no", "Present": true}]});
        check(both, with("anna"), false);
    }

    #[test]
    fn queries_and_methods() {
        let rule = json!({"QueryParam": [{"Name": "v", "Exact": "a b"}]});
        check(rule.clone(), Request::get("/?v=a%20b"), true);
        check(rule.clone(), Request::get("/?v=x&v=a+b"), true);
        check(rule, Request::get("/"), false);
        check(json!({"QueryParam": [{"Name": "v", "Present": true}]}), Request::get("/?v"), true);
        check(json!({"QueryParam": [{"Name": "v", "Regex": "[0-9]+"}]}), Request::get("/?v=12x"), false);
        check(json!({"Methods": ["GET", "PUT"]}), Request::put("/"), true);
        check(json!({"Methods": ["GET", "PUT"]}), Request::post("/"), false);
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let entry: HttpMatch = serde_json::from_value(json!({"PathRegex": "("})).unwrap();
        assert!(Matcher::new(&entry).unwrap_err().to_string().contains("\"(\""));
    }
}
