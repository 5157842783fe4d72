//! A process that starts while the registry is gone: it begins with what it knew, or with what DNS says.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use callboard_tests::backend::Backend;
use callboard_tests::binaries;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs the example once: what it said, and the time from before the process was made until it said so.
fn first_call(server: &str, folder: &Path) -> (String, Duration) {
    let mut command = Command::new(binaries::example("cold_start"));
    command.arg("web").arg(folder).env("CALLBOARD_HTTP_ADDR", server);
    let begun = Instant::now();
    let mut process = Process::start(&mut command);
    let said = process.line(LIMIT);
    let took = begun.elapsed();
    assert!(process.wait(LIMIT).success(), "{}", process.stderr());
    (said, took)
}

#[test]
fn with_the_registry_gone_a_process_begins_with_the_last_good_file() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let backend = Backend::start("hello");
    let node = Node::dev();
    let server = format!("http://{}", node.http.address);
    node.http.put_json(
        "/v1/agent/service/register",
        &json!({"ID": "web-1", "Name": "web", "Address": "127.0.0.1", "Port": backend.address.port()}),
    );
    let (said, _) = first_call(&server, folder.path());
    assert!(said.starts_with("200 OK by Registry"), "{said}");
    drop(node);
    let mut times = Vec::new();
    for _ in 0..5 {
        let (said, took) = first_call(&server, folder.path());
        assert!(said.starts_with("200 OK by File"), "{said}");
        times.push(took);
        println!("figure: registry refuses: {said}; {:.1} ms with the start of the process", took.as_secs_f64() * 1e3);
    }
    // A server that takes connections and never answers is the slower way of being gone.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let server = format!("http://{}", silent.local_addr().expect("a bound listener has an address"));
    let (said, took) = first_call(&server, folder.path());
    assert!(said.starts_with("200 OK by File"), "{said}");
    println!("figure: registry is silent: {said}; {:.1} ms with the start of the process", took.as_secs_f64() * 1e3);
    assert_eq!(backend.asked(), 7, "every call arrived");
}

/// The DNS of a control node is read as what it is, by a client whose own server is not there.
#[tokio::test]
async fn the_dns_of_a_control_node_stands_in_for_its_api() {
    let node = Node::dev();
    let web = |id: &str, port: u16| json!({"ID": id, "Name": "web", "Address": "127.0.0.1", "Port": port});
    node.http.put_json("/v1/agent/service/register", &web("web-1", 1001));
    node.http.put_json("/v1/agent/service/register", &web("web-2", 1002));
    let client = callboard::Client::builder()
        .server("http://127.0.0.1:1")
        .dns_fallback("service.consul", Some(node.dns().address))
        .build()
        .expect("the settings fit");
    let mut watch = client.watch("web").expect("web can be watched");
    let snapshot = watch.ready(2, LIMIT).await.expect("DNS lists both");
    let mut found: Vec<&str> = snapshot.members().iter().map(|member| member.endpoint().authority()).collect();
    found.sort_unstable();
    assert_eq!(found, ["127.0.0.1:1001", "127.0.0.1:1002"]);
    assert_eq!(watch.origin(), callboard::watch::Origin::Dns);
    client.shutdown().await;
}
