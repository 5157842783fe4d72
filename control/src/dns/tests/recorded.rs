//! What a Consul agent was recorded to say, name by name, and mesh names.

use super::*;
use crate::registry::{QueryBody, QueryCommand};

fn registry() -> Registry {
    let mut registry = Registry::default();
    let n1 = || node("n1", "127.0.0.1");
    let add = |registry: &mut Registry, instance| register(registry, n1(), Some(instance), Vec::new());
    add(&mut registry, instance("consul", "consul", "", 8300, &[]));
    add(&mut registry, instance("web1", "Web", "10.0.0.1", 8080, &["v1", "v1.2"]));
    add(&mut registry, instance("web2", "web", "", 8083, &["V1"]));
    add(&mut registry, instance("six", "six", "2001:db8::1", 1, &[]));
    add(&mut registry, instance("down", "down", "10.0.0.3", 1, &[]));
    let failing = check("n1", "down", "down", CheckStatus::Critical);
    register(&mut registry, n1(), None, vec![failing]);
    let proxy = Instance {
        kind: "connect-proxy".into(),
        proxy: r#"{"DestinationServiceName": "web"}"#.into(),
        ..instance("web-proxy", "web-proxy", "10.0.0.5", 21_000, &[])
    };
    add(&mut registry, proxy);
    register(&mut registry, node("n2.example", "db.example.com"), None, Vec::new());
    let gateway = Instance { kind: "ingress-gateway".into(), ..instance("in", "in", "10.0.0.6", 8080, &[]) };
    add(&mut registry, gateway);
    let body =
        r#"{"Kind": "ingress-gateway", "Name": "in", "Listeners": [{"Port": 8080, "Services": [{"Name": "six"}]}]}"#;
    registry.apply(Command::ConfigSet { body: body.into(), cas: None }, &mut Touched::default());
    let query = |id: &str, body: &str| {
        let body = format!(r#"{{"ID": "00000000-0000-0000-0000-00000000000{id}", {body}}}"#);
        Command::Query(QueryCommand::Create(QueryBody(body.into())))
    };
    let ttl = r#""Name": "Quick", "Service": {"Service": "web", "Tags": ["!v1.2"]}, "DNS": {"TTL": "10s"}"#;
    registry.apply(query("1", ttl), &mut Touched::default());
    let template =
        r#""Name": "t-", "Template": {"Type": "name_prefix_match"}, "Service": {"Service": "${name.suffix}"}"#;
    registry.apply(query("2", template), &mut Touched::default());
    registry
}

#[tokio::test]
async fn names_as_recorded() {
    use RecordType::{A, AAAA, ANY, CNAME, MX, NS, PTR, SOA, SRV, TXT};
    let running = start(registry(), options()).await;
    let soa = "; consul. 0 SOA ns.consul. hostmaster.consul. 0";
    let (nothing, empty) = (vec!["NXDomain aa", soa], vec!["NoError aa", soa]);
    let n1_address = "+ n1.node.dc1.consul. 0 A 127.0.0.1";
    let table: Vec<(&str, RecordType, Vec<&str>)> = vec![
        (
            "web.service.consul.",
            A,
            vec!["NoError aa", "web.service.consul. 0 A 10.0.0.1", "web.service.consul. 0 A 127.0.0.1"],
        ),
        ("V1.2.WEB.Service.dc1.Consul.", ANY, vec!["NoError aa", "V1.2.WEB.Service.dc1.Consul. 0 A 10.0.0.1"]),
        (
            "_web._v1.service.consul.",
            SRV,
            vec![
                "NoError aa",
                "_web._v1.service.consul. 0 SRV 1 10 8080 0a000001.addr.dc1.consul.",
                "_web._v1.service.consul. 0 SRV 1 10 8083 n1.node.dc1.consul.",
                "+ 0a000001.addr.dc1.consul. 0 A 10.0.0.1",
                n1_address,
                "+ n1.node.dc1.consul. 0 TXT rack=r1",
            ],
        ),
        (
            "web.service.corp.example.",
            A,
            vec!["NoError aa", "web.service.corp.example. 0 A 10.0.0.1", "web.service.corp.example. 0 A 127.0.0.1"],
        ),
        ("web.service.consul.", AAAA, empty.clone()),
        ("web.service.consul.", MX, empty.clone()),
        ("six.service.consul.", A, empty),
        ("six.service.consul.", AAAA, vec!["NoError aa", "six.service.consul. 0 AAAA 2001:db8::1"]),
        ("down.service.consul.", A, nothing.clone()),
        ("none.service.consul.", A, nothing.clone()),
        ("v2.web.service.consul.", A, nothing.clone()),
        ("web.service.dc2.consul.", A, nothing.clone()),
        ("foo.consul.", A, nothing.clone()),
        ("web.query.consul.", A, nothing.clone()),
        ("quick.query.consul.", A, vec!["NoError aa", "quick.query.consul. 10 A 127.0.0.1"]),
        ("quick.query.dc1.consul.", A, vec!["NoError aa", "quick.query.dc1.consul. 10 A 127.0.0.1"]),
        (
            "_quick._tcp.query.consul.",
            SRV,
            vec![
                "NoError aa",
                "_quick._tcp.query.consul. 10 SRV 1 10 8083 n1.node.dc1.consul.",
                "+ n1.node.dc1.consul. 10 A 127.0.0.1",
                "+ n1.node.dc1.consul. 10 TXT rack=r1",
            ],
        ),
        ("t-six.query.consul.", AAAA, vec!["NoError aa", "t-six.query.consul. 0 AAAA 2001:db8::1"]),
        ("t-down.query.consul.", A, nothing.clone()),
        ("web.ingress.consul.", A, nothing.clone()),
        ("six.ingress.consul.", A, vec!["NoError aa", "six.ingress.consul. 0 A 10.0.0.6"]),
        ("web.virtual.consul.", A, vec!["NoError aa", "web.virtual.consul. 0 A 240.0.0.1"]),
        ("six.virtual.consul.", A, nothing.clone()),
        ("none.connect.consul.", A, nothing.clone()),
        ("web.connect.consul.", A, vec!["NoError aa", "web.connect.consul. 0 A 10.0.0.5"]),
        ("n1.node.consul.", A, vec!["NoError aa", "n1.node.consul. 0 A 127.0.0.1", "+ n1.node.consul. 0 TXT rack=r1"]),
        ("n1.node.consul.", TXT, vec!["NoError aa", "n1.node.consul. 0 TXT rack=r1"]),
        ("n2.example.node.consul.", CNAME, vec!["NoError aa", "n2.example.node.consul. 0 CNAME db.example.com."]),
        ("7f000001.addr.consul.", A, vec!["NoError aa", "7f000001.addr.consul. 0 A 127.0.0.1"]),
        ("consul.", NS, vec!["NoError aa", "consul. 0 NS n1.node.dc1.consul.", n1_address]),
        (
            "consul.",
            SOA,
            vec![
                "NoError aa",
                "consul. 0 SOA ns.consul. hostmaster.consul. 0",
                "; consul. 0 NS n1.node.dc1.consul.",
                n1_address,
            ],
        ),
        ("ns.consul.", A, vec!["NoError aa", "ns.consul. 0 A 127.0.0.1"]),
        ("1.0.0.127.in-addr.arpa.", PTR, vec!["NoError aa", "1.0.0.127.in-addr.arpa. 0 PTR n1.node.dc1.consul."]),
        ("1.0.0.10.in-addr.arpa.", PTR, vec!["NoError aa", "1.0.0.10.in-addr.arpa. 0 PTR Web.service.consul."]),
        ("9.9.9.9.in-addr.arpa.", PTR, vec!["NXDomain aa"]),
        ("example.com.", A, vec!["Refused"]),
    ];
    for (name, record_type, expect) in table {
        // Negative answers about the alternative domain would name it; all of these use the primary one.
        let mut reply = running.ask(&with_edns(question(name, record_type), 4096)).await;
        assert!(reply.edns.take().is_some(), "{name}");
        let expect: Vec<String> = expect.into_iter().map(str::to_owned).collect();
        assert_eq!(dig(&reply), expect, "{name} {record_type}");
        assert!(reply.metadata.recursion_desired && !reply.metadata.recursion_available);
    }
}
