//! The HTTPS port as `testssl.sh` sees it, a program that knows what is wrong with TLS servers: protocols, suites,
//! certificates, known attacks. Nothing that it finds may be worse than low.

use std::process::Command;

use callboard_tests::binaries;
use callboard_tests::needs;
use callboard_tests::node::Node;
use serde_json::Value;

use crate::page::Client;

#[test]
fn nothing_worse_than_low_is_found_on_the_https_port() {
    let Some(program) = needs::program("testssl") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    // Whether somebody revoked it is asked of every certificate, so this one says where to look.
    for arguments in [
        &["tls", "ca", "create"][..],
        &["tls", "cert", "create", "-server", "-crl-url", "http://127.0.0.1/authority.crl"],
    ] {
        let made = Command::new(binaries::control()).current_dir(folder.path()).args(arguments).output();
        assert!(made.expect("the program starts").status.success(), "{arguments:?}");
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    let config = serde_json::json!({
        "ports": {"https": 0},
        "tls": {"https": {
            "cert_file": file("dc1-server-consul-0.pem"),
            "key_file": file("dc1-server-consul-0-key.pem"),
        }},
    });
    std::fs::write(file("tls.json"), config.to_string()).expect("the configuration can be written");
    let node = Node::dev_with(&["-config-file", &file("tls.json")]);
    let said = Command::new(program)
        .args(["--quiet", "--color", "0", "--warnings", "batch", "--ip", "one"])
        .args(["--add-ca", &file("consul-agent-ca.pem"), "--jsonfile", &file("found.json")])
        .arg(format!("localhost:{}", node.https_port()))
        .output()
        .expect("testssl starts");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let found = std::fs::read_to_string(file("found.json")).unwrap_or_else(|error| panic!("{error}: {said}"));
    let found: Vec<Value> = serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}"));
    assert!(found.len() > 100, "it looked at everything: {said}");
    let harmless = ["OK", "INFO", "LOW", "WARN", "DEBUG"];
    let worse: Vec<&Value> =
        found.iter().filter(|one| !harmless.contains(&one["severity"].as_str().unwrap_or_default())).collect();
    assert!(worse.is_empty(), "{worse:#?}");
    let mut client = Client::new("testssl.sh");
    client.did("finds nothing worse than low on the HTTPS port");
    client.hold();
}
