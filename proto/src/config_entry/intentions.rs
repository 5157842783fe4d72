//! `service-intentions`: who may call a service, and with which requests.
//!
//! An entry is about one called service (or `*`, any) and lists those that call. Which of several entries counts for a
//! call is the business of [`crate::intention`]; this file reads, writes and judges one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rules::{InvalidEntry, Rules, is_default};
use crate::intention::{ANY, precedence};

/// The most callers that one entry may list.
pub(super) const SOURCES_MAX: usize = 1000;
/// The most permissions that one caller may have.
pub(super) const PERMISSIONS_MAX: usize = 100;

/// Whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They do.
    Allow,
    /// They do not.
    Deny,
}

impl Action {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Deny => "deny",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who may call a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceIntentions {
    /// The called service; `*` for any.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    /// The callers; those that count first come first.
    pub sources: Vec<SourceIntention>,
    #[serde(rename = "JWT", skip_serializing_if = "Option::is_none")]
    /// Which tokens requests must carry, as it was written.
    pub jwt: Option<Value>,
    #[serde(skip_serializing_if = "is_default")]
    /// Free key-value pairs.
    pub meta: BTreeMap<String, String>,
}

/// What one caller may do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SourceIntention {
    /// The caller; `*` for any.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub namespace: String,
    #[serde(skip_serializing_if = "is_default")]
    /// `default` or empty.
    pub partition: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no peer clusters.
    pub peer: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Empty: there are no sameness groups.
    pub sameness_group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// Whether its calls go through; none when that depends on the request.
    pub action: Option<Action>,
    #[serde(skip_serializing_if = "is_default")]
    /// Which requests go through; the first that fits decides.
    pub permissions: Vec<Permission>,
    /// How early it counts; derived from the two names.
    pub precedence: u8,
    #[serde(rename = "LegacyID", skip_serializing_if = "is_default")]
    /// The id of an intention that was made by id.
    pub legacy_id: String,
    #[serde(rename = "Type", skip_serializing_if = "is_default")]
    /// What the caller is: always `consul`.
    pub kind: String,
    #[serde(skip_serializing_if = "is_default")]
    /// For people.
    pub description: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Free key-value pairs of an intention that was made by id.
    pub legacy_meta: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// When that was made, RFC 3339.
    pub legacy_create_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// When that last changed.
    pub legacy_update_time: Option<String>,
}

/// Whether some requests go through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Permission {
    /// Whether.
    pub action: Action,
    #[serde(rename = "HTTP", default, skip_serializing_if = "Option::is_none")]
    /// Which requests.
    pub http: Option<HttpPermission>,
    #[serde(rename = "JWT", default, skip_serializing_if = "Option::is_none")]
    /// Which tokens they must carry, as it was written.
    pub jwt: Option<Value>,
}

/// Which requests are meant; everything that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HttpPermission {
    #[serde(skip_serializing_if = "is_default")]
    /// The whole path.
    pub path_exact: String,
    #[serde(skip_serializing_if = "is_default")]
    /// How the path begins.
    pub path_prefix: String,
    #[serde(skip_serializing_if = "is_default")]
    /// A pattern for the whole path.
    pub path_regex: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Headers.
    pub header: Vec<HeaderPermission>,
    #[serde(skip_serializing_if = "is_default")]
    /// Methods; empty for any.
    pub methods: Vec<String>,
}

/// A header that must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HeaderPermission {
    /// Its name.
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether it must only be there.
    pub present: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Its whole value.
    pub exact: String,
    #[serde(skip_serializing_if = "is_default")]
    /// How its value begins.
    pub prefix: String,
    #[serde(skip_serializing_if = "is_default")]
    /// How its value ends.
    pub suffix: String,
    #[serde(skip_serializing_if = "is_default")]
    /// A part of its value.
    pub contains: String,
    #[serde(skip_serializing_if = "is_default")]
    /// A pattern for its whole value.
    pub regex: String,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether case counts for nothing.
    pub ignore_case: bool,
    #[serde(skip_serializing_if = "is_default")]
    /// Whether it must not fit.
    pub invert: bool,
}

impl ServiceIntentions {
    /// Derives the precedences, and brings sources into the order in which they count.
    pub fn normalise(&mut self) {
        for source in &mut self.sources {
            source.precedence = precedence(&source.name, &self.name);
            if source.kind.is_empty() {
                "consul".clone_into(&mut source.kind);
            }
            for method in
                source.permissions.iter_mut().filter_map(|one| one.http.as_mut()).flat_map(|one| &mut one.methods)
            {
                method.make_ascii_uppercase();
            }
        }
        self.sources.sort_by(|a, b| b.precedence.cmp(&a.precedence).then_with(|| a.name.cmp(&b.name)));
    }

    /// Whether any source may do some requests and not others, which only HTTP can tell apart.
    #[must_use]
    pub fn has_permissions(&self) -> bool {
        self.sources.iter().any(|source| !source.permissions.is_empty())
    }

    /// Checks everything that can be checked without looking at other entries.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub(super) fn validate(&self) -> Result<(), InvalidEntry> {
        let rules = Rules("");
        whole_wildcard(&rules, "Name", &self.name)?;
        rules.require(!self.sources.is_empty(), "At least one source is required")?;
        if self.sources.len() > SOURCES_MAX {
            return rules.broken(format!(
                "Sources: {} are more than the {SOURCES_MAX} that one entry may list",
                self.sources.len()
            ));
        }
        if self.name == ANY && self.has_permissions() {
            return rules.broken("Permissions cannot be given for the wildcard service, whose protocol is not known");
        }
        let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for (number, source) in self.sources.iter().enumerate() {
            let place = format!("Sources[{number}]");
            source.validate(&place)?;
            let rules = Rules(&place);
            if !names.insert(&source.name) {
                return rules.broken(format!("the source {:?} is listed more than once", source.name));
            }
            if !source.legacy_id.is_empty() && !ids.insert(&source.legacy_id) {
                return rules.broken(format!("LegacyID {:?} is used more than once", source.legacy_id));
            }
        }
        Ok(())
    }
}

fn whole_wildcard(rules: &Rules<'_>, field: &str, name: &str) -> Result<(), InvalidEntry> {
    if name != ANY && name.contains('*') {
        return rules
            .broken(format!("{field} {name:?}: the wildcard * stands for a whole name and cannot be a part of one"));
    }
    Ok(())
}

impl SourceIntention {
    fn validate(&self, place: &str) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        rules.require(!self.name.is_empty(), "Name is required")?;
        whole_wildcard(&rules, "Name", &self.name)?;
        rules.only_default("Namespace", &self.namespace)?;
        rules.only_default("Partition", &self.partition)?;
        rules.absent("Peer", &self.peer)?;
        rules.absent("SamenessGroup", &self.sameness_group)?;
        rules.require(matches!(self.kind.as_str(), "" | "consul"), "Type must be \"consul\"")?;
        rules.require(self.description.len() <= 512, "Description is longer than 512 characters")?;
        match (self.action, self.permissions.is_empty()) {
            (None, true) => return rules.broken("Action must be set to 'allow' or 'deny', or Permissions given"),
            (Some(_), false) => return rules.broken("Action and Permissions exclude each other"),
            _ => {}
        }
        if self.permissions.len() > PERMISSIONS_MAX {
            return rules.broken(format!("Permissions: {} are more than {PERMISSIONS_MAX}", self.permissions.len()));
        }
        for (number, permission) in self.permissions.iter().enumerate() {
            let place = format!("{place}.Permissions[{number}]");
            match &permission.http {
                Some(http) => http.validate(&place)?,
                None => Rules(&place).require(permission.jwt.is_some(), "HTTP is required")?,
            }
        }
        Ok(())
    }
}

impl HttpPermission {
    fn validate(&self, place: &str) -> Result<(), InvalidEntry> {
        let rules = Rules(place);
        let paths = [&self.path_exact, &self.path_prefix, &self.path_regex];
        let given = paths.iter().filter(|path| !path.is_empty()).count();
        rules.require(given <= 1, "only one of PathExact, PathPrefix and PathRegex may be set")?;
        for (field, path) in [("PathExact", &self.path_exact), ("PathPrefix", &self.path_prefix)] {
            rules.require(path.is_empty() || path.starts_with('/'), &format!("{field} must begin with a slash"))?;
        }
        rules.pattern("PathRegex", &self.path_regex)?;
        let mut seen = BTreeSet::new();
        for method in &self.methods {
            let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"]
                .contains(&method.as_str());
            if !known {
                let method: String = method.chars().take(32).collect();
                return rules.broken(format!("Methods holds {method:?}, which is no method of HTTP"));
            }
            rules.require(seen.insert(method), "Methods holds one more than once")?;
        }
        for (number, header) in self.header.iter().enumerate() {
            let place = format!("{place}.Header[{number}]");
            let rules = Rules(&place);
            rules.require(!header.name.is_empty(), "Name is required")?;
            let values = [&header.exact, &header.prefix, &header.suffix, &header.contains, &header.regex];
            let given = values.iter().filter(|value| !value.is_empty()).count() + usize::from(header.present);
            rules
                .require(given == 1, "exactly one of Present, Exact, Prefix, Suffix, Contains and Regex must be set")?;
            rules.pattern("Regex", &header.regex)?;
        }
        let something = given > 0 || !self.methods.is_empty() || !self.header.is_empty();
        rules.require(something, "nothing of the request is asked for")
    }
}
