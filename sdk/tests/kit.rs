//! The kit itself: that it waits, wakes and breaks as the interface says, so that tests on it mean something.

use std::time::Duration;

use callboard::client::{KvPut, KvRemove};
use callboard::lock::SessionSettings;
use callboard::testing::{Fault, Registry, State};
use callboard_proto::api::query::{Consistency, ReadOptions};
use callboard_proto::{CheckStatus, Index};
use http::Method;
use tokio::time::Instant;

fn waiting(index: Index) -> ReadOptions {
    ReadOptions { index: Some(index), wait: Some(Duration::from_secs(60)), ..ReadOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_news_of_what_it_asked_about() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    registry.change(|state| state.put("a", b"1"));
    let index = client.kv_get("a", &ReadOptions::default()).await.unwrap().meta.index;
    let before = Instant::now();
    let later = registry.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        later.change(|state| state.put("b", b"1"));
        tokio::time::sleep(Duration::from_secs(5)).await;
        later.change(|state| state.put("a", b"2"));
    });
    let read = client.kv_get("a", &waiting(index)).await.unwrap();
    assert_eq!(read.value.unwrap().bytes().unwrap(), b"2");
    assert_eq!(before.elapsed().as_secs(), 10, "another key does not wake it");
    let unchanged = client.kv_get("a", &waiting(read.meta.index)).await.unwrap();
    assert_eq!((before.elapsed().as_secs(), unchanged.meta.index), (70, read.meta.index), "the wait has an end");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_what_is_not_there_is_woken_by_its_coming_only() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    registry.change(|state| state.put("other", b"1"));
    let index = client.kv_get("a", &ReadOptions::default()).await.unwrap().meta.index;
    let later = registry.clone();
    tokio::spawn(async move {
        for value in [b"2", b"3"] {
            tokio::time::sleep(Duration::from_secs(5)).await;
            later.change(|state| state.put("other", value));
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        later.change(|state| state.put("a", b"1"));
    });
    let before = Instant::now();
    let read = client.kv_get("a", &waiting(index)).await.unwrap();
    assert!(read.value.is_some() && before.elapsed().as_secs() == 15);
    assert!(client.kv_delete("a", KvRemove::One).await.unwrap());
    let gone = client.kv_get("a", &waiting(read.meta.index)).await.unwrap();
    assert!(gone.value.is_none() && gone.meta.index > read.meta.index);
}

#[tokio::test(start_paused = true)]
async fn no_change_no_index() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    registry.add("web", "web-1", 1);
    client.kv_put("k", "v", &KvPut::default()).await.unwrap();
    let index = registry.look(|state| state.index());
    registry.add("web", "web-1", 1);
    client.kv_put("k", "v", &KvPut::default()).await.unwrap();
    client.agent_check_update("service:web-1", CheckStatus::Passing, "again", None).await.unwrap();
    assert_eq!(registry.look(|state| state.index()), index);
    registry.set_status("web-1", CheckStatus::Critical, "");
    assert_eq!(registry.look(|state| state.index()), index + 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_was_done_and_what_is_closed_was_not() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    registry.fault_times("", "/v1/kv", Fault::Close, 2);
    assert!(client.kv_put("closed", "v", &KvPut { cas: Some(Index::ZERO), ..KvPut::default() }).await.is_err());
    registry.heal();
    registry.fault_times("", "/v1/kv", Fault::Cut, 2);
    assert!(client.kv_put("cut", "v", &KvPut { cas: Some(Index::ZERO), ..KvPut::default() }).await.is_err());
    registry.heal();
    assert!(registry.look(|state| state.key("closed").is_none() && state.key("cut").is_some()));
}

#[tokio::test(start_paused = true)]
async fn faults_choose_their_server_and_their_kind_of_read() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let stale = ReadOptions { consistency: Consistency::Stale, ..ReadOptions::default() };
    registry.fault("one", "/v1/kv", Fault::Lag);
    registry.change(|state| state.put("a", b"1"));
    assert!(client.kv_get("a", &stale).await.unwrap().value.is_none(), "a stale read lags");
    assert!(client.kv_get("a", &ReadOptions::default()).await.unwrap().value.is_some(), "the leader knows");
    registry.heal();
    registry.fault("one", "", Fault::Leaderless);
    assert!(!client.kv_get("a", &stale).await.unwrap().meta.known_leader);
    assert!(client.kv_get("a", &ReadOptions::default()).await.unwrap_err().is_retryable());
    registry.heal_server("one");
    registry.fault("", "/v1/kv", Fault::Slow(Duration::from_secs(3)));
    let before = Instant::now();
    client.kv_get("a", &stale).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_beat_that_is_missed_turns_critical_on_time() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let body = r#"{"Name":"web","Check":{"TTL":"10s","Status":"passing"}}"#;
    client.request(Method::PUT, "/v1/agent/service/register", body).await.unwrap();
    let before = Instant::now();
    registry.until(|state| state.instance("web").is_some_and(|row| row.status() == CheckStatus::Critical)).await;
    assert!((9..=10).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    assert!(client.health_service("web", true, &ReadOptions::default()).await.unwrap().value.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_with_the_check_it_depends_on() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let settings = SessionSettings { service_checks: vec!["service:web-1".into()], ..SessionSettings::default() };
    assert!(client.session(&settings).await.unwrap_err().to_string().contains("Missing check"));
    registry.add("web", "web-1", 1);
    let held = client.lock("k").session(settings.clone()).acquire().await.unwrap();
    registry.set_status("web-1", CheckStatus::Critical, "");
    let before = Instant::now();
    held.lost().await;
    assert!(before.elapsed() < Duration::from_millis(300));
    assert!(registry.look(|state| state.key("k").unwrap().session.is_empty() && state.sessions().next().is_none()));
    assert!(client.session(&settings).await.unwrap_err().to_string().contains("critical"));
}

#[tokio::test(start_paused = true)]
async fn an_index_that_begins_anew_keeps_what_is_registered() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    for id in ["a", "b", "c"] {
        registry.add("web", id, 1);
    }
    registry.change(|state| state.put("k", b"1"));
    let before = client.health_service("web", false, &ReadOptions::default()).await.unwrap();
    registry.reset_index();
    let after = client.health_service("web", false, &ReadOptions::default()).await.unwrap();
    assert!(after.meta.index < before.meta.index && after.value.len() == 3);
    assert_eq!(client.kv_get("k", &ReadOptions::default()).await.unwrap().meta.index, Index(1));
    registry.lose_data();
    assert!(client.kv_get("k", &ReadOptions::default()).await.unwrap().value.is_none());
}

#[tokio::test]
async fn other_programs_reach_it_by_a_port() {
    let registry = Registry::start();
    registry.add("web", "web-1", 80);
    let address = registry.listen().await.unwrap();
    let client = callboard::Client::builder().server(address.to_string()).build().unwrap();
    assert_eq!(client.health_service("web", true, &ReadOptions::default()).await.unwrap().value.len(), 1);
    let answer = client.request(Method::GET, "/v1/operator/raft/configuration", "").await.unwrap();
    assert_eq!(answer.status.as_u16(), 404);
    drop(registry);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_set_back_shows_what_it_was_over_new_connections() {
    let registry = Registry::start();
    registry.add("web", "web-1", 1);
    let copy = registry.look(State::clone);
    registry.add("web", "web-2", 2);
    let client = registry.client().unwrap();
    let read = client.health_service("web", false, &ReadOptions::default()).await.unwrap();
    assert_eq!((read.value.len(), registry.traffic().connections), (2, 1));
    registry.set_back(copy);
    let old = client.health_service("web", false, &ReadOptions::default()).await.unwrap();
    assert_eq!((old.value.len(), registry.traffic().connections), (1, 2));
    assert!(old.meta.index < read.meta.index);
    client.shutdown().await;
}
