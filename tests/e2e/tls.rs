//! TLS as operators set it up: certificates made by the program itself, HTTPS beside HTTP, and certificates that are
//! exchanged under a running node.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use callboard_tests::binaries;
use callboard_tests::node::Node;
use callboard_tests::wait;

/// The files are looked at every ten seconds; a machine may be busy.
const EXCHANGED: Duration = Duration::from_secs(60);

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(binaries::control()).current_dir(folder).args(arguments).output().expect("the program starts")
}

/// Makes an authority, a certificate for a server and one for a person.
pub(crate) fn certificates(folder: &Path) {
    for arguments in
        [&["tls", "ca", "create"][..], &["tls", "cert", "create", "-server"], &["tls", "cert", "create", "-cli"]]
    {
        let output = run(folder, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A node that serves HTTPS with the certificates of a folder.
fn node(folder: &Path, more: &str) -> Node {
    let config = folder.join("tls.hcl");
    let file = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "ports {{ https = 0 }}\ntls {{\n  https {{\n    ca_file = {:?}\n    cert_file = {:?}\n    key_file = {:?}\n    {more}\n  }}\n}}\n",
        file("consul-agent-ca.pem"),
        file("dc1-server-consul-0.pem"),
        file("dc1-server-consul-0-key.pem"),
    );
    std::fs::write(&config, text).expect("the configuration can be written");
    Node::dev_with(&["-config-file", &config.display().to_string()])
}

/// Asks over HTTPS, trusting the authority of a folder: what came out, or why not.
fn ask(port: u16, trusted: &Path, arguments: &[&str], more: &[&str]) -> Result<String, String> {
    let address = format!("https://127.0.0.1:{port}");
    let ca = trusted.join("consul-agent-ca.pem").display().to_string();
    let connection = ["-http-addr", &address, "-ca-file", &ca];
    // Behind a key everything is taken as it stands, so flags come before.
    let (command, words) = arguments.split_at(arguments.len().min(2));
    let output = run(trusted, &[command, &connection, more, words].concat());
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn https_is_served_and_certificates_are_exchanged_while_it_runs() {
    let (served, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    certificates(served.path());
    certificates(other.path());
    let before = tempfile::tempdir().expect("a folder");
    std::fs::copy(served.path().join("consul-agent-ca.pem"), before.path().join("consul-agent-ca.pem"))
        .expect("copied");
    let node = node(served.path(), "");
    let port = node.https_port();
    assert!(ask(port, before.path(), &["members"], &[]).expect("the members").contains("n1"));
    let refused = ask(port, other.path(), &["members"], &[]).expect_err("another authority");
    assert!(refused.contains("certificate"), "{refused}");
    let name = ["-tls-server-name", "server.dc1.consul"];
    ask(port, before.path(), &["members"], &name).expect("the certificate is for this name");
    let name = ["-tls-server-name", "server.dc2.consul"];
    ask(port, before.path(), &["members"], &name).expect_err("the certificate is not for this name");

    // Half an exchange: the pair does not fit, and the node goes on with what it had.
    let copy = |name: &str| {
        std::fs::copy(other.path().join(name), served.path().join(name)).expect("the file can be copied");
    };
    copy("dc1-server-consul-0.pem");
    wait::until_true("the broken pair is told", EXCHANGED, || {
        node.process.stderr().contains("new certificates are broken; the ones in use stay in use")
    });
    ask(port, before.path(), &["members"], &[]).expect("the old pair is still shown");

    copy("dc1-server-consul-0-key.pem");
    copy("consul-agent-ca.pem");
    wait::until_true("the new certificate is shown", EXCHANGED, || ask(port, other.path(), &["members"], &[]).is_ok());
    ask(port, before.path(), &["members"], &[]).expect_err("the old authority did not sign the new one");
    assert!(node.process.stderr().contains("certificates were exchanged"));
}

#[test]
fn verify_incoming_asks_for_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let node = node(folder.path(), "verify_incoming = true\n    tls_min_version = \"TLSv1_3\"");
    let port = node.https_port();
    ask(port, folder.path(), &["members"], &[]).expect_err("nobody is let in without a certificate");
    let own = ["-client-cert", "dc1-cli-consul-0.pem", "-client-key", "dc1-cli-consul-0-key.pem"];
    ask(port, folder.path(), &["kv", "put", "a", "b"], &own).expect("a certificate of the authority");
    assert_eq!(ask(port, folder.path(), &["kv", "get", "a"], &own).expect("the key").trim(), "b");
    assert_eq!(node.http.get("/v1/kv/a?raw").text(), "b", "it is the same registry");
}
