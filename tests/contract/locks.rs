//! Locks, elections, semaphores.

use std::time::Duration;

use callboard::lock::{Lost, SessionSettings};
use callboard_proto::api::query::ReadOptions;
use tokio::time::Instant;

use crate::server::Server;
use crate::{news, passed_over, unique};

/// Sessions whose keys can be locked at once after they ended.
fn hasty() -> SessionSettings {
    SessionSettings { ttl: Duration::from_secs(10), lock_delay: Duration::ZERO, ..SessionSettings::default() }
}

pub(crate) async fn one_holds_at_a_time(server: &mut dyn Server) {
    let (one, two, key) = (server.client(), server.client(), unique("lock"));
    let first = one.lock(&key).value("one").acquire().await.expect("it is free");
    assert!(first.is_held());
    assert!(two.lock(&key).try_acquire().await.expect("it is answered").is_none());
    let waiting = tokio::spawn({
        let (two, key) = (two.clone(), key.clone());
        async move { two.lock(key).value("two").acquire().await.expect("it becomes free") }
    });
    let token = first.token();
    assert!(first.release().await.expect("it is answered"));
    let second = news("the lock", waiting).await.expect("it ends");
    assert!(second.token() > token && second.token().lock_index() == 2, "{:?} after {token:?}", second.token());
    let row = one.kv_get(&key, &ReadOptions::default()).await.expect("it is answered").value.expect("it exists");
    assert_eq!((row.bytes().expect("base64"), &*row.session), (b"two".to_vec(), second.session_id()));
    let id = second.session_id().to_owned();
    two.shutdown().await;
    assert_eq!(second.lost().await, Lost::Closed);
    let session = one.session_info(&id, &ReadOptions::default()).await.expect("it is answered");
    assert!(session.value.is_none(), "the client took its session along");
    let third = one.lock(&key).try_acquire().await.expect("it is answered").expect("it was given back");
    assert!(third.token() > second.token());
    third.release().await.expect("it is answered");
    one.shutdown().await;
}

pub(crate) async fn the_end_of_a_session_is_told(server: &mut dyn Server) {
    let (client, key) = (server.client(), unique("lock"));
    let lock = client.lock(&key).session(hasty());
    let held = lock.acquire().await.expect("it is free");
    client.session_destroy(held.session_id()).await.expect("it is answered");
    let cause = news("the loss", held.lost()).await;
    assert!(matches!(cause, Lost::Ended | Lost::Taken) && !held.is_held(), "{cause:?}");
    let again = news("the lock", lock.acquire()).await.expect("it is free");
    assert!(again.token() > held.token());
    client.kv_delete(&key, callboard::client::KvRemove::One).await.expect("it is answered");
    assert_eq!(news("the loss", again.lost()).await, Lost::Taken);
    let last = news("the lock", lock.acquire()).await.expect("it is free");
    assert!(last.token() > again.token(), "tokens grow although the key was deleted");
    last.release().await.expect("it is answered");
    client.shutdown().await;
}

pub(crate) async fn a_lock_delay_is_kept(server: &mut dyn Server) {
    let (client, key) = (server.client(), unique("lock"));
    let delay = Duration::from_secs(2);
    let lock = client.lock(&key).session(SessionSettings { lock_delay: delay, ..hasty() });
    let held = lock.acquire().await.expect("it is free");
    let before = Instant::now();
    client.session_destroy(held.session_id()).await.expect("it is answered");
    assert!(lock.try_acquire().await.expect("it is answered").is_none(), "the delay runs");
    let again = news("the lock", lock.acquire()).await.expect("it becomes free");
    assert!(before.elapsed() >= delay, "{:?}", before.elapsed());
    again.release().await.expect("it is answered");
    client.shutdown().await;
}

pub(crate) async fn an_election_is_seen(server: &mut dyn Server) {
    let (client, key) = (server.client(), unique("leader"));
    let election = client.election(&key).session(hasty());
    let mut seen = election.observe().expect("it can be followed");
    news("an answer", seen.wait_for(|seen| seen.is_known && seen.leader.is_none())).await.expect("it lives");
    for value in ["one", "two"] {
        let leading = news("the lead", election.campaign(value)).await.expect("it is free");
        let now = news("the leader", seen.wait_for(|seen| seen.leader.is_some())).await.expect("it lives");
        let leader = now.leader.as_ref().expect("it was waited for");
        assert_eq!((&leader.value[..], leader.token), (value.as_bytes(), leading.token()));
        leading.release().await.expect("it is answered");
        news("nobody", seen.wait_for(|seen| seen.leader.is_none())).await.expect("it lives");
    }
    client.shutdown().await;
}

pub(crate) async fn a_semaphore_admits_so_many(server: &mut dyn Server) {
    let (client, prefix) = (server.client(), unique("places"));
    let places = client.semaphore(&prefix, 2).ttl(Duration::from_secs(10));
    let first = news("a place", places.acquire()).await.expect("there is room");
    let second = news("a place", places.acquire()).await.expect("there is room");
    assert!(second.token() > first.token());
    assert!(places.try_acquire().await.expect("it is answered").is_none());
    let waiting = tokio::spawn({
        let places = places.clone();
        async move { places.acquire().await.expect("there will be room") }
    });
    assert!(first.release().await.expect("it is answered"));
    let third = news("a place", waiting).await.expect("it ends");
    assert!(third.token() > second.token() && second.is_held());
    second.release().await.expect("it is answered");
    third.release().await.expect("it is answered");
    client.shutdown().await;
}

pub(crate) async fn a_lock_outlives_the_loss_of_all_data(server: &mut dyn Server) {
    let (client, key) = (server.client(), unique("lock"));
    let lock = client.lock(&key).session(hasty());
    let held = lock.acquire().await.expect("it is free");
    if !server.lose_data() {
        held.release().await.expect("it is answered");
        return passed_over("the loss of all data: this server cannot be made to lose it");
    }
    news("the loss", held.lost()).await;
    let again = news("the lock", lock.acquire()).await.expect("it is free");
    assert!(again.is_held() && !held.is_held());
    client.shutdown().await;
}
