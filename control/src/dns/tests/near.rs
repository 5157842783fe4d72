//! Prepared queries that want the nearest first: their order is kept, whoever asks.

use callboard_proto::coordinate::{Coordinate, DIMENSIONS};

use super::*;
use crate::registry::{Place, QueryBody, QueryCommand};

/// Three nodes in a row; nobody knows where the fourth is.
fn registry() -> Registry {
    let mut registry = Registry::default();
    for (n, x) in [(1, Some(0.0)), (2, Some(0.010)), (3, Some(0.030)), (4, None)] {
        let name = format!("n{n}");
        let address = if n == 3 { "127.0.0.1".to_owned() } else { format!("10.9.0.{n}") };
        let web = instance(&format!("web{n}"), "web", &format!("10.0.0.{n}"), 80, &[]);
        register(&mut registry, node(&name, &address), Some(web), Vec::new());
        if let Some(x) = x {
            let mut point = [0.0; DIMENSIONS];
            point[0] = x;
            let coordinate = Coordinate::new(point, 1.0, 0.0, 0.001).unwrap();
            let place = Place { node: NodeName::parse(&name).unwrap(), segment: Text::default(), coordinate };
            registry.apply(Command::Place(vec![place]), &mut Touched::default());
        }
    }
    for (n, (name, near)) in
        [("to-2", "N2"), ("to-agent", "_agent"), ("to-me", "_ip"), ("to-4", "n4"), ("to-none", "nobody")]
            .iter()
            .enumerate()
    {
        let id = format!("00000000-0000-0000-0000-00000000000{n}");
        let body = format!(r#"{{"ID": "{id}", "Name": "{name}", "Service": {{"Service": "web", "Near": "{near}"}}}}"#);
        registry.apply(Command::Query(QueryCommand::Create(QueryBody(body.into()))), &mut Touched::default());
    }
    registry
}

#[tokio::test]
async fn the_nearest_is_answered_first() {
    let options = DnsOptions { node: NodeName::parse("n1").ok(), ..options() };
    let running = start(registry(), options).await;
    let order = async |name: &str| -> Vec<u8> {
        let reply = running.ask_tcp(&question(&format!("{name}.query.consul."), RecordType::A)).await;
        let last = |record: &Record| match &record.data {
            RData::A(address) => address.0.octets()[3],
            other => panic!("{other:?}"),
        };
        reply.answers.iter().map(last).collect()
    };
    // What is unknown comes last; often enough, for a shuffle would be right now and then.
    for _ in 0..8 {
        assert_eq!(order("to-2").await, [2, 1, 3, 4]);
        assert_eq!(order("to-agent").await, [1, 2, 3, 4]);
        assert_eq!(order("to-me").await, [3, 2, 1, 4]);
        assert_eq!(order("to-4").await.first(), Some(&4), "what is there itself is nearest, wherever that is");
    }
    let mut any = order("to-none").await;
    any.sort_unstable();
    assert_eq!(any, [1, 2, 3, 4]);
}
