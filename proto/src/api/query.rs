//! Query strings: reading them as Consul does, and writing them for a server.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::duration::GoDuration;
use crate::index::Index;

/// What may stand unescaped in a path segment or a query value.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Escapes a text for use as one path segment or one query value.
#[must_use]
pub fn escape(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, PLAIN)
}

/// The parameter of `GET /v1/health/service/:name` that asks for the slot of each instance. Not Consul's: a server that
/// does not know it answers without slots.
pub const SLOTS_PARAM: &str = "slots";

/// The node that `near` means by this is that of the agent that is asked.
pub const NEAR_AGENT: &str = "_agent";
/// And by this, for prepared queries, the one that has the address of whoever asks.
pub const NEAR_IP: &str = "_ip";

/// The most parameters read from one query string.
pub const PARAMS_MAX: usize = 256;

/// The parameters of a request, in order.
#[derive(Debug, Clone, Default)]
pub struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// Splits a raw query string (without the question mark).
    ///
    /// # Errors
    /// When there are more than [`PARAMS_MAX`] parameters or a value is not UTF-8 after decoding.
    pub fn parse(query: &'a str) -> Result<Params<'a>, QueryError> {
        let mut params = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if params.len() == PARAMS_MAX {
                return Err(QueryError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            params.push((decode(name)?, decode(value)?));
        }
        Ok(Params(params))
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_ref())
    }

    /// The first value of a parameter, if it is not empty.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether the parameter is there, with whatever value: Consul's flags count by presence.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every value of a repeatable parameter.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> + 's {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_ref())
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, QueryError> {
    if !text.contains(['+', '%']) {
        return Ok(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| QueryError::NotUtf8)?;
    Ok(Cow::Owned(decoded.into_owned()))
}

/// Which server may answer, and how sure it must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// The leader, while its lease lasts.
    #[default]
    Leader,
    /// The leader, after asking a quorum whether it still is.
    Consistent,
    /// Any server, even without a leader.
    Stale,
}

impl Consistency {
    /// The word in the answer's header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Consistency::Leader => "leader",
            Consistency::Consistent => "consistent",
            Consistency::Stale => "stale",
        }
    }

    /// Reads the word of the answer's header.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Consistency> {
        [Consistency::Leader, Consistency::Consistent, Consistency::Stale].into_iter().find(|one| one.as_str() == word)
    }
}

/// What every read understands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Wait until the answer's index is past this one.
    pub index: Option<Index>,
    /// For how long to wait.
    pub wait: Option<Duration>,
    /// Who may answer.
    pub consistency: Consistency,
    /// How old a stale answer may be.
    pub max_stale: Option<Duration>,
    /// Which rows are wanted.
    pub filter: Option<String>,
    /// Sort by distance from this node.
    pub near: Option<String>,
    /// Only rows of nodes with all of these pairs.
    pub node_meta: Vec<(String, String)>,
    /// Which datacenter is asked.
    pub datacenter: Option<String>,
    /// Only rows that this other cluster shares.
    pub peer: Option<String>,
    /// Whether the agent's cache may answer.
    pub cached: bool,
    /// Whether the answer is for people.
    pub pretty: bool,
}

/// Why a query string cannot be used; the text is what clients match on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// More than [`PARAMS_MAX`] parameters.
    #[error("Invalid query string: more than {PARAMS_MAX} parameters")]
    TooMany,
    /// A value is not UTF-8.
    #[error("Invalid query string: a parameter is not UTF-8 after decoding")]
    NotUtf8,
    /// `index` is not an unsigned number.
    #[error("Invalid index")]
    Index,
    /// `wait` is not a duration.
    #[error("Invalid wait time")]
    Wait,
    /// `max_stale` is not a duration.
    #[error("Invalid max_stale value {0:?}")]
    MaxStale(String),
    /// Two parameters exclude each other.
    #[error("Cannot specify ?{0} with ?consistent, conflicting semantics.")]
    Conflict(&'static str),
    /// A directive of the header `Cache-Control` has no sense.
    #[error("Invalid Cache-Control header.")]
    CacheControl,
    /// `passing` is neither empty nor a boolean.
    #[error("Invalid value for ?passing")]
    Passing,
}

impl ReadOptions {
    /// Reads what a client asks.
    ///
    /// # Errors
    /// A [`QueryError`] whose text is the body of the 400 answer.
    pub fn from_params(params: &Params<'_>) -> Result<ReadOptions, QueryError> {
        let consistent = params.has("consistent");
        let mut max_stale = None;
        if let Some(text) = params.filled("max_stale") {
            let parsed = GoDuration::parse(text).map_err(|_| QueryError::MaxStale(text.chars().take(64).collect()))?;
            max_stale = Some(parsed.to_std());
        }
        let stale = params.has("stale") || max_stale.is_some();
        let cached = params.has("cached");
        if stale && consistent {
            return Err(QueryError::Conflict("stale"));
        }
        if cached && consistent {
            return Err(QueryError::Conflict("cached"));
        }
        let index = match params.filled("index") {
            // Spring Cloud Consul sends -1 on its first round.
            None | Some("-1") => None,
            Some(text) => Some(text.parse::<Index>().map_err(|_| QueryError::Index)?),
        };
        let wait = match params.filled("wait") {
            None => None,
            Some(text) => GoDuration::parse(text).map_err(|_| QueryError::Wait)?.positive(),
        };
        Ok(ReadOptions {
            index: index.filter(|index| *index > Index::ZERO),
            wait,
            consistency: match (stale, consistent) {
                (true, _) => Consistency::Stale,
                (_, true) => Consistency::Consistent,
                _ => Consistency::Leader,
            },
            max_stale,
            filter: params.filled("filter").map(str::to_owned),
            near: params.filled("near").map(str::to_owned),
            node_meta: params
                .all("node-meta")
                .map(|pair| pair.split_once(':').unwrap_or((pair, "")))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            datacenter: params.filled("dc").map(str::to_lowercase),
            peer: params.filled("peer").map(str::to_owned),
            cached,
            pretty: params.has("pretty"),
        })
    }

    /// Writes the parameters for a server, each preceded by `&`.
    pub fn write_to(&self, query: &mut String) {
        let mut put = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a String cannot fail.
            let _ = write!(query, "&{name}={value}");
        };
        if let Some(index) = self.index {
            put("index", &index);
            if let Some(wait) = self.wait {
                put("wait", &format_args!("{}ms", wait.as_millis()));
            }
        }
        match self.consistency {
            Consistency::Leader => {}
            Consistency::Consistent => put("consistent", &""),
            Consistency::Stale => put("stale", &""),
        }
        if let Some(max_stale) = self.max_stale {
            put("max_stale", &GoDuration::from(max_stale));
        }
        if let Some(filter) = &self.filter {
            put("filter", &escape(filter));
        }
        if let Some(near) = &self.near {
            put("near", &escape(near));
        }
        for (key, value) in &self.node_meta {
            put("node-meta", &format_args!("{}:{}", escape(key), escape(value)));
        }
        if let Some(datacenter) = &self.datacenter {
            put("dc", &escape(datacenter));
        }
        if let Some(peer) = &self.peer {
            put("peer", &escape(peer));
        }
        if self.cached {
            put("cached", &"");
        }
    }
}

/// Refuses the `Cache-Control` of a cached read if a directive that counts has no sense: `max-age` and `stale-if-error`
/// take seconds, `must-revalidate` takes nothing. Others are passed over, as everywhere in HTTP (RFC 9111, 5.2).
///
/// # Errors
/// [`QueryError::CacheControl`].
pub fn check_cache_control(header: &str) -> Result<(), QueryError> {
    for directive in header.split(',').map(str::trim) {
        let (name, value) = directive.split_once('=').map_or((directive, None), |(name, value)| (name, Some(value)));
        let fits = match name.trim().to_ascii_lowercase().as_str() {
            "max-age" | "stale-if-error" => value.is_some_and(|seconds| seconds.trim().parse::<u32>().is_ok()),
            "must-revalidate" => value.is_none(),
            _ => true,
        };
        if !fits {
            return Err(QueryError::CacheControl);
        }
    }
    Ok(())
}

/// Reads a flag that is off when absent, on when empty, and else a boolean in Go's spelling.
///
/// # Errors
/// [`QueryError::Passing`] for anything else.
pub fn passing(params: &Params<'_>) -> Result<bool, QueryError> {
    match params.get("passing") {
        None => Ok(false),
        Some("") => Ok(true),
        Some(text) => parse_bool(text).ok_or(QueryError::Passing),
    }
}

/// Reads a boolean in Go's spelling.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(query: &str) -> Result<ReadOptions, QueryError> {
        ReadOptions::from_params(&Params::parse(query)?)
    }

    #[test]
    fn flags_count_by_presence() {
        assert_eq!(read("stale=false").unwrap().consistency, Consistency::Stale);
        assert_eq!(read("consistent").unwrap().consistency, Consistency::Consistent);
        assert!(read("pretty=").unwrap().pretty);
    }

    #[test]
    fn what_is_asked_of_caches_must_have_a_sense() {
        for fine in ["", "max-age=0", "Max-Age=3, must-revalidate , stale-if-error=9", "no-cache", "private=\"a\""] {
            assert_eq!(check_cache_control(fine), Ok(()), "{fine}");
        }
        for wrong in ["max-age", "max-age=", "max-age=-1", "no-cache, stale-if-error=x", "must-revalidate=1"] {
            assert_eq!(check_cache_control(wrong), Err(QueryError::CacheControl), "{wrong}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        let check = |query: &str, text: &str| assert_eq!(read(query).unwrap_err().to_string(), text);
        check("index=abc", "Invalid index");
        check("index=1.5", "Invalid index");
        check("index=-2", "Invalid index");
        check("wait=10", "Invalid wait time");
        check("max_stale=x", "Invalid max_stale value \"x\"");
        check("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics.");
        check("cached&consistent", "Cannot specify ?cached with ?consistent, conflicting semantics.");
    }

    #[test]
    fn what_clients_send_is_read() {
        let options =
            read("index=42&wait=120000ms&stale=&node-meta=os:linux&filter=Node+%3D%3D%20%22a%22&dc=DC1").unwrap();
        assert_eq!(options.index, Some(Index(42)));
        assert_eq!(options.wait, Some(Duration::from_secs(120)));
        assert_eq!(options.filter.as_deref(), Some("Node == \"a\""));
        assert_eq!(options.node_meta, [("os".to_owned(), "linux".to_owned())]);
        assert_eq!(options.datacenter.as_deref(), Some("dc1"));
        assert_eq!(read("index=-1").unwrap().index, None);
        assert_eq!(read("index=0").unwrap().index, None);
        assert_eq!(read("wait=-1s").unwrap().wait, None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(index in 1u64.., millis in 1u64..1_000_000, filter in "[ -~é&=+%]{1,20}", stale: bool) {
            let options = ReadOptions {
                index: Some(Index(index)),
                wait: Some(Duration::from_millis(millis)),
                consistency: if stale { Consistency::Stale } else { Consistency::Leader },
                filter: Some(filter),
                ..ReadOptions::default()
            };
            let mut query = String::new();
            options.write_to(&mut query);
            prop_assert_eq!(read(&query), Ok(options));
        }

        #[test]
        fn no_query_panics(query in ".{0,80}") {
            let _ = read(&query);
        }
    }
}
