//! Entries as operators write them: what is read, what comes back, what is refused and in which words.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn shown(body: &str) -> Value {
    serde_json::to_value(ConfigEntry::parse(body.as_bytes()).unwrap()).unwrap()
}

fn refused(body: Value) -> String {
    ConfigEntry::parse(body.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn any_spelling_of_a_key_is_read_and_camel_case_comes_back() {
    let body = r#"{"kind":"service-resolver","name":"web","default_subset":"v1","CreateIndex":7,"ModifyIndex":9,
        "subsets":{"v1":{"filter":"Service.Meta.version == 1.2","only_passing":true}},"connect_timeout":"5s",
        "RequestTimeout":1500000000,
        "load_balancer":{"policy":"ring_hash","ring_hash_config":{"minimum_ring_size":1024},
            "hash_policies":[{"field":"cookie","field_value":"u","cookie_config":{"ttl":"1m","path":"/"}},{"source_ip":true}]}}"#;
    let expected = json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": "v1",
        "Subsets": {"v1": {"Filter": "Service.Meta.version == 1.2", "OnlyPassing": true}}, "ConnectTimeout": "5s",
        "RequestTimeout": "1.5s",
        "LoadBalancer": {"Policy": "ring_hash", "RingHashConfig": {"MinimumRingSize": 1024},
            "HashPolicies": [{"Field": "cookie", "FieldValue": "u", "CookieConfig": {"TTL": "1m0s", "Path": "/"}},
                {"SourceIP": true}]}});
    assert_eq!(shown(body), expected);
    assert_eq!(shown(&expected.to_string()), expected);
}

#[test]
fn several_spellings_of_a_field_are_one() {
    let entry =
        shown(r#"{"KIND":"mesh","kind":"mesh","Name":"x","name":"mesh","CREATEINDEX":1,"CreateIndex":2,"TLS":{}}"#);
    assert_eq!(entry, json!({"Kind": "mesh", "Name": "mesh", "TLS": {}}));
}

#[test]
fn routes_splits_and_defaults_come_back_whole() {
    let router = json!({"Kind": "service-router", "Name": "web", "Routes": [{
        "Match": {"HTTP": {"PathPrefix": "/a", "Header": [{"Name": "x", "Regex": "a+", "Invert": true}],
            "QueryParam": [{"Name": "q", "Present": true}], "Methods": ["GET"]}},
        "Destination": {"Service": "a", "ServiceSubset": "v1", "PrefixRewrite": "/", "RequestTimeout": "1m0s",
            "IdleTimeout": "2s", "NumRetries": 3, "RetryOnConnectFailure": true, "RetryOn": ["reset"],
            "RetryOnStatusCodes": [503], "RequestHeaders": {"Add": {"a": "b"}, "Remove": ["c"]},
            "ResponseHeaders": {"Set": {"d": "e"}}}}]});
    assert_eq!(shown(&router.to_string()), router);
    let splitter = json!({"Kind": "service-splitter", "Name": "web", "Splits": [
        {"Weight": 99.5, "ServiceSubset": "v1"}, {"Weight": 0.5, "Service": "web2"}, {"Weight": 0.0, "Service": "web3"}]});
    assert_eq!(shown(&splitter.to_string()), splitter);
    let defaults = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http", "MaxInboundConnections": 7,
        "LocalRequestTimeoutMs": 1000, "MeshGateway": {"Mode": "local"}, "UpstreamConfig": {
            "Defaults": {"ConnectTimeoutMs": 5, "Limits": {"MaxConnections": 3}},
            "Overrides": [{"Name": "db", "PassiveHealthCheck": {"Interval": "5s", "MaxFailures": 2,
                "EnforcingConsecutive5xx": 0, "MaxEjectionPercent": 50, "BaseEjectionTime": "30s"}}]}});
    assert_eq!(shown(&defaults.to_string()), defaults);
    let mesh = json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http", "Odd_Key": [1]}});
    assert_eq!(shown(&mesh.to_string()), mesh);
}

#[test]
fn what_cannot_be_read_is_named() {
    let check = |body: Value, text: &str| assert_eq!(refused(body), format!("Request decoding failed: {text}"));
    check(json!({"Kind": "odd", "Name": "x"}), "invalid config entry kind: odd");
    check(json!({"Name": "x"}), "Kind is missing; expected the kind of the entry");
    check(json!([]), "expected a JSON object");
    check(json!({"Kind": "service-resolver", "Name": "x", "Nope": 1}), "json: unknown field \"Nope\"");
    check(
        json!({"Kind": "service-router", "Name": "x", "Routes": [{"Match": {"HTTP": {"Path": "/"}}}]}),
        "Routes.0.Match.HTTP: json: unknown field \"Path\"",
    );
    check(
        json!({"Kind": "service-splitter", "Name": "x", "Splits": [{"Weight": "all"}]}),
        "Splits.0.Weight: invalid type: string \"all\", expected f64",
    );
    assert!(
        refused(json!({"Kind": "service-resolver", "Name": "x", "ConnectTimeout": "soon"})).contains("ConnectTimeout")
    );
    assert!(ConfigEntry::parse(b"{").is_err());
}

#[test]
fn what_contradicts_itself_is_named() {
    let check = |kind: &str, fields: Value, part: &str| {
        let mut body = json!({"Kind": kind, "Name": "web"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let said = refused(body);
        assert!(said.contains(part), "{said}");
    };
    check("service-resolver", json!({"Name": ""}), "Name is required");
    check("service-resolver", json!({"DefaultSubset": "v1"}), "DefaultSubset \"v1\" is not a subset");
    check("service-resolver", json!({"Subsets": {"V1": {}}}), "Subset name \"V1\"");
    check("service-resolver", json!({"Subsets": {"v1": {"Filter": "Nope == 1"}}}), "Filter of the subset \"v1\"");
    check("service-resolver", json!({"Redirect": {}}), "Redirect is empty");
    check("service-resolver", json!({"Redirect": {"Service": "web"}}), "redirected to itself");
    check("service-resolver", json!({"Failover": {"v1": {"Service": "b"}}}), "Failover \"v1\" is not a subset");
    check("service-resolver", json!({"Failover": {"*": {}}}), "one of Service");
    check(
        "service-resolver",
        json!({"Failover": {"*": {"Service": "b", "Targets": [{"Service": "c"}]}}}),
        "Targets excludes",
    );
    check("service-resolver", json!({"ConnectTimeout": "-1s"}), "ConnectTimeout must not be negative, and is -1s");
    check("service-resolver", json!({"LoadBalancer": {"Policy": "best"}}), "unsupported Policy \"best\"");
    check("service-resolver", json!({"LoadBalancer": {"RingHashConfig": {}}}), "RingHashConfig is for");
    check(
        "service-resolver",
        json!({"LoadBalancer": {"Policy": "maglev", "HashPolicies": [{"Field": "header"}]}}),
        "HashPolicies[0]: FieldValue is missing",
    );
    check("service-splitter", json!({}), "no splits configured");
    check(
        "service-splitter",
        json!({"Splits": [{"Weight": 50}]}),
        "the sum of all split weights must be 100, not 50.000000",
    );
    check(
        "service-splitter",
        json!({"Splits": [{"Weight": 50}, {"Weight": 50, "Service": "web"}]}),
        "split destination occurs more than once",
    );
    check("service-splitter", json!({"Splits": [{"Weight": -1}, {"Weight": 101, "Service": "b"}]}), "Weight must be");
    let route = |route: Value| json!({"Routes": [route]});
    let http = |http: Value| route(json!({"Match": {"HTTP": http}}));
    check("service-router", http(json!({"PathExact": "/a", "PathPrefix": "/b"})), "only one of PathExact");
    check("service-router", http(json!({"PathPrefix": "b"})), "PathPrefix doesn't start with '/'");
    check("service-router", http(json!({"PathRegex": "("})), "PathRegex is no regular expression");
    check("service-router", http(json!({"Header": [{"Name": "x"}]})), "Routes[0].Header[0]: exactly one of");
    check(
        "service-router",
        http(json!({"Header": [{"Name": "x", "Exact": "a", "Prefix": "a"}]})),
        "Routes[0].Header[0]: exactly one of",
    );
    check("service-router", http(json!({"QueryParam": [{"Name": "x"}]})), "QueryParam[0]: exactly one of");
    check("service-router", http(json!({"Methods": ["get", "GET"]})), "\"GET\" more than once");
    check("service-router", route(json!({"Destination": {"PrefixRewrite": "/"}})), "PrefixRewrite needs");
    check("service-router", route(json!({"Destination": {"RetryOn": ["rain"]}})), "\"rain\"");
    check("service-router", route(json!({"Destination": {"RetryOnStatusCodes": [99]}})), "99, which is no status");
    check("service-defaults", json!({"Namespace": "team"}), "Namespace \"team\" does not exist");
    check("proxy-defaults", json!({}), "only \"global\" is supported");
}

#[derive(Default)]
struct Few(BTreeMap<(EntryKind, String), ConfigEntry>);

impl Few {
    fn with(mut self, body: Value) -> Few {
        let entry = ConfigEntry::parse(body.to_string().as_bytes()).unwrap();
        self.0.insert((entry.kind(), entry.name().to_owned()), entry);
        self
    }

    fn check(&self) -> Result<(), String> {
        chain::check(self, "web").map_err(|error| error.to_string())
    }
}

impl chain::Entries for Few {
    fn entry(&self, kind: EntryKind, name: &str) -> Option<&ConfigEntry> {
        self.0.get(&(kind, name.to_owned()))
    }
}

#[test]
fn routes_and_splits_ask_for_http_from_end_to_end() {
    let split = || json!({"Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 10, "Service": "web2"}]});
    let defaults = |name: &str, protocol: &str| json!({"Kind": "service-defaults", "Name": name, "Protocol": protocol});
    let subsets = || json!({"Kind": "service-resolver", "Name": "web", "Subsets": {"v1": {}}});
    let few = || Few::default().with(split()).with(subsets());
    let said = few().check().unwrap_err();
    assert!(said.contains("\"web\" uses a protocol \"tcp\" that does not permit"), "{said}");
    let said = few().with(defaults("web", "HTTP")).check().unwrap_err();
    let expected = r#"discovery chain "web" uses inconsistent protocols; service "web2" has "tcp" which is not "http""#;
    assert_eq!(said, expected);
    let few = few().with(defaults("web", "http")).with(defaults("web2", "http"));
    assert_eq!(few.check(), Ok(()));
    let global = Few::default().with(split()).with(subsets());
    let global = global.with(json!({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "grpc"}}));
    assert_eq!(global.check(), Ok(()));
    let said = few.with(json!({"Kind": "service-resolver", "Name": "web"})).check().unwrap_err();
    assert!(said.contains("does not have a subset named \"v1\""), "{said}");
}

#[test]
fn redirects_do_not_run_in_a_circle() {
    let redirect =
        |from: &str, to: &str| json!({"Kind": "service-resolver", "Name": from, "Redirect": {"Service": to}});
    let few = Few::default().with(redirect("web", "a")).with(redirect("a", "b"));
    assert_eq!(few.check(), Ok(()));
    assert!(few.with(redirect("b", "a")).check().unwrap_err().contains("in a circle"));
}

#[test]
fn a_client_passes_over_what_a_newer_server_says() {
    let entry: ConfigEntry =
        serde_json::from_value(json!({"Kind": "service-resolver", "Name": "web", "Newer": 1, "Subsets": null}))
            .unwrap();
    assert_eq!(entry.name(), "web");
}

proptest! {
    #[test]
    fn no_body_panics_and_what_is_accepted_is_read_back(
        kind in proptest::sample::select(EntryKind::ALL.to_vec()),
        name in "[a-zA-Z_]{0,12}",
        weight in -10.0f64..120.0,
        text in "[ -~]{0,12}",
        nested in any::<bool>(),
    ) {
        let inner = json!({"Weight": weight, "Match": {"HTTP": {"PathPrefix": text}}, "Filter": text});
        let mut body = json!({"Kind": kind.as_str(), "Name": "web"});
        body[name] = if nested { json!([inner]) } else { json!(text) };
        if let Ok(entry) = ConfigEntry::parse(body.to_string().as_bytes()) {
            let again = serde_json::to_vec(&entry).unwrap();
            prop_assert_eq!(ConfigEntry::parse(&again), Ok(entry));
        }
    }
}
