//! Prepared queries: the question that a service is asked, kept under a name.
//!
//! Here are the words of one and the rules that it obeys by itself; whether its name is free and its session lives is
//! for the registry to say. `template` makes one query out of a family. Called by the registry, which keeps queries,
//! and by whoever runs them.

mod template;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::name::NAME_MAX;

pub use template::Pattern;

/// The largest definition, in bytes of JSON.
pub const DEFINITION_MAX: usize = 64 * 1024;
/// The kind of template there is.
const NAME_PREFIX_MATCH: &str = "name_prefix_match";

/// A token that a query runs with; never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct CapturedToken(pub String);

impl fmt::Debug for CapturedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

/// A prepared query as clients write and read it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryDefinition {
    #[serde(rename = "ID")]
    /// A UUID in lower case.
    pub id: String,
    /// The name, or of a template the prefix of the names that it answers.
    pub name: String,
    /// The session that it ends with, if any.
    pub session: String,
    /// The token that it runs with; else that of the caller.
    pub token: CapturedToken,
    /// What makes it a template.
    pub template: QueryTemplate,
    /// What is asked.
    pub service: QueryService,
    #[serde(rename = "DNS")]
    /// How it answers DNS.
    pub dns: QueryDns,
}

/// What makes a query a template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryTemplate {
    #[serde(rename = "Type")]
    /// Empty, or `name_prefix_match`.
    pub kind: String,
    /// Matched against the asked name, for `${match(N)}`.
    pub regexp: String,
    /// Whether tags that came out empty are dropped.
    pub remove_empty_tags: bool,
}

/// What a query asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryService {
    /// The service.
    pub service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// Must be empty: there are no sameness groups.
    pub sameness_group: String,
    /// Where else to look when nobody is well here.
    pub failover: QueryFailover,
    /// Whether instances with warnings are left out.
    pub only_passing: bool,
    #[serde(rename = "IgnoreCheckIDs")]
    /// Checks that do not count.
    pub ignore_check_ids: Vec<String>,
    /// Sorts by distance from this node, unless the caller says otherwise.
    pub near: String,
    /// What instances must have, or with a `!` in front must not have.
    pub tags: Vec<String>,
    /// Pairs that nodes must have.
    pub node_meta: BTreeMap<String, String>,
    /// Pairs that instances must have.
    pub service_meta: BTreeMap<String, String>,
    /// Whether what speaks mesh TLS for the service is meant.
    pub connect: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    /// Must be empty: there are no peers.
    pub peer: String,
}

/// Where else a query looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryFailover {
    /// So many datacenters that are near.
    pub nearest_n: i64,
    /// Then these, in order.
    pub datacenters: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    /// Or instead these, in order.
    pub targets: Vec<QueryTarget>,
}

/// One place where else to look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryTarget {
    /// A peer.
    pub peer: String,
    /// Or a datacenter.
    pub datacenter: String,
}

/// How a query answers DNS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct QueryDns {
    #[serde(rename = "TTL")]
    /// How long answers may be kept; the rule of the service when empty.
    pub ttl: String,
}

/// A definition that breaks a rule; the text is what clients see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidQuery(pub String);

impl QueryDefinition {
    /// Whether it answers every name with a prefix.
    #[must_use]
    pub fn is_template(&self) -> bool {
        !self.template.kind.is_empty()
    }

    /// The time that DNS answers may be kept, in seconds, if it is stated.
    #[must_use]
    pub fn dns_ttl(&self) -> Option<u32> {
        let ttl = GoDuration::parse(&self.dns.ttl).ok()?.to_std();
        Some(u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX))
    }

    /// Checks every rule that needs no other row.
    ///
    /// # Errors
    /// Names the field and what is wrong with it.
    pub fn validate(&self) -> Result<(), InvalidQuery> {
        let fail = |text: String| Err(InvalidQuery(text));
        if self.service.service.is_empty() {
            return fail("Must provide a Service name to query".to_owned());
        }
        for (field, text) in [("Name", &self.name), ("Service", &self.service.service), ("Near", &self.service.near)] {
            if text.len() > NAME_MAX || text.chars().any(char::is_control) {
                return fail(format!("Bad {field}: at most {NAME_MAX} bytes without control characters are accepted"));
            }
        }
        let service = &self.service;
        if !service.sameness_group.is_empty() || !service.peer.is_empty() {
            return fail("Bad Peer or SamenessGroup: there are no peers of this cluster".to_owned());
        }
        if service.failover.nearest_n < 0 {
            return fail(format!("Bad NearestN '{}', must be >= 0", service.failover.nearest_n));
        }
        if !service.failover.targets.is_empty()
            && (service.failover.nearest_n != 0 || !service.failover.datacenters.is_empty())
        {
            return fail("Targets cannot be populated with NearestN or Datacenters".to_owned());
        }
        if !self.dns.ttl.is_empty() {
            match GoDuration::parse(&self.dns.ttl) {
                Err(error) => return fail(format!("Bad DNS TTL '{}': {error}", self.dns.ttl)),
                Ok(ttl) if ttl.0 < 0 => return fail(format!("DNS TTL '{}', must be >=0", self.dns.ttl)),
                Ok(_) => {}
            }
        }
        match self.template.kind.as_str() {
            "" if !self.template.regexp.is_empty() => {
                return fail(format!("Bad Template.Regexp: it needs Template.Type '{NAME_PREFIX_MATCH}'"));
            }
            "" => {}
            NAME_PREFIX_MATCH => self.pattern()?.check(service)?,
            other => {
                let other: String = other.chars().take(64).collect();
                return fail(format!("Bad Template.Type '{other}': only '{NAME_PREFIX_MATCH}' is accepted"));
            }
        }
        Ok(())
    }

    /// What a template is made with.
    ///
    /// # Errors
    /// When its expression cannot be read, or takes too much room.
    pub fn pattern(&self) -> Result<Pattern, InvalidQuery> {
        Pattern::new(&self.template)
    }
}

/// The id as it is stored, if the text is a UUID.
#[must_use]
pub fn uuid_form(text: &str) -> Option<String> {
    let is_dash = |place: usize| matches!(place, 8 | 13 | 18 | 23);
    let fits = |(place, byte): (usize, u8)| if is_dash(place) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    (text.len() == 36 && text.bytes().enumerate().all(fits)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: Result<(), &str>) {
        let definition: QueryDefinition = serde_json::from_str(body).unwrap();
        let definition = QueryDefinition { id: "0a000000-0000-0000-0000-00000000000b".to_owned(), ..definition };
        let found = definition.validate().map_err(|error| error.0);
        assert_eq!(found, expect.map_err(str::to_owned), "{body}");
    }

    #[test]
    fn rules_of_a_definition() {
        check(r#"{"Service":{"Service":"web"}}"#, Ok(()));
        check(r#"{"Name":"q"}"#, Err("Must provide a Service name to query"));
        check(r#"{"Service":{"Service":"web"},"DNS":{"TTL":"10s"}}"#, Ok(()));
        check(r#"{"Service":{"Service":"web"},"DNS":{"TTL":"-10s"}}"#, Err("DNS TTL '-10s', must be >=0"));
        check(r#"{"Service":{"Service":"web","Failover":{"NearestN":-1}}}"#, Err("Bad NearestN '-1', must be >= 0"));
        check(
            r#"{"Service":{"Service":"web"},"Template":{"Type":"odd"}}"#,
            Err("Bad Template.Type 'odd': only 'name_prefix_match' is accepted"),
        );
        check(
            r#"{"Service":{"Service":"web"},"Template":{"Regexp":"x"}}"#,
            Err("Bad Template.Regexp: it needs Template.Type 'name_prefix_match'"),
        );
    }

    #[test]
    fn a_captured_token_is_not_printed() {
        let definition = QueryDefinition { token: CapturedToken("secret".to_owned()), ..QueryDefinition::default() };
        assert!(!format!("{definition:?}").contains("secret"));
    }
}
