//! The registry against random histories: every fact that must hold after any command.

mod acl;
mod config_entries;
mod coordinates;
mod mesh;
mod nodes;
mod queries;
mod restore;
mod sessions;
mod txn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_proto::api::check::NewCheck;
use callboard_proto::check::CheckOwner;
use callboard_proto::config_entry::{ConfigEntry, EntryKind};
use callboard_proto::session::{SessionBehavior, SessionRow};
use callboard_proto::text::{Meta, Tags, Text};
use callboard_proto::{Check, CheckId, CheckStatus, Index, Instance, InstanceId, Node, NodeName, ServiceName};
use proptest::prelude::*;

use super::*;

fn node_name(n: u8) -> NodeName {
    // Upper and lower case name the same node.
    NodeName::parse(&format!("{}ode{}", if n.is_multiple_of(2) { 'n' } else { 'N' }, n / 2)).unwrap()
}

fn node() -> impl Strategy<Value = Node> {
    // Few have an id, which may be another's: such a node has got another name.
    (0u8..6, 0u8..2, 0u8..8).prop_map(|(n, address, id)| Node {
        name: node_name(n),
        id: if id < 2 { format!("id{id}").into() } else { Text::default() },
        address: format!("10.0.0.{address}").into(),
        ..Node::default()
    })
}

fn instance() -> impl Strategy<Value = Instance> {
    (0u8..4, 0u8..3, 0u16..2, proptest::collection::vec(0u8..2, 0..2), 0u8..6).prop_map(
        |(id, service, port, tags, mesh)| Instance {
            id: InstanceId::parse(&format!("i{id}")).unwrap(),
            service: ServiceName::parse(&format!("svc{service}")).unwrap(),
            port,
            tags: tags.into_iter().map(|tag| format!("t{tag}")).collect::<Tags>(),
            // Some speak for another service, some for their own.
            kind: if mesh < 2 { "connect-proxy".into() } else { Text::default() },
            proxy: format!("{{\"DestinationServiceName\":\"SVC{mesh}\"}}").into(),
            connect_native: mesh == 2,
            ..Instance::default()
        },
    )
}

fn status() -> impl Strategy<Value = CheckStatus> {
    prop_oneof![Just(CheckStatus::Passing), Just(CheckStatus::Warning), Just(CheckStatus::Critical)]
}

/// A check of a node itself.
fn check_of(node: NodeName, id: &str, status: CheckStatus) -> Check {
    Check {
        node,
        id: CheckId::parse(id).unwrap(),
        name: id.into(),
        status,
        notes: Text::default(),
        output: Text::default(),
        instance: InstanceId::none(),
        service: ServiceName::none(),
        service_tags: Tags::default(),
        kind: "ttl".into(),
        definition: None,
        shown_definition: Text::default(),
        owner: CheckOwner::Agent,
        created: Index::ZERO,
        modified: Index::ZERO,
    }
}

fn check() -> impl Strategy<Value = NewCheck> {
    (0u8..4, 0u8..5, status(), any::<bool>()).prop_map(|(id, instance, status, agent)| NewCheck {
        status_given: !agent,
        check: Check {
            node: NodeName::none(),
            id: CheckId::parse(&format!("c{id}")).unwrap(),
            name: "check".into(),
            status,
            notes: Text::default(),
            output: Text::default(),
            instance: if instance == 4 {
                InstanceId::none()
            } else {
                InstanceId::parse(&format!("i{instance}")).unwrap()
            },
            service: ServiceName::none(),
            service_tags: Tags::default(),
            kind: "ttl".into(),
            definition: None,
            shown_definition: Text::default(),
            owner: if agent { CheckOwner::Agent } else { CheckOwner::Catalog },
            created: Index::ZERO,
            modified: Index::ZERO,
        },
    })
}

fn registration() -> impl Strategy<Value = Registration> {
    let update = prop_oneof![3 => Just(NodeUpdate::Put), 1 => Just(NodeUpdate::Ensure), 1 => Just(NodeUpdate::Skip)];
    (node(), update, proptest::option::of(instance()), proptest::collection::vec(check(), 0..3), any::<bool>())
        .prop_map(|(node, node_update, instance, mut checks, checks_replace)| {
            for new in &mut checks {
                new.check.node = node.name.clone();
            }
            Registration { node, node_update, instance, checks, checks_replace }
        })
}

fn key() -> impl Strategy<Value = Text> {
    prop_oneof![Just("a"), Just("a/b"), Just("a/c"), Just("b"), Just("")].prop_map(Text::from)
}

fn session_id() -> impl Strategy<Value = Text> {
    (0u8..4).prop_map(|id| format!("s{id}").into())
}

/// Entries of two services that may refer to one another.
fn config_entry() -> impl Strategy<Value = Text> {
    let defaults = proptest::sample::select(vec!["http", "tcp", "grpc"])
        .prop_map(|protocol| (EntryKind::ServiceDefaults, serde_json::json!({"Protocol": protocol})));
    let split = (0u8..2, 0u8..2).prop_map(|(other, subset)| {
        let subset = if subset == 0 { "" } else { "v1" };
        let splits = serde_json::json!([{"Weight": 60, "ServiceSubset": subset}, {"Weight": 40, "Service": format!("svc{other}"), "ServiceSubset": "v2"}]);
        (EntryKind::ServiceSplitter, serde_json::json!({"Splits": splits}))
    });
    let subsets = any::<bool>().prop_map(|more| {
        let subsets = if more { serde_json::json!({"v1": {}, "v2": {}}) } else { serde_json::json!({"v2": {}}) };
        (EntryKind::ServiceResolver, serde_json::json!({"Subsets": subsets}))
    });
    let route = (0u8..2).prop_map(|other| {
        let routes = serde_json::json!([{"Destination": {"Service": format!("svc{other}")}}]);
        (EntryKind::ServiceRouter, serde_json::json!({"Routes": routes}))
    });
    let entry = prop_oneof![2 => defaults, 2 => subsets, 1 => split, 1 => route];
    (0u8..2, entry).prop_map(|(name, (kind, mut entry))| {
        entry["Kind"] = kind.as_str().into();
        entry["Name"] = format!("svc{name}").into();
        let entry = ConfigEntry::parse(entry.to_string().as_bytes()).unwrap();
        serde_json::to_string(&entry).unwrap().into()
    })
}

fn session() -> impl Strategy<Value = SessionRow> {
    let checks = || proptest::collection::vec((0u8..4).prop_map(|id| CheckId::parse(&format!("c{id}")).unwrap()), 0..2);
    (session_id(), 0u8..6, checks(), checks(), any::<bool>(), 0u64..2).prop_map(
        |(id, node, node_checks, service_checks, delete, delay)| SessionRow {
            id,
            name: Text::default(),
            node: node_name(node),
            lock_delay: Duration::from_secs(delay),
            behavior: if delete { SessionBehavior::Delete } else { SessionBehavior::Release },
            ttl: Text::default(),
            node_checks,
            service_checks,
            created: Index::ZERO,
            modified: Index::ZERO,
        },
    )
}

fn connect_command() -> impl Strategy<Value = ConnectCommand> {
    let root = (0u8..3, 0u64..9).prop_map(|(id, serial)| CaRoot {
        id: format!("r{id}").into(),
        name: "root".into(),
        serial,
        signing_key_id: Text::default(),
        not_before: 0,
        not_after: 100,
        certificate: "certificate".into(),
        cross_signed: Vec::new(),
        private_key: Hidden::new("key"),
        key_type: "ec".into(),
        key_bits: 256,
        active: true,
        kept_until: 0,
        created: Index::ZERO,
        modified: Index::ZERO,
    });
    let root = root.prop_map(Box::new);
    let settings =
        (0u8..2).prop_map(|body| CaSettings { body: format!("{{\"A\":{body}}}").into(), ..CaSettings::default() });
    prop_oneof![
        1 => (root.clone(), settings.clone()).prop_map(|(root, settings)| ConnectCommand::Begin {
            trust_domain: "t".into(), root, settings,
        }),
        3 => (settings, proptest::option::of(root), 0i64..5, 0u64..40).prop_map(|(settings, root, kept_until, seen)| {
            ConnectCommand::Configure { settings, root, kept_until, seen: Index(seen) }
        }),
        1 => (0i64..5).prop_map(|now| ConnectCommand::Prune { now }),
        1 => Just(ConnectCommand::NextSerial),
    ]
}

fn autopilot_command() -> impl Strategy<Value = AutopilotCommand> {
    let settings = (0u64..3).prop_map(|voters_min| AutopilotSettings { voters_min, ..AutopilotSettings::default() });
    let cas = proptest::option::weighted(0.3, (0u64..40).prop_map(Index));
    (settings, cas, any::<bool>()).prop_map(|(settings, cas, begin)| match begin {
        true => AutopilotCommand::Begin(settings),
        false => AutopilotCommand::Set { settings, cas },
    })
}

fn command() -> impl Strategy<Value = Command> {
    let instance_id = (0u8..4).prop_map(|id| InstanceId::parse(&format!("i{id}")).unwrap());
    let check_id = (0u8..4).prop_map(|id| CheckId::parse(&format!("c{id}")).unwrap());
    let name = (0u8..6).prop_map(node_name);
    let prune = prop_oneof![Just(Prune::Keep), Just(Prune::EmptyNode)];
    let missing = prop_oneof![Just(Missing::Fine), Just(Missing::Refused)];
    let condition = prop_oneof![
        3 => Just(KvCondition::Always),
        2 => (0u64..40).prop_map(|index| KvCondition::Cas(Index(index))),
        3 => (session_id(), prop_oneof![4 => Just(u64::MAX), 1 => 0u64..40])
            .prop_map(|(session, seen)| KvCondition::Acquire { session, seen: Index(seen) }),
        1 => session_id().prop_map(KvCondition::Release),
    ];
    prop_oneof![
        6 => registration().prop_map(|registration| Command::Register(Box::new(registration))),
        1 => name.clone().prop_map(|node| Command::DeregisterNode { node }),
        3 => (name.clone(), instance_id, prune, missing.clone())
            .prop_map(|(node, id, prune, missing)| Command::DeregisterInstance { node, id, prune, missing }),
        2 => (name.clone(), check_id.clone(), missing)
            .prop_map(|(node, id, missing)| Command::DeregisterCheck { node, id, missing }),
        3 => (name, check_id, status(), 0u8..2).prop_map(|(node, id, status, output)| Command::UpdateCheck {
            node, id, status, output: output.to_string().into(),
        }),
        4 => (key(), 0u8..3, 0u64..2, condition).prop_map(|(key, value, flags, condition)| Command::KvSet {
            key, value: Arc::from([value]), flags, condition,
        }),
        2 => (key(), proptest::option::of((0u64..40).prop_map(Index))).prop_map(|(key, cas)| Command::KvDelete { key, cas }),
        1 => key().prop_map(|prefix| Command::KvDeletePrefix { prefix }),
        3 => (config_entry(), proptest::option::weighted(0.2, (0u64..40).prop_map(Index)))
            .prop_map(|(body, cas)| Command::ConfigSet { body, cas }),
        1 => (0u8..2, proptest::sample::select(EntryKind::ALL.to_vec()), proptest::option::weighted(0.2, (0u64..40).prop_map(Index)))
            .prop_map(|(name, kind, cas)| Command::ConfigDelete { kind, name: format!("SVC{name}").into(), cas }),
        2 => connect_command().prop_map(Command::Connect),
        4 => session().prop_map(|session| Command::SessionCreate(Box::new(session))),
        1 => session_id().prop_map(|id| Command::SessionDestroy { id }),
        3 => proptest::collection::vec(txn::op(), 0..5).prop_map(Command::Txn),
        4 => queries::command().prop_map(Command::Query),
        2 => proptest::collection::vec(coordinates::place(), 1..4).prop_map(Command::Place),
        8 => acl::command(),
        2 => autopilot_command().prop_map(Command::Autopilot),
    ]
}

fn history() -> impl Strategy<Value = Vec<Command>> {
    proptest::collection::vec(command(), 1..80)
}

fn bytes(registry: &Registry) -> Vec<u8> {
    let mut bytes = Vec::new();
    registry.write_to(&mut bytes).unwrap();
    bytes
}

/// What readers can see, and at which index, for every topic that is ever asked about.
fn views(registry: &Registry) -> BTreeMap<Topic, (Index, String)> {
    let mut views = BTreeMap::new();
    let nodes: Vec<_> = registry.nodes().collect();
    views.insert(Topic::Nodes, (registry.nodes_index(), format!("{nodes:?}")));
    let instances: Vec<_> =
        registry.services().flat_map(|row| registry.members(row)).map(|(_, instance)| instance).collect();
    views.insert(Topic::Services, (registry.services_index(), format!("{instances:?}")));
    let checks: Vec<_> = registry.checks().collect();
    views.insert(Topic::Checks, (registry.checks_index(), format!("{checks:?}")));
    let sessions: Vec<_> = registry.sessions().collect();
    acl::views(registry, &mut views);
    views.insert(Topic::Sessions, (registry.sessions_index(), format!("{sessions:?}")));
    let roots: Vec<_> = registry.ca_roots().collect();
    views.insert(Topic::CaRoots, (registry.ca_index(), format!("{roots:?}{:?}", registry.ca_settings())));
    let queries: Vec<_> = registry.queries().map(|row| (&row.definition, row.created, row.modified)).collect();
    views.insert(Topic::Queries, (registry.queries_index(), format!("{queries:?}")));
    let autopilot = registry.autopilot();
    let changed = autopilot.map_or(Index::ZERO, |row| row.modified);
    views.insert(Topic::Autopilot, (changed, format!("{autopilot:?}")));
    let places: Vec<_> = registry.places().collect();
    views.insert(Topic::Coordinates, (registry.coordinates_index(), format!("{places:?}")));
    for kind in EntryKind::ALL {
        let entries: Vec<_> = registry.configs(kind).map(|row| (&row.body, row.created, row.modified)).collect();
        views.insert(Topic::Config(kind), (registry.config_index(kind), format!("{entries:?}")));
    }
    for service in 0..3 {
        let name = ServiceName::parse(&format!("svc{service}")).unwrap();
        let health: Vec<_> = registry
            .service(&name)
            .map(|(node, instance)| {
                let checks = registry
                    .checks_of(&node.name, &instance.id)
                    .chain(registry.checks_of(&node.name, &InstanceId::none()));
                let slot = registry.slot(&node.name, instance);
                (node.clone(), instance.clone(), slot, checks.cloned().collect::<Vec<_>>())
            })
            .collect();
        let index = registry.service_index(&name);
        views.insert(Topic::Service(name), (index, format!("{health:?}")));
    }
    for prefix in ["", "a", "a/", "b", "x"] {
        let entries: Vec<_> = registry.kv_under(prefix).collect();
        views.insert(Topic::KeyPrefix(prefix.into()), (registry.kv_index_under(prefix), format!("{entries:?}")));
    }
    views
}

fn is_touched(touched: &Touched, topic: &Topic) -> bool {
    touched.iter().any(|one| match (one, topic) {
        (Topic::Key(key), Topic::KeyPrefix(prefix)) => key.starts_with(&**prefix),
        (one, topic) => one == topic,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn index_only_grows_and_every_invariant_holds(history in history()) {
        let mut registry = Registry::default();
        for command in history {
            let before = registry.index();
            registry.apply(command, &mut Touched::default());
            prop_assert!(registry.index() == before || registry.index() == before.next());
            prop_assert_eq!(registry.audit(), Ok(()));
        }
    }

    #[test]
    fn no_change_no_index(history in history()) {
        let mut registry = Registry::default();
        for command in history {
            let before = registry.clone();
            let mut touched = Touched::default();
            registry.apply(command.clone(), &mut touched);
            prop_assert_eq!(touched.is_empty(), registry.index() == before.index());
            if touched.is_empty() {
                prop_assert_eq!(bytes(&registry), bytes(&before));
            }
            // The same write again says nothing new, unless it is conditional or removed and remade a check.
            if let Command::Register(registration) = &command
                && registration.checks.is_empty()
            {
                let index = registry.index();
                registry.apply(command, &mut Touched::default());
                prop_assert_eq!(registry.index(), index);
            }
        }
    }

    /// The rule that readers live by: what they see changes only together with the index of their question, that
    /// index never goes back, and whoever waits on the topic is woken.
    #[test]
    fn removal_wakes_and_so_does_every_other_change(history in history()) {
        let mut registry = Registry::default();
        for command in history {
            let before = views(&registry);
            let mut touched = Touched::default();
            registry.apply(command.clone(), &mut touched);
            for (topic, (index, seen)) in views(&registry) {
                let (index_before, seen_before) = &before[&topic];
                prop_assert!(index >= *index_before, "{topic:?} went back from {index_before} to {index} by {command:?}");
                prop_assert!(index <= registry.index());
                if seen != *seen_before {
                    prop_assert!(index > *index_before, "{topic:?} changed at {index} without its index, by {command:?}");
                    prop_assert!(is_touched(&touched, &topic), "{topic:?} changed without being touched, by {command:?}");
                }
            }
        }
    }

    /// Whatever happens to others: who stays keeps its slot.
    #[test]
    fn the_slot_of_a_live_instance_never_changes(history in history()) {
        let slots = |registry: &Registry| -> BTreeMap<_, _> {
            let rows = registry.services().flat_map(|row| registry.members(row));
            let key = |node: &Node, instance: &Instance| (node.name.folded(), instance.id.clone(), instance.service.folded());
            rows.map(|(node, instance)| (key(node, instance), registry.slot(&node.name, instance).unwrap())).collect()
        };
        let mut registry = Registry::default();
        for command in history {
            let before = slots(&registry);
            let index = registry.index();
            registry.apply(command.clone(), &mut Touched::default());
            let after = slots(&registry);
            for (place, slot) in &after {
                prop_assert!(before.get(place).is_none_or(|old| old == slot), "{place:?} moved by {command:?}");
            }
            prop_assert!(before == after || registry.index() > index);
        }
    }

    #[test]
    fn replicas_agree(history in history(), cut in 0usize..60) {
        let mut first = Registry::default();
        let mut second = Registry::default();
        for (place, command) in history.into_iter().enumerate() {
            if place == cut {
                // One replica starts again from its checkpoint in the middle.
                second = Registry::read_from(&mut bytes(&second).as_slice()).unwrap();
            }
            let one = first.apply(command.clone(), &mut Touched::default());
            let two = second.apply(command, &mut Touched::default());
            prop_assert_eq!(one, two);
        }
        prop_assert_eq!(bytes(&first), bytes(&second));
    }

    #[test]
    fn a_damaged_checkpoint_is_an_error(history in history(), place in any::<prop::sample::Index>(), cut: bool) {
        let mut registry = Registry::default();
        for command in history {
            registry.apply(command, &mut Touched::default());
        }
        let mut damaged = bytes(&registry);
        let place = place.index(damaged.len());
        if cut { damaged.truncate(place) } else { damaged[place] ^= 0x55 }
        // Reading must never panic; whether a flipped bit of a value is noticed is the file's checksum's business.
        if let Ok(read) = Registry::read_from(&mut damaged.as_slice()) {
            prop_assert_eq!(read.audit(), Ok(()));
            prop_assert!(!cut);
        }
    }
}

fn apply(registry: &mut Registry, command: Command) -> Outcome {
    registry.apply(command, &mut Touched::default())
}

fn set(key: &str, value: &[u8], condition: KvCondition) -> Command {
    Command::KvSet { key: key.into(), value: value.into(), flags: 0, condition }
}

#[test]
fn cas_takes_zero_for_a_key_that_is_not_there() {
    let mut registry = Registry::default();
    assert_eq!(apply(&mut registry, set("k", b"1", KvCondition::Cas(Index(7)))), Outcome::Held(false));
    assert_eq!(apply(&mut registry, set("k", b"1", KvCondition::Cas(Index(0)))), Outcome::Held(true));
    let at = registry.kv_get("k").unwrap().modified;
    assert_eq!(apply(&mut registry, set("k", b"2", KvCondition::Cas(Index(0)))), Outcome::Held(false));
    assert_eq!(apply(&mut registry, set("k", b"2", KvCondition::Cas(at))), Outcome::Held(true));
    let delete = |cas| Command::KvDelete { key: "k".into(), cas };
    assert_eq!(apply(&mut registry, delete(Some(at))), Outcome::Held(false));
    assert_eq!(apply(&mut registry, delete(None)), Outcome::Held(true));
    assert_eq!(apply(&mut registry, delete(Some(at))), Outcome::Held(true));
}

#[test]
fn graves_are_bounded_and_no_prefix_goes_back_when_one_is_given_up() {
    let mut registry = Registry::default();
    apply(&mut registry, set("keep/x", b"1", KvCondition::Always));
    apply(&mut registry, set("keep/y", b"1", KvCondition::Always));
    apply(&mut registry, Command::KvDelete { key: "keep/y".into(), cas: None });
    let before = registry.kv_index_under("keep/");
    for n in 0..20_000 {
        apply(&mut registry, set(&format!("t/{n}"), b"1", KvCondition::Always));
        apply(&mut registry, Command::KvDelete { key: format!("t/{n}").into(), cas: None });
    }
    assert!(registry.graves.by_key.len() <= 16_384);
    assert!(registry.kv_index_under("keep/") >= before);
    assert_eq!(registry.audit(), Ok(()));
}

#[test]
fn registering_again_keeps_the_status_that_an_agent_check_has() {
    let mut registry = Registry::default();
    let check = |status, status_given| NewCheck { status_given, check: check_of(node_name(0), "c", status) };
    let register = |new| {
        Command::Register(Box::new(Registration {
            node: Node { name: node_name(0), address: "10.0.0.1".into(), meta: Meta::new(), ..Node::default() },
            node_update: NodeUpdate::Ensure,
            instance: None,
            checks: vec![new],
            checks_replace: false,
        }))
    };
    let status = |registry: &Registry| registry.check(&node_name(0), "c").unwrap().status;
    apply(&mut registry, register(check(CheckStatus::Critical, false)));
    assert_eq!(status(&registry), CheckStatus::Critical);
    let id = CheckId::parse("c").unwrap();
    apply(
        &mut registry,
        Command::UpdateCheck { node: node_name(0), id, status: CheckStatus::Passing, output: "ok".into() },
    );
    let index = registry.index();
    apply(&mut registry, register(check(CheckStatus::Critical, false)));
    assert_eq!((status(&registry), registry.index()), (CheckStatus::Passing, index));
    apply(&mut registry, register(check(CheckStatus::Warning, true)));
    assert_eq!(status(&registry), CheckStatus::Warning);
}
