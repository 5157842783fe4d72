//! Locks against a registry with faults: who holds, who is told, and when.

use std::time::Duration;

use callboard::client::KvPut;
use callboard::lock::{LOCK_FLAGS, Lost, SessionSettings};
use callboard::testing::{Fault, Registry};
use callboard::{Client, Error};
use tokio::time::Instant;

const KEY: &str = "jobs/nightly";

fn client(registry: &Registry) -> Client {
    registry.client().expect("the settings hold")
}

#[tokio::test(start_paused = true)]
async fn one_holds_and_the_next_is_woken_by_the_release() {
    let registry = Registry::start();
    let (one, two) = (client(&registry), client(&registry));
    let first = one.lock(KEY).value("one").acquire().await.unwrap();
    assert!(first.is_held() && first.remaining() > Duration::from_secs(14));
    assert!(two.lock(KEY).try_acquire().await.unwrap().is_none());
    registry.look(|state| {
        let row = state.key(KEY).unwrap();
        assert_eq!((&*row.value, row.flags, &*row.session), (&b"one"[..], LOCK_FLAGS, first.session_id()));
    });
    let waiting = tokio::spawn(async move { two.lock(KEY).value("two").acquire().await.unwrap() });
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!waiting.is_finished() && first.is_held(), "it is renewed");
    let (before, token) = (Instant::now(), first.token());
    assert!(first.release().await.unwrap());
    let second = waiting.await.unwrap();
    assert!(before.elapsed() < Duration::from_millis(500), "woken, without a lock delay: {:?}", before.elapsed());
    assert!(second.token() > token && second.token().lock_index() == 2);
    drop(second);
    registry.until(|state| state.key(KEY).unwrap().session.is_empty() && state.sessions().next().is_none()).await;
    one.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_without_a_registry_is_told_before_anybody_else_can_hold() {
    for fault in [Fault::Close, Fault::Hang, Fault::Status(500, "No cluster leader"), Fault::Cut] {
        let registry = Registry::start();
        // Two ways to the same registry: only the holder's breaks.
        let holder = Client::builder().server("holder:1").dialer(registry.dialer()).build().unwrap();
        let other = client(&registry);
        let held = holder.lock(KEY).acquire().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let waiting = tokio::spawn(async move { other.lock(KEY).acquire().await.unwrap() });
        registry.fault("holder", "/v1/session/renew", fault);
        registry.fault("holder", "/v1/session/info", Fault::Hang);
        registry.fault("holder", "/v1/kv", Fault::Hang);
        let before = Instant::now();
        let lost = held.lost().await;
        let told = Instant::now();
        assert!(matches!(lost, Lost::Expired) || fault == Fault::Cut, "{fault:?} {lost:?}");
        assert!(!held.is_held() && held.remaining().is_zero());
        if fault != Fault::Cut {
            assert!(before.elapsed() <= Duration::from_secs(15), "{fault:?} {:?}", before.elapsed());
        }
        let second = waiting.await.unwrap();
        assert!(told < Instant::now() && second.token() > held.token(), "{fault:?}");
        // The lock delay of 15 s lies between.
        assert!(told.elapsed() >= Duration::from_secs(14), "{fault:?} {:?}", told.elapsed());
        registry.heal();
        assert!(!held.is_held(), "what is lost stays lost");
        assert!(!held.release().await.unwrap_or(false));
        assert!(second.is_held(), "and cannot give away what another holds");
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_may_give_up_what_it_cannot_see() {
    let registry = Registry::start();
    let holder = client(&registry);
    let patient = holder.lock("patient").acquire().await.unwrap();
    let held = holder.lock(KEY).monitor_failures_max(3).acquire().await.unwrap();
    let place = holder.semaphore("pool", 2).monitor_failures_max(0).acquire().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(held.is_held() && place.is_held());
    // Sessions are renewed all the while.
    registry.fault("", "/v1/kv", Fault::Status(500, "No cluster leader"));
    let before = Instant::now();
    assert_eq!(place.lost().await, Lost::Unwatched);
    let after = before.elapsed();
    assert_eq!(held.lost().await, Lost::Unwatched);
    let lasted = before.elapsed() - after;
    assert!(lasted >= Duration::from_millis(1500) && lasted <= Duration::from_secs(4), "three pauses: {lasted:?}");
    assert!(!held.is_held() && !place.is_held());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(patient.is_held(), "its session is alive");
    let sessions = || registry.look(|state| state.sessions().count());
    assert_eq!(sessions(), 3, "nobody else is let in before the holder has stopped");
    registry.heal();
    let other = client(&registry);
    assert!(other.lock(KEY).try_acquire().await.unwrap().is_none());
    assert!(!held.is_held() && !place.is_held(), "what is lost stays lost");
    assert!(!held.release().await.unwrap(), "it was given up before");
    drop(place);
    registry.until(|state| state.sessions().count() == 1).await;
    assert!(other.lock(KEY).try_acquire().await.unwrap().is_some(), "without a lock delay");
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_ends_is_told_at_once() {
    let registry = Registry::start();
    let client = client(&registry);
    let check = async |causes: &[Lost], within: u64, act: &dyn Fn(&Registry, &str)| {
        let held = client.lock(KEY).acquire().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = Instant::now();
        act(&registry, held.session_id());
        assert!(causes.contains(&held.lost().await), "{causes:?}");
        assert!(before.elapsed() <= Duration::from_millis(within), "{causes:?} {:?}", before.elapsed());
    };
    check(&[Lost::Ended, Lost::Taken], 300, &|registry, session| {
        assert!(registry.change(|state| state.end_session(session)));
    })
    .await;
    check(&[Lost::Taken], 300, &|registry, _| registry.change(|state| state.remove_key(KEY))).await;
    // Its index is far behind what is waited for, so the next renewal finds it out.
    check(&[Lost::Ended], 5000, &|registry, _| registry.lose_data()).await;
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_contender_survives_whatever_happens_to_the_registry() {
    let registry = Registry::start();
    let (one, two) = (client(&registry), client(&registry));
    let held = one.lock(KEY).acquire().await.unwrap();
    let waiting = tokio::spawn(async move { two.lock(KEY).acquire().await.unwrap() });
    tokio::time::sleep(Duration::from_secs(5)).await;
    registry.fault("", "/", Fault::Status(500, "No cluster leader"));
    tokio::time::sleep(Duration::from_secs(300)).await;
    registry.lose_data();
    registry.heal();
    let before = Instant::now();
    let second = waiting.await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(16), "{:?}", before.elapsed());
    assert!(second.is_held() && !held.is_held());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_does_not_lock_for_ever() {
    let registry = Registry::start();
    let client = client(&registry);
    registry.fault_times("", "PUT /v1/kv", Fault::Cut, 1);
    assert!(client.lock(KEY).try_acquire().await.is_err(), "nobody knows whether it was taken");
    registry.until(|state| state.key(KEY).is_some_and(|row| row.session.is_empty())).await;
    // Who waits looks again, and finds that it holds.
    registry.fault_times("", "PUT /v1/kv", Fault::Cut, 1);
    let held = client.lock(KEY).acquire().await.unwrap();
    assert!(held.is_held() && registry.look(|state| *state.key(KEY).unwrap().session == *held.session_id()));
    registry.fault_times("", "PUT /v1/kv", Fault::Close, 1);
    let other = client.lock("other").acquire().await.unwrap();
    // Who gives up gives back.
    drop(other);
    registry.until(|state| state.key("other").is_some_and(|row| row.session.is_empty())).await;
    drop(held);
    registry.until(|state| state.sessions().next().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_an_error() {
    let registry = Registry::start();
    let client = client(&registry);
    client.kv_put("config", "not a lock", &KvPut::default()).await.unwrap();
    assert!(matches!(client.lock("config").acquire().await, Err(Error::LockConflict { .. })));
    assert!(matches!(client.lock(KEY).ttl(Duration::from_secs(1)).acquire().await, Err(Error::Config { .. })));
    registry.fault("", "/v1/session/create", Fault::Status(403, "Permission denied"));
    assert!(!client.lock(KEY).acquire().await.unwrap_err().is_retryable());
    registry.heal();
    let held = client.lock(KEY).acquire().await.unwrap();
    let before = Instant::now();
    let late = client.lock(KEY).acquire_within(Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(late, Error::NotLocked { .. }) && before.elapsed().as_secs() == 20, "{late}");
    client.shutdown().await;
    assert_eq!(held.lost().await, Lost::Closed);
    assert!(matches!(client.lock(KEY).acquire().await, Err(Error::Closed)));
    assert!(registry.look(|state| state.sessions().next().is_none() && state.key(KEY).unwrap().session.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_kept_and_ended() {
    let registry = Registry::start();
    let client = client(&registry);
    let session = client.session(&SessionSettings { name: "me".into(), ..SessionSettings::default() }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(session.is_alive() && registry.look(|state| state.sessions().count()) == 1);
    let renewals = registry.count("/v1/session/renew");
    assert!((115..=121).contains(&renewals), "{renewals} renewals in ten minutes of 15 s TTL");
    let other = session.clone();
    session.end().await;
    assert_eq!((other.lost().await, registry.look(|state| state.sessions().count())), (Lost::Closed, 0));
    client.shutdown().await;
}
