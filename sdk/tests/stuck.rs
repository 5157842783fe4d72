//! A runtime that is blocked by its application: the beats go on, and say so. In true time, since it is about threads;
//! every wait is for a state.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::time::{Duration, Instant};

use callboard::Service;
use callboard::testing::{Registry, State};
use callboard_proto::CheckStatus;

/// Runs the registry registry on a thread of its own.
fn registry() -> Registry {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sender.send(Registry::start()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

/// Blocks this thread, and with it a runtime that has no other, until the state is so.
fn block_until(registry: &Registry, wanted: impl Fn(&State) -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !registry.look(&wanted) {
        assert!(Instant::now() < limit, "the state is not reached");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn a_stuck_runtime_is_sick_and_not_dead() {
    let registry = registry();
    let client =
        callboard::Client::builder().server("one:1").dialer(registry.dialer()).beat_thread(true).build().unwrap();
    let service = Service::new("web").id("web-1").address("127.0.0.1").port(80).ttl(Duration::from_millis(300));
    let me = client.register(service).await.unwrap();
    let status = |state: &State| state.instance("web-1").unwrap().status();
    // From here on nothing that was given to this runtime is run.
    block_until(&registry, |state| status(state) == CheckStatus::Critical);
    assert!(
        registry.look(|state| state.instance("web-1").unwrap().output().contains("runtime has not run anything for"))
    );
    let beats = registry.look(|state| state.beats().len());
    block_until(&registry, |state| state.beats().len() >= beats + 5);
    assert!(registry.has("web-1") && registry.count("deregister") == 0, "it is not taken for gone");
    // It runs again.
    me.wait_for(|standing| standing.status == Some(CheckStatus::Passing)).await;
    assert!(registry.look(|state| state.instance("web-1").unwrap().output().is_empty()));
    while me.lag().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.shutdown().await;
    assert!(!registry.has("web-1"));
}

#[tokio::test]
async fn a_busy_runtime_misses_no_beat() {
    let registry = registry();
    let client =
        callboard::Client::builder().server("one:1").dialer(registry.dialer()).beat_thread(true).build().unwrap();
    let service = Service::new("web").id("web-1").address("127.0.0.1").port(80).ttl(Duration::from_millis(300));
    let _me = client.register(service.stuck_after(Duration::MAX)).await.unwrap();
    block_until(&registry, |state| state.beats().len() >= 6);
    assert!(registry.look(|state| state.beats().iter().all(|update| update.status == "passing")));
    // Gone from the registry and back, all while the application's runtime is blocked.
    registry.lose_data();
    block_until(&registry, |state| state.instance("web-1").is_some());
    client.shutdown().await;
}
