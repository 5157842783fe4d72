//! Exit codes: our own say what kind of failure it was, Consul's say that it was one.

use callboard_tests::binaries;
use callboard_tests::node::Node;
use std::process::Command;

use crate::run::{ended, run};

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let node = Node::dev();
    for (line, own, consuls) in [
        ("kv put a b", 0, 0),
        ("kv get a", 0, 0),
        ("kv get missing", 3, 1),
        ("kv put -cas a c", 5, 1),
        ("kv put -acquire a", 2, 1),
        ("kv nope", 2, 1),
        ("kv get -nope a", 2, 1),
        ("kv get -http-addr=127.0.0.1:1 a", 6, 1),
        ("members -http-addr 127.0.0.1:1", 6, 1),
        ("members -status=left", 2, 2),
        ("members -status=(", 2, 1),
        ("kv get -http-addr=ftp://a a", 2, 1),
        ("kv get -datacenter=other a", 1, 1),
        ("services deregister -id=nope", 3, 1),
        ("event", 2, 1),
        ("help", 0, 0),
        ("kv -help", 0, 0),
    ] {
        let found = run(&node, line);
        assert_eq!(found.code, own, "{line}: {found:?}");
        let found = run(&node, &format!("consul {line}"));
        assert_eq!(found.code, consuls, "consul {line}: {found:?}");
    }
}

#[test]
fn a_link_named_consul_is_consul() {
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let link = folder.path().join("consul");
    std::os::unix::fs::symlink(binaries::control(), &link).expect("a link can be made");
    let mut command = Command::new(&link);
    command.args(["kv", "get", "missing"]).env("CONSUL_HTTP_ADDR", node.http.address.to_string());
    let found = ended(&mut command);
    assert_eq!((found.code, found.stderr.as_str()), (1, "Error! No key exists at: missing\n"));
    let found = ended(Command::new(&link).arg("-version"));
    assert!(found.stdout.starts_with("Consul v1."), "{found:?}");
}
