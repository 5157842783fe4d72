//! The commands that read and write what is registered, one after the other on a node of its own.

use callboard_tests::node::Node;

use crate::run::{check, refused, run, run_with};

#[test]
fn keys_are_put_read_and_deleted() {
    let node = Node::dev();
    check(&node, "kv put a/b hello", "Success! Data written to: a/b");
    check(&node, "kv get a/b", "hello");
    check(&node, "kv get -base64 a/b", "aGVsbG8=");
    check(&node, "consul kv get /a/b", "hello");
    check(&node, "kv put -flags=7 a/c -dash", "Success! Data written to: a/c");
    check(&node, "kv get -recurse a/", "a/b:hello\na/c:-dash");
    check(&node, "kv get -keys", "a/");
    check(&node, "kv get -keys -separator= a", "a/b\na/c");
    check(&node, "kv get --keys a/", "a/b\na/c");
    let details = run(&node, "kv get -detailed a/c");
    assert!(details.stdout.contains("Flags            7\n"), "{details:?}");
    assert!(details.stdout.contains("Session          -\n"), "{details:?}");
    assert!(details.stdout.ends_with("Value            -dash\n"), "{details:?}");
    check(&node, "kv put -base64 a/d aGVsbG8=", "Success! Data written to: a/d");
    check(&node, "kv get a/d", "hello");
    let put = run_with(&node, "kv put a/e -", "from\ninput");
    assert_eq!(put.stdout, "Success! Data written to: a/e\n");
    check(&node, "kv get a/e", "from\ninput");
    check(&node, "kv delete a/b", "Success! Deleted key: a/b");
    check(&node, "kv delete -recurse a/", "Success! Deleted keys with prefix: a/");
    check(&node, "kv get -recurse a/", "");
    refused(&node, "consul kv get a/b", 1, "Error! No key exists at: a/b");
}

#[test]
fn conditions_and_locks_of_a_key() {
    let node = Node::dev();
    check(&node, "kv put -cas a first", "Success! Data written to: a");
    refused(&node, "kv put -cas -modify-index=1 a b", 5, "Error! Did not write to a: CAS failed");
    let index = node.http.get("/v1/kv/a").json()[0]["ModifyIndex"].to_string();
    check(&node, &format!("kv put -cas -modify-index {index} a second"), "Success! Data written to: a");
    refused(&node, "kv delete -cas -modify-index=1 a", 5, "Error! Did not delete key a: CAS failed");
    let session = run(&node, "session create -name me -ttl 30s -no-checks").stdout.trim().to_owned();
    let (lock, unlock) = (format!("-acquire -session={session}"), format!("-release -session={session}"));
    check(&node, &format!("kv put {lock} a x"), "Success! Lock acquired on: a");
    let other = run(&node, "session create -ttl 30s -no-checks").stdout.trim().to_owned();
    refused(&node, &format!("kv put -acquire -session={other} a y"), 5, "Error! Did not acquire lock");
    check(&node, &format!("kv put {unlock} a x"), "Success! Lock released on: a");
    refused(&node, "kv put -acquire a x", 2, "Missing -session");
    check(&node, &format!("session renew {session}"), &format!("Renewed session: {session} for 30s"));
    let listed = run(&node, "session list");
    assert!(listed.stdout.starts_with("ID "), "{listed:?}");
    assert!(listed.stdout.contains(&session), "{listed:?}");
    check(&node, &format!("session destroy {session}"), &format!("Destroyed session: {session}"));
    refused(&node, &format!("session renew {session}"), 3, "No session exists");
}

#[test]
fn what_was_exported_can_be_imported() {
    let node = Node::dev();
    let _ = run(&node, "kv put -flags 9 a/1 one");
    let _ = run(&node, "kv put a/2 two");
    let exported = run(&node, "kv export a/").stdout;
    assert!(
        exported.starts_with("[\n\t{\n\t\t\"key\": \"a/1\",\n\t\t\"flags\": 9,\n\t\t\"value\": \"b25l\"\n"),
        "{exported}"
    );
    let _ = run(&node, "kv delete -recurse a/");
    let imported = run_with(&node, "kv import -", &exported);
    assert_eq!((imported.code, imported.stdout.as_str()), (0, "Imported: a/1\nImported: a/2\n"), "{imported:?}");
    assert_eq!(run(&node, "kv export a/").stdout, exported);
    let imported = run_with(&node, "kv import -prefix=copy/ -", &exported);
    assert_eq!(imported.stdout, "Imported: copy/a/1\nImported: copy/a/2\n");
    refused(&node, "kv import nothing.json", 2, "nothing.json");
    refused(&node, "kv import '{\"a\": 1}'", 2, "Cannot unmarshal");
}

#[test]
fn instances_come_from_flags_and_files() {
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("db.hcl");
    std::fs::write(&file, "service {\n  name = \"db\"\n  id = \"db-1\"\n  port = 5432\n  tags = [\"a\"]\n}\n").unwrap();
    let file = file.to_string_lossy();
    check(
        &node,
        "services register -name web -id web-1 -port 80 -tag v1 -tag blue -meta k=v",
        "Registered service: web",
    );
    check(&node, &format!("services register {file}"), "Registered service: db");
    check(&node, "catalog services", "consul\ndb\nweb");
    check(&node, "catalog services -tags", "consul\ndb      a\nweb     blue,v1");
    check(&node, "catalog services -node n1 -tags", "consul\ndb      a\nweb     blue,v1");
    check(&node, "catalog nodes -service nope", "No nodes match the given query - try expanding your search");
    check(&node, "catalog datacenters", "dc1");
    let nodes = run(&node, "catalog nodes").stdout;
    assert!(nodes.starts_with("Node  ID        Address    DC\nn1    "), "{nodes}");
    let detailed = run(&node, "catalog nodes -detailed -service=web").stdout;
    assert!(detailed.contains("TaggedAddresses") && detailed.contains("lan=127.0.0.1"), "{detailed}");
    check(&node, "services deregister -id web-1", "Deregistered service: web-1");
    check(&node, &format!("services deregister {file}"), "Deregistered service: db-1");
    refused(&node, "services deregister -id web-1", 3, "Unknown service ID");
    check(&node, "catalog services -o json", "{\n    \"consul\": []\n}");
}

#[test]
fn an_agent_is_asked_about_itself() {
    let node = Node::dev();
    let members = run(&node, "members").stdout;
    assert!(members.starts_with("Node  Address "), "{members}");
    let row: Vec<&str> = members.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!((row[0], &row[2..]), ("n1", &["alive", "server", "1.22.0", "2", "dc1", "default", "<all>"][..]));
    assert_eq!(run(&node, "members -status=failed").code, 2, "nobody is left over");
    let info = run(&node, "info").stdout;
    assert!(info.starts_with("agent:\n\tcheck_monitors = 0\n"), "{info}");
    assert!(info.contains("consul:\n") && info.contains("\tserver = true\n"), "{info}");
    check(&node, "maint -enable -reason 'a new disk'", "Node maintenance is now enabled");
    check(&node, "maint", "Node:\n  Name:   n1\n  Reason: a new disk");
    check(&node, "maint -disable", "Node maintenance is now disabled");
    check(&node, "maint", "");
    let _ = run(&node, "services register -name web");
    check(&node, "maint -enable -service=web", "Service maintenance is now enabled for \"web\"");
    assert!(run(&node, "maint").stdout.starts_with("Service:\n  ID:     web\n"));
    let event = run(&node, "event -name deploy v1 of -it").stdout;
    assert!(event.starts_with("Event ID: ") && event.trim_end().len() == 46, "{event}");
    let heard = node.http.get("/v1/event/list").json();
    assert_eq!(heard[0]["Payload"], "djEgb2YgLWl0");
    let key = run(&node, "keygen").stdout;
    assert_eq!((key.len(), key.ends_with("=\n")), (45, true), "{key}");
    assert_ne!(key, run(&node, "keygen").stdout);
    assert!(run(&node, "consul version").stdout.starts_with("Consul v1."));
    assert!(run(&node, "version").stdout.starts_with("Callboard v"));
}
