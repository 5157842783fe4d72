//! Virtual addresses: one for each service that somebody speaks for, and no other for as long as that is so.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::*;

fn speaker(id: &str, destination: &str) -> Command {
    let instance = Instance {
        id: InstanceId::parse(id).unwrap(),
        service: ServiceName::parse("proxy").unwrap(),
        kind: "connect-proxy".into(),
        proxy: format!("{{\"DestinationServiceName\":\"{destination}\"}}").into(),
        ..Instance::default()
    };
    let node = Node { name: node_name(0), ..Node::default() };
    let (checks, node_update) = (Vec::new(), NodeUpdate::Put);
    let instance = Some(instance);
    Command::Register(Box::new(Registration { node, node_update, instance, checks, checks_replace: false }))
}

fn gone(id: &str) -> Command {
    let id = InstanceId::parse(id).unwrap();
    Command::DeregisterInstance { node: node_name(0), id, prune: Prune::Keep, missing: Missing::Fine }
}

fn address(registry: &Registry, service: &str) -> Option<Ipv4Addr> {
    registry.virtual_address(&ServiceName::parse(service).unwrap())
}

#[test]
fn the_lowest_free_address_is_given_and_kept_while_anybody_speaks() {
    let mut registry = Registry::default();
    for (id, destination) in [("a", "web"), ("b", "db"), ("c", "WEB")] {
        apply(&mut registry, speaker(id, destination));
    }
    assert_eq!(address(&registry, "Web"), Some(Ipv4Addr::new(240, 0, 0, 1)));
    assert_eq!(address(&registry, "db"), Some(Ipv4Addr::new(240, 0, 0, 2)));
    assert_eq!(address(&registry, "proxy"), None, "nobody speaks for the proxies themselves");
    apply(&mut registry, gone("a"));
    assert_eq!(address(&registry, "web"), Some(Ipv4Addr::new(240, 0, 0, 1)), "one still speaks");
    apply(&mut registry, speaker("c", "api"));
    assert_eq!(address(&registry, "web"), None);
    assert_eq!(address(&registry, "api"), Some(Ipv4Addr::new(240, 0, 0, 1)));
    apply(&mut registry, Command::DeregisterNode { node: node_name(0) });
    assert_eq!((address(&registry, "api"), address(&registry, "db")), (None, None));
    assert_eq!(registry.audit(), Ok(()));
}

proptest! {
    #[test]
    fn an_address_stays_while_anybody_speaks(history in history()) {
        let mut registry = Registry::default();
        let mut before = BTreeMap::new();
        for command in history {
            let replaces = matches!(command, Command::Restore(_));
            apply(&mut registry, command);
            let now: BTreeMap<_, _> = (0..3)
                .map(|service| format!("svc{service}"))
                .filter_map(|service| Some((service.clone(), address(&registry, &service)?)))
                .collect();
            for (service, address) in &before {
                prop_assert!(replaces || now.get(service).is_none_or(|now| now == address), "{}", service);
            }
            before = now;
        }
    }
}
