//! The rule of health: what is critical is never answered, what is well always is.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::respond::{Carrier, Responder, Step};
use super::*;

const STATUSES: [CheckStatus; 3] = [CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical];

/// Two nodes, each with checks of its own; instances, each on one of them and with checks of its own.
#[derive(Debug, Clone)]
struct World {
    nodes: [Vec<CheckStatus>; 2],
    instances: Vec<(usize, Vec<CheckStatus>)>,
}

fn statuses() -> impl Strategy<Value = Vec<CheckStatus>> {
    // Mostly passing, or hardly anything would be found.
    prop::collection::vec(prop::sample::select(vec![0_usize, 0, 0, 0, 1, 2]).prop_map(|place| STATUSES[place]), 0..3)
}

fn worlds() -> impl Strategy<Value = World> {
    let instances = prop::collection::vec((0..2_usize, statuses()), 0..20);
    ([statuses(), statuses()], instances).prop_map(|(nodes, instances)| World { nodes, instances })
}

fn registry(world: &World) -> Registry {
    let mut registry = Registry::default();
    for (place, statuses) in world.nodes.iter().enumerate() {
        let name = format!("n{place}");
        let checks = statuses.iter().enumerate().map(|(id, status)| check(&name, &format!("node:{id}"), "", *status));
        register(&mut registry, node(&name, "10.9.0.1"), None, checks.collect());
    }
    for (place, (on, statuses)) in world.instances.iter().enumerate() {
        let (name, id) = (format!("n{on}"), format!("web{place}"));
        let checks = statuses
            .iter()
            .enumerate()
            .map(|(check_id, status)| check(&name, &format!("{id}:{check_id}"), &id, *status));
        let instance = instance(&id, "web", &format!("10.0.0.{place}"), place as u16, &[]);
        register(&mut registry, node(&name, "10.9.0.1"), Some(instance), checks.collect());
    }
    registry
}

fn shared(registry: Registry, only_passing: bool) -> Shared {
    let registry = Arc::new(registry);
    Shared {
        source: Arc::new(move || Seen { registry: registry.clone(), access: Access::unrestricted(), acl: None }),
        options: Arc::new(DnsOptions { only_passing, ..options() }),
        counters: Arc::default(),
        waiting: Arc::new(Semaphore::new(1)),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    }
}

/// The ports in the answer to an SRV question, and the weights beside them.
fn answered(responder: &mut Responder, carrier: Carrier) -> BTreeSet<(u16, u16)> {
    let message = question("web.service.consul.", RecordType::SRV).to_vec().unwrap();
    assert!(matches!(responder.respond(&message, carrier, Ipv4Addr::LOCALHOST.into()), Step::Send));
    let reply = Message::from_vec(responder.bytes()).unwrap();
    let srv = |record: &Record| match &record.data {
        RData::SRV(srv) => (srv.port, srv.weight),
        other => panic!("{other:?}"),
    };
    reply.answers.iter().map(srv).collect()
}

proptest! {
    #[test]
    fn dns_within_health(world in worlds(), only_passing: bool) {
        let wanted: BTreeSet<(u16, u16)> = world
            .instances
            .iter()
            .enumerate()
            .filter_map(|(place, (on, own))| {
                let worst = own.iter().chain(&world.nodes[*on]).max().copied().unwrap_or(CheckStatus::Passing);
                match worst {
                    CheckStatus::Passing => Some((place as u16, 10)),
                    CheckStatus::Warning if !only_passing => Some((place as u16, 3)),
                    _ => None,
                }
            })
            .collect();
        let shared = shared(registry(&world), only_passing);
        let mut responder = Responder::new(&shared);
        // With enough room, every healthy instance and nothing else; also when the rows are known from before.
        for _ in 0..2 {
            prop_assert_eq!(&answered(&mut responder, Carrier::Tcp), &wanted);
        }
        let few = answered(&mut responder, Carrier::Udp);
        prop_assert!(few.is_subset(&wanted) && few.len() == wanted.len().min(3));
    }
}

#[tokio::test]
async fn an_answer_follows_the_registry() {
    let mut registry = Registry::default();
    register(&mut registry, node("n1", "10.0.0.1"), Some(instance("web", "web", "", 80, &[])), Vec::new());
    let running = start(registry.clone(), options()).await;
    let asked = question("web.service.consul.", RecordType::A);
    assert_eq!(dig(&running.ask(&asked).await), ["NoError aa", "web.service.consul. 0 A 10.0.0.1"]);
    let critical = check("n1", "_node_maintenance", "", CheckStatus::Critical);
    register(&mut registry, node("n1", "10.0.0.1"), None, vec![critical]);
    running.registry.store(Arc::new(registry));
    let reply = dig(&running.ask(&asked).await);
    assert_eq!(reply, ["NXDomain aa", "; consul. 0 SOA ns.consul. hostmaster.consul. 0"]);
    // The node itself can still be found.
    let reply = running.ask(&question("n1.node.consul.", RecordType::A)).await;
    assert_eq!(reply.answers.len(), 1);
    assert_eq!((running.counted("A", "NOERROR"), running.counted("A", "NXDOMAIN")), (2, 1));
}
