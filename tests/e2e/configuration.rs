//! Configuration with the real program: files that define, a signal and a request that read them again, what is wrong
//! told before anything happens, bounds that the operator sets, and the log followed over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use callboard_tests::http::Http;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::{binaries, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file can be written");
}

/// The ids of the instances that the agent knows.
fn services(http: &Http) -> Vec<String> {
    let Value::Object(found) = http.get("/v1/agent/services").ok().json() else { panic!("services are a map") };
    found.keys().cloned().collect()
}

#[test]
fn files_define_and_a_signal_reads_them_again() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = files.path();
    write(files, "a.hcl", "node_meta {\n  rack = \"one\"\n}\n");
    write(
        files,
        "web.hcl",
        "service {\n  name = \"web\"\n  port = 80\n  check {\n    ttl = \"1h\"\n    status = \"passing\"\n  }\n}\n",
    );
    write(files, "db.json", r#"{"services": [{"id": "db1", "name": "db", "port": 1, "enable_tag_override": true}]}"#);
    let node = Node::durable_with(data.path(), &["-config-dir", files.to_str().unwrap()]);
    wait::until_true("what files define", LIMIT, || services(&node.http) == ["db1", "web"]);
    let rows = node.http.get("/v1/health/service/web?passing").ok().json();
    assert_eq!(rows[0]["Node"]["Meta"]["rack"], json!("one"), "{rows}");
    node.http.put_json("/v1/agent/service/register", &json!({"Name": "api", "Port": 3}));
    // A beat moves the check; that the files are read again does not move it back.
    assert_eq!(node.http.put("/v1/agent/check/warn/service:web", "").status, 200);

    write(files, "a.hcl", "node_meta {\n  rack = \"two\"\n}\n");
    write(files, "db.json", r#"{"service": {"name": "cache", "port": 2}}"#);
    node.process.signal(Signal::HUP);
    wait::until_true("what files define now", LIMIT, || services(&node.http) == ["api", "cache", "web"]);
    let shown = || node.http.get("/v1/catalog/node/n1").ok().json();
    wait::until_true("the node's new pairs", LIMIT, || shown()["Node"]["Meta"]["rack"] == json!("two"));
    let checks = node.http.get("/v1/health/checks/web").ok().json();
    assert_eq!(checks[0]["Status"], json!("warning"), "{checks}");

    // What vanishes while the node is down goes when it comes back; what was registered over HTTP stays.
    std::fs::remove_file(files.join("db.json")).unwrap();
    let node = node.killed_and_started();
    wait::until_true("what is left", LIMIT, || services(&node.http) == ["api", "web"]);
}

#[test]
fn a_broken_file_changes_nothing_and_is_reported() {
    let files = tempfile::tempdir().unwrap();
    let files = files.path();
    write(files, "a.hcl", "service {\n  name = \"web\"\n}\n");
    let node = Node::dev_with(&["-config-dir", files.to_str().unwrap()]);
    wait::until_true("what files define", LIMIT, || services(&node.http) == ["web"]);
    write(files, "a.hcl", "service {\n  name = \"other\"\n}\n");
    write(files, "b.json", r#"{"limits": {"kv_max_value_sise": 1}}"#);
    let reply = node.http.put("/v1/agent/reload", "");
    assert_eq!(reply.status, 500);
    let text = reply.text();
    assert!(
        text.contains("b.json: invalid config key limits.kv_max_value_sise; did you mean limits.kv_max_value_size?"),
        "{text}"
    );
    assert_eq!(services(&node.http), ["web"]);
    node.process.signal(Signal::HUP);
    wait::until_true("the reason in the log", LIMIT, || node.process.stderr().contains("was not taken over"));
    assert_eq!(services(&node.http), ["web"]);

    write(files, "b.json", r#"{"limits": {"kv_max_value_size": 8}, "datacenter": "elsewhere"}"#);
    let reply = node.http.put("/v1/agent/reload", "");
    assert_eq!((reply.status, reply.body.len()), (200, 0), "{}", reply.text());
    assert_eq!(services(&node.http), ["other"]);
    assert_eq!(node.http.put("/v1/kv/a", "12345678").status, 200);
    let reply = node.http.put("/v1/kv/a", "123456789");
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("is too large"), "{}", reply.text());
    let log = node.process.stderr();
    assert!(log.contains("need a restart") && log.contains("datacenter"), "{log}");
}

#[test]
fn what_is_wrong_is_told_before_anything_happens() {
    let folder = tempfile::tempdir().unwrap();
    let taken = Node::dev();
    let port = taken.http.address.port().to_string();
    let check = |arguments: &[&str], part: &str| {
        let mut process = Process::start(Command::new(binaries::control()).arg("agent").args(arguments));
        let status = process.wait(LIMIT);
        let said = process.stderr();
        assert!(!status.success() && said.contains(part), "{arguments:?} {status}: {said}");
        status.code()
    };
    check(&["-bind", "127.0.0.1"], "data_dir cannot be empty");
    check(&["-dev", "-hcl", "datacentre = \"x\""], "invalid config key datacentre; did you mean datacenter?");
    check(&["-dev", "-config-file", "/nowhere/x.json"], "reading configuration /nowhere/x.json");
    let code = check(&["-dev", "-http-port", &port, "-dns-port", "-1"], "binding HTTP to 127.0.0.1:");
    assert_eq!(code, Some(1));
    write(folder.path(), "x.hcl", "ports {\n  http = \"8500\"\n}\n");
    let file = folder.path().join("x.hcl");
    check(&["-dev", "-config-file", file.to_str().unwrap()], "x.hcl: ports.http: a text found, a whole number");
}

#[test]
fn configuration_is_validated_without_an_agent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let validate = || {
        let mut process = Process::start(Command::new(binaries::control()).args(["validate", path]));
        (process.wait(LIMIT).code(), process.stdout(), process.stderr())
    };
    write(folder.path(), "a.hcl", "datacenter = \"x\"\nenable_debug = true\nservice {\n  name = \"a\"\n}\n");
    let (code, out, _) = validate();
    assert_eq!(code, Some(0));
    assert!(out.ends_with("Configuration is valid!\n") && out.contains("enable_debug"), "{out}");
    write(folder.path(), "b.hcl", "service {\n  name = \"b\"\n  prot = 1\n}\n");
    let (code, _, told) = validate();
    assert_eq!(code, Some(1));
    assert!(told.contains("b.hcl: service.0: json: unknown field \"prot\""), "{told}");
}

#[test]
fn the_log_is_followed_over_http() {
    let node = Node::dev();
    let reply = node.http.get("/v1/agent/monitor?loglevel=odd");
    assert_eq!((reply.status, reply.text()), (400, "Unknown log level: odd".to_owned()));
    let mut stream = TcpStream::connect(node.http.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET /v1/agent/monitor?loglevel=info&logjson HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    // The head has come, so the listener is there.
    assert!(lines.any(|line| line.is_empty()), "a head ends");
    node.process.signal(Signal::HUP);
    let line = lines.find(|line| line.contains("configuration read again")).expect("the line of the reload");
    let line: Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(line["@level"], json!("info"));
}

#[test]
fn the_process_shows_itself() {
    let node = Node::dev_with(&["-hcl", "telemetry {\n  prometheus_retention_time = \"1m\"\n}", "-node-meta", "a:b"]);
    let version = node.http.get("/v1/agent/version").ok().json();
    assert_eq!(version["HumanVersion"], json!("1.22.0"));
    assert!(node.http.get("/v1/agent/host").ok().json()["Memory"]["total"].as_u64() > Some(0));
    let metrics = node.http.get("/v1/agent/metrics").ok().json();
    for list in ["Gauges", "Points", "Counters", "Samples"] {
        assert!(metrics[list].is_array(), "{metrics}");
    }
    let gauge = |name: &str| {
        let found = metrics["Gauges"].as_array().unwrap().iter().find(|gauge| gauge["Name"] == json!(name));
        found.map(|gauge| gauge["Value"].as_f64())
    };
    assert_eq!(gauge("consul.n1.state.nodes"), Some(Some(1.0)), "{metrics}");
    let text = node.http.get("/v1/agent/metrics?format=prometheus").ok().text();
    assert!(text.lines().any(|line| line == "consul_state_nodes 1"), "{text}");
    let own = node.http.get("/v1/agent/self").ok().json();
    assert_eq!(own["DebugConfig"]["Logging"]["LogLevel"], json!("DEBUG"));
    assert_eq!(own["Meta"]["a"], json!("b"));
    let quiet = Node::dev();
    let reply = quiet.http.get("/v1/agent/metrics?format=prometheus").ok();
    assert!(reply.body.is_empty() && reply.header("X-Consul-Reason").is_some(), "{reply:?}");
}

#[test]
fn numbers_come_every_second() {
    let node = Node::dev();
    let mut stream = TcpStream::connect(node.http.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET /v1/agent/metrics/stream HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(|line| line.expect("the stream goes on"));
    assert_eq!(lines.filter(|line| line.contains("\"Gauges\"")).take(2).count(), 2);
}

#[test]
fn bounds_of_the_operator_hold() {
    let fragment = "http_config {\n  block_endpoints = [\"/v1/event\"]\n  response_headers = { \"X-Own\" = \"yes\" }\n  \
                    allow_write_http_from = [\"192.0.2.0/24\"]\n}\ntranslate_wan_addrs = true\n\
                    limits {\n  request_limits {\n    mode = \"enforcing\"\n    read_rate = 100000\n  }\n}";
    let node = Node::dev_with(&["-hcl", fragment]);
    let reply = node.http.get("/v1/event/list");
    assert_eq!((reply.status, reply.text()), (403, "Endpoint is blocked by agent configuration".to_owned()));
    let reply = node.http.get("/v1/catalog/nodes").ok();
    assert_eq!((reply.header("X-Own"), reply.header("X-Consul-Translate-Addresses")), (Some("yes"), Some("true")));
    assert_eq!(node.http.put("/v1/kv/a", "1").status, 403);
    let few =
        Node::dev_with(&["-hcl", "limits {\n  request_limits {\n    mode = \"enforcing\"\n    write_rate = 1\n  }\n}"]);
    let statuses: Vec<u16> = (0..5).map(|_| few.http.put("/v1/kv/a", "1").status).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

#[test]
fn large_answers_are_compressed_for_those_who_take_it() {
    let node = Node::dev();
    let _ = node.http.put("/v1/kv/a", "x".repeat(100_000)).ok();
    let mut stream = TcpStream::connect(node.http.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
        .write_all(b"GET /v1/kv/a?raw HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer[..answer.len().min(1024)]).to_lowercase();
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"), "{head}");
    assert!(answer.len() < 10_000, "{} bytes", answer.len());
    let plain = node.http.get("/v1/kv/a?raw").ok();
    assert_eq!((plain.body.len(), plain.header("Content-Encoding")), (100_000, None));
}

#[test]
fn http_is_served_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below/http.sock");
    let fragment = format!(
        "addresses {{\n  http = \"unix://{} 127.0.0.1\"\n}}\nunix_sockets {{\n  mode = \"0600\"\n}}",
        path.display()
    );
    let node = Node::dev_with(&["-hcl", &fragment]);
    assert_eq!(node.http.get("/v1/status/leader").status, 200);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"GET /v1/agent/self HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn rules_of_the_configuration_are_written_once() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rules = |protocol: &str| {
        let entry = json!({"Kind": "service-defaults", "Name": "web", "Protocol": protocol});
        write(files.path(), "rules.json", &json!({"config_entries": {"bootstrap": [entry]}}).to_string());
    };
    rules("http");
    let node = Node::durable_with(data.path(), &["-config-dir", files.path().to_str().unwrap()]);
    let protocol = |http: &Http| {
        let shown = http.request("GET", "/v1/config/service-defaults/web", b"").ok()?;
        (shown.status == 200).then(|| shown.json()["Protocol"].clone())
    };
    wait::until_true("the rule", LIMIT, || protocol(&node.http) == Some(json!("http")));
    // One that is there is left alone, whoever wrote it.
    node.http.put_json("/v1/config", &json!({"Kind": "service-defaults", "Name": "web", "Protocol": "grpc"}));
    rules("http2");
    let node = node.killed_and_started();
    assert_eq!(protocol(&node.http), Some(json!("grpc")));
}
