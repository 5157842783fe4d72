//! The headers that tell how an answer came about.

use std::time::Duration;

use super::query::Consistency;
use crate::index::Index;

/// The place in history that the answer stands for.
pub const INDEX: &str = "x-consul-index";
/// Whether the answering server knows a leader.
pub const KNOWN_LEADER: &str = "x-consul-knownleader";
/// How long ago the answering server heard of the leader, in milliseconds.
pub const LAST_CONTACT: &str = "x-consul-lastcontact";
/// The consistency that the answer really has.
pub const EFFECTIVE_CONSISTENCY: &str = "x-consul-effective-consistency";
/// The mechanism behind the read.
pub const QUERY_BACKEND: &str = "x-consul-query-backend";
/// What happens where no rule speaks.
pub const DEFAULT_ACL_POLICY: &str = "x-consul-default-acl-policy";
/// Whether rows were left out that the caller may not see.
pub const FILTERED_BY_ACLS: &str = "x-consul-results-filtered-by-acls";
/// The hash of an agent's service, for waiting on a change.
pub const CONTENT_HASH: &str = "x-consul-contenthash";
/// Why an answer has an unhealthy status.
pub const REASON: &str = "x-consul-reason";
/// Whether a cached read was answered from the cache.
pub const CACHE: &str = "x-cache";
/// The header that carries an ACL token.
pub const TOKEN: &str = "x-consul-token";

/// What the headers of a read say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMeta {
    /// The place in history that the answer stands for.
    pub index: Index,
    /// Whether the answering server knows a leader.
    pub known_leader: bool,
    /// How long ago it heard of the leader.
    pub last_contact: Duration,
    /// The consistency that the answer really has; none from servers that do not say.
    pub consistency: Option<Consistency>,
}

/// Why the headers of a read cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// There is no index, so nothing can wait on this answer.
    #[error("the answer carries no {INDEX} header")]
    NoIndex,
    /// The index is 0 or no number.
    #[error("the answer's {INDEX} header {0:?} is not a positive number")]
    BadIndex(String),
}

impl ReadMeta {
    /// Reads the headers, given a way to look one up by its lower-case name.
    ///
    /// # Errors
    /// When the index is missing, zero or no number; the other headers have harmless defaults.
    pub fn from_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<ReadMeta, MetaError> {
        let text = header(INDEX).ok_or(MetaError::NoIndex)?;
        let index = match text.parse() {
            Ok(index) if index > Index::ZERO => index,
            _ => return Err(MetaError::BadIndex(text.chars().take(32).collect())),
        };
        Ok(ReadMeta {
            index,
            known_leader: header(KNOWN_LEADER).is_none_or(|text| text == "true"),
            last_contact: Duration::from_millis(header(LAST_CONTACT).and_then(|text| text.parse().ok()).unwrap_or(0)),
            consistency: header(EFFECTIVE_CONSISTENCY).and_then(Consistency::from_word),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_usable_index_is_an_error() {
        assert_eq!(ReadMeta::from_headers(|_| None), Err(MetaError::NoIndex));
        for bad in ["0", "-1", "x"] {
            assert!(ReadMeta::from_headers(|name| (name == INDEX).then_some(bad)).is_err());
        }
        let meta = ReadMeta::from_headers(|name| (name == INDEX).then_some("42")).unwrap();
        assert_eq!(meta.index, Index(42));
        assert!(meta.known_leader);
    }
}
