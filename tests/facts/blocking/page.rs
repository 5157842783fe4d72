//! The page on waiting: a history that makes every kind of change twice, the second time without changing anything, and
//! who was woken by what. Endpoints are as the rows of the suite have them.

use std::collections::BTreeSet;

use callboard_tests::conformance::Section;
use callboard_tests::description;
use callboard_tests::node::MANAGEMENT;
use serde_json::{Map, Value};

use super::model::Source;
use super::writes::Write;
use super::{ELSEWHERE, Effect, World, one_writer};

/// A change that a reader may wait for, in words and as writes of which each changes something.
type Change = (&'static str, &'static [Write]);

/// In an order in which each finds what it needs. `World::new` wrote before.
const CHANGES: &[Change] = &[
    ("a node", &[Write::Node { node: 0, address: 1 }, Write::Node { node: 1, address: 2 }]),
    ("a node's address", &[Write::Node { node: 0, address: 2 }, Write::Node { node: 1, address: 3 }]),
    (
        "an instance",
        &[
            Write::Instance { node: 0, service: 0, port: 1 },
            Write::Instance { node: 1, service: 0, port: 1 },
            Write::Instance { node: 0, service: 1, port: 1 },
            Write::Instance { node: 1, service: 1, port: 1 },
        ],
    ),
    (
        "an instance's port",
        &[Write::Instance { node: 0, service: 0, port: 2 }, Write::Instance { node: 1, service: 1, port: 2 }],
    ),
    (
        "an instance's check",
        &[Write::Check { node: 0, of: Some(0), status: 0 }, Write::Check { node: 1, of: Some(1), status: 0 }],
    ),
    (
        "the status of an instance's check",
        &[Write::Check { node: 0, of: Some(0), status: 2 }, Write::Check { node: 1, of: Some(1), status: 2 }],
    ),
    ("a node's check", &[Write::Check { node: 0, of: None, status: 0 }, Write::Check { node: 1, of: None, status: 0 }]),
    ("a node's place", &[Write::Place { node: 0, x: 1 }, Write::Place { node: 1, x: 1 }]),
    ("a session", &[Write::Session { node: 0 }]),
    ("a key", &[Write::Key { key: 0, value: 2 }, Write::Key { key: 1, value: 2 }]),
    ("keys by a transaction", &[Write::Txn { value: 1 }]),
    ("a key's end", &[Write::DropKey { key: 0 }, Write::DropKey { key: 1 }]),
    ("a query", &[Write::Query { name: 0, service: 0 }]),
    (
        "service-defaults",
        &[
            Write::Defaults { service: 0, protocol: 0 },
            Write::Defaults { service: 0, protocol: 1 },
            Write::Defaults { service: 1, protocol: 0 },
        ],
    ),
    ("the end of service-defaults", &[Write::DropDefaults { service: 0 }, Write::DropDefaults { service: 1 }]),
    ("an intention", &[Write::Intention { source: 0, action: 1 }, Write::Intention { source: 1, action: 0 }]),
    ("an intention's end", &[Write::DropIntention { source: 1 }, Write::DropIntention { source: 0 }]),
    ("what a gateway carries", &[Write::Gateway { service: 1 }, Write::Gateway { service: 0 }]),
    ("the authority's keys", &[Write::Authority { keys: 1 }]),
    ("a policy", &[Write::Policy { rules: 1 }]),
    ("a role", &[Write::Role { description: 1 }]),
    ("a role's end", &[Write::DropRole]),
    ("a token", &[Write::Token]),
    ("an auth method", &[Write::Method { description: 1 }]),
    ("a binding rule", &[Write::Rule { description: 1 }]),
    (
        "an instance's end",
        &[
            Write::DropInstance { node: 0, service: 0 },
            Write::DropInstance { node: 1, service: 0 },
            Write::DropInstance { node: 1, service: 1 },
        ],
    ),
    ("a node's end", &[Write::DropNode { node: 0 }, Write::DropNode { node: 1 }]),
];

/// Whether a second write of the same kind is another one.
fn is_always_new(write: Write) -> bool {
    matches!(write, Write::Session { .. } | Write::Token)
}

#[test]
fn each_change_wakes_whom_it_concerns_and_the_same_again_wakes_nobody() {
    let mut world = World::new(true);
    let paths = description::paths(&world.node.http, Some(MANAGEMENT));
    let history: Vec<Write> = CHANGES
        .iter()
        .flat_map(|(_, writes)| writes.iter())
        .flat_map(|write| std::iter::repeat_n(*write, if is_always_new(*write) { 1 } else { 2 }))
        .collect();
    let mut effects = one_writer(&mut world, &history, "the page's history").into_iter();
    let mut by_change: Vec<(&str, Effect)> = Vec::new();
    for (words, writes) in CHANGES {
        let mut all = Effect::default();
        for write in *writes {
            let first = effects.next().expect("each write has come to something");
            assert!(!first.woken.is_empty(), "{write:?} wakes nobody");
            all.woken.extend(first.woken);
            all.risen_only.extend(first.risen_only);
            if !is_always_new(*write) {
                let again = effects.next().expect("each write has come to something");
                let nobody = BTreeSet::new();
                assert_eq!((&again.woken, &again.risen_only), (&nobody, &nobody), "{write:?} once more");
            }
        }
        by_change.push((*words, all));
    }
    assert_eq!(effects.next().map(|effect| effect.woken.len()), None, "each effect belongs to a change");
    tell(&world.answered(), &paths, &by_change);
}

/// Makes the page.
fn tell(endpoints: &[(&str, Source)], paths: &Map<String, Value>, by_change: &[(&str, Effect)]) {
    let names: Vec<&str> = by_change.iter().map(|(words, _)| *words).collect();
    let mut page = Section::new(
        "waiting",
        "Who is woken by what",
        &["Operation", "Asked", "Woken by", "Index alone rises by"],
    )
    .about(&format!(
        "Each of these waits while {} kinds of change are made one after the other, each write once more without \
         changing anything, which wakes nobody: {}. What is not named in a row did not wake its reader. Nobody's index rose without a change \
         that concerns them, and nobody's answer changed without their index. An index alone rises where the one thing \
         that is asked for stays away: then there is no news.",
        by_change.len(),
        names.join(", ")
    ));
    let of = |place: usize, which: fn(&Effect) -> &BTreeSet<usize>| {
        let named = by_change.iter().filter(|(_, effect)| which(effect).contains(&place)).map(|(words, _)| *words);
        let named = named.collect::<Vec<_>>().join(", ");
        if named.is_empty() { "nothing".to_owned() } else { named }
    };
    for (place, (path, source)) in endpoints.iter().enumerate() {
        let operation = description::template(paths, path).expect("it is described");
        let woken = of(place, |effect| &effect.woken);
        let never = source.never_comes() || matches!(source, Source::Other | Source::OtherPrefix);
        assert_eq!(woken == "nothing", never, "{path} is woken by {woken}");
        page.row([format!("GET {operation}"), (*path).to_owned(), woken, of(place, |effect| &effect.risen_only)]);
    }
    page.hold();
    let mut page = Section::new("waiting", "What waits and is shown elsewhere", &["Operation", "Where"]);
    ELSEWHERE.iter().for_each(|(operation, place)| page.row([format!("GET {operation}"), (*place).to_owned()]));
    page.hold();
}
