//! Signing in, beating, watching.

use std::time::Duration;

use callboard::balance::{Ask, Policy};
use callboard::{Client, Drain, Service};
use callboard_proto::CheckStatus;
use callboard_proto::api::agent::ServiceRequest;
use callboard_proto::api::check::CheckRequest;
use callboard_proto::api::health::ServiceEntry;
use callboard_proto::api::query::ReadOptions;
use callboard_proto::check::AggregatedStatus;
use callboard_proto::duration::GoDuration;

use crate::server::Server;
use crate::{NEWS, news, passed_over, unique};

fn service(name: &str) -> Service {
    Service::new(name).id(format!("{name}-1")).address("127.0.0.1").port(8080)
}

async fn rows(client: &Client, name: &str) -> Vec<ServiceEntry> {
    client.health_service(name, false, &ReadOptions::default()).await.expect("health is answered").value
}

/// Waits until the rows of a service are so, by blocking reads.
async fn until(client: &Client, name: &str, wanted: impl Fn(&[ServiceEntry]) -> bool) {
    let waiting = async {
        let mut options = ReadOptions { wait: Some(Duration::from_secs(5)), ..ReadOptions::default() };
        loop {
            let Ok(read) = client.health_service(name, false, &options).await else {
                // It may be starting again.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if wanted(&read.value) {
                return;
            }
            options.index = options.index.is_none_or(|old| read.meta.index >= old).then_some(read.meta.index);
        }
    };
    news(&format!("the rows of {name}"), waiting).await;
}

pub(crate) async fn an_instance_signs_in_is_seen_and_leaves(server: &mut dyn Server) {
    let (client, name) = (server.client(), unique("web"));
    let me = client.register(service(&name).tags(["v2"]).meta("zone", "a").weight(7)).await.expect("it is taken");
    let shown = rows(&client, &name).await;
    let row = &shown[0].service;
    assert_eq!((shown.len(), row.id.as_str(), row.port, row.weights.passing), (1, me.id(), 8080, 7));
    assert_eq!((&*row.tags[0], row.meta.get("zone").map(|zone| &**zone)), ("v2", Some("a")));
    assert_eq!(shown[0].status(), AggregatedStatus::Status(CheckStatus::Passing));
    let listed = client.catalog_services(&ReadOptions::default()).await.expect("services are listed").value;
    assert_eq!(listed.get(&name).map(Vec::as_slice), Some(&["v2".to_owned()][..]));
    let drain = Drain { settle: Duration::from_millis(100), grace: Duration::from_secs(1) };
    let drained = me.drain(drain).await;
    assert!(drained.finished && drained.deregistered);
    assert!(rows(&client, &name).await.is_empty());
    client.shutdown().await;
}

pub(crate) async fn a_status_is_seen_and_a_missed_beat_too(server: &mut dyn Server) {
    let (client, name) = (server.client(), unique("web"));
    let me = client.register(service(&name).ttl(Duration::from_secs(3))).await.expect("it is taken");
    let is = |status: CheckStatus| {
        move |rows: &[ServiceEntry]| rows.first().is_some_and(|row| row.status() == AggregatedStatus::Status(status))
    };
    me.set_status(CheckStatus::Warning, "full");
    until(&client, &name, is(CheckStatus::Warning)).await;
    me.set_status(CheckStatus::Passing, "");
    until(&client, &name, is(CheckStatus::Passing)).await;
    news("beats", me.wait_for(|standing| standing.beats >= 4)).await;
    assert!(is(CheckStatus::Passing)(&rows(&client, &name).await));
    drop(me);
    until(&client, &name, <[ServiceEntry]>::is_empty).await;

    // Registered once, and never beaten.
    let ttl = GoDuration::from(Duration::from_secs(1));
    let check = CheckRequest { ttl, status: "passing".into(), ..CheckRequest::default() };
    let silent = ServiceRequest { name: name.clone(), check: Some(check), ..ServiceRequest::default() };
    client.agent_service_register(&silent).await.expect("it is taken");
    until(&client, &name, is(CheckStatus::Critical)).await;
    client.agent_service_deregister(&name).await.expect("it is taken back");
    client.shutdown().await;
}

pub(crate) async fn what_was_lost_is_registered_again(server: &mut dyn Server) {
    let (client, name) =
        (server.builder().audit_every(Duration::from_secs(1)).build().expect("they hold"), unique("web"));
    let me = client.register(service(&name).ttl(Duration::from_secs(3))).await.expect("it is taken");
    if !server.lose_data() {
        // Any server can be made to forget one instance.
        client.agent_service_deregister(me.id()).await.expect("it is known");
    }
    until(&client, &name, |rows| rows.len() == 1).await;
    news("another registration", me.wait_for(|standing| standing.registrations >= 2)).await;
    client.shutdown().await;
}

pub(crate) async fn a_watch_follows(server: &mut dyn Server) {
    let (client, other, name) = (server.client(), server.client(), unique("web"));
    let mut watch = client.watch(&name).expect("it is a name");
    let balancer = client.balancer(&name, Policy::RoundRobin).expect("it is a name");
    let first = other.register(service(&name)).await.expect("it is taken");
    assert_eq!(watch.ready(1, NEWS).await.expect("it is seen").members().len(), 1);
    assert_eq!(balancer.pick(&Ask::any()).expect("there is one").endpoint().id(), first.id());
    let second = other.register(service(&name).id("second").port(8081)).await.expect("it is taken");
    watch.ready(2, NEWS).await.expect("both are seen");
    second.set_status(CheckStatus::Critical, "broken");
    let critical = async {
        while watch.snapshot().eligible_len() != 1 {
            watch.changed().await.expect("it lives");
        }
    };
    news("one that may be called", critical).await;
    drop(second);
    let gone = async {
        while watch.snapshot().members().len() != 1 {
            watch.changed().await.expect("it lives");
        }
    };
    news("one that is left", gone).await;
    client.shutdown().await;
    other.shutdown().await;
}

pub(crate) async fn a_watch_survives_an_index_that_begins_anew(server: &mut dyn Server) {
    let (client, name) = (server.builder().wait(Duration::from_secs(2)).build().expect("they hold"), unique("web"));
    for id in 0..5 {
        let one =
            ServiceRequest { id: format!("{name}-{id}"), name: name.clone(), port: 1, ..ServiceRequest::default() };
        client.agent_service_register(&one).await.expect("it is taken");
    }
    let mut watch = client.watch(&name).expect("it is a name");
    let before = watch.ready(5, NEWS).await.expect("all are seen").index();
    if !server.lose_data() {
        return passed_over("an index that begins anew: this server cannot be made to lose its data");
    }
    let again = ServiceRequest { id: "again".into(), name: name.clone(), port: 2, ..ServiceRequest::default() };
    client.agent_service_register(&again).await.expect("it is taken");
    let only = async {
        // Nobody answers at the old ports, so the loss is believed.
        while watch.snapshot().members().iter().map(|member| member.endpoint().id()).ne(["again"]) {
            watch.changed().await.expect("it lives");
        }
        watch.snapshot().index()
    };
    let after = news("the one that is registered now", only).await;
    assert!(after < before, "the index began anew: {after} after {before}");
    client.shutdown().await;
}

pub(crate) async fn what_is_wrong_is_refused(server: &mut dyn Server) {
    let (client, name) = (server.client(), unique("web"));
    let refused = client.register(service(&name).address("0.0.0.0")).await.expect_err("no such address");
    assert!(refused.status().is_some_and(|status| status.is_client_error()) && !refused.is_retryable(), "{refused}");
    let unknown =
        client.agent_check_update("no-such-check", CheckStatus::Passing, "", None).await.expect_err("unknown");
    assert_eq!(unknown.status().map(|status| status.as_u16()), Some(404), "{unknown}");
    let unknown = client.agent_service_deregister("no-such-instance").await.expect_err("unknown");
    assert_eq!(unknown.status().map(|status| status.as_u16()), Some(404), "{unknown}");
    let index = ReadOptions { filter: Some("no sense".into()), ..ReadOptions::default() };
    let bad = client.health_service(&name, false, &index).await.expect_err("no filter");
    assert!(bad.status().is_some_and(|status| status.as_u16() >= 400), "{bad}");
    client.shutdown().await;
}
