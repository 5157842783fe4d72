//! Several servers, and what they speak: who is asked, when a second one is asked too, and over how many connections.

use std::time::Duration;

use callboard::testing::{Fault, Registry, Traffic};
use callboard_proto::api::query::ReadOptions;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_helped_by_another_after_a_moment() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    registry.fault("one", "/", Fault::Hang);
    let client = registry.builder().server("two:2").build().unwrap();
    let before = Instant::now();
    client.health_service("web", false, &ReadOptions::default()).await.unwrap();
    assert!(before.elapsed() <= Duration::from_millis(150), "{:?}", before.elapsed());
    assert_eq!((registry.count("one:1"), registry.count("two:2")), (1, 1));
    // The one that was slow is known to be slow.
    client.health_service("web", false, &ReadOptions::default()).await.unwrap();
    assert_eq!(registry.count("one:1"), 1);
    registry.heal();
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn neither_a_write_nor_a_wait_is_sent_twice() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let client = registry.builder().server("two:2").build().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, LONG).await.unwrap();
    registry.until_heard(|registry| registry.count("wait=") > 0).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(registry.count("wait="), 1, "fifty seconds are no reason to ask another server");
    registry.fault("", "/v1/agent/service/deregister", Fault::Hang);
    let slow = client.request_within(http::Method::PUT, "/v1/agent/service/deregister/x", "", Duration::from_secs(5));
    assert!(slow.await.is_err());
    assert_eq!(registry.count("deregister"), 1);
    registry.heal();
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn second_questions_have_a_budget() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let client = registry.builder().server("two:2").build().unwrap();
    registry.fault("", "/", Fault::Hang);
    let reads: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.health_service("web", false, &ReadOptions::default()).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = registry.count("/v1/health/service/web");
    assert!((101..=110).contains(&asked), "{asked} questions for a hundred slow reads");
    registry.heal();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn all_waits_share_one_connection_where_the_server_speaks_http2() {
    let registry = Registry::start();
    registry.speak_http2(Some(200));
    let client = registry.client().unwrap();
    let mut watches: Vec<_> = (0..40).map(|n| client.watch(&format!("s{n}")).unwrap()).collect();
    for watch in &mut watches {
        watch.changed().await.unwrap();
    }
    registry.until_heard(|registry| registry.traffic().over_http2 == 40).await;
    let connections = registry.traffic().connections;
    registry.change(|_| {});
    // Everybody is woken, and waits again.
    registry.until_heard(|registry| registry.traffic().over_http2 == 80).await;
    assert_eq!(registry.traffic().connections, connections, "and no connection was opened for that");
    assert_eq!(registry.count("wait="), 80);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_few_requests_a_connection_starves_nobody() {
    let registry = Registry::start();
    registry.speak_http2(Some(2));
    let client = registry.client().unwrap();
    let mut watches: Vec<_> = (0..7).map(|n| client.watch(&format!("s{n}")).unwrap()).collect();
    for watch in &mut watches {
        watch.changed().await.unwrap();
    }
    // All seven arrived, though each would wait for a minute.
    let before = Instant::now();
    registry.until_heard(|registry| registry.traffic().over_http2 == 7).await;
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_of_http1_is_asked_once_what_it_speaks_and_served_as_ever() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let client = registry.client().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, LONG).await.unwrap();
    for n in 2..10 {
        registry.add("web", &format!("web-{n}"), 1);
        watch.ready(n, LONG).await.unwrap();
    }
    assert_eq!(registry.traffic(), Traffic { over_http2: 0, connections: 2 }, "one to ask, and one to work with");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_replaced_by_a_newer_one_is_asked_again() {
    let fake = Fake::start();
    fake.add("web-1", 1);
    let client = fake.client();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, LONG).await.unwrap();
    fake.until(|state| state.log.iter().any(|line| line.contains("wait="))).await;
    fake.state.lock().http2_streams = Some(100);
    fake.fault("", "/v1/health", Fault::Cut);
    tokio::time::sleep(Duration::from_secs(1)).await;
    fake.heal();
    fake.until(|state| state.over_http2 == 1).await;
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_replaced_by_an_older_one_is_asked_again() {
    let registry = Registry::start();
    registry.speak_http2(Some(100));
    registry.add("web", "web-1", 1);
    let client = registry.client().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, LONG).await.unwrap();
    registry.until_heard(|registry| registry.traffic().over_http2 == 1).await;
    registry.speak_http2(None);
    registry.fault("", "/v1/health", Fault::Close);
    tokio::time::sleep(Duration::from_secs(1)).await;
    registry.heal();
    registry.add("web", "web-2", 2);
    watch.ready(2, LONG).await.unwrap();
    registry.until_heard(|registry| registry.count("wait=") >= 2).await;
    assert_eq!(registry.traffic().over_http2, 1);
    client.shutdown().await;
}
