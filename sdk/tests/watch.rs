//! A watch against a registry with faults: what is published, what never is, and how often is asked.

use std::time::Duration;

use callboard::Error;
use callboard::balance::{Ask, Policy};
use callboard::testing::{Fault, Registry, State};
use callboard::watch::Origin;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn a_watch_follows_and_feeds_balancers() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let client = registry.client().unwrap();
    let mut watch = client.watch("web").unwrap();
    let balancer = client.balancer("WEB", Policy::RoundRobin).unwrap();
    assert_eq!(watch.ready(1, LONG).await.unwrap().members().len(), 1);
    assert_eq!(watch.origin(), Origin::Registry);
    let before = Instant::now();
    registry.add("web", "web-2", 2);
    assert_eq!(watch.changed().await.unwrap().members().len(), 2);
    assert!(before.elapsed() < Duration::from_millis(200), "it is woken, not found out by asking");
    assert_eq!(balancer.snapshot().members().len(), 2);
    assert!(balancer.pick(&Ask::any()).is_ok());
    registry.change(State::remove_all);
    assert_eq!(watch.changed().await.unwrap().members().len(), 0, "the leader may clear");
    let other = client.watch("web").unwrap();
    assert_eq!(other.snapshot().index(), watch.snapshot().index(), "one copy serves all");
    assert_eq!(registry.count("/v1/health/service/web"), 5, "and one wait; the leader was asked about the loss");
    client.shutdown().await;
    assert!(matches!(watch.changed().await, Err(Error::Closed)));
    assert!(matches!(client.watch("web"), Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn outage_keeps_last_good() {
    for fault in [
        Fault::Close,
        Fault::Status(500, "No cluster leader"),
        Fault::Status(429, "slow down"),
        Fault::NoIndex,
        Fault::Hang,
    ] {
        let registry = Registry::start();
        registry.add("web", "web-1", 1);
        let client = registry.client().unwrap();
        let mut watch = client.watch("web").unwrap();
        let balancer = client.balancer("web", Policy::RoundRobin).unwrap();
        watch.ready(1, LONG).await.unwrap();
        registry.fault("", "/v1/health", fault);
        tokio::time::sleep(LONG).await;
        assert_eq!(watch.snapshot().members().len(), 1, "{fault:?}");
        assert!(balancer.pick(&Ask::any()).is_ok(), "{fault:?}");
        assert!(watch.error().is_some(), "{fault:?} is visible");
        assert!(watch.age().unwrap() >= LONG - Duration::from_secs(60), "and so is the age");
        registry.add("web", "web-2", 2);
        registry.heal();
        watch.ready(2, Duration::from_secs(90)).await.unwrap();
        assert!(watch.error().is_none(), "{fault:?} is over");
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_answered_with_a_storm() {
    let registry = Registry::start();
    registry.fault("", "/v1/health", Fault::Status(500, "rpc error"));
    let client = registry.client().unwrap();
    let _watch = client.watch("web").unwrap();
    tokio::time::sleep(LONG).await;
    let asked = registry.count("/v1/health");
    assert!((20..=60).contains(&asked), "{asked} questions in five minutes");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_hasty_server_is_asked_at_a_bounded_rate() {
    let registry = Registry::start();
    registry.fault("", "/", Fault::Hasty);
    let client = registry.client().unwrap();
    let _watch = client.watch("web").unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = registry.count("/v1/health");
    assert!((50..=111).contains(&asked), "{asked} questions in ten seconds");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_stays_visible_and_is_not_hammered() {
    let registry = Registry::start();
    registry.fault("", "/v1/health", Fault::Status(403, "Permission denied"));
    let client = registry.client().unwrap();
    let mut watch = client.watch("web").unwrap();
    assert!(matches!(watch.ready(1, Duration::from_secs(100)).await, Err(Error::NotReady { known: 0, wanted: 1, .. })));
    assert_eq!(watch.error().unwrap().status().unwrap().as_u16(), 403);
    assert!(registry.count("/v1/health") <= 6);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn snapshot_never_older() {
    let registry = Registry::start();
    registry.add("web", "a", 1);
    // The other server lags from here on; it is asked because the first one goes away.
    registry.fault("two", "/v1/health", Fault::Lag);
    for id in ["b", "c"] {
        registry.add("web", id, 1);
    }
    let client = registry.builder().server("two:2").build().unwrap();
    let mut watch = client.watch("web").unwrap();
    let index = watch.ready(3, LONG).await.unwrap().index();
    registry.fault("one", "/v1/health", Fault::Close);
    for _ in 0..1300 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let snapshot = watch.snapshot();
        assert_eq!((snapshot.index(), snapshot.members().len()), (index, 3));
    }
    assert!(registry.count("two:2") > 1, "it was asked");
    registry.heal();
    registry.add("web", "d", 1);
    let newest = watch.ready(4, LONG).await.unwrap();
    assert!(newest.index() > index);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_lost_its_data_is_believed_after_asking_its_leader() {
    let registry = Registry::start();
    for id in ["a", "b", "c"] {
        registry.add("web", id, 1);
    }
    let client = registry.client().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(3, LONG).await.unwrap();
    registry.fault("", "/v1/health", Fault::Close);
    tokio::time::sleep(Duration::from_secs(1)).await;
    registry.lose_data();
    registry.heal();
    while !watch.changed().await.unwrap().members().is_empty() {}
    let log = registry.log();
    assert!(log.iter().any(|line| !line.contains("stale")), "{log:#?}");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_leader_clears_nothing() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let client = registry.client().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, LONG).await.unwrap();
    registry.fault("", "/", Fault::Leaderless);
    registry.change(State::remove_all);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(watch.snapshot().members().len(), 1);
    registry.heal();
    assert_eq!(watch.changed().await.unwrap().members().len(), 0);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn another_server_takes_over() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    registry.fault("one", "/", Fault::Close);
    let client = registry.builder().server("two:2").build().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, Duration::from_secs(1)).await.unwrap();
    registry.add("web", "web-2", 1);
    watch.ready(2, Duration::from_secs(1)).await.unwrap();
    assert_eq!(registry.count("one:1"), 1, "the one that answers is asked first from then on");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_without_servers_uses_the_last_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let client = registry.builder().cache_dir(folder.path()).build().unwrap();
    client.watch("web").unwrap().ready(1, LONG).await.unwrap();
    client.shutdown().await;

    for fault in [Fault::Close, Fault::Hang] {
        let dead = Registry::start();
        dead.fault("", "/", fault);
        let before = Instant::now();
        let client = dead.builder().cache_dir(folder.path()).build().unwrap();
        let mut watch = client.watch("web").unwrap();
        let snapshot = watch.ready(1, LONG).await.unwrap();
        assert!(before.elapsed() <= Duration::from_millis(50), "{:?}", before.elapsed());
        assert_eq!((snapshot.members().first().unwrap().endpoint().id(), watch.origin()), ("web-1", Origin::File));
        dead.add("web", "web-2", 2);
        dead.heal();
        while watch.changed().await.unwrap().members().first().unwrap().endpoint().id() != "web-2" {}
        assert_eq!(watch.origin(), Origin::Registry);
        client.shutdown().await;
        // What the second registry said is the last good now.
        registry.client().unwrap().shutdown().await;
        let client = registry.builder().cache_dir(folder.path()).build().unwrap();
        let mut watch = client.watch("web").unwrap();
        while watch.snapshot().members().first().is_none_or(|member| member.endpoint().id() != "web-1") {
            watch.changed().await.unwrap();
        }
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn watches_have_a_bound_and_end_with_their_last_handle() {
    let registry = Registry::start();
    let client = registry.builder().watches_max(2).build().unwrap();
    let one = client.watch("a").unwrap();
    let _two = client.watch("b").unwrap();
    assert!(matches!(client.watch("c"), Err(Error::Bound { max: 2, .. })));
    drop(one);
    client.watch("c").unwrap();
    assert!(matches!(client.watch(""), Err(Error::Name { .. })));
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_lost_everybody_is_not_believed_while_they_answer() {
    let fake = Fake::start();
    for id in ["a", "b", "c"] {
        fake.add(id, 1);
    }
    let (way, _listening) = callboard::http::memory();
    let client = fake.builder().doubt_dialer(callboard::http::Dialer::Memory(way)).build().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(3, LONG).await.unwrap();
    fake.lose_data();
    fake.change(|state| state.index += 10);
    while watch.held().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((watch.held().unwrap().missing, watch.snapshot().members().len()), (3, 3));
    let text = watch.error().unwrap().to_string();
    assert!(text.contains("lists 0 and misses 3 endpoints, of which 3 of 3 dialled still answer"), "{text}");
    assert!(fake.count("consistent") >= 1, "the leader was asked");
    // It fills up again, one after the other: nobody is taken away in between.
    for id in ["a", "b", "c"] {
        fake.add(id, 1);
        for _ in 0..3000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(watch.snapshot().members().len(), 3);
        }
    }
    while watch.held().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(watch.snapshot().members().len(), 3);
    }
    assert!(watch.error().is_none());
    // A removal that is meant goes through all the same, later.
    let before = Instant::now();
    fake.change(|state| state.rows.clear());
    assert_eq!(watch.changed().await.unwrap().members().len(), 0);
    assert!((29..=33).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    assert!(watch.held().is_none());
    let views = client.watches();
    assert_eq!((views.len(), &*views[0].service, views[0].known), (1, "web", 0));
    assert!(views[0].origin == Origin::Registry && views[0].error.is_none() && views[0].age.is_some());
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_of_the_dead_is_believed_at_once() {
    let fake = Fake::start();
    for id in ["a", "b", "c", "d"] {
        fake.add(id, 1);
    }
    let (way, listening) = callboard::http::memory();
    drop(listening);
    let client = fake.builder().doubt_dialer(callboard::http::Dialer::Memory(way)).build().unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(4, LONG).await.unwrap();
    let before = Instant::now();
    fake.change(|state| state.rows.retain(|id, _| id == "a"));
    assert_eq!(watch.changed().await.unwrap().members().len(), 1);
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
    assert!(fake.count("consistent") == 1 && watch.held().is_none());
    // Who went critical before is not missed at all.
    fake.change(|state| state.rows.get_mut("a").unwrap().status = "critical".into());
    watch.changed().await.unwrap();
    fake.change(|state| state.rows.clear());
    assert_eq!(watch.changed().await.unwrap().members().len(), 0);
    assert_eq!(fake.count("consistent"), 1);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_passed_over_and_replaced_by_the_next_good_answer() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let start = || registry.builder().cache_dir(folder.path()).build().unwrap();
    let client = start();
    client.watch("web").unwrap().ready(1, LONG).await.unwrap();
    client.shutdown().await;
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();

    registry.fault("", "/", Fault::Close);
    let client = start();
    let mut watch = client.watch("web").unwrap();
    assert!(matches!(watch.ready(1, Duration::from_secs(5)).await, Err(Error::NotReady { known: 0, .. })));
    assert_eq!((watch.origin(), watch.age()), (Origin::Nowhere, None));
    registry.heal();
    watch.ready(1, LONG).await.unwrap();
    client.shutdown().await;

    registry.fault("", "/", Fault::Close);
    let client = start();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, LONG).await.unwrap();
    assert_eq!(watch.origin(), Origin::File);
    client.shutdown().await;
}
