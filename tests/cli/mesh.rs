//! Who may call whom, and the authority that says who is who.

use callboard_tests::node::Node;

use crate::run::{check, refused, run, run_with};

#[test]
fn intentions_are_made_asked_listed_and_deleted() {
    let node = Node::dev();
    check(&node, "intention create -allow web db", "Created: web => db (allow)");
    refused(&node, "intention create -deny web db", 5, "-replace");
    check(&node, "intention create -replace -deny web db", "Created: web => db (deny)");
    check(&node, "intention create -allow '*' db", "Created: * => db (allow)");
    let asked = run(&node, "intention check web db");
    assert_eq!((asked.code, asked.stdout.as_str()), (2, "Denied\n"), "{}", asked.stderr);
    check(&node, "intention check api db", "Allowed");
    let shown = run(&node, "intention get web db").stdout;
    assert!(shown.contains("Source") && shown.contains("web") && shown.contains("deny"), "{shown}");
    let listed = run(&node, "intention list").stdout;
    let (exact, any) = (listed.find("web").expect("a row"), listed.find('*').expect("a row"));
    assert!(exact < any, "the exact one counts first: {listed}");
    let matched = run(&node, "intention match db").stdout;
    assert!(matched.contains("web") && matched.contains('*'), "{matched}");
    check(&node, "intention delete web db", "Intention deleted.");
    check(&node, "intention check web db", "Allowed");
    refused(&node, "intention get web db", 3, "web");
    refused(&node, "intention create -allow -deny a b", 2, "deny");
}

#[test]
fn the_settings_of_the_authority_are_shown_and_replaced() {
    let node = Node::dev();
    let shown = run(&node, "connect ca get-config").stdout;
    assert!(shown.contains("\"Provider\": \"consul\"") && shown.contains("\"LeafCertTTL\": \"72h\""), "{shown}");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("ca.json");
    std::fs::write(&file, r#"{"Provider": "consul", "Config": {"LeafCertTTL": "48h"}}"#).expect("it can be written");
    check(&node, &format!("connect ca set-config -config-file {}", file.display()), "Configuration updated!");
    let shown = run(&node, "connect ca get-config").stdout;
    assert!(shown.contains("\"LeafCertTTL\": \"48h\""), "{shown}");
    std::fs::write(&file, r#"{"Provider": "vault"}"#).expect("it can be written");
    refused(&node, &format!("connect ca set-config -config-file {}", file.display()), 1, "vault");
}

#[test]
fn entries_may_be_written_as_people_write_them() {
    let node = Node::dev();
    check_entry(&node, "Kind = \"service-defaults\"\nName = \"web\"\nProtocol = \"http\"", "service-defaults/web");
    check_entry(&node, "Kind = \"service-defaults\"\nName = \"api\"\nProtocol = \"http\"", "service-defaults/api");
    let routes = r#"
        Kind = "service-router"
        Name = "web"
        Routes = [
          { Match { HTTP { PathPrefix = "/api" } } Destination { Service = "api" } },
          {
            Match { HTTP { PathExact = "/debug" Header = [ { Name = "x-debug" Present = true } ] } }
            Destination { Service = "api", PrefixRewrite = "/" }
          }
        ]"#;
    check_entry(&node, routes, "service-router/web");
    let read = run(&node, "config read -kind service-router -name web").stdout;
    for part in ["\"PathPrefix\": \"/api\"", "\"Present\": true", "\"PrefixRewrite\": \"/\""] {
        assert!(read.contains(part), "{part} in {read}");
    }
}

#[track_caller]
fn check_entry(node: &Node, text: &str, what: &str) {
    let written = run_with(node, "config write -", text);
    assert_eq!(written.stdout, format!("Config entry written: {what}\n"), "{written:?}");
}
