//! Config entries: written once, compared and swapped, and refused when others depend on what they say.

use serde_json::json;

use super::*;

fn put(registry: &mut Registry, body: serde_json::Value, cas: Option<u64>) -> Outcome {
    let entry = ConfigEntry::parse(body.to_string().as_bytes()).unwrap();
    let body = serde_json::to_string(&entry).unwrap().into();
    apply(registry, Command::ConfigSet { body, cas: cas.map(Index) })
}

fn delete(registry: &mut Registry, kind: EntryKind, name: &str, cas: Option<u64>) -> Outcome {
    apply(registry, Command::ConfigDelete { kind, name: name.into(), cas: cas.map(Index) })
}

fn defaults(name: &str, protocol: &str) -> serde_json::Value {
    json!({"Kind": "service-defaults", "Name": name, "Protocol": protocol})
}

#[test]
fn an_entry_is_swapped_only_at_the_index_it_has() {
    let mut registry = Registry::default();
    let kind = EntryKind::ServiceDefaults;
    assert_eq!(put(&mut registry, defaults("web", "tcp"), Some(1)), Outcome::Held(false));
    assert_eq!(put(&mut registry, defaults("web", "tcp"), Some(0)), Outcome::Held(true));
    let at = registry.config(kind, "WEB").unwrap().modified;
    assert_eq!(put(&mut registry, defaults("web", "tcp"), None), Outcome::Held(true));
    assert_eq!(registry.index(), at, "the same again changes nothing");
    assert_eq!(put(&mut registry, defaults("web", "http"), Some(at.0)), Outcome::Held(true));
    let row = registry.config(kind, "web").unwrap();
    assert_eq!((row.created, row.modified, registry.config_index(kind)), (at, at.next(), at.next()));
    assert_eq!(delete(&mut registry, kind, "web", Some(at.0)), Outcome::Held(false));
    assert_eq!(delete(&mut registry, kind, "web", None), Outcome::Held(true));
    assert_eq!(delete(&mut registry, kind, "web", None), Outcome::Held(true));
    assert_eq!(registry.configs(kind).count(), 0);
    assert_eq!(registry.config_index(kind), registry.index(), "the kind's index moves when its last entry goes");
    assert_eq!(registry.config_index(EntryKind::ServiceRouter), Index::ZERO, "other kinds stay where they were");
}

#[test]
fn what_others_depend_on_stays() {
    let mut registry = Registry::default();
    let split = json!({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 95}, {"Weight": 5, "Service": "canary"}]});
    let refused = |outcome: Outcome| match outcome {
        Outcome::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(put(&mut registry, split.clone(), None)).contains("\"web\" uses a protocol \"tcp\""));
    put(&mut registry, defaults("web", "http"), None);
    put(&mut registry, defaults("canary", "http"), None);
    assert_eq!(put(&mut registry, split, None), Outcome::Held(true));
    let index = registry.index();
    let said = refused(delete(&mut registry, EntryKind::ServiceDefaults, "canary", None));
    assert!(said.contains("service \"canary\" has \"tcp\" which is not \"http\""), "{said}");
    let said = refused(put(&mut registry, defaults("canary", "grpc"), None));
    assert!(said.contains("service \"canary\" has \"grpc\" which is not \"http\""), "{said}");
    assert_eq!(registry.index(), index, "what is refused changes nothing");
    assert_eq!(delete(&mut registry, EntryKind::ServiceSplitter, "web", None), Outcome::Held(true));
    assert_eq!(delete(&mut registry, EntryKind::ServiceDefaults, "canary", None), Outcome::Held(true));
}
