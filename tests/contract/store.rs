//! Keys, values, events, rules.

use std::time::Duration;

use callboard::client::{EventFilter, KvPut, KvRemove};
use callboard_proto::Index;
use callboard_proto::api::config::ConfigShown;
use callboard_proto::api::query::ReadOptions;
use serde_json::json;

use crate::server::Server;
use crate::{news, unique};

pub(crate) async fn keys_are_written_on_conditions(server: &mut dyn Server) {
    let (client, prefix) = (server.client(), unique("kv"));
    let key = |name: &str| format!("{prefix}/{name}");
    let read = ReadOptions::default();
    let cas = |index: u64| KvPut { cas: Some(Index(index)), ..KvPut::default() };
    assert!(client.kv_get(&key("a"), &read).await.expect("it is answered").value.is_none());
    assert!(client.kv_put(&key("a"), "1", &cas(0)).await.expect("it is answered"), "it did not exist");
    assert!(!client.kv_put(&key("a"), "2", &cas(0)).await.expect("it is answered"), "it does");
    let flags = KvPut { flags: u64::MAX, ..KvPut::default() };
    assert!(client.kv_put(&key("b/c"), "", &flags).await.expect("it is answered"));
    let row = client.kv_get(&key("a"), &read).await.expect("it is answered").value.expect("it exists");
    assert_eq!((row.bytes().expect("base64"), row.flags), (b"1".to_vec(), 0));
    assert!(client.kv_put(&key("a"), "3", &cas(row.modify_index.0)).await.expect("it is answered"));
    assert!(!client.kv_delete(&key("a"), KvRemove::Cas(row.modify_index)).await.expect("it is answered"), "it changed");
    let listed = client.kv_list(&key(""), &read).await.expect("it is answered").value;
    assert_eq!(listed.iter().map(|row| &*row.key).collect::<Vec<_>>(), [key("a"), key("b/c")]);
    assert_eq!((listed[1].flags, &listed[1].value), (u64::MAX, &None));
    let keys = client.kv_keys(&key(""), Some("/"), &read).await.expect("it is answered").value;
    assert_eq!(keys, [key("a"), key("b/")]);
    assert!(client.kv_delete(&key(""), KvRemove::Prefix).await.expect("it is answered"));
    assert!(client.kv_list(&key(""), &read).await.expect("it is answered").value.is_empty());
    client.shutdown().await;
}

pub(crate) async fn reads_of_keys_wait(server: &mut dyn Server) {
    let (client, key) = (server.client(), unique("kv"));
    let absent = client.kv_get(&key, &ReadOptions::default()).await.expect("it is answered").meta.index;
    assert!(absent > Index::ZERO);
    let waiting = |index: Index| ReadOptions {
        index: Some(index),
        wait: Some(Duration::from_secs(30)),
        ..ReadOptions::default()
    };
    let asked = tokio::spawn({
        let (client, key) = (client.clone(), key.clone());
        async move {
            let mut index = absent;
            // Whoever waits for what is not there may be told of other keys once.
            loop {
                let read = client.kv_get(&key, &waiting(index)).await.expect("it is answered");
                if read.value.is_some() {
                    return read.meta.index;
                }
                index = read.meta.index;
            }
        }
    });
    client.kv_put(&format!("{key}-other"), "1", &KvPut::default()).await.expect("it is written");
    client.kv_put(&key, "1", &KvPut::default()).await.expect("it is written");
    let created = news("the key", asked).await.expect("it ends");
    let short = ReadOptions { wait: Some(Duration::from_millis(50)), ..waiting(created) };
    let unchanged = client.kv_get(&key, &short).await.expect("it is answered");
    assert_eq!(unchanged.meta.index, created, "the wait has an end and no news");
    client.kv_put(&key, "1", &KvPut::default()).await.expect("it is written");
    assert_eq!(client.kv_get(&key, &ReadOptions::default()).await.expect("it is answered").meta.index, created);
    client.kv_delete(&key, KvRemove::One).await.expect("it is deleted");
    let gone = news("the deletion", client.kv_get(&key, &waiting(created))).await.expect("it is answered");
    assert!(gone.value.is_none() && gone.meta.index > created);
    client.kv_delete(&format!("{key}-other"), KvRemove::One).await.expect("it is deleted");
    client.shutdown().await;
}

pub(crate) async fn values_are_followed(server: &mut dyn Server) {
    let (client, key) = (server.client(), unique("value"));
    let mut value = client.watch_key::<u32>(&key).expect("it can be followed");
    let mut all = client.watch_prefix::<u32>(&key).expect("it can be followed");
    news("an answer", value.wait_for(|now| now.is_known)).await.expect("it lives");
    client.kv_put_as(&key, &1u32).await.expect("it is written");
    news("the value", value.wait_for(|now| now.value.as_deref() == Some(&1))).await.expect("it lives");
    client.kv_put(&key, "x", &KvPut::default()).await.expect("it is written");
    let bad = news("the bad value", value.wait_for(|now| now.error.is_some())).await.expect("it lives");
    assert_eq!(bad.value.as_deref(), Some(&1));
    client.kv_put_as(&key, &2u32).await.expect("it is written");
    news("the good value", value.wait_for(|now| now.value.as_deref() == Some(&2))).await.expect("it lives");
    client.kv_put_as(&format!("{key}/x"), &3u32).await.expect("it is written");
    news("both values", all.wait_for(|now| now.values.values().map(|value| **value).eq([2, 3])))
        .await
        .expect("it lives");
    assert_eq!(client.kv_update::<u32>(&key, |old| old.unwrap_or(0) + 5).await.expect("it is changed"), 7);
    client.kv_delete(&key, KvRemove::Prefix).await.expect("they are deleted");
    news("the deletion", value.wait_for(|now| now.value.is_none())).await.expect("it lives");
    news("the deletions", all.wait_for(|now| now.values.is_empty())).await.expect("it lives");
    client.shutdown().await;
}

pub(crate) async fn events_come_once(server: &mut dyn Server) {
    let (client, name) = (server.client(), unique("event"));
    client.event_fire(&name, "before", &EventFilter::default()).await.expect("it is fired");
    let mut events = client.watch_events(&name).await.expect("they are listed");
    for payload in ["1", "2", "3"] {
        let fired = client.event_fire(&name, payload, &EventFilter::default()).await.expect("it is fired");
        assert_eq!((fired.name, fired.version), (name.clone(), 1));
        client.event_fire(&format!("{name}-other"), payload, &EventFilter::default()).await.expect("it is fired");
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(news("events", events.next()).await.expect("they are listed"));
    }
    let payloads: Vec<_> = seen.iter().map(|event| event.bytes().expect("base64")).collect();
    assert_eq!(payloads, [b"1", b"2", b"3"]);
    let listed = client.event_list(&name, &ReadOptions::default()).await.expect("they are listed");
    assert_eq!((listed.value.len(), listed.value.last()), (4, seen.last()));
    assert_eq!(listed.meta.index, listed.value[3].list_index());
    client.shutdown().await;
}

pub(crate) async fn rules_are_listed_and_followed(server: &mut dyn Server) {
    let (client, name) = (server.client(), unique("web"));
    let mut rule = client.watch_config::<ConfigShown>("service-resolver", &name).expect("it can be followed");
    news("an answer", rule.wait_for(|now| now.is_known && now.value.is_none())).await.expect("it lives");
    let put = async |timeout: &str| {
        let entry = json!({"Kind": "service-resolver", "Name": name, "ConnectTimeout": timeout});
        let answer = client.request(http::Method::PUT, "/v1/config", entry.to_string()).await.expect("it is answered");
        assert_eq!((answer.status.as_u16(), answer.body.trim_ascii()), (200, &b"true"[..]));
    };
    put("5s").await;
    let first = news("the rule", rule.wait_for(|now| now.value.is_some())).await.expect("it lives");
    put("6s").await;
    let second = news("the new rule", rule.wait_for(|now| now.index > first.index)).await.expect("it lives");
    let listed = client.config_list::<ConfigShown>("service-resolver", &ReadOptions::default()).await.expect("listed");
    assert!(listed.value.iter().any(|entry| Some(entry) == second.value.as_deref()));
    let path = format!("/v1/config/service-resolver/{name}");
    let answer = client.request(http::Method::DELETE, &path, "").await.expect("it is answered");
    assert!(answer.status.is_success());
    news("the deletion", rule.wait_for(|now| now.value.is_none())).await.expect("it lives");
    client.shutdown().await;
}
