//! Any name and type as a DNS question: it is read, answered from one row, and trimmed to any size.
#![no_main]

use callboard_proto::dns::{
    Found, InstanceRow, Lookup, NodeRow, Order, Query, RecordType, Settings, Transport, View, Zone, answer,
};
use callboard_proto::text::Meta;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, u16, u64, u16)| {
    let (name, host, code, random, size_max) = input;
    let zone = Zone::new("consul", Some("corp.example"), "dc1");
    let asked = zone.lookup(name);
    let meta: Meta = [(name, host)].into_iter().map(|(key, value)| (key, value.into())).collect();
    let node = NodeRow { name: host, address: "127.0.0.1", meta: &meta };
    let found = match &asked.lookup {
        Lookup::Node { .. } => Found::Node(node),
        Lookup::Apex | Lookup::NameServers => Found::Servers(vec![node]),
        Lookup::Reverse(_) => Found::Names { nodes: vec![host], services: vec![name] },
        _ => {
            let own = InstanceRow { node, address: host, port: 80, weight: code };
            let rows = vec![own, InstanceRow { address: "", ..own }, InstanceRow { address: "2001:db8::1", ..own }];
            Found::Instances { rows, order: Order::Shuffled, ttl: 0 }
        }
    };
    let transport = Transport::Udp { edns: (random % 2 == 0).then_some(size_max) };
    let query = Query { name, record_type: RecordType::from_code(code), transport, random, serial: 1 };
    let mut reply = answer(&zone, &Settings::default(), &query, &asked, found);
    let size = |view: View<'_>| 12 + 40 * (view.answers().len() + view.authority().len() + view.additional().count());
    reply.trim(size_max.into(), size);
    assert!(size(reply.view()) <= size_max.into() || reply.view().answers().is_empty());
});
