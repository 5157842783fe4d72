//! `consul_sd_configs` on the control node, read by two programs that share no discovery code: Prometheus and
//! VictoriaMetrics. Each discovers, relabels by tag and meta, scrapes three instances, and drops one within its refresh
//! when that one is deregistered. Where the Prometheus at hand is built without Consul discovery, the test makes that
//! part's requests and everything else is Prometheus all the same; VictoriaMetrics makes its own.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what is passed over, and figures, are said where a reader looks"
)]

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

use crate::page::Client;
use crate::{file, free_port};

/// Both look once a second here; a start and three scrapes fit many times.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn prometheus_discovers_relabels_scrapes_and_forgets() {
    let named = std::env::var_os("CALLBOARD_PROMETHEUS").map(PathBuf::from);
    let Some(program) = named.or_else(|| needs::program("prometheus")) else { return };
    let company = Company::start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = free_port();
    let http = company.node.http;
    let mut process = prometheus(&program, folder.path(), port, "prometheus.yml", &http);
    let refused = wait::within(Duration::from_secs(3), || (!process.is_alive()).then_some(())).is_some();
    let mut stand_in = None;
    if refused {
        let _ = process.wait(PATIENCE);
        assert!(process.stderr().contains("field consul_sd_configs not found"), "{}", process.stderr());
        eprintln!(
            "passed over: this Prometheus is built without consul_sd_configs (Debian's is); its requests are made by the test, the rest is its own; CALLBOARD_PROMETHEUS names another one"
        );
        stand_in = Some(StandIn::start(http, folder.path().join("targets.json")));
        process = prometheus(&program, folder.path(), port, "prometheus_file.yml", &http);
    }
    company.is_followed_by("Prometheus", &Http::new(([127, 0, 0, 1], port).into()));

    drop(stand_in);
    process.terminate();
    assert!(process.wait(PATIENCE).success(), "{}", process.stderr());
    let mut client = Client::new("Prometheus");
    client.did(
        "discovers what is tagged, relabels by tag and meta, and scrapes; a build without `consul_sd_configs` is \
         handed what its requests find",
    );
    client.did("drops a deregistered instance within its refresh");
    client.hold();
}

#[test]
fn victoria_metrics_discovers_relabels_scrapes_and_forgets() {
    let Some(program) = needs::program("victoria-metrics") else { return };
    let company = Company::start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = free_port();
    let mut process = victoria_metrics(&program, folder.path(), port, &company.node.http);
    company.is_followed_by("VictoriaMetrics", &Http::new(([127, 0, 0, 1], port).into()));

    process.terminate();
    assert!(process.wait(PATIENCE).success(), "{}", process.stderr());
    let mut client = Client::new("VictoriaMetrics");
    client.did("discovers what is tagged by `consul_sd_configs`, relabels by tag and meta, and scrapes");
    client.did("drops a deregistered instance within its refresh");
    client.hold();
}

/// A control node with three instances that ask to be scraped and one that does not.
struct Company {
    node: Node,
    targets: Vec<Backend>,
}

impl Company {
    fn start() -> Self {
        let node = Node::dev();
        let targets: Vec<Backend> = (1..=3).map(|number| Backend::start(&format!("demo_value {number}\n"))).collect();
        for (number, target) in (1..).zip(&targets) {
            node.http.put_json(
                "/v1/agent/service/register",
                &json!({"ID": format!("app-{number}"), "Name": "app", "Address": "127.0.0.1", "Port": target.address.port(),
                    "Tags": ["scrape", "v1"], "Meta": {"zone": format!("z{number}")}}),
            );
        }
        let silent = json!({"ID": "silent", "Name": "silent", "Address": "127.0.0.1", "Port": 1, "Tags": ["v1"]});
        node.http.put_json("/v1/agent/service/register", &silent);
        Self { node, targets }
    }

    /// Watches a scraper through Prometheus's own API: it comes to scrape the three and no other, and drops the one that
    /// is deregistered.
    fn is_followed_by(&self, name: &str, scraper: &Http) {
        let wanted: BTreeSet<(String, String)> =
            (1..=3).map(|number| (format!("app-{number}"), format!("z{number}"))).collect();
        wait::until_true("three targets that are up", PATIENCE, || up(scraper) == wanted);
        assert_eq!(active(scraper).len(), 3, "what does not ask to be scraped is no target, not even one that is down");
        assert!(self.targets.iter().all(|target| target.asked() > 0), "each was scraped");
        wait::until_true("the scraped values", PATIENCE, || values(scraper) == wanted);

        let begun = Instant::now();
        let _ = self.node.http.put("/v1/agent/service/deregister/app-2", "").ok();
        wait::until_true("the one that left is dropped", PATIENCE, || {
            // Whether the last scrape went well does not matter here.
            let left = active(scraper);
            left.len() == 2 && left.iter().all(|target| target["labels"]["instance"] != "app-2")
        });
        println!("figure: {name} dropped a deregistered target after {:?}, refresh interval 1 s", begun.elapsed());
    }
}

fn prometheus(program: &Path, folder: &Path, port: u16, settings: &str, node: &Http) -> Process {
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", filled(settings, folder, node).display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Process::start(&mut command)
}

fn victoria_metrics(program: &Path, folder: &Path, port: u16, node: &Http) -> Process {
    let mut command = Command::new(program);
    command
        .arg(format!("-promscrape.config={}", filled("prometheus.yml", folder, node).display()))
        // It reads Prometheus's file, and takes the refresh interval from a flag instead of the file.
        .args(["-promscrape.config.strictParse=false", "-promscrape.consulSDCheckInterval=1s"])
        // By default a query does not see the last 30 seconds.
        .arg("-search.latencyOffset=0s")
        .arg(format!("-storageDataPath={}", folder.join("data").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    Process::start(&mut command)
}

/// Writes this suite's settings file into `folder`, with the places filled that only a run knows.
fn filled(settings: &str, folder: &Path, node: &Http) -> PathBuf {
    let text = std::fs::read_to_string(file(settings)).expect("the settings are in this folder");
    let text = text.replace("{http}", &node.address.to_string()).replace("{folder}", &folder.to_string_lossy());
    let path = folder.join(settings);
    std::fs::write(&path, text).expect("a file can be written");
    path
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
fn up(scraper: &Http) -> BTreeSet<(String, String)> {
    active(scraper).iter().filter(|target| target["health"] == "up").map(|target| place(&target["labels"])).collect()
}

fn active(scraper: &Http) -> Vec<Value> {
    asked(scraper, "/api/v1/targets?state=active", "activeTargets")
}

/// Instance and zone of each series that the targets show.
fn values(scraper: &Http) -> BTreeSet<(String, String)> {
    let series = asked(scraper, "/api/v1/query?query=demo_value", "result");
    series.iter().map(|series| place(&series["metric"])).collect()
}

/// One list of an answer of Prometheus's API; empty while there is no answer, the program may be starting.
fn asked(scraper: &Http, path: &str, list: &str) -> Vec<Value> {
    let Ok(reply) = scraper.request("GET", path, b"") else { return Vec::new() };
    let Ok(said) = serde_json::from_slice::<Value>(&reply.body) else { return Vec::new() };
    said["data"][list].as_array().cloned().unwrap_or_default()
}

fn place(labels: &Value) -> (String, String) {
    (text(&labels["instance"]), text(&labels["zone"]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
