//! Facts of the SDK against a real control node: `snapshot_never_older`, `pick_is_a_member`,
//! `outage_keeps_last_good`, `closed_guard_is_gone`; and what a registry that lost its data may do. The harness blocks, so the runtime has threads to spare.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use callboard::balance::{Ask, Policy};
use callboard::watch::{DoubtSettings, Origin};
use callboard::{Client, Drain, Service};
use callboard_tests::backend::Backend;
use callboard_tests::http::Http;
use callboard_tests::node::Node;
use callboard_tests::wait;
use serde_json::json;

/// How long news may take on a busy machine.
const NEWS: Duration = Duration::from_secs(15);

fn client(http: Http) -> Client {
    Client::builder().server(format!("http://{}", http.address)).build().expect("an address makes a client")
}

fn register(http: &Http, id: &str, port: u16) {
    http.put_json("/v1/agent/service/register", &json!({"ID": id, "Name": "web", "Port": port}));
}

/// The control node is killed and started again between writes: what a watcher is shown never steps back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn snapshot_never_older() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut node = Node::durable(folder.path());
    let http = node.http;
    let client = client(http);
    let mut watch = client.watch("web").expect("web can be watched");
    let mut last = (0, 0);
    let mut version = 1000;
    for _ in 0..4 {
        for _ in 0..5 {
            version += 1;
            register(&http, "web-1", version);
            loop {
                let snapshot = watch.snapshot();
                let shown = snapshot.members().first().map_or(0, |member| member.endpoint().port());
                let now = (snapshot.index(), shown);
                assert!(now >= last && shown >= last.1, "{now:?} after {last:?}");
                last = now;
                if shown == version {
                    break;
                }
                let changed = tokio::time::timeout(NEWS, watch.changed()).await;
                changed.expect("news arrives").expect("the watch lives");
            }
        }
        node = node.killed_and_started_in_place();
    }
    client.shutdown().await;
}

/// Instances come and go while every policy is asked: whoever is picked is in a snapshot of that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pick_is_a_member() {
    let node = Node::dev();
    let http = node.http;
    let client = client(http);
    register(&http, "web-0", 1000);
    client.watch("web").expect("web can be watched").ready(1, NEWS).await.expect("one instance is there");
    let done = Arc::new(AtomicBool::new(false));
    let policies = [
        Policy::RoundRobin,
        Policy::SmoothWeighted,
        Policy::Random,
        Policy::WeightedRandom,
        Policy::LEAST_REQUEST,
        Policy::RING_HASH,
    ];
    let pickers: Vec<_> = policies
        .into_iter()
        .map(|policy| {
            let balancer = client.balancer("web", policy).expect("web can be balanced");
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut picks = 0_u64;
                while !done.load(Ordering::Acquire) {
                    let before = balancer.snapshot();
                    let Ok(picked) = balancer.pick(&Ask::key(&picks.to_be_bytes())) else { continue };
                    let after = balancer.snapshot();
                    let endpoint = picked.endpoint();
                    let (id, home) = endpoint.identity();
                    let known = before.find(id, home).is_some() || after.find(id, home).is_some();
                    // When more than one snapshot passed meanwhile, neither end need hold it.
                    assert!(known || after.generation() > before.generation() + 1, "{id} is no member");
                    picks += 1;
                }
                picks
            })
        })
        .collect();
    for round in 0..80_u16 {
        register(&http, &format!("web-{}", round % 7), 1000 + round);
        if round % 3 == 0 {
            // Unknown ids are refused: some of these have not come yet.
            let _ = http.put(&format!("/v1/agent/service/deregister/web-{}", (round + 3) % 7), "");
        }
    }
    done.store(true, Ordering::Release);
    for picker in pickers {
        assert!(picker.join().expect("every pick was a member") > 0, "each policy was asked");
    }
    client.shutdown().await;
}

/// The only control node dies: the application keeps what it knew and goes on choosing. A second application that
/// starts during the outage begins with the first one's file.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn outage_keeps_last_good() {
    let cache = tempfile::tempdir().expect("a temporary folder can be made");
    let mut node = Node::dev();
    let http = node.http;
    register(&http, "web-1", 1001);
    register(&http, "web-2", 1002);
    let server = format!("http://{}", http.address);
    let builder = || Client::builder().server(server.clone()).cache_dir(cache.path());
    let client = builder().build().expect("a client");
    let balancer = client.balancer("web", Policy::RoundRobin).expect("web can be balanced");
    let watch = client.watch("web").expect("web can be watched");
    client.watch("web").expect("web can be watched").ready(2, NEWS).await.expect("two instances are there");
    node.process.kill();
    // The watch has noticed when it holds an error; what it knew stands all the same.
    wait::until_true("the outage is noticed", NEWS, || watch.error().is_some());
    assert_eq!(watch.snapshot().members().len(), 2, "what was known stands");
    assert_eq!(watch.origin(), Origin::Registry);
    for _ in 0..10 {
        let port = balancer.pick(&Ask::any()).expect("there is somebody to call").endpoint().port();
        assert!([1001, 1002].contains(&port));
    }
    client.shutdown().await;
    assert_eq!(balancer.snapshot().members().len(), 2, "a balancer keeps its last snapshot");

    let late = builder().build().expect("a client");
    let mut watch = late.watch("web").expect("web can be watched");
    let snapshot = watch.ready(2, NEWS).await.expect("the file knows two");
    assert_eq!((snapshot.members().len(), watch.origin()), (2, Origin::File));
    late.shutdown().await;
}

/// A registration ends with its guard, drained or dropped, and does not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closed_guard_is_gone() {
    let node = Node::dev();
    let http = node.http;
    let client = Client::builder()
        .server(format!("http://{}", http.address))
        .node("app-1", "127.0.0.1")
        // As often as may be, so that a registration that were to come back would do so here.
        .audit_every(Duration::from_millis(50))
        .build()
        .expect("a client");
    let count = |service: &str| {
        let rows = http.get(&format!("/v1/health/service/{service}?consistent")).ok().json();
        rows.as_array().expect("a list").len()
    };
    let drained = client.register(Service::new("drained").port(1)).await.expect("it is registered");
    let dropped = client.register(Service::new("dropped").port(2)).await.expect("it is registered");
    let kept = client.register(Service::new("kept").port(3)).await.expect("it is registered");
    assert_eq!((count("drained"), count("dropped"), count("kept")), (1, 1, 1));

    let drain = Drain { settle: Duration::ZERO, grace: Duration::from_secs(1) };
    let left = drained.drain(drain).await;
    assert!(left.finished && left.deregistered, "{left:?}");
    assert_eq!(count("drained"), 0, "gone when the drain returns");
    drop(dropped);
    wait::until_true("the dropped one is gone", NEWS, || count("dropped") == 0);

    // The one that is still held is taken away behind its back and comes back: the audits do work.
    let taken = http.put("/v1/catalog/deregister", json!({"Node": "app-1", "ServiceID": kept.id()}).to_string());
    assert_eq!(taken.status, 200, "{}", taken.text());
    wait::until_true("the held one is registered again", NEWS, || count("kept") == 1);
    assert_eq!((count("drained"), count("dropped")), (0, 0), "the others stay away");

    client.shutdown().await;
    drop(kept);
    assert_eq!(count("kept"), 0, "a client that is shut down leaves nothing behind");
}

/// A control node that comes back with nothing clears nobody who still answers, and a removal that is meant goes through.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_still_answers_is_held_when_the_registry_lost_its_data() {
    let backends = [Backend::start("a"), Backend::start("b"), Backend::start("c")];
    let node = Node::dev();
    let http = node.http;
    let sign_in = || {
        for (number, backend) in backends.iter().enumerate() {
            http.put_json(
                "/v1/agent/service/register",
                &json!({"ID": format!("web-{number}"), "Name": "web", "Address": "127.0.0.1", "Port": backend.address.port()}),
            );
        }
    };
    sign_in();
    let hold = DoubtSettings { hold: Duration::from_secs(15), ..DoubtSettings::default() };
    let builder = Client::builder().server(format!("http://{}", http.address)).doubt(hold);
    let client = builder.build().expect("an address makes a client");
    let mut watch = client.watch("web").expect("web can be watched");
    watch.ready(3, NEWS).await.expect("three instances are there");
    let looked = watch.clone();
    let smallest = Arc::new(AtomicUsize::new(3));
    let seen = Arc::clone(&smallest);
    let looking = tokio::spawn(async move {
        let mut watch = looked;
        while let Ok(snapshot) = watch.changed().await {
            seen.fetch_min(snapshot.members().len(), Ordering::AcqRel);
        }
    });
    let node = node.killed_and_started_in_place();
    wait::until_true("the loss is doubted", NEWS, || watch.held().is_some_and(|held| held.missing == 3));
    let error = watch.error().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("of 3 dialled still answer; the old snapshot is held"), "{error}");
    sign_in();
    wait::until_true("they are back", NEWS, || watch.held().is_none() && watch.error().is_none());
    assert_eq!((watch.snapshot().members().len(), smallest.load(Ordering::Acquire)), (3, 3), "nobody was ever missing");
    // Taken out on purpose, while they run: in the end the registry is right.
    for number in 0..3 {
        let _ = node.http.put(&format!("/v1/agent/service/deregister/web-{number}"), "").ok();
    }
    wait::until_true("the removal goes through", NEWS * 4, || watch.snapshot().members().is_empty());
    client.shutdown().await;
    looking.await.expect("the looker ends with the watch");
}
