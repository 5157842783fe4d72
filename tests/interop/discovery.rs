//! A real Prometheus with `consul_sd_configs` on the control node: it discovers, relabels by tag and meta, scrapes
//! three instances, and drops one within its refresh when that one is deregistered.

use std::collections::BTreeSet;
use std::process::Command;
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
    let Some(program) = needs::program("prometheus") else { return };
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
    let settings = std::fs::read_to_string(file("prometheus.yml")).expect("the settings are in this folder");
    let settings = settings.replace("{http}", &node.http.address.to_string());
    let settings_path = folder.path().join("prometheus.yml");
    std::fs::write(&settings_path, settings).expect("a file can be written");
    let port = free_port();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", settings_path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut process = Process::start(&mut command);
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

    process.terminate();
    assert!(process.wait(PATIENCE).success(), "{}", process.stderr());
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
