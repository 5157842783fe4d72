//! Chains by example, and what holds for every chain that entries can make.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::chain::{self, Entries};
use super::compile::{Asked, compile};
use super::{ConfigEntry, EntryKind, InvalidEntry};
use crate::api::discovery_chain::{Chain, ChainRequest, NodeType};

#[derive(Default)]
struct Table(BTreeMap<(EntryKind, String), ConfigEntry>);

impl Entries for Table {
    fn entry(&self, kind: EntryKind, name: &str) -> Option<&ConfigEntry> {
        self.0.get(&(kind, name.to_owned()))
    }
}

impl Table {
    fn of(entries: Value) -> Table {
        let mut table = Table::default();
        for entry in entries.as_array().unwrap() {
            let entry = ConfigEntry::parse(entry.to_string().as_bytes()).unwrap();
            table.0.insert((entry.kind(), entry.name().to_owned()), entry);
        }
        table
    }

    fn check(&self) -> Result<(), InvalidEntry> {
        self.0.keys().try_for_each(|(_, name)| chain::check(self, name))
    }

    fn chain(&self, service: &str, request: &ChainRequest) -> Result<Chain, InvalidEntry> {
        compile(self, Asked { service, datacenter: "dc1", trust_domain: "t.consul", request })
    }
}

fn compiled(entries: Value, service: &str) -> Value {
    let table = Table::of(entries);
    table.check().unwrap();
    serde_json::to_value(table.chain(service, &ChainRequest::default()).unwrap()).unwrap()
}

fn http(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"Kind": "service-defaults", "Name": name, "Protocol": "http"})).collect()
}

#[test]
fn a_name_without_entries_stands_for_its_instances() {
    let chain = compiled(json!([]), "web");
    let id = "web.default.default.dc1";
    let expected = json!({
        "ServiceName": "web", "Namespace": "default", "Partition": "default", "Datacenter": "dc1", "Default": true,
        "Protocol": "tcp", "StartNode": format!("resolver:{id}"),
        "Nodes": {format!("resolver:{id}"): {"Type": "resolver", "Name": id,
            "Resolver": {"Default": true, "ConnectTimeout": "5s", "Target": id}}},
        "Targets": {id: {"ID": id, "Service": "web", "Namespace": "default", "Partition": "default", "Datacenter": "dc1",
            "MeshGateway": {}, "Subset": {}, "ConnectTimeout": "5s",
            "SNI": "web.default.dc1.internal.t.consul", "Name": "web.default.dc1.internal.t.consul"}}
    });
    assert_eq!(chain, expected);
}

#[test]
fn routes_shares_and_subsets_end_in_targets() {
    let mut entries = http(&["web", "api"]);
    entries.extend([
        json!({"Kind": "service-router", "Name": "web", "Routes": [
            {"Match": {"HTTP": {"PathPrefix": "/api"}}, "Destination": {"Service": "api"}}]}),
        json!({"Kind": "service-splitter", "Name": "web", "Splits": [
            {"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "Service": "api"}]}),
        json!({"Kind": "service-splitter", "Name": "api", "Splits": [
            {"Weight": 50, "ServiceSubset": "a"}, {"Weight": 50, "ServiceSubset": "b"}]}),
        json!({"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {"Filter": "Service.Meta.v == 1"}}}),
        json!({"Kind": "service-resolver", "Name": "api", "Subsets": {"a": {}, "b": {}}, "ConnectTimeout": "1s"}),
    ]);
    let chain = compiled(Value::Array(entries), "web");
    assert_eq!(chain["StartNode"], "router:web.default.default");
    let routes = &chain["Nodes"]["router:web.default.default"]["Routes"];
    assert_eq!(routes[0]["NextNode"], "splitter:api.default.default");
    assert_eq!(routes[1]["NextNode"], "splitter:web.default.default", "what no route matches");
    let splits = chain["Nodes"]["splitter:web.default.default"]["Splits"].as_array().unwrap();
    let shares: Vec<_> = splits.iter().map(|split| (split["Weight"].as_f64().unwrap(), &split["NextNode"])).collect();
    // The shares of api's own splitter stand in place of the share that leads to it.
    assert_eq!(
        shares,
        [
            (90.0, &json!("resolver:v1.web.default.default.dc1")),
            (5.0, &json!("resolver:a.api.default.default.dc1")),
            (5.0, &json!("resolver:b.api.default.default.dc1")),
        ]
    );
    assert_eq!(chain["Targets"]["v1.web.default.default.dc1"]["Subset"]["Filter"], "Service.Meta.v == 1");
    assert_eq!(chain["Targets"]["a.api.default.default.dc1"]["ConnectTimeout"], "1s");
    assert_eq!(chain.get("Default"), None);
}

#[test]
fn redirects_are_followed_and_failovers_are_targets_only() {
    let chain = compiled(
        json!([
            {"Kind": "service-resolver", "Name": "old", "Redirect": {"Service": "web"}},
            {"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v1", "Subsets": {"v1": {}, "v2": {}},
             "Failover": {"v1": {"Targets": [{"ServiceSubset": "v2"}, {"Service": "spare"}, {"Datacenter": "dc2"}, {"ServiceSubset": "v1"}]}},
             "LoadBalancer": {"Policy": "maglev"}},
        ]),
        "old",
    );
    assert_eq!(chain["StartNode"], "resolver:v1.web.default.default.dc1");
    let node = &chain["Nodes"]["resolver:v1.web.default.default.dc1"];
    assert_eq!(node["LoadBalancer"]["Policy"], "maglev");
    let expected = ["v2.web.default.default.dc1", "spare.default.default.dc1", "v1.web.default.default.dc2"];
    assert_eq!(node["Resolver"]["Failover"]["Targets"], json!(expected));
    assert_eq!(chain["Nodes"].as_object().unwrap().len(), 1);
    assert_eq!(chain["Targets"].as_object().unwrap().len(), 4);
    assert_eq!(chain.get("Default"), None, "another service's");
}

#[test]
fn a_caller_may_want_it_otherwise() {
    let mut entries = http(&["web"]);
    entries.push(json!({"Kind": "service-router", "Name": "web", "Routes": []}));
    let table = Table::of(Value::Array(entries));
    let plain = table.chain("web", &ChainRequest::default()).unwrap();
    assert_eq!((plain.customization_hash.as_str(), plain.nodes[&plain.start_node].kind), ("", NodeType::Router));
    let request = ChainRequest { override_protocol: "tcp".into(), ..ChainRequest::default() };
    let tcp = table.chain("web", &request).unwrap();
    assert_eq!((tcp.protocol.as_str(), tcp.nodes[&tcp.start_node].kind), ("tcp", NodeType::Resolver));
    assert_eq!(tcp.customization_hash.len(), 8);
    let request: ChainRequest =
        serde_json::from_value(json!({"OverrideConnectTimeout": "7s", "OverrideMeshGateway": {"Mode": "local"}}))
            .unwrap();
    let slow = table.chain("web", &request).unwrap();
    let target = &slow.targets["web.default.default.dc1"];
    assert_eq!((target.connect_timeout.to_string().as_str(), &target.mesh_gateway), ("7s", &json!({"Mode": "local"})));
    assert_ne!(slow.customization_hash, tcp.customization_hash);
}

#[test]
fn circles_are_refused_when_they_are_written() {
    let split = |name: &str, other: &str| json!({"Kind": "service-splitter", "Name": name, "Splits": [{"Weight": 50}, {"Weight": 50, "Service": other}]});
    let mut entries = http(&["a", "b", "c"]);
    entries.extend([split("a", "b"), split("b", "c"), split("c", "a")]);
    let table = Table::of(Value::Array(entries));
    assert!(table.check().unwrap_err().0.contains("circle"));
    assert!(table.chain("a", &ChainRequest::default()).is_err());
}

#[test]
fn intentions_about_requests_need_requests() {
    let intentions = json!({"Kind": "service-intentions", "Name": "web", "Sources": [
        {"Name": "a", "Permissions": [{"Action": "allow", "HTTP": {"PathPrefix": "/x", "Methods": ["get"]}}]}]});
    let refused = Table::of(json!([intentions])).check().unwrap_err().0;
    assert!(refused.contains("Permissions") && refused.contains("tcp"), "{refused}");
    let mut entries = http(&["web"]);
    entries.push(intentions);
    Table::of(Value::Array(entries)).check().unwrap();
}

#[test]
fn intentions_are_normalised_and_judged() {
    let parse = |sources: Value| {
        let entry = json!({"Kind": "service-intentions", "Name": "web", "sources": sources});
        ConfigEntry::parse(entry.to_string().as_bytes()).map_err(|error| error.to_string())
    };
    let entry = parse(json!([{"name": "*", "action": "deny"}, {"Name": "b", "Action": "allow"}])).unwrap();
    let expected = json!({"Kind": "service-intentions", "Name": "web", "Sources": [
        {"Name": "b", "Action": "allow", "Precedence": 9, "Type": "consul"},
        {"Name": "*", "Action": "deny", "Precedence": 8, "Type": "consul"}]});
    assert_eq!(serde_json::to_value(&entry).unwrap(), expected);
    let check = |sources: Value, part: &str| {
        let error = parse(sources).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    check(json!([]), "At least one source");
    check(json!([{"Name": "a"}]), "Action must be set");
    check(json!([{"Name": "a*", "Action": "deny"}]), "wildcard");
    check(json!([{"Name": "a", "Action": "deny"}, {"Name": "a", "Action": "allow"}]), "more than once");
    check(json!([{"Name": "a", "Action": "perhaps"}]), "perhaps");
    check(json!([{"Name": "a", "Permissions": [{"Action": "allow", "HTTP": {}}]}]), "nothing of the request");
    check(json!([{"Name": "a", "Permissions": [{"Action": "allow", "HTTP": {"PathRegex": "("}}]}]), "PathRegex");
    check(json!([{"Name": "a", "Namespace": "x", "Action": "deny"}]), "Namespace");
}

fn entry() -> impl Strategy<Value = Value> {
    let name = || proptest::sample::select(vec!["a", "b", "c"]);
    let subset = || proptest::sample::select(vec!["", "v1"]);
    prop_oneof![
        (name(), subset(), name()).prop_map(|(name, subset, other)| json!({"Kind": "service-splitter", "Name": name,
            "Splits": [{"Weight": 75, "ServiceSubset": subset}, {"Weight": 25, "Service": other, "ServiceSubset": "v2"}]})),
        (name(), name(), subset()).prop_map(|(name, other, subset)| json!({"Kind": "service-router", "Name": name,
            "Routes": [{"Destination": {"Service": other, "ServiceSubset": subset}}]})),
        (name(), name()).prop_map(|(name, other)| json!({"Kind": "service-resolver", "Name": name,
            "Subsets": {"v1": {}, "v2": {}}, "Failover": {"*": {"Service": other, "ServiceSubset": "v1"}}})),
        (name(), name()).prop_filter_map("itself", |(name, other)| (name != other).then(|| json!({
            "Kind": "service-resolver", "Name": name, "Redirect": {"Service": other}}))),
    ]
}

proptest! {
    /// Entries that may be written make a chain for every service: every way through it ends at a target, everything in
    /// it can be reached, and shares add up.
    #[test]
    fn what_may_be_written_can_be_followed(entries in proptest::collection::vec(entry(), 0..8)) {
        let mut all = http(&["a", "b", "c"]);
        all.extend(entries);
        let table = Table::of(Value::Array(all));
        prop_assume!(table.check().is_ok());
        for service in ["a", "b", "c", "d"] {
            let chain = table.chain(service, &ChainRequest::default());
            // A share or route may name a subset that a redirect leads away from.
            let Ok(chain) = chain else { continue };
            let mut named = BTreeSet::from([chain.start_node.clone()]);
            let mut ends = BTreeSet::new();
            for node in chain.nodes.values() {
                named.extend(node.routes.iter().map(|route| route.next_node.clone()));
                named.extend(node.splits.iter().map(|split| split.next_node.clone()));
                ends.extend(node.resolver.iter().map(|end| end.target.clone()));
                let failover = node.resolver.iter().flat_map(|end| &end.failover);
                ends.extend(failover.flat_map(|failover| failover.targets.clone()));
                if node.kind == NodeType::Splitter {
                    let sum: f64 = node.splits.iter().map(|split| split.weight).sum();
                    prop_assert!((sum - 100.0).abs() < 0.1, "{sum}");
                    prop_assert!(node.splits.iter().all(|split| !split.next_node.starts_with("splitter:")));
                }
            }
            prop_assert_eq!(named, chain.nodes.keys().cloned().collect::<BTreeSet<_>>());
            prop_assert_eq!(ends, chain.targets.keys().cloned().collect::<BTreeSet<_>>());
        }
    }
}
