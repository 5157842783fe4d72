//! Lists of access control under a filter: which rows are left, who may ask, and what cannot be asked about.

use callboard_tests::description;
use callboard_tests::node::MANAGEMENT;
use serde_json::{Value, json};

use super::world::World;

/// A list and a filter in the form of a query, the field that tells rows apart, and what that is of the rows that stay.
const FILTERS: &[(&str, &str, &str, &[&str])] = &[
    ("/v1/acl/policies", "Name == reads", "Name", &["reads"]),
    ("/v1/acl/policies", "Description contains third", "Name", &["deploys"]),
    ("/v1/acl/policies", "dc1 in Datacenters", "Name", &["deploys"]),
    ("/v1/acl/policies", "Name matches `^(reads|writes)$`", "Name", &["reads", "writes"]),
    ("/v1/acl/roles", "Name != people", "Name", &["programs"]),
    ("/v1/acl/roles", "Policies.Name == writes", "Name", &["programs"]),
    ("/v1/acl/tokens", "Description == robot", "Description", &["robot"]),
    ("/v1/acl/tokens", "Roles.Name == people", "Description", &["person"]),
    ("/v1/acl/tokens", "Policies.Name == reads and Local == true", "Description", &["robot"]),
    ("/v1/acl/auth-methods", "Type == oidc", "Name", &["sso"]),
    ("/v1/acl/binding-rules", "BindType == role", "BindName", &["people"]),
];

/// A node with a few rows of each list.
fn world() -> World {
    let world = World::new(json!({}));
    let put = |path: &str, body: Value| drop(world.root("PUT", path, &body.to_string()));
    put("/v1/acl/policy", json!({"Name": "reads", "Description": "first"}));
    put("/v1/acl/policy", json!({"Name": "writes", "Description": "second"}));
    put("/v1/acl/policy", json!({"Name": "deploys", "Description": "the third", "Datacenters": ["dc1"]}));
    put("/v1/acl/role", json!({"Name": "people", "Policies": [{"Name": "reads"}]}));
    put("/v1/acl/role", json!({"Name": "programs", "Policies": [{"Name": "writes"}]}));
    put("/v1/acl/token", json!({"Description": "person", "Roles": [{"Name": "people"}]}));
    put("/v1/acl/token", json!({"Description": "robot", "Policies": [{"Name": "reads"}], "Local": true}));
    put("/v1/acl/auth-method", json!({"Name": "sso", "Type": "oidc"}));
    put("/v1/acl/auth-method", json!({"Name": "cloud", "Type": "aws-iam"}));
    put("/v1/acl/binding-rule", json!({"AuthMethod": "sso", "BindType": "role", "BindName": "people"}));
    put("/v1/acl/binding-rule", json!({"AuthMethod": "cloud", "BindType": "service", "BindName": "web"}));
    world
}

/// A filter as a part of a URL.
fn quoted(filter: &str) -> String {
    filter.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn lists_of_access_control_take_a_filter() {
    let world = world();
    for (path, filter, field, expect) in FILTERS {
        let rows = world.root("GET", &format!("{path}?filter={}", quoted(filter)), "").json();
        let rows = rows.as_array().unwrap_or_else(|| panic!("{path} {filter}: no list"));
        let mut found: Vec<&str> = rows.iter().map(|row| row[field].as_str().unwrap_or_default()).collect();
        found.sort_unstable();
        assert_eq!(found, *expect, "{path} {filter}");
        let all = world.root("GET", path, "").json().as_array().map(Vec::len);
        assert!(all > Some(rows.len()), "{path} has more rows than {filter} leaves");
    }
}

#[test]
fn a_filter_is_refused_to_who_may_not_read_and_asks_about_no_secret() {
    let world = world();
    for path in FILTERS.iter().map(|(path, ..)| *path) {
        let denied = world.ask(None, "GET", &format!("{path}?filter={}", quoted("Description == x")), "");
        assert_eq!(denied.status, 403, "{path}: {}", denied.text());
        let unread = world.ask(Some(MANAGEMENT), "GET", &format!("{path}?filter={}", quoted("not a filter((")), "");
        assert_eq!(unread.status, 400, "{path}: {}", unread.text());
        assert!(unread.text().starts_with("Failed to create boolean expression evaluator:"), "{}", unread.text());
    }
    let tried =
        world.ask(Some(MANAGEMENT), "GET", &format!("/v1/acl/tokens?filter={}", quoted("SecretID contains a")), "");
    assert_eq!(tried.status, 400, "nobody finds secrets by trying: {}", tried.text());
}

#[test]
fn every_list_of_access_control_that_takes_a_filter_is_here() {
    let world = World::new(json!({}));
    let paths = description::paths(&world.node.http, Some(MANAGEMENT));
    let takes = |item: &Value| {
        let parameters = item["get"]["parameters"].to_string();
        parameters.contains("\"filter\"") || parameters.contains("/filter\"")
    };
    let mut described: Vec<&str> = paths
        .iter()
        .filter(|(path, item)| path.starts_with("/v1/acl/") && takes(item))
        .map(|(path, _)| path.as_str())
        .collect();
    described.sort_unstable();
    let mut known: Vec<&str> = FILTERS.iter().map(|(path, ..)| *path).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known, described);
}
