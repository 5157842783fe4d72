//! Moving house: from a live agent and from a file, seen before it is done, and done once however often it is asked for.

use callboard_tests::node::{MANAGEMENT, Node};
use serde_json::json;

use crate::run::{check, command, ended, refused, run};

/// Puts something of everything into a node.
fn furnish(node: &Node) {
    for (key, value) in [("app/a", "one"), ("app/b", "two"), ("other", "three")] {
        let _ = node.http.put(&format!("/v1/kv/{key}?flags=7"), value).ok();
    }
    let session = node.http.put("/v1/session/create", r#"{"TTL": "30s", "NodeChecks": []}"#).ok().json();
    let session = session["ID"].as_str().expect("a session").to_owned();
    let _ = node.http.put(&format!("/v1/kv/app/held?acquire={session}"), "me").ok();
    let row = json!({"Node": "db-host", "Address": "10.0.0.9", "NodeMeta": {"rack": "r1"},
        "Service": {"ID": "db-1", "Service": "db", "Port": 5432, "Tags": ["primary"], "Meta": {"v": "1"}},
        "Check": {"Node": "db-host", "CheckID": "db", "Name": "db", "Status": "passing", "ServiceID": "db-1"}});
    node.http.put_json("/v1/catalog/register", &row);
    node.http.put_json("/v1/config", &json!({"Kind": "service-defaults", "Name": "db", "Protocol": "tcp"}));
}

#[test]
fn everything_of_a_live_agent_is_carried_once() {
    let (source, target) = (Node::dev(), Node::dev());
    furnish(&source);
    let _ = target.http.put("/v1/kv/app/b", "old").ok();
    let _ = target.http.put("/v1/kv/mine", "stays").ok();
    let import = format!("import consul -from {}", source.http.address);
    let dry = run(&target, &format!("{import} -dry-run"));
    assert_eq!(dry.code, 0, "{dry:?}");
    for line in ["+ node db-host", "+ service db-host/db-1", "+ check db-host/db", "+ config service-defaults/db"] {
        assert!(dry.stdout.lines().any(|found| found == line), "{line}: {dry:?}");
    }
    assert!(dry.stdout.contains("+ key app/a\n~ key app/b\n+ key app/held\n+ key other\n"), "{dry:?}");
    assert!(dry.stdout.ends_with("key: 3 added, 1 changed, 0 same, 1 extra\n"), "{dry:?}");
    assert!(dry.stderr.contains("not carried: key app/held: locked by session"), "{dry:?}");
    assert!(dry.stderr.contains("nothing was written: 8 rows would be"), "{dry:?}");
    assert_eq!(target.http.get("/v1/kv/app/b?raw").text(), "old", "nothing was done");
    let done = run(&target, &import);
    assert!(done.code == 0 && done.stderr.contains("8 rows were written"), "{done:?}");
    let row = &target.http.get("/v1/kv/app/a").json()[0];
    assert_eq!((&row["Value"], &row["Flags"]), (&json!("b25l"), &json!(7)));
    assert_eq!(target.http.get("/v1/kv/app/held").json()[0]["Session"], json!(null));
    assert_eq!(target.http.get("/v1/kv/mine?raw").text(), "stays");
    let rows = target.http.get("/v1/health/service/db?passing").ok().json();
    assert_eq!(rows[0]["Node"]["Address"], "10.0.0.9");
    assert_eq!((&rows[0]["Service"]["Port"], &rows[0]["Service"]["Tags"]), (&json!(5432), &json!(["primary"])));
    assert_eq!(target.http.get("/v1/config/service-defaults/db").ok().json()["Protocol"], "tcp");
    let before = target.http.get("/v1/kv/?recurse").index();
    let again = run(&target, &import);
    assert!(again.code == 0 && again.stderr.contains("0 rows were written"), "{again:?}");
    assert!(!again.stdout.contains("+ ") && !again.stdout.contains("~ "), "{again:?}");
    assert_eq!(target.http.get("/v1/kv/?recurse").index(), before, "doing it twice is doing it once");
}

#[test]
fn many_keys_go_in_batches_and_large_ones_alone() {
    let (source, target) = (Node::dev(), Node::dev());
    for number in 0..150 {
        let _ = source.http.put(&format!("/v1/kv/many/{number:03}"), format!("value {number}")).ok();
    }
    let large = "x".repeat(500_000);
    let _ = source.http.put("/v1/kv/many/large", &large).ok();
    let done = run(&target, &format!("import consul -from {} -prefix many/", source.http.address));
    assert!(done.code == 0 && done.stdout.contains("key: 151 added, 0 changed, 0 same, 0 extra"), "{}", done.stderr);
    assert_eq!(target.http.get("/v1/kv/many/149?raw").text(), "value 149");
    assert_eq!(target.http.get("/v1/kv/many/large?raw").text().len(), large.len());
}

#[test]
fn a_file_carries_the_same() {
    let (source, target) = (Node::dev(), Node::dev());
    furnish(&source);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("all.json");
    let file = file.to_string_lossy();
    check(&source, &format!("export {file}"), "");
    let done = run(&target, &format!("import {file}"));
    assert!(done.code == 0 && done.stderr.contains("8 rows were written"), "{done:?}");
    let exported = |node: &Node| {
        let document: serde_json::Value = serde_json::from_str(&run(node, "export").stdout).expect("it is JSON");
        document["rows"].clone()
    };
    assert_eq!(exported(&source), exported(&target));
    refused(&target, "import consul", 2, "-from");
    refused(&target, "import nothing.json", 2, "nothing.json");
    let _ = std::fs::write(&*file, "{}");
    refused(&target, &format!("import {file}"), 2, "callboard_export");
    let gone = format!("import consul -from 127.0.0.1:1 -http-addr {}", target.http.address);
    refused(&target, &gone, 6, "127.0.0.1:1");
}

#[test]
fn who_may_do_what_and_prepared_queries_are_carried() {
    let acl = format!(r#"acl {{ enabled = true tokens {{ initial_management = "{MANAGEMENT}" }} }}"#);
    let (source, target) = (Node::dev_with(&["-hcl", &acl]), Node::dev_with(&["-hcl", &acl]));
    let put = |node: &Node, method: &str, path: &str, body: serde_json::Value| {
        let reply = node.http.request_as(Some(MANAGEMENT), method, path, body.to_string().as_bytes());
        reply.expect("it is answered").ok().json()
    };
    let policy = put(
        &source,
        "PUT",
        "/v1/acl/policy",
        json!({"Name": "keys", "Rules": "key_prefix \"a/\" { policy = \"write\" }"}),
    );
    put(&source, "PUT", "/v1/acl/role", json!({"Name": "app", "Policies": [{"ID": policy["ID"]}]}));
    let token = put(&source, "PUT", "/v1/acl/token", json!({"Description": "one", "Roles": [{"Name": "app"}]}));
    put(&source, "POST", "/v1/query", json!({"Name": "near", "Service": {"Service": "web", "OnlyPassing": true}}));
    let import = |more: &str| {
        let line = format!("import consul -from {} -from-token {MANAGEMENT} {more}", source.http.address);
        ended(command(&target, &line).env("CONSUL_HTTP_TOKEN", MANAGEMENT))
    };
    let dry = import("-dry-run");
    for row in ["+ policy keys", "+ role app", "+ query near"] {
        assert!(dry.stdout.lines().any(|line| line == row), "{row}: {dry:?}");
    }
    let done = import("");
    assert_eq!(done.code, 0, "{done:?}");
    let read =
        |path: &str| target.http.request_as(Some(MANAGEMENT), "GET", path, b"").expect("it is answered").ok().json();
    assert_eq!(read("/v1/acl/policy/name/keys")["Rules"], "key_prefix \"a/\" { policy = \"write\" }");
    assert_eq!(read("/v1/acl/role/name/app")["Policies"][0]["Name"], "keys");
    assert_eq!(read("/v1/query")[0]["Service"]["OnlyPassing"], true);
    // Secrets are kept as their hashes, so a token cannot be carried from one of us; it is told, not lost in silence.
    let accessor = token["AccessorID"].as_str().expect("an id");
    assert!(done.stderr.contains(accessor), "{done:?}");
    let again = import("");
    assert!(again.code == 0 && again.stderr.contains("0 rows were written"), "{again:?}");
}
