//! A runtime that is blocked by its application: the beats go on, and say so. In true time, since it is about threads;
//! every wait is for a state.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

mod fake;

use std::time::{Duration, Instant};

use callboard::Service;
use callboard::http::Dialer;
use fake::{Fake, State};

/// Runs the fake registry on a thread of its own.
fn registry() -> Fake {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sender.send(Fake::start()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

/// Blocks this thread, and with it a runtime that has no other, until the state is so.
fn block_until(fake: &Fake, wanted: impl Fn(&State) -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !wanted(&fake.state.lock()) {
        assert!(Instant::now() < limit, "the state is not reached");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn a_stuck_runtime_is_sick_and_not_dead() {
    let fake = registry();
    let client = callboard::Client::builder()
        .server("one:1")
        .dialer(Dialer::Memory(fake.memory.clone()))
        .beat_thread(true)
        .build()
        .unwrap();
    let service = Service::new("web").id("web-1").address("127.0.0.1").port(80).ttl(Duration::from_millis(300));
    let me = client.register(service).await.unwrap();
    let status = |state: &State| state.rows["web-1"].status.clone();
    // From here on nothing that was given to this runtime is run.
    block_until(&fake, |state| status(state) == "critical");
    assert!(fake.state.lock().rows["web-1"].output.contains("runtime has not run anything for"));
    let beats = fake.state.lock().updates.len();
    block_until(&fake, |state| state.updates.len() >= beats + 5);
    assert_eq!((fake.count("service/register"), fake.has("web-1")), (1, true), "it was never taken for gone");
    // It runs again.
    me.wait_for(|standing| standing.status == Some(callboard_proto::CheckStatus::Passing)).await;
    assert_eq!(fake.state.lock().rows["web-1"].output, "");
    client.shutdown().await;
    assert!(!fake.has("web-1"));
}

#[tokio::test]
async fn a_busy_runtime_misses_no_beat() {
    let fake = registry();
    let client = callboard::Client::builder()
        .server("one:1")
        .dialer(Dialer::Memory(fake.memory.clone()))
        .beat_thread(true)
        .build()
        .unwrap();
    let service = Service::new("web").id("web-1").address("127.0.0.1").port(80).ttl(Duration::from_millis(300));
    let _me = client.register(service.stuck_after(Duration::from_secs(3600))).await.unwrap();
    block_until(&fake, |state| state.updates.len() >= 6);
    assert!(fake.state.lock().updates.iter().all(|update| update.status == "passing"));
    // Gone from the registry and back, all while the application's runtime is blocked.
    fake.lose_data();
    block_until(&fake, |state| state.rows.contains_key("web-1"));
    client.shutdown().await;
}
