//! `service-router`: what a call looks like decides where it goes, and how it is retried.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rules::{HeaderModifiers, InvalidEntry, Rules, is_default};
use crate::duration::GoDuration;

/// The conditions of [`RouteDestination::retry_on`].
pub const RETRY_ON: [&str; 13] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// How the calls of a service are routed; the first route that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceRouter {
    /// The service.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    /// The routes, in order; a call that none matches goes to the service itself.
    pub routes: Vec<Route>,
    #[serde(skip_serializing_if = "is_default")]
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
}

/// One route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Route {
    #[serde(rename = "Match", skip_serializing_if = "Option::is_none")]
    /// Which calls; none for all.
    pub matches: Option<RouteMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Where they go; none for the service itself.
    pub destination: Option<RouteDestination>,
}

/// Which calls a route is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteMatch {
    #[serde(rename = "HTTP", skip_serializing_if = "Option::is_none")]
    /// What an HTTP request looks like; none for any.
    pub http: Option<HttpMatch>,
}

/// What a request must look like; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HttpMatch {
    #[serde(skip_serializing_if = "is_default")]
    /// The whole path. At most one of the three path fields is given.
    pub path_exact: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The beginning of the path.
    pub path_prefix: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The whole path, as a regular expression.
    pub path_regex: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether exact path and prefix match without regard to case.
    pub case_insensitive: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Headers, all of which must match.
    pub header: Vec<HeaderMatch>,
    #[serde(skip_serializing_if = "is_default")]
    /// Query parameters, all of which must match.
    pub query_param: Vec<QueryMatch>,
    #[serde(skip_serializing_if = "is_default")]
    /// Methods in capitals, one of which must match; none for any.
    pub methods: Vec<String>,
}

/// What a header must look like; exactly one of the six ways is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeaderMatch {
    /// Its name.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// It is there.
    pub present: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Its whole value.
    pub exact: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The beginning of its value.
    pub prefix: String,
    #[serde(skip_serializing_if = "is_default")]
    /// The end of its value.
    pub suffix: String,
    #[serde(skip_serializing_if = "is_default")]
    /// A part of its value.
    pub contains: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its whole value, as a regular expression.
    pub regex: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether the opposite is wanted.
    pub invert: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether case does not matter; for exact, prefix, suffix and contains.
    pub ignore_case: bool,
}

/// What a query parameter must look like; exactly one of the three ways is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QueryMatch {
    /// Its name.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// It is there.
    pub present: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Its whole value.
    pub exact: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its whole value, as a regular expression.
    pub regex: String,
}

/// Where a call goes, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RouteDestination {
    #[serde(skip_serializing_if = "is_default")]
    /// The service; empty for the one that is routed.
    pub service: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Its subset; empty for its default.
    pub service_subset: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// What takes the place of the matched path or prefix.
    pub prefix_rewrite: String,
    #[serde(skip_serializing_if = "is_default")]
    /// How long the whole call may take; 0 for the default.
    pub request_timeout: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    /// How long nothing may happen on it; 0 for the default.
    pub idle_timeout: GoDuration,
    #[serde(skip_serializing_if = "is_default")]
    /// How often it is tried again.
    pub num_retries: u32,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether a failed connection is tried again.
    pub retry_on_connect_failure: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Conditions under which it is tried again, of [`RETRY_ON`].
    pub retry_on: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    /// Statuses that are tried again.
    pub retry_on_status_codes: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Changes to the request.
    pub request_headers: Option<HeaderModifiers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Changes to the answer.
    pub response_headers: Option<HeaderModifiers>,
}

impl ServiceRouter {
    /// Writes methods in capitals, as requests have them.
    pub(super) fn normalise(&mut self) {
        let matches = self.routes.iter_mut().filter_map(|route| route.matches.as_mut()?.http.as_mut());
        for method in matches.flat_map(|http| &mut http.methods) {
            method.make_ascii_uppercase();
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidEntry> {
        for (number, route) in self.routes.iter().enumerate() {
            let place = format!("Routes[{number}]");
            let http = route.matches.as_ref().and_then(|matches| matches.http.as_ref());
            if let Some(http) = http {
                http.validate(&place)?;
            }
            if let Some(destination) = &route.destination {
                let path = http.is_some_and(|http| !http.path_exact.is_empty() || !http.path_prefix.is_empty());
                destination.validate(&place, path)?;
            }
        }
        Ok(())
    }
}

fn given(texts: &[&str]) -> usize {
    texts.iter().filter(|text| !text.is_empty()).count()
}

impl HttpMatch {
    fn validate(&self, place: &str) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        let paths = given(&[&self.path_exact, &self.path_prefix, &self.path_regex]);
        rules.require(paths <= 1, "only one of PathExact, PathPrefix and PathRegex may be given")?;
        for (field, path) in [("PathExact", &self.path_exact), ("PathPrefix", &self.path_prefix)] {
            if !path.is_empty() && !path.starts_with('/') {
                return rules.broken(format!("{field} doesn't start with '/': {path:?}"));
            }
        }
        rules.pattern("PathRegex", &self.path_regex)?;
        for (number, header) in self.header.iter().enumerate() {
            header.validate(&format!("{place}.Header[{number}]"))?;
        }
        for (number, query) in self.query_param.iter().enumerate() {
            let place = format!("{place}.QueryParam[{number}]");
            let rules = Rules(&place);
            rules.require(!query.name.is_empty(), "Name is missing")?;
            let ways = given(&[&query.exact, &query.regex]) + usize::from(query.present);
            rules.require(ways == 1, "exactly one of Present, Exact and Regex is required")?;
            rules.pattern("Regex", &query.regex)?;
        }
        let mut seen = BTreeSet::new();
        for method in &self.methods {
            rules.require(!method.is_empty(), "Methods holds an empty one")?;
            if !seen.insert(method) {
                return rules.broken(format!("Methods contains {method:?} more than once"));
            }
        }
        Ok(())
    }
}

impl HeaderMatch {
    fn validate(&self, place: &str) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        rules.require(!self.name.is_empty(), "Name is missing")?;
        let cased = given(&[&self.exact, &self.prefix, &self.suffix, &self.contains]);
        let ways = cased + given(&[&self.regex]) + usize::from(self.present);
        rules.require(ways == 1, "exactly one of Present, Exact, Prefix, Suffix, Contains and Regex is required")?;
        let ignorable = !self.ignore_case || cased == 1;
        rules.require(ignorable, "IgnoreCase is for Exact, Prefix, Suffix and Contains only")?;
        rules.pattern("Regex", &self.regex)
    }
}

impl RouteDestination {
    fn validate(&self, place: &str, path: bool) -> Result<(), InvalidEntry> {
        let place = format!("{place}.Destination");
        let rules = Rules(&place);
        rules.only_default("Namespace", &self.namespace)?;
        rules.only_default("Partition", &self.partition)?;
        let rewritable = self.prefix_rewrite.is_empty() || path;
        rules.require(rewritable, "PrefixRewrite needs a match by PathExact or PathPrefix")?;
        rules.not_negative("RequestTimeout", self.request_timeout)?;
        rules.not_negative("IdleTimeout", self.idle_timeout)?;
        for condition in &self.retry_on {
            if !RETRY_ON.contains(&condition.as_str()) {
                return rules.broken(format!("RetryOn contains an invalid condition: {condition:?}"));
            }
        }
        for status in &self.retry_on_status_codes {
            if !(100..600).contains(status) {
                return rules.broken(format!("RetryOnStatusCodes contains {status}, which is no status"));
            }
        }
        for (field, headers) in [("RequestHeaders", &self.request_headers), ("ResponseHeaders", &self.response_headers)]
        {
            headers.as_ref().map_or(Ok(()), |headers| headers.validate(&format!("{place}.{field}")))?;
        }
        Ok(())
    }
}
