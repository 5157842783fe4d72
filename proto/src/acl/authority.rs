//! What the rules of all policies of one caller come to.
//!
//! An exact label counts before a prefix, a longer prefix before a shorter one; on the same label `deny` counts before
//! `write`, `write` before `list`, `list` before `read`. Who may call a service (its intentions) follows its own rule,
//! or else may be read by whoever may read the service. Where no rule speaks, the fallback does.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::rules::{Grant, Label, RuleSet};
use super::words::{Level, Resource};

/// What holds where no rule speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// Everything but access control itself is allowed.
    #[default]
    Allow,
    /// Nothing is allowed.
    Deny,
}

impl Fallback {
    /// The word in settings and headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Fallback::Allow => "allow",
            Fallback::Deny => "deny",
        }
    }
}

/// The rules of a caller, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authority {
    tables: BTreeMap<Resource, Table>,
    fallback: Fallback,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Table {
    exact: BTreeMap<Box<str>, Grant>,
    prefixes: BTreeMap<Box<str>, Grant>,
    /// The lengths of the prefixes.
    lengths: BTreeSet<usize>,
}

impl Authority {
    /// Puts policies together.
    #[must_use]
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a RuleSet>, fallback: Fallback) -> Authority {
        let mut authority = Authority { tables: BTreeMap::new(), fallback };
        for rule in policies.into_iter().flat_map(RuleSet::iter) {
            authority.add(rule.resource, &rule.label, rule.grant);
        }
        authority.derive_intentions();
        authority
    }

    fn add(&mut self, resource: Resource, label: &Label, grant: Grant) {
        let table = self.tables.entry(resource).or_default();
        let (names, name) = match label {
            Label::Exact(name) => (&mut table.exact, name),
            Label::Prefix(prefix) => {
                table.lengths.insert(prefix.len());
                (&mut table.prefixes, prefix)
            }
        };
        let known = names.entry(folded(resource, name).into()).or_insert(grant);
        *known = known.over(grant);
    }

    /// A service whose rules say nothing about its intentions: they may be read with it, and never written.
    fn derive_intentions(&mut self) {
        let Some(services) = self.tables.get(&Resource::Service).cloned() else { return };
        let intentions = self.tables.entry(Resource::Intention).or_default();
        let derived = |grant| if grant == Grant::Deny { Grant::Deny } else { Grant::Read };
        for (name, grant) in services.exact {
            intentions.exact.entry(name).or_insert(derived(grant));
        }
        for (prefix, grant) in services.prefixes {
            intentions.lengths.insert(prefix.len());
            intentions.prefixes.entry(prefix).or_insert(derived(grant));
        }
    }

    /// Whether something may be done to the resource of a name; an empty one for resources without names.
    #[must_use]
    pub fn allows(&self, resource: Resource, name: &str, level: Level) -> bool {
        let granted = self.tables.get(&resource).and_then(|table| table.grant(&folded(resource, name)));
        // Whoever runs the cluster runs its mesh and its ties to others, unless those have rules of their own.
        let granted = granted.or_else(|| match resource {
            Resource::Mesh | Resource::Peering => self.tables.get(&Resource::Operator)?.grant(""),
            _ => None,
        });
        granted.map_or_else(|| self.falls_back(resource), |grant| reaches(grant, level))
    }

    /// Whether it may be done to every name with a prefix, those included that nobody thought of yet.
    #[must_use]
    pub fn allows_all_under(&self, resource: Resource, prefix: &str, level: Level) -> bool {
        let Some(table) = self.tables.get(&resource) else { return self.falls_back(resource) };
        let prefix = folded(resource, prefix);
        let above =
            table.longest_prefix(&prefix).map_or_else(|| self.falls_back(resource), |grant| reaches(grant, level));
        above
            && [&table.exact, &table.prefixes]
                .into_iter()
                .flat_map(|names| under(names, &prefix))
                .all(|grant| reaches(grant, level))
    }

    /// Whether it may be done to any name at all.
    #[must_use]
    pub fn allows_any(&self, resource: Resource, level: Level) -> bool {
        let granted = self.tables.get(&resource).is_some_and(|table| {
            table.exact.values().chain(table.prefixes.values()).any(|grant| reaches(*grant, level))
        });
        granted || self.allows(resource, "", level)
    }

    fn falls_back(&self, resource: Resource) -> bool {
        self.fallback == Fallback::Allow && resource != Resource::Acl
    }

    /// A text that is the same for the same rights, and for no others.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = format!("{}\n", self.fallback.as_str());
        for (resource, table) in &self.tables {
            for (kind, names) in [("", &table.exact), ("_prefix", &table.prefixes)] {
                for (name, grant) in names {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{resource}{kind} {name:?} {}", grant.as_str());
                }
            }
        }
        text
    }
}

impl Table {
    fn grant(&self, name: &str) -> Option<Grant> {
        self.exact.get(name).copied().or_else(|| self.longest_prefix(name))
    }

    fn longest_prefix(&self, name: &str) -> Option<Grant> {
        let lengths = self.lengths.range(..=name.len()).rev();
        lengths.filter_map(|length| self.prefixes.get(name.get(..*length)?)).next().copied()
    }
}

/// The grants on labels that begin with a prefix.
fn under<'a>(names: &'a BTreeMap<Box<str>, Grant>, prefix: &str) -> impl Iterator<Item = Grant> + use<'a> {
    let prefix: Box<str> = prefix.into();
    let from = names.range(prefix.clone()..);
    from.take_while(move |(name, _)| name.starts_with(&*prefix)).map(|(_, grant)| *grant)
}

fn reaches(grant: Grant, level: Level) -> bool {
    match level {
        Level::Read => grant >= Grant::Read,
        Level::List => grant >= Grant::List,
        Level::Write => grant >= Grant::Write,
    }
}

/// A name as rules compare it.
fn folded(resource: Resource, name: &str) -> Cow<'_, str> {
    match resource.folds() && name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::rules::Rule;
    use super::*;

    fn authority(policies: &[Value], fallback: Fallback) -> Authority {
        let sets: Vec<RuleSet> = policies.iter().map(|value| RuleSet::parse(value).unwrap()).collect();
        Authority::of(&sets, fallback)
    }

    #[test]
    fn the_nearest_label_counts() {
        let rules = json!({
            "key_prefix": {"": {"policy": "read"}, "a/": {"policy": "write"}, "a/secret/": {"policy": "deny"}},
            "key": {"a/secret/open": {"policy": "list"}},
        });
        let authority = authority(&[rules], Fallback::Deny);
        let check = |key: &str, expect: [bool; 3]| {
            let found =
                [Level::Read, Level::List, Level::Write].map(|level| authority.allows(Resource::Key, key, level));
            assert_eq!(found, expect, "{key}");
        };
        check("b", [true, false, false]);
        check("a/x", [true, true, true]);
        check("a/secret/x", [false, false, false]);
        check("a/secret/open", [true, true, false]);
        assert!(!authority.allows(Resource::Node, "n", Level::Read));
        assert!(!authority.allows_all_under(Resource::Key, "a/", Level::Write));
        assert!(authority.allows_all_under(Resource::Key, "a/b", Level::Write));
        assert!(!authority.allows_all_under(Resource::Key, "", Level::Write));
        assert!(!authority.allows_all_under(Resource::Key, "a/secret/open", Level::Read));
    }

    #[test]
    fn on_one_label_deny_counts_first() {
        let policy = |grant: &str| json!({"service": {"web": {"policy": grant}}});
        let may = |grants: &[&str]| {
            let policies: Vec<Value> = grants.iter().map(|grant| policy(grant)).collect();
            let authority = authority(&policies, Fallback::Deny);
            (
                authority.allows(Resource::Service, "WEB", Level::Read),
                authority.allows(Resource::Service, "web", Level::Write),
            )
        };
        assert_eq!(may(&["read", "write"]), (true, true));
        assert_eq!(may(&["write", "deny", "read"]), (false, false));
        assert_eq!(may(&["read"]), (true, false));
    }

    #[test]
    fn intentions_follow_the_service_unless_told() {
        let rules = json!({
            "service": {"a": {"policy": "write"}, "b": {"policy": "read", "intentions": "write"}, "c": {"policy": "deny"}},
            "service_prefix": {"d": {"policy": "read", "intentions": "deny"}},
        });
        let authority = authority(&[rules], Fallback::Allow);
        let may = |name, level| authority.allows(Resource::Intention, name, level);
        assert_eq!((may("a", Level::Read), may("a", Level::Write)), (true, false));
        assert!(may("b", Level::Write));
        assert!(!may("c", Level::Read));
        assert!(!may("dx", Level::Read));
        assert!(may("other", Level::Write));
    }

    #[test]
    fn the_fallback_never_reaches_access_control() {
        let nothing = Authority::of([], Fallback::Allow);
        assert!(nothing.allows(Resource::Operator, "", Level::Write));
        assert!(!nothing.allows(Resource::Acl, "", Level::Read));
        assert!(authority(&[json!({"acl": "read"})], Fallback::Deny).allows(Resource::Acl, "", Level::Read));
    }

    #[test]
    fn the_mesh_is_the_operators_unless_told() {
        let may = |rules: Value| authority(&[rules], Fallback::Deny).allows(Resource::Mesh, "", Level::Write);
        assert!(may(json!({"operator": "write"})));
        assert!(!may(json!({"operator": "write", "mesh": "read"})));
        assert!(may(json!({"operator": "read", "mesh": "write"})));
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let resource = proptest::sample::select(vec![Resource::Key, Resource::Service, Resource::Node]);
        let name = "[abB]{0,3}";
        let label = prop_oneof![
            name.prop_map(|name| Label::Exact(name.into())),
            name.prop_map(|name| Label::Prefix(name.into()))
        ];
        let grant = proptest::sample::select(vec![Grant::Deny, Grant::Read, Grant::List, Grant::Write]);
        (resource, label, grant).prop_map(|(resource, label, grant)| Rule { resource, label, grant })
    }

    /// The rules of the contract, read off it word by word and without regard to speed.
    fn naive(rules: &[Rule], resource: Resource, name: &str, level: Level, fallback: Fallback) -> bool {
        let same = |text: &str| if resource.folds() { text.to_lowercase() } else { text.to_owned() };
        let name = same(name);
        let of = |rule: &&Rule| rule.resource == resource;
        let exact: Vec<Grant> = rules
            .iter()
            .filter(of)
            .filter(|rule| matches!(&rule.label, Label::Exact(label) if same(label) == name))
            .map(|rule| rule.grant)
            .collect();
        let prefixes = rules.iter().filter(of).filter_map(|rule| match &rule.label {
            Label::Prefix(prefix) if name.starts_with(&same(prefix)) => Some((prefix.len(), rule.grant)),
            _ => None,
        });
        let prefixes: Vec<(usize, Grant)> = prefixes.collect();
        let longest = prefixes.iter().map(|(length, _)| *length).max();
        let nearest: Vec<Grant> = match exact.is_empty() {
            false => exact,
            true => prefixes.iter().filter(|(length, _)| Some(*length) == longest).map(|(_, grant)| *grant).collect(),
        };
        if nearest.is_empty() {
            return fallback == Fallback::Allow;
        }
        let has = |grant| nearest.contains(&grant);
        match level {
            _ if has(Grant::Deny) => false,
            Level::Read => true,
            Level::List => has(Grant::Write) || has(Grant::List),
            Level::Write => has(Grant::Write),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn decisions_are_those_of_the_naive_evaluator(
            rules in proptest::collection::vec(rule(), 0..14),
            names in proptest::collection::vec("[abBc]{0,4}", 1..8),
            deny: bool,
        ) {
            let fallback = if deny { Fallback::Deny } else { Fallback::Allow };
            // In several policies, since their order and number must not matter.
            let sets: Vec<RuleSet> = rules.chunks(3).rev().map(|chunk| RuleSet::of(chunk.to_vec())).collect();
            let authority = Authority::of(&sets, fallback);
            for name in &names {
                for resource in [Resource::Key, Resource::Service, Resource::Node, Resource::Session] {
                    for level in [Level::Read, Level::List, Level::Write] {
                        let expect = naive(&rules, resource, name, level, fallback);
                        prop_assert_eq!(authority.allows(resource, name, level), expect, "{} {} {}", resource, name, level);
                    }
                }
            }
        }

        /// What is allowed below a prefix is allowed on every name below it.
        #[test]
        fn a_whole_prefix_is_every_name_in_it(
            rules in proptest::collection::vec(rule(), 0..10), prefix in "[ab]{0,2}", deny: bool
        ) {
            let fallback = if deny { Fallback::Deny } else { Fallback::Allow };
            let authority = Authority::of([&RuleSet::of(rules)], fallback);
            // Labels have at most three letters and no c, so these names see every rule, and every gap between rules.
            let mut names = vec![prefix.clone()];
            let mut at = 0;
            while let Some(name) = names.get(at).cloned() {
                at += 1;
                if name.len() < 4 {
                    names.extend(["a", "b", "B", "c"].map(|letter| format!("{name}{letter}")));
                }
            }
            let all = names.iter().all(|name| authority.allows(Resource::Key, name, Level::Write));
            prop_assert_eq!(authority.allows_all_under(Resource::Key, &prefix, Level::Write), all);
        }

        #[test]
        fn the_same_rights_have_the_same_text(rules in proptest::collection::vec(rule(), 0..8), turn in 0usize..8) {
            let mut turned = rules.clone();
            turned.rotate_left(turn.min(rules.len()));
            let one = Authority::of([&RuleSet::of(rules)], Fallback::Deny);
            let two = Authority::of([&RuleSet::of(turned)], Fallback::Deny);
            prop_assert_eq!(one.canonical(), two.canonical());
        }
    }
}
