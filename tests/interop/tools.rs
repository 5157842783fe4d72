//! Command-line tools: `curl` on the plain API, and `crypt`, which keeps encrypted settings under keys.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use serde_json::{Value, json};

use crate::page::Client;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn curl_speaks_the_plain_api() {
    let Some(curl) = needs::program("curl") else { return };
    let node = Node::dev();
    let base = format!("http://{}/v1", node.http.address);
    let said = |arguments: &[&str]| said(Command::new(&curl).args(["--silent", "--show-error"]).args(arguments));
    let url = |path: &str| format!("{base}{path}");
    assert_eq!(said(&["--request", "PUT", "--data", "bar", &url("/kv/foo")]).trim(), "true");
    assert_eq!(said(&[&url("/kv/foo?raw")]), "bar");
    let body = r#"{"Name": "web", "Port": 80, "Check": {"TTL": "10m"}}"#;
    assert_eq!(said(&["-X", "PUT", "-d", body, &url("/agent/service/register")]), "");
    let entries: Value = serde_json::from_str(&said(&[&url("/health/service/web?pretty")])).expect("JSON is answered");
    assert_eq!(entries[0]["Service"]["Port"], 80);
    // What is worth it is compressed for who asks for that.
    let packed = said(&["--compressed", "--dump-header", "-", &url("/agent/self")]);
    assert!(packed.to_lowercase().contains("content-encoding: gzip"), "{packed}");
    assert!(packed.ends_with('}') || packed.ends_with("}\n"), "{packed}");
    // Errors are text, and --fail sees them.
    assert_eq!(said(&[&url("/kv/foo?index=abc")]), "Invalid index");
    let status = Command::new(&curl).args(["--silent", "--fail", &url("/kv/nothing")]).status().expect("curl starts");
    assert!(!status.success());
    // Requests that are no plain GET are told what may be done.
    let head = said(&["--head", &url("/kv/foo")]);
    assert!(head.starts_with("HTTP/1.1 405") && head.contains("GET,PUT,DELETE"), "{head}");

    // A read that waits for a change.
    let index = node.http.get("/v1/kv/foo").index();
    let mut command = Command::new(&curl);
    command.args(["--silent", "--include", &url(&format!("/kv/foo?index={index}&wait=60s"))]);
    let mut waiting = Process::start(&mut command);
    node.until_waiters(1);
    let _ = node.http.put("/v1/kv/foo", "news").ok();
    assert!(waiting.wait(PATIENCE).success(), "{}", waiting.stderr());
    let answer = waiting.stdout();
    assert!(answer.to_lowercase().contains("x-consul-index: ") && answer.contains("bmV3cw=="), "{answer}");
    // Two requests on one connection.
    let counted = ["--write-out", "%{num_connects} ", "--output", "-"];
    let twice = said(
        &[&counted[..], &[&url("/kv/foo?raw"), "--next", "--silent"], &counted[..], &[&url("/kv/foo?raw")]].concat(),
    );
    assert_eq!(twice, "news1 news0 ");
    let mut client = Client::new("curl");
    client.did("writes and reads keys, registers a service and finds it");
    client.did("is answered compressed when it asks for that, by text and a failing status when it asks wrongly");
    client.did("waits for a change of a key");
    client.did("asks twice on one connection");
    client.hold();
}

#[test]
fn curl_speaks_through_a_socket_of_the_file_system() {
    let Some(curl) = needs::program("curl") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let socket = folder.path().join("http.sock");
    let settings = json!({"addresses": {"http": format!("127.0.0.1 unix://{}", socket.display())}});
    let path = folder.path().join("settings.json");
    std::fs::write(&path, settings.to_string()).expect("the folder can be written to");
    let node = Node::dev_with(&["-config-file", &path.to_string_lossy()]);
    let _ = node.http.put("/v1/kv/foo", "bar").ok();
    let url = "http://localhost/v1/kv/foo?raw";
    assert_eq!(said(Command::new(curl).args(["--silent", "--unix-socket"]).arg(&socket).arg(url)), "bar");
    let mut client = Client::new("curl, a socket of the file system");
    client.did("reads a key");
    client.hold();
}

#[test]
fn crypt_keeps_encrypted_settings() {
    let (Some(crypt), Some(gpg)) = (needs::program("crypt-xordataexchange"), needs::program("gpg")) else { return };
    let node = Node::dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = |name: &str| folder.path().join(name).display().to_string();
    keys(&gpg, folder.path());
    std::fs::write(path("settings.json"), b"{\"colour\": \"red\"}").expect("the folder can be written to");
    let endpoint = format!("-endpoint={}", node.http.address);
    let run = |arguments: &[&str]| said(Command::new(&crypt).args(arguments));
    let public = format!("-keyring={}", path("public.gpg"));
    let secret = format!("-secret-keyring={}", path("secret.gpg"));
    run(&["set", "-backend=consul", &endpoint, &public, "crypt/settings", &path("settings.json")]);
    let kept = node.http.get("/v1/kv/crypt/settings?raw").ok().text();
    assert!(!kept.is_empty() && !kept.contains("colour"), "what is kept is encrypted: {kept}");
    let read = run(&["get", "-backend=consul", &endpoint, &secret, "crypt/settings"]);
    assert_eq!(read.trim(), "{\"colour\": \"red\"}");
    // And in plain text.
    run(&["set", "-plaintext", "-backend=consul", &endpoint, "crypt/plain", &path("settings.json")]);
    assert_eq!(
        run(&["get", "-plaintext", "-backend=consul", &endpoint, "crypt/plain"]).trim(),
        "{\"colour\": \"red\"}"
    );
    let mut client = Client::new("crypt");
    client.did("keeps settings under a key, encrypted, and reads them");
    client.did("keeps and reads them in plain text");
    client.hold();
}

/// Makes a pair of keys for nobody, and both keyrings as files.
fn keys(gpg: &Path, folder: &Path) {
    let home = folder.join("gnupg");
    std::fs::create_dir(&home).expect("a folder can be made");
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("the folder is ours");
    let gpg = |arguments: &[&str]| {
        let output = Command::new(gpg).arg("--homedir").arg(&home).args(["--batch", "--yes"]).args(arguments).output();
        let output = output.expect("gpg starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    gpg(&["--passphrase", "", "--quick-generate-key", "app@example.test", "rsa2048", "encr", "never"]);
    std::fs::write(folder.join("public.gpg"), gpg(&["--armor", "--export"])).expect("the folder can be written to");
    let secret = gpg(&["--pinentry-mode", "loopback", "--passphrase", "", "--armor", "--export-secret-keys"]);
    std::fs::write(folder.join("secret.gpg"), secret).expect("the folder can be written to");
    // Its agent would outlive the test.
    let mut end = Command::new("gpgconf");
    let ended = end.arg("--homedir").arg(&home).args(["--kill", "all"]).status().expect("gpgconf starts");
    assert!(ended.success(), "the agent of gpg ends");
}

/// What a command says, which must succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
