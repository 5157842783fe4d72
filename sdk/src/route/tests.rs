//! Rules as operators write them: which call goes where, and what cannot be followed.

use std::collections::BTreeMap;

use callboard_proto::config_entry::ConfigEntry;
use http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn entries(list: impl IntoIterator<Item = Value>) -> Entries {
    list.into_iter().map(|entry| serde_json::from_value::<ConfigEntry>(entry).unwrap()).collect()
}

fn rules(list: impl IntoIterator<Item = Value>) -> Rules {
    compile(&entries(list), "web", "").unwrap().unwrap()
}

fn refused(list: impl IntoIterator<Item = Value>) -> RuleError {
    compile(&entries(list), "web", "dc1").unwrap_err()
}

fn resolver(name: &str, fields: Value) -> Value {
    entry("service-resolver", name, fields)
}

fn entry(kind: &str, name: &str, fields: Value) -> Value {
    let mut entry = json!({"Kind": kind, "Name": name});
    entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    entry
}

fn subsets() -> Value {
    resolver(
        "web",
        json!({"Subsets": {"v1": {"Filter": "Service.Meta.v == 1"}, "v2": {"Filter": "Service.Meta.v == 2"}}}),
    )
}

/// Where a call goes: `service` or `service/subset`.
fn place(rules: &Rules, target: usize) -> String {
    let target = &rules.targets()[target];
    match &target.subset {
        None => target.service.to_string(),
        Some(subset) => format!("{}/{}", target.service, subset.name()),
    }
}

fn goes(rules: &Rules, request: http::request::Builder) -> String {
    let request = request.body(()).unwrap();
    place(rules, rules.choose(&CallView::of(&request), None, 0).target)
}

fn shares(rules: &Rules) -> BTreeMap<String, usize> {
    let request = Request::get("/").body(()).unwrap();
    let mut shares = BTreeMap::new();
    for turn in 0..10_000 {
        *shares.entry(place(rules, rules.choose(&CallView::of(&request), None, turn).target)).or_default() += 1;
    }
    shares
}

#[test]
fn nothing_said_is_nothing_to_follow() {
    assert!(compile(&Entries::default(), "web", "").unwrap().is_none());
    let other = entries([resolver("db", json!({})), entry("service-defaults", "web", json!({"Protocol": "http"}))]);
    assert!(compile(&other, "web", "").unwrap().is_none());
    assert!(compile(&entries([resolver("WEB", json!({}))]), "web", "").unwrap().is_some(), "names fold");
}

#[test]
fn the_first_route_that_matches_counts() {
    let rules = rules([
        subsets(),
        entry(
            "service-router",
            "web",
            json!({"Routes": [
                {"Match": {"HTTP": {"PathPrefix": "/admin"}}, "Destination": {"Service": "admin"}},
                {"Match": {"HTTP": {"Header": [{"Name": "x-test", "Present": true}]}}, "Destination": {"ServiceSubset": "v2"}},
                {"Match": {"HTTP": {"PathPrefix": "/a"}}, "Destination": {"ServiceSubset": "v1"}},
            ]}),
        ),
    ]);
    assert_eq!(goes(&rules, Request::get("/admin/x").header("x-test", "1")), "admin");
    assert_eq!(goes(&rules, Request::get("/a").header("x-test", "1")), "web/v2");
    assert_eq!(goes(&rules, Request::get("/a")), "web/v1");
    assert_eq!(goes(&rules, Request::get("/")), "web", "no route: the service itself");
}

#[test]
fn a_route_says_what_is_done_besides() {
    let rules = rules([entry(
        "service-router",
        "web",
        json!({"Routes": [{
        "Match": {"HTTP": {"PathPrefix": "/api/", "Methods": ["POST"]}},
        "Destination": {"PrefixRewrite": "/", "RequestTimeout": "3s", "NumRetries": 2, "RetryOn": ["gateway-error"],
            "RequestHeaders": {"Set": {"x-via": "rule"}}, "ResponseHeaders": {"Remove": ["server"]}}}]}),
    )]);
    let request = Request::post("/api/pay").body(()).unwrap();
    let chosen = rules.choose(&CallView::of(&request), None, 0);
    let retry = chosen.action.retry.as_ref().unwrap();
    assert_eq!((retry.attempts_max, retry.any_method, chosen.action.timeout.unwrap().as_secs()), (3, true, 3));
    let mut headers = http::HeaderMap::new();
    chosen.change_request(&mut headers);
    assert_eq!(headers["x-via"], "rule");
    let mut uri = request.uri().clone();
    chosen.action.rewrite.as_ref().unwrap().apply(&mut uri);
    assert_eq!(uri, "/pay");
}

#[test]
fn splits_divide_calls_and_splits_of_splits_multiply() {
    let halves = rules([
        subsets(),
        entry(
            "service-splitter",
            "web",
            json!({"Splits": [
            {"Weight": 90, "ServiceSubset": "v1"}, {"Weight": 9.5, "ServiceSubset": "v2"}, {"Weight": 0.5, "Service": "new"},
            {"Weight": 0, "Service": "none"}]}),
        ),
        entry("service-splitter", "new", json!({"Splits": [{"Weight": 80}, {"Weight": 20, "Service": "newer"}]})),
    ]);
    let shares = shares(&halves);
    let near = |name: &str, due: usize| {
        let got = shares.get(name).copied().unwrap_or_default();
        assert!(got.abs_diff(due) <= 3, "{name}: {got} for {due}");
    };
    near("web/v1", 9000);
    near("web/v2", 950);
    near("new", 40);
    near("newer", 10);
    assert_eq!(shares.get("none"), None);
}

#[test]
fn a_call_with_a_hash_stays_on_its_side_of_a_split() {
    let rules = rules([
        resolver(
            "web",
            json!({"Subsets": {"v1": {}, "v2": {}}, "LoadBalancer": {"Policy": "ring_hash",
            "HashPolicies": [{"Field": "header", "FieldValue": "x-user"}]}}),
        ),
        entry(
            "service-splitter",
            "web",
            json!({"Splits": [
            {"Weight": 50, "ServiceSubset": "v1"}, {"Weight": 50, "ServiceSubset": "v2"}]}),
        ),
    ]);
    let mut sides = std::collections::BTreeSet::new();
    for user in 0..50 {
        let request = Request::get("/").header("x-user", user.to_string()).body(()).unwrap();
        let chosen = |turn| rules.choose(&CallView::of(&request), None, turn);
        let first = chosen(0);
        assert!((1..20).all(|turn| (chosen(turn).target, chosen(turn).hash) == (first.target, first.hash)));
        assert!(first.hash.is_some() && rules.targets()[first.target].algorithm == Some(Algorithm::RingHash));
        sides.insert(first.target);
    }
    assert_eq!(sides.len(), 2);
}

#[test]
fn redirects_lead_on_and_defaults_name_a_subset() {
    let rules = rules([
        resolver("web", json!({"Redirect": {"Service": "web2"}})),
        resolver(
            "web2",
            json!({"DefaultSubset": "v2", "Subsets": {"v2": {}}, "ConnectTimeout": "2s", "RequestTimeout": "9s"}),
        ),
        entry("service-defaults", "web2", json!({"MaxInboundConnections": 7})),
    ]);
    assert_eq!(goes(&rules, Request::get("/")), "web2/v2");
    let target = &rules.targets()[0];
    let times = (target.connect_timeout.unwrap().as_secs(), target.request_timeout.unwrap().as_secs());
    assert_eq!((times, target.connections_max), ((2, 9), Some(7)));
}

#[test]
fn failover_is_a_list_of_other_targets() {
    let rules = rules([
        resolver(
            "web",
            json!({"DefaultSubset": "v1", "Subsets": {"v1": {}, "v2": {}}, "Failover": {
            "v1": {"ServiceSubset": "v2"},
            "*": {"Targets": [{"Service": "spare"}, {"Service": "far", "Datacenter": "dc9"}, {"ServiceSubset": "v1"}]}}}),
        ),
        entry(
            "service-router",
            "web",
            json!({"Routes": [
            {"Match": {"HTTP": {"PathPrefix": "/2"}}, "Destination": {"ServiceSubset": "v2"}}]}),
        ),
    ]);
    let places = |from: &str| -> Vec<String> {
        let target =
            rules.targets().iter().find(|target| target.subset.as_ref().is_some_and(|s| s.name() == from)).unwrap();
        target.failover.iter().map(|to| place(&rules, *to)).collect()
    };
    assert_eq!((places("v1"), places("v2")), (vec!["web/v2".to_owned()], vec!["spare".into(), "web/v1".into()]));
    assert_eq!(rules.skipped(), ["failover of web to dc9"]);
}

#[test]
fn what_cannot_be_followed_is_said() {
    let said = |list: Vec<Value>, part: &str| {
        let text = refused(list).to_string();
        assert!(text.contains(part), "{text}");
    };
    let redirect = |from: &str, to: &str| resolver(from, json!({"Redirect": {"Service": to}}));
    said(vec![redirect("web", "a"), redirect("a", "b"), redirect("b", "web")], "redirects of web run in a circle");
    said(
        (0..20)
            .map(|n| redirect(&if n == 0 { "web".into() } else { format!("s{n}") }, &format!("s{}", n + 1)))
            .collect(),
        "more than 8",
    );
    let split =
        |from: &str, to: &str| entry("service-splitter", from, json!({"Splits": [{"Weight": 100, "Service": to}]}));
    said(vec![split("web", "a"), split("a", "web")], "splits of");
    said(vec![resolver("web", json!({"DefaultSubset": "v1"}))], "no subset \"v1\"");
    said(
        vec![resolver("web", json!({"DefaultSubset": "a", "Subsets": {"a": {"Filter": "Checks.Status == x"}}}))],
        "filter",
    );
    said(vec![resolver("web", json!({"Redirect": {"Service": "b", "Datacenter": "dc2"}}))], "dc2");
    let own = entries([resolver("web", json!({"Redirect": {"Service": "b", "Datacenter": "dc1"}}))]);
    assert!(compile(&own, "web", "dc1").is_ok(), "its own is where it looks anyway");
    said(vec![resolver("web", json!({"LoadBalancer": {"Policy": "best"}}))], "\"best\"");
}

proptest! {
    /// The first route that matches counts, whatever the routes: the same as asking one after the other.
    #[test]
    fn routes_are_asked_in_order(prefixes in proptest::collection::vec("/[ab]{0,3}", 0..12), path in "/[ab]{0,4}") {
        let routes: Vec<Value> = prefixes.iter().enumerate().map(|(n, prefix)| {
            json!({"Match": {"HTTP": {"PathPrefix": prefix}}, "Destination": {"Service": format!("s{n}")}})
        }).collect();
        let rules = rules([entry("service-router", "web", json!({"Routes": routes}))]);
        let expected = prefixes.iter().position(|prefix| path.starts_with(prefix)).map_or("web".into(), |n| format!("s{n}"));
        prop_assert_eq!(goes(&rules, Request::get(&*path)), expected);
    }

    /// Whatever redirects and splits there are, compiling ends: with rules whose every place exists, or with a reason.
    #[test]
    fn compiling_ends(edges in proptest::collection::vec((0u8..6, 0u8..6, any::<bool>(), 0u32..100), 0..12)) {
        let name = |n: u8| if n == 0 { "web".to_owned() } else { format!("s{n}") };
        let list = edges.iter().map(|(from, to, redirect, weight)| match redirect {
            true => resolver(&name(*from), json!({"Redirect": {"Service": name(*to)}})),
            false => entry("service-splitter", &name(*from), json!({"Splits": [
                {"Weight": weight, "Service": name(*to)}, {"Weight": 100 - weight}]})),
        });
        if let Ok(Some(rules)) = compile(&entries(list), "web", "") {
            let total = shares(&rules).values().sum::<usize>();
            prop_assert_eq!(total, 10_000);
        }
    }
}
