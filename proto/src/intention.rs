//! Who may call whom: which of several intentions counts for a call. PURE.
//!
//! An intention names a caller and a called service, either of which may be `*`, any. Of those that fit a call the one
//! that names more counts, and naming the called service counts for more than naming the caller. What none fits is decided
//! by the default. Called by the HTTP interface with the rows of a registry, and by whoever guards a service.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use crate::config_entry::{Action, Permission, ServiceIntentions, SourceIntention};

/// The name that stands for every service.
pub const ANY: &str = "*";

/// How early an intention counts: 9 for two names, 8 for a called one, 6 for a calling one, 5 for none.
#[must_use]
pub fn precedence(source: &str, destination: &str) -> u8 {
    match (source == ANY, destination == ANY) {
        (false, false) => 9,
        (true, false) => 8,
        (false, true) => 6,
        (true, true) => 5,
    }
}

/// One intention, as it stands in the entries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intention<'a> {
    /// The called service, or `*`.
    pub destination: &'a str,
    /// The caller, and what it may do.
    pub source: &'a SourceIntention,
}

/// Which end of a call is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The caller.
    Source,
    /// The called service.
    Destination,
}

fn covers(pattern: &str, name: &str) -> bool {
    pattern == ANY || pattern.eq_ignore_ascii_case(name)
}

impl<'a> Intention<'a> {
    /// The intentions of some entries, in any order.
    pub fn all(entries: impl IntoIterator<Item = &'a ServiceIntentions>) -> impl Iterator<Item = Intention<'a>> {
        entries
            .into_iter()
            .flat_map(|entry| entry.sources.iter().map(|source| Intention { destination: &entry.name, source }))
    }

    /// How early it counts.
    #[must_use]
    pub fn precedence(&self) -> u8 {
        precedence(&self.source.name, self.destination)
    }

    /// Whether it fits a call.
    #[must_use]
    pub fn fits(&self, source: &str, destination: &str) -> bool {
        covers(&self.source.name, source) && covers(self.destination, destination)
    }

    /// Whether it can fit a call of which one end is known.
    #[must_use]
    pub fn concerns(&self, end: End, name: &str) -> bool {
        match end {
            End::Source => covers(&self.source.name, name),
            End::Destination => covers(self.destination, name),
        }
    }

    /// The order in which intentions count, and after that the one in which they are listed.
    fn rank(&self) -> (std::cmp::Reverse<u8>, &'a str, &'a str) {
        (std::cmp::Reverse(self.precedence()), self.destination, &self.source.name)
    }
}

/// Brings intentions into the order in which they count.
#[must_use]
pub fn sorted<'a>(all: impl IntoIterator<Item = Intention<'a>>) -> Vec<Intention<'a>> {
    let mut all: Vec<Intention<'a>> = all.into_iter().collect();
    all.sort_by(|one, other| one.rank().cmp(&other.rank()));
    all
}

/// What is to become of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<'a> {
    /// An intention says so.
    Matched(Intention<'a>, Action),
    /// An intention lets some requests through: each has to be looked at.
    ByRequest(Intention<'a>, &'a [Permission]),
    /// No intention fits.
    Default(Action),
}

impl Verdict<'_> {
    /// Whether every request of the call goes through.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Verdict::Matched(_, Action::Allow) | Verdict::Default(Action::Allow))
    }

    /// The reason, for people.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut text = String::new();
        let name = |text: &mut String, intention: &Intention<'_>| {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "intention: default/{} => default/{} (Precedence: {}, ",
                intention.source.name,
                intention.destination,
                intention.precedence()
            );
        };
        match self {
            Verdict::Matched(intention, action) => {
                text.push_str("Matched L4 ");
                name(&mut text, intention);
                let _ = write!(text, "Action: {})", action.as_str().to_uppercase());
            }
            Verdict::ByRequest(intention, permissions) => {
                text.push_str("Matched L7 ");
                name(&mut text, intention);
                let _ = write!(text, "Permissions: {})", permissions.len());
            }
            Verdict::Default(action) => {
                let _ = write!(text, "No intention matched; the default is {action}");
            }
        }
        text
    }
}

/// Decides a call.
#[must_use]
pub fn decide<'a>(
    all: impl IntoIterator<Item = Intention<'a>>,
    source: &str,
    destination: &str,
    default: Action,
) -> Verdict<'a> {
    let fitting = all.into_iter().filter(|intention| intention.fits(source, destination));
    match fitting.min_by(|one, other| one.rank().cmp(&other.rank())) {
        None => Verdict::Default(default),
        Some(intention) => match intention.source.action {
            Some(action) => Verdict::Matched(intention, action),
            None => Verdict::ByRequest(intention, &intention.source.permissions),
        },
    }
}

/// The service in a SPIFFE id of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceId {
    /// The name of the mesh.
    pub trust_domain: String,
    /// The service.
    pub service: String,
}

impl ServiceId {
    /// Reads `spiffe://DOMAIN/ns/NAMESPACE/dc/DATACENTER/svc/SERVICE`, with or without `/ap/PARTITION` in front.
    #[must_use]
    pub fn parse(uri: &str) -> Option<ServiceId> {
        let (trust_domain, path) = uri.strip_prefix("spiffe://")?.split_once('/')?;
        let parts: Vec<&str> = path.split('/').collect();
        let (namespace, service) = match parts[..] {
            ["ns", namespace, "dc", datacenter, "svc", service] if !datacenter.is_empty() => (namespace, service),
            ["ap", "default", "ns", namespace, "dc", datacenter, "svc", service] if !datacenter.is_empty() => {
                (namespace, service)
            }
            _ => return None,
        };
        let service = percent_decode_str(service).decode_utf8().ok()?.into_owned();
        let known = namespace == "default" && !trust_domain.is_empty() && !service.is_empty();
        known.then(|| ServiceId { trust_domain: trust_domain.to_owned(), service })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        proptest::sample::select(vec!["*", "a", "b", "c"]).prop_map(str::to_owned)
    }

    fn entries() -> impl Strategy<Value = Vec<ServiceIntentions>> {
        let source = (name(), any::<bool>()).prop_map(|(name, allow)| SourceIntention {
            name,
            action: Some(if allow { Action::Allow } else { Action::Deny }),
            ..SourceIntention::default()
        });
        let sources = proptest::collection::btree_map(name(), source, 0..4);
        proptest::collection::btree_map(name(), sources, 0..4).prop_map(|entries| {
            let entry = |(name, sources): (String, std::collections::BTreeMap<String, SourceIntention>)| {
                let sources = sources.into_iter().map(|(name, source)| SourceIntention { name, ..source }).collect();
                ServiceIntentions { name, sources, ..ServiceIntentions::default() }
            };
            entries.into_iter().map(entry).collect()
        })
    }

    /// As one would say it: look for the two names, then for each with `*` in place of one, then for two `*`.
    fn naive(entries: &[ServiceIntentions], source: &str, destination: &str) -> Option<Action> {
        for (to, from) in [(destination, source), (destination, ANY), (ANY, source), (ANY, ANY)] {
            for entry in entries.iter().filter(|entry| entry.name == to) {
                if let Some(found) = entry.sources.iter().find(|found| found.name == from) {
                    return found.action;
                }
            }
        }
        None
    }

    proptest! {
        #[test]
        fn the_one_that_names_more_counts(entries in entries(), source in "[abcd]", destination in "[abcd]", open in any::<bool>()) {
            let default = if open { Action::Allow } else { Action::Deny };
            let expected = naive(&entries, &source, &destination).unwrap_or(default);
            let verdict = decide(Intention::all(&entries), &source, &destination, default);
            prop_assert_eq!(verdict.is_allowed(), expected == Action::Allow);
        }

        #[test]
        fn matching_one_end_finds_all_that_can_decide(entries in entries(), source in "[abc]", destination in "[abc]") {
            let whole = decide(Intention::all(&entries), &source, &destination, Action::Deny);
            for (end, name) in [(End::Source, &source), (End::Destination, &destination)] {
                let some = Intention::all(&entries).filter(|intention| intention.concerns(end, name));
                prop_assert_eq!(&decide(some, &source, &destination, Action::Deny), &whole);
            }
        }

        #[test]
        fn any_text_is_read_or_not(uri in ".{0,80}") {
            let _ = ServiceId::parse(&uri);
            let _ = ServiceId::parse(&format!("spiffe://x/ns/default/dc/dc1/svc/{uri}"));
        }
    }

    #[test]
    fn ids_are_read() {
        let service = |uri: &str| ServiceId::parse(uri).map(|id| id.service);
        assert_eq!(service("spiffe://x/ns/default/dc/dc1/svc/a").as_deref(), Some("a"));
        assert_eq!(service("spiffe://x/ap/default/ns/default/dc/dc1/svc/a%2Fb").as_deref(), Some("a/b"));
        for bad in [
            "",
            "a",
            "spiffe://x",
            "spiffe://x/svc/a",
            "spiffe:///ns/default/dc/d/svc/a",
            "spiffe://x/ns/other/dc/d/svc/a",
            "spiffe://x/ns/default/dc/d/svc/",
            "spiffe://x/ns/default/dc/d/svc/%ff",
        ] {
            assert_eq!(service(bad), None, "{bad}");
        }
    }

    #[test]
    fn reasons_name_the_intention() {
        let entry = ServiceIntentions {
            name: "web".into(),
            sources: vec![SourceIntention {
                name: "a".into(),
                action: Some(Action::Deny),
                ..SourceIntention::default()
            }],
            ..ServiceIntentions::default()
        };
        let verdict = decide(Intention::all([&entry]), "a", "web", Action::Allow);
        let expected = "Matched L4 intention: default/a => default/web (Precedence: 9, Action: DENY)";
        assert_eq!(verdict.reason(), expected);
        assert!(decide(Intention::all([&entry]), "b", "web", Action::Allow).is_allowed());
    }
}
