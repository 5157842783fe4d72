//! What a policy says: rules, read from their text or the JSON that it stands for.
//!
//! A rule grants something on one name or on all names with a prefix. Which of several rules counts is decided in
//! `authority`.

use serde_json::Value;

use super::words::Resource;
use crate::hcl;

/// The most rules in one policy.
pub const RULES_MAX: usize = 4096;

/// What a rule grants, from nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grant {
    /// Nothing.
    Deny,
    /// Looking at one thing.
    Read,
    /// That, and seeing what things there are. Of keys only.
    List,
    /// All that, and changing it.
    Write,
}

impl Grant {
    /// Reads the word of a rule.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Grant> {
        [Grant::Deny, Grant::Read, Grant::List, Grant::Write].into_iter().find(|grant| grant.as_str() == word)
    }

    /// The word of a rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Grant::Deny => "deny",
            Grant::Read => "read",
            Grant::List => "list",
            Grant::Write => "write",
        }
    }

    /// Which of two counts when both stand on the same label: `deny`, else the further one.
    #[must_use]
    pub fn over(self, other: Grant) -> Grant {
        if self == Grant::Deny || other == Grant::Deny { Grant::Deny } else { self.max(other) }
    }
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// One name; the empty one for resources without names.
    Exact(Box<str>),
    /// Every name that begins so.
    Prefix(Box<str>),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// What kind of thing.
    pub resource: Resource,
    /// Which.
    pub label: Label,
    /// What is granted.
    pub grant: Grant,
}

/// The rules of one policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

/// Why a text says no rules. It names the place, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRules(pub String);

const KINDS: [Resource; 9] = [
    Resource::Agent,
    Resource::Event,
    Resource::Identity,
    Resource::Key,
    Resource::Node,
    Resource::Query,
    Resource::Service,
    Resource::Session,
    Resource::Intention,
];
const PREFIX: &str = "_prefix";

impl RuleSet {
    /// Rules in any order.
    #[must_use]
    pub fn of(rules: Vec<Rule>) -> RuleSet {
        RuleSet { rules }
    }

    /// The rules, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Reads rules as people write them, in HCL or JSON. An empty text says none.
    ///
    /// # Errors
    /// What is wrong, and where; see [`parse`](Self::parse).
    pub fn read(text: &str) -> Result<RuleSet, InvalidRules> {
        RuleSet::parse(&hcl::parse(text).map_err(|reason| InvalidRules(format!("Invalid rules: {reason}")))?)
    }

    /// Reads rules.
    ///
    /// # Errors
    /// For an unknown kind of thing, an unknown word, or more than [`RULES_MAX`] rules.
    pub fn parse(value: &Value) -> Result<RuleSet, InvalidRules> {
        let Value::Object(kinds) = value else {
            return Err(InvalidRules("Invalid rules: an object is expected".to_owned()));
        };
        let mut set = RuleSet::default();
        for (kind, value) in kinds {
            for value in each(value) {
                set.read_kind(kind, value)?;
            }
        }
        Ok(set)
    }

    fn read_kind(&mut self, kind: &str, value: &Value) -> Result<(), InvalidRules> {
        if let Some(resource) = Resource::from_word(kind).filter(|resource| !resource.is_named()) {
            let grant = grant(kind, "", value, false)?;
            return self.add(resource, Label::Exact("".into()), grant);
        }
        let word = kind.strip_suffix(PREFIX).unwrap_or(kind);
        let resource = Resource::from_word(word).filter(|one| KINDS.contains(one) && *one != Resource::Intention);
        let Some(resource) = resource else {
            return Err(InvalidRules(format!(
                "Invalid rules: unknown resource {:?}; accepted are acl, keyring, mesh, operator, peering, and with a \
                 name, also as …_prefix, agent, event, identity, key, node, query, service, session",
                clip(kind)
            )));
        };
        let Value::Object(labels) = value else {
            return Err(InvalidRules(format!("Invalid {kind} rule: a name is expected, as in {kind} \"x\" {{ … }}")));
        };
        for (name, block) in labels {
            let label = match word == kind {
                true => Label::Exact(name.as_str().into()),
                false => Label::Prefix(name.as_str().into()),
            };
            for block in each(block) {
                self.read_block(kind, resource, name, &label, block)?;
            }
        }
        Ok(())
    }

    fn read_block(
        &mut self,
        kind: &str,
        resource: Resource,
        name: &str,
        label: &Label,
        block: &Value,
    ) -> Result<(), InvalidRules> {
        let Value::Object(fields) = block else {
            return Err(InvalidRules(format!(
                "Invalid {kind} rule on {:?}: a block with a policy is expected",
                clip(name)
            )));
        };
        let mut stated = false;
        for (field, value) in fields {
            match (field.as_str(), resource) {
                ("policy", _) => {
                    stated = true;
                    self.add(resource, label.clone(), grant(kind, name, value, resource == Resource::Key)?)?;
                }
                ("intentions", Resource::Service) => {
                    let grant = grant("service intentions", name, value, false)?;
                    self.add(Resource::Intention, label.clone(), grant)?;
                }
                _ => {
                    let known = if resource == Resource::Service { "policy, intentions" } else { "policy" };
                    return Err(InvalidRules(format!(
                        "Invalid {kind} rule on {:?}: unknown field {:?}; accepted: {known}",
                        clip(name),
                        clip(field)
                    )));
                }
            }
        }
        match stated {
            true => Ok(()),
            false => Err(InvalidRules(format!("Invalid {kind} rule on {:?}: policy is missing", clip(name)))),
        }
    }

    fn add(&mut self, resource: Resource, label: Label, grant: Grant) -> Result<(), InvalidRules> {
        if self.rules.len() == RULES_MAX {
            return Err(InvalidRules(format!("Invalid rules: at most {RULES_MAX} rules are accepted in one policy")));
        }
        self.rules.push(Rule { resource, label, grant });
        Ok(())
    }
}

/// A value, or each of the values in a list: blocks of one name become a list.
fn each(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        value => std::slice::from_ref(value),
    }
}

fn grant(kind: &str, name: &str, value: &Value, lists: bool) -> Result<Grant, InvalidRules> {
    let word = value.as_str().unwrap_or_default();
    let grant = Grant::from_word(word).filter(|grant| lists || *grant != Grant::List);
    grant.ok_or_else(|| {
        let place = if name.is_empty() { String::new() } else { format!(" on {:?}", clip(name)) };
        let accepted = if lists { "deny, read, list, write" } else { "deny, read, write" };
        InvalidRules(format!("Invalid {kind} policy: {:?}{place}; accepted: {accepted}", clip(&value.to_string())))
    })
}

fn clip(text: &str) -> String {
    text.trim_matches('"').chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Authority, Fallback, templates};
    use super::*;

    #[test]
    fn rules_are_read() {
        let rules = RuleSet::parse(&json!({
            "operator": "read",
            "key_prefix": {"a/": {"policy": "list"}},
            "service": [{"web": {"policy": "write", "intentions": "read"}}, {"db": [{"policy": "read"}]}],
        }));
        let rule = |resource, label, grant| Rule { resource, label, grant };
        let mut expect = vec![
            rule(Resource::Operator, Label::Exact("".into()), Grant::Read),
            rule(Resource::Key, Label::Prefix("a/".into()), Grant::List),
            rule(Resource::Service, Label::Exact("web".into()), Grant::Write),
            rule(Resource::Intention, Label::Exact("web".into()), Grant::Read),
            rule(Resource::Service, Label::Exact("db".into()), Grant::Read),
        ];
        let mut read: Vec<Rule> = rules.unwrap().iter().cloned().collect();
        read.sort();
        expect.sort();
        assert_eq!(read, expect);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |value: Value, part: &str| {
            let error = RuleSet::parse(&value).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(json!([]), "an object is expected");
        check(json!({"key": {"a": {"policy": "fly"}}}), "Invalid key policy: \"fly\" on \"a\"");
        check(json!({"node": {"a": {"policy": "list"}}}), "accepted: deny, read, write");
        check(json!({"operator": {"a": {}}}), "Invalid operator policy");
        check(json!({"operator_prefix": {"a": {"policy": "read"}}}), "unknown resource \"operator_prefix\"");
        check(json!({"intention": {"a": {"policy": "read"}}}), "unknown resource");
        check(json!({"key": {"a": {}}}), "policy is missing");
        check(json!({"key": {"a": {"policy": "read", "sentinel": {}}}}), "unknown field \"sentinel\"");
        check(json!({"key": "read"}), "a name is expected");
    }

    fn grants(text: &str) -> Vec<(Resource, Grant)> {
        let rules = RuleSet::read(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        let mut grants: Vec<_> = rules.iter().map(|rule| (rule.resource, rule.grant)).collect();
        grants.sort();
        grants
    }

    #[test]
    fn rules_may_stand_on_one_line() {
        let one = r#"key_prefix "a/" { policy = "read" } service_prefix "" { policy = "read" } operator = "write" acl="read""#;
        let several = "key_prefix \"a/\" {\n  policy = \"read\" # all\n}\n// more\nservice_prefix \"\" { policy = \"read\" }\noperator = \"write\"\nacl = \"read\"";
        assert_eq!(grants(one), grants(several));
        assert_eq!(grants(one).len(), 4);
        assert_eq!(grants(r#"service "w}e{b" { policy = "write", intentions = "read" }"#).len(), 2);
        assert_eq!(grants(r#"service "web" { policy = "write" intentions = "deny" }"#).len(), 2);
        assert_eq!(grants("").len(), 0);
        assert_eq!(grants(r#"{"key": {"a\"b": {"policy": "write"}}}"#).len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for text in ["{", "key \"a\" {", "key \"a\" { policy = \"fly\" }", "key \"a\"", "wings = \"read\""] {
            let error = RuleSet::read(text).unwrap_err().to_string();
            assert!(error.starts_with("Invalid "), "{error}");
        }
    }

    #[test]
    fn what_templates_write_can_be_read() {
        for template in templates::Template::ALL {
            let mut read: Vec<_> =
                RuleSet::read(&template.text().replace("${.Name}", "web")).unwrap().iter().cloned().collect();
            let mut meant: Vec<_> = template.rules("web").iter().cloned().collect();
            read.sort();
            meant.sort();
            assert_eq!(read, meant, "{}", template.as_str());
        }
        for set in [templates::everything(), templates::reading_everything()] {
            let all = RuleSet::read(&templates::hcl(&set)).unwrap();
            let one = Authority::of([&all], Fallback::Deny);
            let two = Authority::of([&set], Fallback::Deny);
            assert_eq!(one.canonical(), two.canonical());
        }
    }
}
