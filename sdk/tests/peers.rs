//! Clients of one service that know of one another: seats, subsets and shared ejection, over the kit's registry.
//!
//! Time is paused; everything waits for a state.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard::Client;
use callboard::balance::{Ask, Balancer, BalancerSettings, Policy};
use callboard::endpoint::{Ejection, Outcome};
use callboard::peers::SharedEjection;
use callboard::testing::Registry;

const SEATS: &str = "callboard/clients/web/";
const VOTES: &str = "callboard/ejections/web/";

fn add(registry: &Registry, count: u16) {
    (0..count).for_each(|n| registry.add("web", &format!("web-{n:02}"), 8000 + n));
}

fn keys(state: &callboard::testing::State, prefix: &str) -> Vec<String> {
    state.keys().filter(|key| key.starts_with(prefix)).map(ToOwned::to_owned).collect()
}

fn chosen(balancer: &Balancer, picks: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        let id = balancer.choose(&Ask::any(), |member| member.endpoint().id().to_owned()).expect("somebody is there");
        *counts.entry(id).or_default() += 1;
    }
    counts
}

/// Lets tasks run until it is so; time passes meanwhile, which is paused and costs nothing.
async fn until(mut wanted: impl FnMut() -> bool) {
    let reached = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(120), reached).await.is_ok(), "the state was not reached");
}

#[tokio::test(start_paused = true)]
async fn clients_take_seats_and_spread_evenly() {
    let registry = Registry::start();
    add(&registry, 10);
    let clients: Vec<Client> = (0..20).map(|_| registry.client().unwrap()).collect();
    let mut balancers = Vec::new();
    for client in &clients {
        let settings = BalancerSettings::new(Policy::RoundRobin).subset(3);
        balancers.push(client.balancer("web", settings).unwrap());
        client.watch("web").unwrap().ready(10, Duration::from_secs(10)).await.unwrap();
    }
    registry.until(|state| keys(state, SEATS).len() == 20).await;
    // 20 · 3 connections over 10 servers.
    let even = || {
        let mut connections: BTreeMap<String, usize> = BTreeMap::new();
        balancers
            .iter()
            .flat_map(|b| chosen(b, 60).into_keys())
            .for_each(|id| *connections.entry(id).or_default() += 1);
        connections.len() == 10 && connections.values().all(|count| *count == 6)
    };
    until(even).await;
    for client in clients {
        client.shutdown().await;
    }
    assert!(registry.look(|state| keys(state, SEATS)).is_empty(), "seats go with their sessions");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_dropped_gives_its_seat_to_the_next() {
    let registry = Registry::start();
    add(&registry, 4);
    let settings = || BalancerSettings::new(Policy::RoundRobin).subset(2);
    let (first, second) = (registry.client().unwrap(), registry.client().unwrap());
    let _balancer = first.balancer("web", settings()).unwrap();
    registry.until(|state| keys(state, SEATS).len() == 1).await;
    let _other = second.balancer("web", settings()).unwrap();
    registry.until(|state| keys(state, SEATS).len() == 2).await;
    drop(first);
    registry.until(|state| keys(state, SEATS) == [format!("{SEATS}0")]).await;
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_was_deleted_is_taken_again_and_a_lost_registry_costs_nothing() {
    let registry = Registry::start();
    add(&registry, 8);
    let client = registry.client().unwrap();
    let balancer = client.balancer("web", BalancerSettings::new(Policy::RoundRobin).subset(3)).unwrap();
    registry.until(|state| keys(state, SEATS).len() == 1).await;
    let other = registry.client().unwrap();
    other.kv_delete(&format!("{SEATS}0"), callboard::client::KvRemove::One).await.unwrap();
    registry.until(|state| keys(state, SEATS).len() == 1).await;
    let before = chosen(&balancer, 60);
    assert_eq!(before.len(), 3);
    registry.lose_data();
    add(&registry, 8);
    registry.until(|state| keys(state, SEATS).len() == 1).await;
    assert_eq!(chosen(&balancer, 60), before);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_quorum_sets_aside_all_set_aside_and_only_they_vote_who_saw_it() {
    let registry = Registry::start();
    add(&registry, 10);
    let long = Duration::from_secs(3600);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let ejection = Ejection { pause_base: long, pause_max: long, ..Ejection::default() };
        let builder = registry.builder().ejection(ejection).shared_ejection(SharedEjection::default());
        let client = builder.build().unwrap();
        let balancer = client.balancer("web", Policy::RoundRobin).unwrap();
        client.watch("web").unwrap().ready(10, Duration::from_secs(10)).await.unwrap();
        clients.push((client, balancer));
    }
    registry.until(|state| keys(state, SEATS).len() == 4).await;
    let fail = |nth: usize| {
        let snapshot = clients[nth].1.snapshot();
        let member = snapshot.members().iter().find(|member| member.endpoint().id() == "web-03").unwrap();
        (0..5).for_each(|_| member.stats().record(Outcome::Failed));
    };
    fail(0);
    registry.until(|state| keys(state, VOTES).len() == 1).await;
    assert!(chosen(&clients[3].1, 100).contains_key("web-03"), "one client is no quorum");
    fail(1);
    until(|| clients.iter().all(|(_, balancer)| !chosen(balancer, 100).contains_key("web-03"))).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(registry.look(|state| keys(state, VOTES)).len(), 2, "hearsay is no vote");
    assert_eq!(registry.count("/v1/kv/callboard/ejections/web/web-03/"), 2, "one write each");
    // Who voted sees it well again, and says so.
    for (_, balancer) in &clients[..2] {
        let snapshot = balancer.snapshot();
        let member = snapshot.members().iter().find(|member| member.endpoint().id() == "web-03").unwrap();
        member.stats().record(Outcome::Success);
    }
    registry.until(|state| keys(state, VOTES).is_empty()).await;
    for (client, _) in clients {
        client.shutdown().await;
    }
}
