//! Nodes by their ids: a name belongs to who is alive, and an id goes with its node to another name.

use callboard_proto::check::SERF_HEALTH;

use super::*;

fn put(registry: &mut Registry, name: &str, id: &str, health: Option<CheckStatus>) -> Outcome {
    let node =
        Node { name: NodeName::parse(name).unwrap(), id: id.into(), address: "10.0.0.1".into(), ..Node::default() };
    let health = health.map(|status| check_of(node.name.clone(), SERF_HEALTH, status));
    let checks = health.into_iter().map(|check| NewCheck { check, status_given: true });
    let (instance, node_update) = (None, NodeUpdate::Put);
    let checks = checks.collect();
    let registration = Registration { node, node_update, instance, checks, checks_replace: false };
    apply(registry, Command::Register(Box::new(registration)))
}

fn names(registry: &Registry) -> Vec<String> {
    registry.nodes().map(|node| format!("{}={}", node.name, node.id)).collect()
}

#[test]
fn a_node_that_is_gone_comes_back_under_another_name() {
    let mut registry = Registry::default();
    assert_eq!(put(&mut registry, "old", "a", Some(CheckStatus::Passing)), Outcome::Done);
    let refused = put(&mut registry, "new", "a", None);
    assert!(matches!(&refused, Outcome::Refused(Refusal::NameReserved { .. })), "{refused:?}");
    assert_eq!(names(&registry), ["old=a"], "it is alive");
    assert_eq!(put(&mut registry, "old", "a", Some(CheckStatus::Critical)), Outcome::Done);
    assert_eq!(put(&mut registry, "new", "a", Some(CheckStatus::Passing)), Outcome::Done);
    assert_eq!(names(&registry), ["new=a"]);
    assert_eq!(registry.checks().count(), 1, "what was on it went with its name");
    // Another one takes the name only when whoever has it is gone.
    let refused = put(&mut registry, "NEW", "b", None);
    assert!(matches!(&refused, Outcome::Refused(Refusal::NameReserved { .. })), "{refused:?}");
    assert_eq!(put(&mut registry, "other", "", None), Outcome::Done, "without an id there is nothing to be the same");
    assert_eq!(put(&mut registry, "third", "", None), Outcome::Done);
    assert_eq!(names(&registry), ["new=a", "other=", "third="]);
    assert_eq!(registry.audit(), Ok(()));
}
