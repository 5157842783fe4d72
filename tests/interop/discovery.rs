//! A real Prometheus with `consul_sd_configs` on the control node: it discovers, relabels by tag and meta, scrapes
//! three instances, and drops one within its refresh when that one is deregistered. Where the Prometheus at hand is
//! built without Consul discovery, the test makes that part's requests and everything else is Prometheus all the same.
#![allow(clippy::print_stderr, reason = "what is passed over is said where a reader looks")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use callboard_tests::backend::Backend;
use callboard_tests::http::Http;
use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::wait;
use serde_json::{Value, json};

use crate::{file, free_port};

/// Prometheus looks once a second here; a start and three scrapes fit many times.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn prometheus_discovers_relabels_scrapes_and_forgets() {
    let named = std::env::var_os("CALLBOARD_PROMETHEUS").map(PathBuf::from);
    let Some(program) = named.or_else(|| needs::program("prometheus")) else { return };
    let node = Node::dev();
    let targets: Vec<Backend> = (1..=3).map(|number| Backend::start(&format!("demo_value {number}\n"))).collect();
    for (number, target) in (1..).zip(&targets) {
        node.http.put_json(
            "/v1/agent/service/register",
            &json!({"ID": format!("app-{number}"), "Name": "app", "Address": "127.0.0.1", "Port": target.address.port(),
                "Tags": ["scrape", "v1"], "Meta": {"zone": format!("z{number}")}}),
        );
    }
    // One that does not ask to be scraped.
    let silent = json!({"ID": "silent", "Name": "silent", "Address": "127.0.0.1", "Port": 1, "Tags": ["v1"]});
    node.http.put_json("/v1/agent/service/register", &silent);

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = free_port();
    let http = node.http;
    let mut process = start(&program, folder.path(), port, "prometheus.yml", &http);
    let refused = wait::within(Duration::from_secs(3), || (!process.is_alive()).then_some(())).is_some();
    let mut stand_in = None;
    if refused {
        let _ = process.wait(PATIENCE);
        assert!(process.stderr().contains("field consul_sd_configs not found"), "{}", process.stderr());
        eprintln!(
            "passed over: this Prometheus is built without consul_sd_configs (Debian's is); its requests are made by the test, the rest is its own; CALLBOARD_PROMETHEUS names another one"
        );
        stand_in = Some(StandIn::start(http, folder.path().join("targets.json")));
        process = start(&program, folder.path(), port, "prometheus_file.yml", &http);
    }
    let prometheus = Http::new(([127, 0, 0, 1], port).into());

    let wanted: BTreeSet<(String, String)> =
        (1..=3).map(|number| (format!("app-{number}"), format!("z{number}"))).collect();
    wait::until_true("three targets that are up", PATIENCE, || up(&prometheus) == wanted);
    assert!(targets.iter().all(|target| target.asked() > 0), "each was scraped");
    wait::until_true("the scraped values", PATIENCE, || values(&prometheus).len() == 3);

    let begun = Instant::now();
    let _ = node.http.put("/v1/agent/service/deregister/app-2", "").ok();
    wait::until_true("the one that left is dropped", PATIENCE, || {
        let left = up(&prometheus);
        left.len() == 2 && left.iter().all(|(id, _)| id != "app-2")
    });
    println!("figure: Prometheus dropped a deregistered target after {:?}, refresh interval 1 s", begun.elapsed());

    drop(stand_in);
    process.terminate();
    assert!(process.wait(PATIENCE).success(), "{}", process.stderr());
}

fn start(program: &Path, folder: &Path, port: u16, settings: &str, node: &Http) -> Process {
    let text = std::fs::read_to_string(file(settings)).expect("the settings are in this folder");
    let text = text.replace("{http}", &node.address.to_string()).replace("{folder}", &folder.to_string_lossy());
    let path = folder.join(settings);
    std::fs::write(&path, text).expect("a file can be written");
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Process::start(&mut command)
}

/// Makes the requests of Prometheus's Consul discovery (the contract, 25.1) and hands what it finds to Prometheus as a
/// file of targets with the same labels. Like Prometheus, it discards an answer whose index it has seen.
struct StandIn {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    fn start(node: Http, targets: PathBuf) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let myself = node.get("/v1/agent/self").ok().json();
            assert!(myself.as_object().is_some_and(|parts| parts.values().all(Value::is_object)), "{myself}");
            let datacenter = text(&myself["Config"]["Datacenter"]);
            let mut index = 0;
            while !seen.load(Ordering::Acquire) {
                let asked = if index == 0 { String::new() } else { format!("&index={index}") };
                let reply = node.get(&format!("/v1/catalog/services?stale=&wait=1000ms{asked}")).ok();
                if reply.index() == index {
                    continue;
                }
                index = reply.index();
                let services = reply.json();
                let found: Vec<Value> = services
                    .as_object()
                    .expect("an object")
                    .keys()
                    .flat_map(|name| rows(&node, name))
                    .map(|row| target(&row, &datacenter))
                    .collect();
                let draft = targets.with_extension("tmp");
                std::fs::write(&draft, Value::Array(found).to_string()).expect("a file can be written");
                std::fs::rename(&draft, &targets).expect("a file can be renamed");
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of it has shown itself by targets that never came.
            let _ = thread.join();
        }
    }
}

fn rows(node: &Http, service: &str) -> Vec<Value> {
    let rows = node.get(&format!("/v1/health/service/{service}?stale=&wait=120000ms")).ok().json();
    rows.as_array().cloned().unwrap_or_default()
}

/// One instance, with the labels that Prometheus makes of it.
fn target(row: &Value, datacenter: &str) -> Value {
    let service = &row["Service"];
    let own = text(&service["Address"]);
    let host = if own.is_empty() { text(&row["Node"]["Address"]) } else { own };
    let tags: Vec<String> = service["Tags"].as_array().expect("a list").iter().map(text).collect();
    let mut labels = json!({
        "__meta_consul_dc": datacenter,
        "__meta_consul_node": row["Node"]["Node"],
        "__meta_consul_service": service["Service"],
        "__meta_consul_service_id": service["ID"],
        "__meta_consul_tags": format!(",{},", tags.join(",")),
    });
    for (key, value) in service["Meta"].as_object().expect("an object") {
        labels[format!("__meta_consul_service_metadata_{}", key.replace('-', "_"))] = value.clone();
    }
    json!({"targets": [format!("{host}:{}", service["Port"])], "labels": labels})
}

/// Instance and zone of each active target that answers.
fn up(prometheus: &Http) -> BTreeSet<(String, String)> {
    let Ok(reply) = prometheus.request("GET", "/api/v1/targets?state=active", b"") else { return BTreeSet::new() };
    let Ok(said) = serde_json::from_slice::<Value>(&reply.body) else { return BTreeSet::new() };
    let targets = said["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
    targets
        .iter()
        .filter(|target| target["health"] == "up")
        .map(|target| (text(&target["labels"]["instance"]), text(&target["labels"]["zone"])))
        .collect()
}

/// The series that the targets show.
fn values(prometheus: &Http) -> Vec<Value> {
    let Ok(reply) = prometheus.request("GET", "/api/v1/query?query=demo_value", b"") else { return Vec::new() };
    let Ok(said) = serde_json::from_slice::<Value>(&reply.body) else { return Vec::new() };
    said["data"]["result"].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
