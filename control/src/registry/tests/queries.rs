//! Prepared queries: names are nobody else's, the longest prefix answers, a query ends with its session.

use callboard_proto::prepared::{QueryDefinition, QueryService, QueryTemplate};

use super::*;

fn id(n: u8) -> String {
    format!("00000000-0000-0000-0000-00000000000{n}")
}

fn query(n: u8, name: &str, is_template: bool, service: &str, session: &str) -> QueryBody {
    let kind = if is_template { "name_prefix_match" } else { "" };
    let definition = QueryDefinition {
        id: id(n),
        name: name.to_owned(),
        session: session.to_owned(),
        template: QueryTemplate { kind: kind.to_owned(), ..QueryTemplate::default() },
        service: QueryService { service: service.to_owned(), ..QueryService::default() },
        ..QueryDefinition::default()
    };
    QueryBody(serde_json::to_string(&definition).unwrap().into())
}

/// Any write, on a few ids and names.
pub(super) fn command() -> impl Strategy<Value = QueryCommand> {
    let name = proptest::sample::select(vec!["", "a", "A-b", "a-", "00000000-0000-0000-0000-000000000001"]);
    let session = prop_oneof![2 => Just(String::new()), 1 => session_id().prop_map(|id| id.to_string())];
    let body = (0u8..4, name, any::<bool>(), 0u8..2, session).prop_map(|(n, name, is_template, service, session)| {
        query(n, name, is_template, &format!("svc{service}"), &session)
    });
    (body, 0u8..4, 0u8..3).prop_map(|(body, n, what)| match what {
        0 => QueryCommand::Create(body),
        1 => QueryCommand::Update(body),
        _ => QueryCommand::Delete(id(n).into()),
    })
}

fn create(registry: &mut Registry, body: QueryBody) -> Outcome {
    apply(registry, Command::Query(QueryCommand::Create(body)))
}

fn meaning(registry: &Registry, name: &str) -> Option<String> {
    registry.resolve_query(name).unwrap().map(|resolved| resolved.query.service.service.clone())
}

#[test]
fn the_longest_prefix_answers_and_a_name_of_its_own_before_it() {
    let mut registry = Registry::default();
    for (n, name, is_template, service) in [
        (1, "", true, "any-${name.suffix}"),
        (2, "geo-", true, "geo-${name.suffix}"),
        (3, "geo-db-", true, "db-${name.suffix}"),
        (4, "geo-db-x", false, "static"),
    ] {
        assert_eq!(create(&mut registry, query(n, name, is_template, service, "")), Outcome::Done);
    }
    let check = |name: &str, expect: &str| assert_eq!(meaning(&registry, name).as_deref(), Some(expect), "{name}");
    check("web", "any-web");
    check("geo-web", "geo-web");
    check("GEO-Web", "geo-Web");
    check("geo-db-y", "db-y");
    check("geo-db-x", "static");
    check("Geo-DB-X", "static");
    check(&id(4), "static");
    assert!(registry.resolve_query(&id(3)).is_err(), "a template has no meaning without a name");
}

#[test]
fn names_are_nobody_elses() {
    let mut registry = Registry::default();
    let refused = |text: &str| Outcome::Refused(Refusal::Query(text.to_owned()));
    assert_eq!(create(&mut registry, query(1, "q", false, "web", "")), Outcome::Done);
    let aliased = refused("query name \"Q\" aliases an existing query name");
    assert_eq!(create(&mut registry, query(2, "Q", false, "web", "")), aliased);
    assert_eq!(create(&mut registry, query(2, "Q", true, "web", "")), Outcome::Done);
    let name = id(1);
    let aliased = refused(&format!("query name {name:?} aliases an existing query ID"));
    assert_eq!(create(&mut registry, query(3, &name, false, "web", "")), aliased);
    let update = Command::Query(QueryCommand::Update(query(1, "other", false, "web", "")));
    assert_eq!(apply(&mut registry, update.clone()), Outcome::Done);
    let index = registry.index();
    assert_eq!(apply(&mut registry, update), Outcome::Done);
    assert_eq!(registry.index(), index, "the same again says nothing new");
    assert_eq!(create(&mut registry, query(3, "q", false, "web", "")), Outcome::Done);
}

#[test]
fn a_query_ends_with_its_session() {
    let mut registry = Registry::default();
    let bound = query(1, "q", false, "web", "s");
    assert_eq!(create(&mut registry, bound.clone()), Outcome::Refused(Refusal::InvalidSession("s".into())));
    let node = Node { name: node_name(0), address: "10.0.0.1".into(), ..Node::default() };
    apply(
        &mut registry,
        Command::Register(Box::new(Registration {
            node,
            node_update: NodeUpdate::Put,
            instance: None,
            checks: Vec::new(),
            checks_replace: false,
        })),
    );
    let session = SessionRow {
        id: "s".into(),
        name: Text::default(),
        node: node_name(0),
        lock_delay: Duration::ZERO,
        behavior: SessionBehavior::Release,
        ttl: Text::default(),
        node_checks: Vec::new(),
        service_checks: Vec::new(),
        created: Index::ZERO,
        modified: Index::ZERO,
    };
    apply(&mut registry, Command::SessionCreate(Box::new(session)));
    assert_eq!(create(&mut registry, bound), Outcome::Done);
    apply(&mut registry, Command::DeregisterNode { node: node_name(0) });
    assert_eq!((meaning(&registry, "q"), registry.queries_index()), (None, registry.index()));
}
