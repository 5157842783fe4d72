//! Typed keys, config entries and events against a registry with faults.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard::Error;
use callboard::client::EventFilter;
use callboard::testing::{Fault, Registry};
use callboard_proto::Index;
use callboard_proto::api::config::ConfigShown;
use callboard_proto::api::query::ReadOptions;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Limits {
    max: u32,
}

#[tokio::test(start_paused = true)]
async fn the_last_good_value_stays() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let mut limits = client.watch_key::<Limits>("app/limits").unwrap();
    assert!(limits.wait_for(|now| now.is_known).await.unwrap().value.is_none());
    client.kv_put_as("app/limits", &Limits { max: 1 }).await.unwrap();
    let first = limits.changed().await.unwrap();
    assert_eq!(first.value.as_deref(), Some(&Limits { max: 1 }));
    registry.change(|state| state.put("app/limits", b"{\"max\":"));
    let bad = limits.changed().await.unwrap();
    assert_eq!((bad.value.as_deref(), bad.index), (Some(&Limits { max: 1 }), first.index));
    assert!(matches!(bad.error.as_deref(), Some(Error::Decode { .. })));
    registry.fault("", "/", Fault::Close);
    tokio::time::sleep(Duration::from_secs(60)).await;
    registry.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(limits.current().error.as_deref(), Some(Error::Decode { .. })), "it is bad after an outage too");
    client.kv_put_as("app/limits", &Limits { max: 2 }).await.unwrap();
    let good = limits.wait_for(|now| now.error.is_none()).await.unwrap();
    assert_eq!(good.value.as_deref(), Some(&Limits { max: 2 }));
    registry.fault("", "/", Fault::Status(500, "No cluster leader"));
    let away = limits.wait_for(|now| now.error.is_some()).await.unwrap();
    assert_eq!(away.value, good.value, "an outage changes nothing");
    registry.heal();
    registry.change(|state| state.remove_key("app/limits"));
    assert!(limits.wait_for(|now| now.error.is_none() && now.value.is_none()).await.unwrap().is_known);
    client.shutdown().await;
    assert!(matches!(limits.changed().await, Err(Error::Closed)));
    assert!(matches!(client.watch_key::<Limits>("x"), Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_prefix_is_followed_key_by_key() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let decode = |bytes: &[u8]| Ok(std::str::from_utf8(bytes)?.parse::<u32>()?);
    let mut all = client.watch_prefix_with("n/", decode).unwrap();
    for (key, value) in [("n/a", "1"), ("n/b", "2"), ("other", "3")] {
        registry.change(|state| state.put(key, value.as_bytes()));
    }
    let values = |now: &callboard::watch::Values<u32>| -> BTreeMap<String, u32> {
        now.values.iter().map(|(key, value)| (key.clone(), **value)).collect()
    };
    let two = BTreeMap::from([("n/a".to_owned(), 1), ("n/b".to_owned(), 2)]);
    all.wait_for(|now| values(now) == two).await.unwrap();
    registry.change(|state| state.put("n/a", b"x"));
    let bad = all.wait_for(|now| !now.bad.is_empty()).await.unwrap();
    assert_eq!((values(&bad), bad.bad.keys().next().unwrap().as_str()), (two, "n/a"));
    registry.change(|state| state.remove_key("n/a"));
    let one = all.wait_for(|now| now.bad.is_empty()).await.unwrap();
    assert_eq!(values(&one), BTreeMap::from([("n/b".to_owned(), 2)]));
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_change_of_another_is_lost() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    assert!(client.kv_cas_as("n", &0u32, Index::ZERO).await.unwrap());
    assert!(!client.kv_cas_as("n", &9u32, Index::ZERO).await.unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        writers.spawn(async move { client.kv_update::<u32>("n", |old| old.unwrap_or(0) + 1).await.unwrap() });
    }
    let mut written = writers.join_all().await;
    written.sort_unstable();
    assert_eq!(written, [1, 2, 3, 4, 5, 6, 7, 8]);
    let last = client.kv_get_as::<u32>("n").await.unwrap().unwrap();
    assert_eq!(last.value, 8);
    assert!(client.kv_cas_as("n", &9u32, last.index).await.unwrap());
    registry.change(|state| state.put("n", b"x"));
    assert!(matches!(client.kv_get_as::<u32>("n").await, Err(Error::Decode { .. })));
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_config_entry_is_followed() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let mut entry = client.watch_config::<ConfigShown>("service-resolver", "web").unwrap();
    assert!(entry.wait_for(|now| now.is_known).await.unwrap().value.is_none());
    let put = |timeout: &str| {
        let entry = serde_json::json!({"Kind": "service-resolver", "Name": "web", "ConnectTimeout": timeout});
        assert!(registry.change(|state| state.put_config(entry)));
    };
    put("5s");
    let first = entry.changed().await.unwrap().value.clone().unwrap();
    put("6s");
    let second = entry.changed().await.unwrap().value.clone().unwrap();
    assert!(second.modify_index > first.modify_index && second.entry != first.entry);
    let listed = client.config_list::<ConfigShown>("service-resolver", &ReadOptions::default()).await.unwrap();
    assert_eq!(listed.value, [(*second).clone()]);
    registry.change(|state| state.delete_config("service-resolver", "web"));
    assert!(entry.changed().await.unwrap().value.is_none());
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn events_come_once_and_in_order() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    registry.change(|state| state.fire("deploy", b"old"));
    let mut events = client.watch_events("deploy").await.unwrap();
    for payload in ["1", "2"] {
        client.event_fire("deploy", payload, &EventFilter::default()).await.unwrap();
        client.event_fire("other", payload, &EventFilter::default()).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(events.next().await.unwrap().iter().map(|event| event.bytes().unwrap()));
    }
    assert_eq!(seen, [b"1", b"2"]);
    registry.fault("", "/", Fault::Close);
    let waiting = tokio::spawn(async move {
        let next = events.next().await.unwrap();
        (next, events)
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    registry.change(|state| state.fire("deploy", b"3"));
    registry.heal();
    let (next, mut events) = waiting.await.unwrap();
    assert_eq!(next.iter().map(|event| event.bytes().unwrap()).collect::<Vec<_>>(), [b"3"]);
    assert!(tokio::time::timeout(Duration::from_secs(600), events.next()).await.is_err(), "nothing comes twice");
    client.shutdown().await;
}
