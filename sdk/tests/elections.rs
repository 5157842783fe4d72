//! Elections and semaphores against a registry with faults.

use std::time::Duration;

use callboard::lock::{Lost, SEMAPHORE_FLAGS};
use callboard::testing::{Fault, Registry};
use callboard::{Client, Error};
use tokio::time::Instant;

fn client(registry: &Registry) -> Client {
    registry.client().expect("the settings hold")
}

#[tokio::test(start_paused = true)]
async fn everybody_sees_who_leads() {
    let registry = Registry::start();
    let (one, two) = (client(&registry), client(&registry));
    let mut seen = one.election("app/leader").observe().unwrap();
    assert!(!seen.current().is_known);
    assert!(seen.wait_for(|seen| seen.is_known).await.unwrap().leader.is_none());
    let first = one.election("app/leader").campaign("10.0.0.1:80").await.unwrap();
    let leader = seen.wait_for(|seen| seen.leader.is_some()).await.unwrap().leader.clone().unwrap();
    assert_eq!(
        (&leader.value[..], &*leader.session, leader.token),
        (&b"10.0.0.1:80"[..], first.session_id(), first.token())
    );
    let next = tokio::spawn(async move { two.election("app/leader").campaign("10.0.0.2:80").await.unwrap() });
    // An outage that is shorter than the TTL changes nothing, and is seen.
    registry.fault("", "/", Fault::Close);
    seen.wait_for(|seen| seen.error.is_some()).await.unwrap();
    assert_eq!(seen.current().leader.as_ref(), Some(&leader));
    tokio::time::sleep(Duration::from_secs(5)).await;
    registry.heal();
    seen.wait_for(|seen| seen.error.is_none()).await.unwrap();
    assert!(first.is_held());
    drop(first);
    let second = next.await.unwrap();
    let new = seen.wait_for(|seen| seen.leader.as_ref().is_some_and(|now| now.token > leader.token)).await.unwrap();
    assert_eq!(new.leader.as_ref().map(|new| new.token), Some(second.token()));
    one.shutdown().await;
    assert!(matches!(seen.changed().await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_semaphore_admits_so_many_and_no_more() {
    let registry = Registry::start();
    let client = client(&registry);
    let places = client.semaphore("pool", 2).value("me");
    let first = places.acquire().await.unwrap();
    let second = places.try_acquire().await.unwrap().unwrap();
    assert!(second.token() > first.token());
    assert!(places.try_acquire().await.unwrap().is_none());
    registry.look(|state| {
        let document = state.key("pool/.lock").unwrap();
        assert_eq!(document.flags, SEMAPHORE_FLAGS);
        let shown: serde_json::Value = serde_json::from_slice(&document.value).unwrap();
        assert_eq!((shown["Limit"].as_u64(), shown["Holders"].as_object().unwrap().len()), (Some(2), 2));
    });
    assert!(matches!(client.semaphore("pool", 3).acquire().await, Err(Error::LockConflict { .. })));
    let waiting = tokio::spawn({
        let places = places.clone();
        async move { places.acquire().await.unwrap() }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished() && first.is_held() && second.is_held());
    let before = Instant::now();
    assert!(first.release().await.unwrap());
    let third = waiting.await.unwrap();
    assert!(before.elapsed() < Duration::from_millis(500) && third.token() > second.token());
    // A holder that dies leaves its place by the end of its session.
    registry.change(|state| {
        let dead = state.sessions().next().unwrap().id.to_string();
        state.end_session(&dead)
    });
    let lost = tokio::select! { cause = second.lost() => cause, cause = third.lost() => cause };
    assert!(matches!(lost, Lost::Ended | Lost::Taken));
    let fourth = places.acquire().await.unwrap();
    assert!(fourth.is_held() && fourth.token() > third.token());
    client.shutdown().await;
    assert!(registry.look(|state| state.sessions().next().is_none()), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_semaphore_survives_whatever_happens_to_the_registry() {
    let registry = Registry::start();
    let client = client(&registry);
    let places = client.semaphore("pool", 1);
    // The document is written and its answer lost.
    registry.fault_times("", "PUT /v1/kv/pool/.lock", Fault::Cut, 1);
    let held = places.acquire().await.unwrap();
    assert!(held.is_held());
    let waiting = tokio::spawn({
        let places = places.clone();
        async move { places.acquire().await.unwrap() }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    registry.fault("", "/", Fault::Hang);
    let before = Instant::now();
    assert_eq!(held.lost().await, Lost::Expired);
    assert!(before.elapsed() < Duration::from_secs(15));
    tokio::time::sleep(Duration::from_secs(100)).await;
    registry.lose_data();
    registry.heal();
    assert!(waiting.await.unwrap().is_held());
}
