//! The rules that identities and templated policies stand for.
//!
//! A service identity is the template of a service, a node identity that of a node. The text of a template is made from
//! the same rules that are evaluated, so the two cannot differ.

use std::fmt::Write as _;

use super::rules::{Grant, Label, Rule, RuleSet};
use super::words::Resource;

/// A built-in template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Template {
    /// A gateway that takes calls from outside.
    ApiGateway,
    /// A DNS server: finds everything, changes nothing.
    Dns,
    /// A node: registers itself.
    Node,
    /// A client of Nomad.
    NomadClient,
    /// A server of Nomad.
    NomadServer,
    /// A service: registers itself and its proxy, finds others.
    Service,
    /// A workload with an identity.
    WorkloadIdentity,
}

/// What the name variable is called in the text of a template.
const VARIABLE: &str = "${.Name}";

impl Template {
    /// Every template, by name.
    pub const ALL: [Template; 7] = [
        Template::ApiGateway,
        Template::Dns,
        Template::Node,
        Template::NomadClient,
        Template::NomadServer,
        Template::Service,
        Template::WorkloadIdentity,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Template::ApiGateway => "builtin/api-gateway",
            Template::Dns => "builtin/dns",
            Template::Node => "builtin/node",
            Template::NomadClient => "builtin/nomad-client",
            Template::NomadServer => "builtin/nomad-server",
            Template::Service => "builtin/service",
            Template::WorkloadIdentity => "builtin/workload-identity",
        }
    }

    /// The template of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Template> {
        Template::ALL.into_iter().find(|template| template.as_str() == name)
    }

    /// Whether it needs a name.
    #[must_use]
    pub fn takes_name(self) -> bool {
        matches!(self, Template::ApiGateway | Template::Node | Template::Service | Template::WorkloadIdentity)
    }

    /// What it is for.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Template::ApiGateway => "Rights of an API gateway",
            Template::Dns => "Rights of a DNS server: finds everything, changes nothing",
            Template::Node => "Rights of a node that registers itself",
            Template::NomadClient => "Rights of a Nomad client",
            Template::NomadServer => "Rights of a Nomad server",
            Template::Service => "Rights of a service that registers itself and its sidecar proxy",
            Template::WorkloadIdentity => "Rights of a workload with an identity",
        }
    }

    /// What its variables must be like, as a JSON schema; empty where there are none.
    #[must_use]
    pub fn schema(self) -> &'static str {
        match self.takes_name() {
            true => r#"{"type":"object","properties":{"name":{"type":"string","minLength":1}},"required":["name"]}"#,
            false => "",
        }
    }

    /// The rules for a name.
    #[must_use]
    pub fn rules(self, name: &str) -> RuleSet {
        use Resource::{Acl, Agent, Identity, Key, Mesh, Node, Operator, Query, Service};
        let rule = |resource, label, grant| Rule { resource, label, grant };
        let one = |resource, name: &str, grant| rule(resource, Label::Exact(name.into()), grant);
        let all = |resource, grant| rule(resource, Label::Prefix("".into()), grant);
        let plain = |resource, grant| rule(resource, Label::Exact("".into()), grant);
        let (read, write) = (Grant::Read, Grant::Write);
        RuleSet::of(match self {
            Template::ApiGateway => {
                vec![plain(Mesh, read), all(Node, read), all(Service, read), one(Service, name, write)]
            }
            Template::Dns => vec![all(Node, read), all(Service, read), all(Query, read)],
            Template::Node => vec![one(Node, name, write), all(Service, read)],
            Template::NomadClient => vec![all(Agent, read), all(Node, write), all(Service, write)],
            Template::NomadServer => vec![
                plain(Acl, write),
                plain(Mesh, write),
                plain(Operator, write),
                all(Agent, read),
                all(Key, read),
                all(Node, write),
                all(Service, write),
            ],
            Template::Service => vec![
                one(Service, name, write),
                one(Service, &format!("{name}-sidecar-proxy"), write),
                all(Service, read),
                all(Node, read),
            ],
            Template::WorkloadIdentity => vec![one(Identity, name, write)],
        })
    }

    /// Its text, with the variable where a name belongs.
    #[must_use]
    pub fn text(self) -> String {
        hcl(&self.rules(VARIABLE))
    }
}

/// The rules of the policy that grants everything.
#[must_use]
pub fn everything() -> RuleSet {
    all_with(Grant::Write)
}

/// The rules of the policy that grants reading everything.
#[must_use]
pub fn reading_everything() -> RuleSet {
    all_with(Grant::Read)
}

fn all_with(grant: Grant) -> RuleSet {
    let rules = Resource::ALL.into_iter().map(|resource| {
        let label = if resource.is_named() { Label::Prefix("".into()) } else { Label::Exact("".into()) };
        // Whoever may read all keys may see which there are.
        let grant = if resource == Resource::Key { grant.max(Grant::List) } else { grant };
        Rule { resource, label, grant }
    });
    RuleSet::of(rules.collect())
}

/// Writes rules as HCL, a line for each.
#[must_use]
pub fn hcl(rules: &RuleSet) -> String {
    let mut text = String::new();
    for rule in rules.iter() {
        let (resource, grant) = (rule.resource, rule.grant.as_str());
        // Writing to a String cannot fail.
        let _ = match &rule.label {
            _ if !resource.is_named() => writeln!(text, "{resource} = \"{grant}\""),
            // A rule of its own for intentions stands in a service's block.
            Label::Exact(name) if resource == Resource::Intention => {
                writeln!(text, "service \"{name}\" {{\n  policy = \"{grant}\"\n  intentions = \"{grant}\"\n}}")
            }
            Label::Prefix(name) if resource == Resource::Intention => {
                writeln!(text, "service_prefix \"{name}\" {{\n  policy = \"{grant}\"\n  intentions = \"{grant}\"\n}}")
            }
            Label::Exact(name) => writeln!(text, "{resource} \"{name}\" {{\n  policy = \"{grant}\"\n}}"),
            Label::Prefix(name) => writeln!(text, "{resource}_prefix \"{name}\" {{\n  policy = \"{grant}\"\n}}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{Authority, Fallback, Level};
    use super::*;

    #[test]
    fn a_service_registers_itself_and_finds_others() {
        let authority = Authority::of([&Template::Service.rules("web")], Fallback::Deny);
        let may = |name, level| authority.allows(Resource::Service, name, level);
        assert!(may("web", Level::Write) && may("web-sidecar-proxy", Level::Write));
        assert!(may("other", Level::Read) && !may("other", Level::Write) && !may("webx", Level::Write));
        assert!(authority.allows(Resource::Node, "n", Level::Read));
        assert!(!authority.allows(Resource::Key, "k", Level::Read));
    }

    #[test]
    fn texts_name_the_variable() {
        for template in Template::ALL {
            assert_eq!(template.text().contains(VARIABLE), template.takes_name(), "{}", template.as_str());
            assert_eq!(Template::from_name(template.as_str()), Some(template));
        }
        assert!(Template::Service.text().contains("service \"${.Name}\" {"));
    }

    #[test]
    fn management_reaches_everything() {
        let authority = Authority::of([&everything()], Fallback::Deny);
        for resource in Resource::ALL {
            let all = match resource.is_named() {
                true => authority.allows_all_under(resource, "", Level::Write),
                false => authority.allows(resource, "", Level::Write),
            };
            assert!(all, "{resource}");
        }
        let reader = Authority::of([&reading_everything()], Fallback::Deny);
        for resource in Resource::ALL {
            let name = if resource.is_named() { "x" } else { "" };
            assert!(reader.allows(resource, name, Level::Read) && !reader.allows(resource, name, Level::Write));
        }
    }
}
