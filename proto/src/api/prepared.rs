//! `/v1/query…`: prepared queries, in the words of [`crate::prepared`], and what they find.

use serde::{Deserialize, Serialize};

use super::health::ServiceEntry;
use crate::index::Index;
use crate::prepared::{CapturedToken, QueryDefinition, QueryDns};
use crate::text::Text;

/// What is shown of a token to those who may not see it.
pub const HIDDEN: &str = "<hidden>";

/// The answer to a query that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueryCreated {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
}

/// A query in an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct QueryShown {
    /// The query.
    #[serde(flatten)]
    pub definition: QueryDefinition,
    /// When it was made.
    pub create_index: Index,
    /// When it last changed.
    pub modify_index: Index,
}

impl QueryShown {
    /// Shows a query, its token only to those who may see it.
    #[must_use]
    pub fn of(definition: &QueryDefinition, created: Index, modified: Index, shows_token: bool) -> QueryShown {
        let mut definition = definition.clone();
        if !shows_token && !definition.token.0.is_empty() {
            definition.token = CapturedToken(HIDDEN.to_owned());
        }
        QueryShown { definition, create_index: created, modify_index: modified }
    }
}

/// What every answer about a run says of the read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct ReadMeta {
    /// Always 1: nobody waits on a run.
    pub index: u64,
    /// How long ago the leader was heard of, in milliseconds.
    pub last_contact: u64,
    /// Whether there is a leader.
    pub known_leader: bool,
    /// Who answered.
    pub consistency_level: Text,
    /// Always false.
    pub not_modified: bool,
    /// Always 0.
    pub backend: u64,
}

/// The answer of `GET /v1/query/:query/execute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct QueryResult {
    /// The service that was asked for.
    pub service: String,
    /// The instances that were found.
    pub nodes: Vec<ServiceEntry>,
    #[serde(rename = "DNS")]
    /// How the query answers DNS.
    pub dns: QueryDns,
    /// Where they are.
    pub datacenter: Text,
    /// How many other datacenters were looked at.
    pub failovers: u64,
    /// About the read.
    #[serde(flatten)]
    pub meta: ReadMeta,
}

/// The answer of `GET /v1/query/:query/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "PascalCase")]
pub struct QueryExplained {
    /// The query as it would run.
    pub query: QueryShown,
    /// About the read.
    #[serde(flatten)]
    pub meta: ReadMeta,
}
