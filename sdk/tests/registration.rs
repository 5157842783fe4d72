//! A registration against a registry with faults: it comes true, stays true, and ends in good order.

use std::time::Duration;

use callboard::registration::{InProcessCheck, Phase};
use callboard::testing::{Fault, Registry, State};
use callboard::{Drain, Error, Service};
use callboard_proto::CheckStatus;
use callboard_proto::definition::Figures;
use callboard_proto::text::{Meta, Tags};
use tokio::time::Instant;

fn status(state: &State, id: &str) -> CheckStatus {
    state.instance(id).expect("it is registered").status()
}

fn output<'a>(state: &'a State, id: &str) -> &'a str {
    state.instance(id).expect("it is registered").output()
}

fn web() -> Service {
    Service::new("web").id("web-1").address("127.0.0.1").port(80).tags(["a"]).meta("k", "v").weight(3)
}

#[tokio::test(start_paused = true)]
async fn it_beats_at_a_third_of_the_ttl() {
    let registry = Registry::start();
    let client = registry.builder().node("n 1", "10.0.0.1").build().unwrap();
    let me = client.register(web()).await.unwrap();
    assert!(registry.has("web-1"));
    me.report(Figures { throughput: Some(7.0), ..Figures::default() });
    tokio::time::sleep(Duration::from_secs(60)).await;
    let beats = registry.count("/v1/agent/check/update/service%3Aweb-1?node=n%201&node-address=10.0.0.1");
    assert!((16..=21).contains(&beats), "{beats} beats in a minute of 10 s TTL");
    assert_eq!(registry.look(|state| state.beats().last().unwrap().figures).unwrap().throughput, Some(7.0));
    assert_eq!(registry.count("PUT /v1/agent/service/register"), 1, "nothing else needed to be said");
    assert!(registry.count("GET /v1/agent/service/web-1") >= 1, "the row was compared");
    assert_eq!(me.standing().registrations, 1);
    client.shutdown().await;
    assert!(!registry.has("web-1"), "the end of the client takes it back");
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_is_registered_again_within_a_beat() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    registry.lose_data();
    let before = Instant::now();
    registry.until(|state| state.instance("web-1").is_some()).await;
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    me.wait_for(|standing| standing.registrations == 2).await;
    drop(me);
    registry.until(|state| state.instances().next().is_none()).await;
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_row_is_put_right_even_without_beats() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web().without_ttl()).await.unwrap();
    registry.change(|state| state.alter("web-1", |row| row.instance.port = 1));
    registry.until(|state| state.instance("web-1").unwrap().instance.port == 80).await;
    registry.lose_data();
    registry.until(|state| state.instance("web-1").is_some()).await;
    assert_eq!(registry.look(|state| state.beats().len()), 0);
    assert!(me.drain(Drain::default()).await.deregistered);
    assert_eq!(registry.count("/v1/agent/service/maintenance/web-1?enable=true"), 1, "callers were told");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_never_gives_up() {
    let faults = [
        Fault::Status(500, "CheckID does not have associated TTL"),
        Fault::Status(503, ""),
        Fault::Status(403, "Permission denied"),
        Fault::Close,
        Fault::Hang,
    ];
    for fault in faults {
        let registry = Registry::start();
        let client = registry.client().unwrap();
        let me = client.register(web()).await.unwrap();
        registry.lose_data();
        registry.fault("", "/", fault);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(me.standing().error.is_some(), "{fault:?}");
        registry.heal();
        let before = Instant::now();
        registry.until(|state| state.instance("web-1").is_some()).await;
        assert!(before.elapsed() <= Duration::from_secs(4), "{fault:?} {:?}", before.elapsed());
        me.wait_for(|standing| standing.phase == Phase::Registered && standing.error.is_none()).await;
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_nobody_goes_on() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let error = client.register(web().address("0.0.0.0")).await.unwrap_err();
    assert!(error.to_string().contains("Invalid service address") && !error.is_retryable(), "{error}");
    client.shutdown().await;
    assert_eq!(registry.log().len(), 1, "neither tried again nor taken back");
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end_of_the_callers_choice() {
    let registry = Registry::start();
    registry.fault("", "/", Fault::Close);
    let client = registry.client().unwrap();
    let before = Instant::now();
    let error = client.register(web().patience(Duration::from_secs(5))).await.unwrap_err();
    assert!(matches!(error, Error::NotRegistered { source: Some(_), .. }) && error.is_retryable());
    assert!(before.elapsed() < Duration::from_secs(6));
    let me = client.register(web().in_background()).await.unwrap();
    assert_ne!(me.standing().phase, Phase::Registered);
    registry.heal();
    me.wait_for(|standing| standing.phase == Phase::Registered).await;
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_is_sent_at_once() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web().initial_status(CheckStatus::Critical, "warming up")).await.unwrap();
    registry.until(|state| output(state, "web-1") == "warming up").await;
    let before = Instant::now();
    me.set_status(CheckStatus::Passing, "");
    registry.until(|state| status(state, "web-1") == CheckStatus::Passing).await;
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
    registry.lose_data();
    me.set_status(CheckStatus::Warning, "full");
    registry.until(|state| state.instance("web-1").is_some_and(|row| row.output() == "full")).await;
    assert_eq!(
        registry.look(|state| status(state, "web-1")),
        CheckStatus::Warning,
        "registering again keeps the status"
    );
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn checks_of_the_process_are_folded_into_the_beat() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let (sender, health) = tokio::sync::watch::channel(Err("no database"));
    let probe = InProcessCheck::new("db", Duration::from_secs(1), move || {
        let now = *health.borrow();
        async move { now }
    });
    let _me = client.register(web().probe(probe)).await.unwrap();
    registry.until(|state| output(state, "web-1") == "db: no database").await;
    sender.send(Ok(())).unwrap();
    registry.until(|state| status(state, "web-1") == CheckStatus::Passing).await;
    let panics = InProcessCheck::new("p", Duration::from_secs(1), || async {
        if true { panic!("for the test") } else { Ok::<(), &str>(()) }
    });
    let _other = client.register(web().id("web-2").probe(panics)).await.unwrap();
    registry.until(|state| output(state, "web-2") == "p: the check panicked").await;
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn closed_guard_is_gone() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web()).await.unwrap();
    let serving = me.in_flight().enter();
    let drain = Drain { settle: Duration::from_secs(2), grace: Duration::from_secs(30) };
    let draining = tokio::spawn(me.drain(drain));
    registry.until(|state| status(state, "web-1") == CheckStatus::Critical).await;
    let critical = Instant::now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(registry.has("web-1") && !draining.is_finished(), "it still serves");
    drop(serving);
    let drained = draining.await.unwrap();
    assert!(drained.finished && drained.deregistered);
    assert!(!registry.has("web-1"));
    assert!(critical.elapsed() >= Duration::from_secs(10));
    let log = registry.log();
    assert!(log.last().unwrap().contains("deregister"), "nothing comes after the goodbye: {log:#?}");

    drop(client.register(web()).await.unwrap());
    registry.until(|state| state.instances().next().is_none()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!registry.has("web-1"), "nobody brings it back");
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_does_not_hold_up_the_end() {
    for fault in [Fault::Close, Fault::Hang] {
        let registry = Registry::start();
        let client = registry.client().unwrap();
        let me = client.register(web()).await.unwrap();
        registry.fault("", "/", fault);
        let before = Instant::now();
        let drained = me.drain(Drain::default()).await;
        assert!(drained.finished && !drained.deregistered);
        assert!(before.elapsed() < Duration::from_secs(25), "{:?}", before.elapsed());
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_own_watch_shows_a_wrong_row_at_once_and_spares_the_comparison() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web()).await.unwrap();
    let mut watch = client.watch("web").unwrap();
    watch.ready(1, Duration::from_secs(5)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let compared = registry.count("GET /v1/agent/service/web-1");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(registry.count("GET /v1/agent/service/web-1"), compared, "everybody is shown the right row");
    let before = Instant::now();
    registry.change(|state| state.alter("web-1", |row| row.instance.tags = Tags::default()));
    registry.until(|state| state.instance("web-1").unwrap().instance.tags.iter().any(|tag| &**tag == "a")).await;
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
    assert_eq!(registry.count("GET /v1/agent/service/web-1"), compared + 1, "asked before it was written");
    me.wait_for(|standing| standing.registrations == 2).await;
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_at_the_start_is_tried_at_growing_intervals_up_to_a_bound() {
    for fault in [Fault::Close, Fault::Status(500, "No cluster leader"), Fault::Status(404, "not yet")] {
        let registry = Registry::start();
        registry.fault("", "/", fault);
        let client = registry.client().unwrap();
        let me = client.register(web().in_background()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let tried = registry.count("PUT /v1/agent/service/register");
        assert!(
            (360..=840).contains(&tried),
            "{fault:?}: {tried} tries in ten minutes, at most four for each beat that there would be"
        );
        assert!(me.standing().error.is_some());
        registry.heal();
        let before = Instant::now();
        me.wait_for(|standing| standing.phase == Phase::Registered).await;
        assert!(before.elapsed() <= Duration::from_secs(4), "{fault:?}: {:?}", before.elapsed());
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_replaced_by_an_empty_one_gets_everybody_back_within_a_beat() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let mut all = Vec::new();
    for n in 0..5 {
        all.push(client.register(web().id(format!("web-{n}"))).await.unwrap());
    }
    let mut watch = client.watch("web").unwrap();
    watch.ready(5, Duration::from_secs(5)).await.unwrap();
    registry.until(|state| state.beats().len() >= 10).await;
    // It is away for a while, and another one with nothing in it takes its place.
    registry.fault("", "/", Fault::Close);
    tokio::time::sleep(Duration::from_secs(5)).await;
    registry.lose_data();
    registry.heal();
    let before = Instant::now();
    registry.until(|state| state.instances().count() == 5).await;
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    for me in &all {
        me.wait_for(|standing| standing.phase == Phase::Registered && standing.registrations == 2).await;
    }
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_restarted_with_an_older_copy_has_the_right_row_within_a_beat() {
    for watched in [false, true] {
        let registry = Registry::start();
        let client = registry.client().unwrap();
        // The process listened elsewhere before it was restarted under the same id.
        drop(client.register(web().port(81)).await.unwrap());
        let old = registry.look(State::clone);
        registry.until(|state| state.instances().next().is_none()).await;
        let me = client.register(web()).await.unwrap();
        let _watch = watched.then(|| client.watch("web").unwrap());
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(registry.count("PUT /v1/agent/service/register"), 2);
        let before = Instant::now();
        registry.set_back(old);
        assert_eq!(registry.look(|state| state.instance("web-1").unwrap().instance.port), 81);
        registry.until(|state| state.instance("web-1").unwrap().instance.port == 80).await;
        assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
        me.wait_for(|standing| standing.registrations == 2).await;
        client.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_served_is_measured_and_sent_with_the_beat() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web()).await.unwrap();
    registry.until(|state| !state.beats().is_empty()).await;
    let first = registry.look(|state| state.beats()[0].figures);
    assert!(first.is_none_or(|figures| figures.throughput.is_none()), "nothing was served yet: {first:?}");
    for turn in 0..100 {
        let mut request = me.in_flight().enter();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if turn % 4 == 0 {
            request.fail();
        }
    }
    let beats = registry.look(|state| state.beats().len());
    registry.until(|state| state.beats().len() > beats).await;
    let figures = registry.look(|state| state.beats().last().unwrap().figures.unwrap());
    let latency = figures.latency.unwrap();
    assert!((0.1..=0.13).contains(&latency), "{latency}");
    assert_eq!(figures.error_rate, Some(0.25));
    assert!(figures.throughput.is_some_and(|rate| (6.0..=10.5).contains(&rate)), "{figures:?}");
    #[cfg(target_os = "linux")]
    assert!(figures.memory.is_some_and(|bytes| bytes > 1e5));
    // What the application says itself counts, the rest stays measured.
    me.report(Figures { latency: Some(9.0), ..Figures::default() });
    let beats = registry.look(|state| state.beats().len());
    registry.until(|state| state.beats().len() > beats).await;
    let figures = registry.look(|state| state.beats().last().unwrap().figures.unwrap());
    assert_eq!((figures.latency, figures.error_rate), (Some(9.0), Some(0.25)));
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_row_says_since_when_the_process_is_there() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web()).await.unwrap();
    let started = || {
        registry.look(|state| state.instance("web-1").unwrap().instance.meta.get("callboard-started").unwrap().clone())
    };
    let first = started();
    assert!(first.parse::<u64>().unwrap() > 1_600_000_000);
    // It is a part of the row: whoever takes it away is put right, with the same time.
    tokio::time::sleep(Duration::from_secs(5)).await;
    registry.change(|state| state.alter("web-1", |row| row.instance.meta = Meta::default()));
    me.wait_for(|standing| standing.registrations == 2).await;
    assert_eq!(started(), first);
    client.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_runs_until_it_is_told_to_end_and_leaves_in_good_order() {
    let registry = Registry::start();
    let client = registry.client().unwrap();
    let me = client.register(web()).await.unwrap();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(me.run_until_drained(async { drop(told.await) }, Drain::default()));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(registry.has("web-1") && !running.is_finished());
    tell.send(()).unwrap();
    let drained = running.await.unwrap();
    assert!(drained.finished && drained.deregistered && !registry.has("web-1"));
    client.shutdown().await;
}
