//! Tries, waits, deadlines, hedges and bounds of calls, over pipes and in paused time.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use callboard::call::{
    BreakerSettings, Deadline, HedgeSettings, HttpSettings, Inherited, LimitSettings, Reason, RetryBudget, RetryPolicy,
};
use http::Method;
use tokio::time::Instant;
use world::{Calls, Does, World, balancer, get, read, request, status};

fn gateway(world: &World) -> HttpSettings {
    HttpSettings { retry: RetryPolicy::gateway(), ..world.settings() }
}

fn bad(host: &str, _: usize) -> Does {
    status(if host == "bad" { 503 } else { 200 })
}

#[tokio::test(start_paused = true)]
async fn an_unwell_answer_is_tried_elsewhere_where_that_is_asked_for() {
    let world = World::new(bad);
    let calls = world.calls(&["bad", "good"], gateway(&world));
    assert_eq!(read(calls.send(get()).await.unwrap()).await, (200, "good".into()));
    let sent = world.sent();
    assert_eq!((sent[0].header("callboard-attempt"), sent[1].header("callboard-attempt")), (None, Some("2")));
    let counts = calls.stats().counts();
    assert_eq!((counts.calls, counts.answered, counts.retries, counts.failures()), (1, 1, 1, 0));
    let plain = world.calls(&["bad", "good"], world.settings());
    assert_eq!(read(plain.send(get()).await.unwrap()).await.0, 503, "by default an answer is an answer");
    let post = calls.send(request(Method::POST, "pay")).await.unwrap();
    assert_eq!(read(post).await.0, 503, "what may have been done is not done twice");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_answers_better_the_answer_is_passed_on() {
    let world = World::new(|_, _| status(503));
    let calls = world.calls(&["bad", "worse"], gateway(&world));
    let (code, _) = read(calls.send(get()).await.unwrap()).await;
    assert_eq!((code, world.sent().len()), (503, 3));
    let stats = calls.balancer().snapshot();
    let in_flight: u64 = stats.members().iter().map(|member| member.stats().in_flight()).sum();
    assert_eq!(in_flight, 0, "answers that were held are let go");
}

#[tokio::test(start_paused = true)]
async fn a_small_body_is_sent_again_and_a_large_one_is_not() {
    let world = World::new(|host, _| if host == "bad" { Does::Cuts } else { status(200) });
    let calls = world.calls(&["bad", "good"], world.settings());
    assert_eq!(read(calls.send(request(Method::PUT, "small")).await.unwrap()).await.1, "good");
    assert_eq!(world.sent().iter().map(|sent| &sent.body[..]).collect::<Vec<_>>(), [b"small", b"small"]);
    let retry = RetryPolicy { body_max: 4, ..RetryPolicy::default() };
    let calls = world.calls(&["bad", "good"], HttpSettings { retry, ..world.settings() });
    let error = calls.send(request(Method::PUT, "large")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts.len()), (Reason::Broken, 1));
    let retry = RetryPolicy { any_method: true, ..RetryPolicy::default() };
    let calls = world.calls(&["bad", "good"], HttpSettings { retry, ..world.settings() });
    assert_eq!(
        read(calls.send(request(Method::POST, "twice")).await.unwrap()).await.1,
        "good",
        "where the rules say so"
    );
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_multiply_from_hop_to_hop() {
    let world = World::new(bad);
    let calls = world.calls(&["bad", "good"], gateway(&world));
    let mut second = get();
    second.headers_mut().insert("callboard-attempt", "2".parse().unwrap());
    assert_eq!(read(calls.send(second).await.unwrap()).await.0, 503);
    let nested = Inherited { deadline: None, retry: true };
    assert_eq!(read(Box::pin(nested.scope(calls.send(get()))).await.unwrap()).await.0, 503);
    assert_eq!(world.sent()[1].header("callboard-attempt"), Some("2"), "and neither do those behind");
}

#[tokio::test(start_paused = true)]
async fn the_same_endpoint_is_asked_again_only_after_a_wait() {
    let world = World::new(|_, nth| if nth == 0 { status(503) } else { status(200) });
    let begun = Instant::now();
    let calls = world.calls(&["only"], gateway(&world));
    assert_eq!(read(calls.send(get()).await.unwrap()).await.0, 200);
    let waited = begun.elapsed().as_micros();
    assert!((12_500..=26_000).contains(&waited), "25 ms less at most a half: {waited} us");
}

#[tokio::test(start_paused = true)]
async fn servers_say_when_to_come_again() {
    let later = |header: &'static str, value: &'static str| {
        move |_: &str, nth| match nth {
            0 => Does::Answers(503, vec![(header, value.to_owned())]),
            _ => status(200),
        }
    };
    let world = World::new(later("retry-after", "2"));
    let begun = Instant::now();
    let calls = world.calls(&["only"], gateway(&world));
    assert_eq!(read(calls.send(get()).await.unwrap()).await.0, 200);
    assert_eq!(begun.elapsed().as_secs(), 2);
    let world = World::new(later("retry-after", "2"));
    let settings = HttpSettings { call_timeout: Some(Duration::from_secs(1)), ..gateway(&world) };
    assert_eq!(
        read(world.calls(&["only"], settings).send(get()).await.unwrap()).await.0,
        503,
        "longer than there is time"
    );
    let busy = |host: &str, _| match host {
        "one" => Does::Answers(503, vec![("retry-after", "2".to_owned())]),
        _ => status(200),
    };
    let world = World::new(busy);
    let begun = Instant::now();
    assert_eq!(read(world.calls(&["one", "two"], gateway(&world)).send(get()).await.unwrap()).await.1, "two");
    assert_eq!(begun.elapsed().as_millis(), 0, "another endpoint is asked at once");
    let world = World::new(later("grpc-retry-pushback-ms", "-1"));
    assert_eq!(read(world.calls(&["one", "two"], gateway(&world)).send(get()).await.unwrap()).await.0, 503);
    assert_eq!(world.sent().len(), 1, "never");
}

#[tokio::test(start_paused = true)]
async fn a_try_has_its_time_and_is_followed_by_another() {
    let world = World::new(|host, _| if host == "asleep" { Does::Hangs } else { status(200) });
    let retry = RetryPolicy { per_try_timeout: Some(Duration::from_millis(100)), ..RetryPolicy::default() };
    let calls = world.calls(&["asleep", "good"], HttpSettings { retry, ..world.settings() });
    let begun = Instant::now();
    assert_eq!(read(calls.send(get()).await.unwrap()).await.1, "good");
    assert_eq!(begun.elapsed().as_millis(), 100);
    let error = calls.send(request(Method::POST, "once")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts.len(), error.is_unsent()), (Reason::Timeout, 1, false));
    assert_eq!(error.attempts[0].took.as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn all_tries_and_waits_come_out_of_one_time() {
    let world = World::new(|_, _| Does::Hangs);
    let retry = RetryPolicy { per_try_timeout: Some(Duration::from_millis(400)), ..RetryPolicy::default() };
    let settings = HttpSettings { retry, call_timeout: Some(Duration::from_secs(1)), ..world.settings() };
    let calls = world.calls(&["one", "two", "three"], settings);
    let begun = Instant::now();
    let error = calls.send(get()).await.unwrap_err();
    assert_eq!((error.reason, begun.elapsed().as_millis()), (Reason::Deadline, 1000));
    let told: Vec<_> =
        world.sent().iter().map(|sent| sent.header("callboard-timeout-ms").unwrap().to_owned()).collect();
    assert_eq!(told, ["400", "400", "200"], "each is told what it has");
    let begun: Vec<_> = error.attempts.iter().map(|attempt| attempt.begun.as_millis()).collect();
    assert_eq!(begun, [0, 400, 800]);
    assert_eq!(error.deadline_left, Some(Duration::ZERO));
    assert!(error.to_string().contains("no time left"), "{error}");
    assert_eq!(calls.stats().counts().failed(Reason::Deadline), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_inherits_its_time_and_sends_nothing_when_it_is_over() {
    let world = World::new(|_, _| status(200));
    let calls = world.calls(&["good"], world.settings());
    let deadline = Deadline::after(Duration::from_secs(3));
    Box::pin(deadline.scope(calls.send(get()))).await.unwrap();
    let mut own = get();
    own.extensions_mut().insert(Deadline::after(Duration::from_secs(2)));
    Box::pin(deadline.scope(calls.send(own))).await.unwrap();
    let mut proxied = get();
    proxied.headers_mut().insert("x-envoy-expected-rq-timeout-ms", "1500".parse().unwrap());
    calls.send(proxied).await.unwrap();
    let told: Vec<_> =
        world.sent().iter().map(|sent| sent.header("callboard-timeout-ms").unwrap().to_owned()).collect();
    assert_eq!(told, ["3000", "2000", "1500"]);
    tokio::time::advance(Duration::from_secs(3)).await;
    let error = Box::pin(deadline.scope(calls.send(get()))).await.unwrap_err();
    assert_eq!((error.reason, error.is_unsent(), world.sent().len()), (Reason::Deadline, true, 3));
}

/// Calls whose answers usually take 10 ms, so that a second server is asked soon after.
async fn hedged(world: &World, hosts: &[&str], budget: Arc<RetryBudget>) -> Calls {
    let settings = HttpSettings { hedge: Some(HedgeSettings::default()), ..world.settings() };
    let calls = Calls::with(balancer(hosts), settings, budget);
    for _ in 0..100 {
        read(calls.send(get()).await.unwrap()).await;
    }
    calls
}

/// The first hundred take 10 ms; then the first host hangs.
fn grows_slow(host: &str, nth: usize) -> Does {
    if host == "first" && nth >= 100 { Does::Hangs } else { Does::After(Duration::from_millis(10)) }
}

#[tokio::test(start_paused = true)]
async fn a_second_server_is_asked_when_the_first_takes_long() {
    let world = World::new(grows_slow);
    let calls = hedged(&world, &["first", "second"], Arc::default()).await;
    let begun = Instant::now();
    assert_eq!(read(calls.send(get()).await.unwrap()).await.1, "second");
    let took = begun.elapsed().as_millis();
    assert!((20..=24).contains(&took), "the 95th percentile and the second's own time: {took} ms");
    let counts = calls.stats().counts();
    assert_eq!((counts.hedges, counts.hedges_won, counts.retries), (1, 1, 0));
    let snapshot = calls.balancer().snapshot();
    assert_eq!(snapshot.find("first", "").unwrap().stats().in_flight(), 0, "the loser was dropped");
    assert_eq!(calls.pool().connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_is_charged_and_only_for_what_may_be_done_twice() {
    let world = World::new(grows_slow);
    let calls = hedged(&world, &["first", "second"], Arc::new(RetryBudget::new(0.0, 0))).await;
    let call = |request| tokio::time::timeout(Duration::from_secs(1), calls.send(request));
    assert!(call(get()).await.is_err(), "no budget, no hedge");
    assert_eq!(calls.stats().counts().refused_by_budget, 1);
    assert!(call(request(Method::POST, "x")).await.is_err());
    assert_eq!((calls.stats().counts().hedges, world.count("second")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_above_the_limit_are_refused_with_a_reason() {
    let world = World::new(|_, _| Does::Hangs);
    let limit = LimitSettings { initial: 2, min: 1, ..LimitSettings::default() };
    let calls = world.calls(&["slow"], HttpSettings { limit: Some(limit), ..world.settings() });
    let held: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn({
                let calls = calls.clone();
                async move { calls.send(get()).await }
            })
        })
        .collect();
    while world.sent().len() < 2 {
        tokio::task::yield_now().await;
    }
    let error = calls.send(get()).await.unwrap_err();
    assert_eq!((error.reason, error.is_unsent(), error.is_retryable()), (Reason::Overloaded, true, true));
    assert!(error.to_string().contains("limit of 2 calls"), "{error}");
    held.iter().for_each(|call| call.abort());
    for call in held {
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!(calls.limiter().unwrap().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_at_its_bound_is_passed_over_and_not_blamed() {
    for breaker in [
        BreakerSettings { requests_max: 1, ..BreakerSettings::default() },
        BreakerSettings { connections_max: 1, ..BreakerSettings::default() },
    ] {
        let world = World::new(|_, _| Does::Hangs);
        let calls = world.calls(&["one", "two"], HttpSettings { breaker, ..world.settings() });
        let held: Vec<_> = (0..2)
            .map(|_| {
                tokio::spawn({
                    let calls = calls.clone();
                    async move { calls.send(get()).await }
                })
            })
            .collect();
        while world.sent().len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!((world.count("one"), world.count("two")), (1, 1), "{breaker:?}");
        let error = calls.send(get()).await.unwrap_err();
        assert_eq!((error.reason, error.attempts.len(), error.aside), (Reason::Overloaded, 2, 0), "{error}");
        assert!(error.to_string().contains("the bound of 1 "), "{error}");
        assert_eq!(calls.stats().counts().retries, 0, "who is passed over costs no budget");
        held.iter().for_each(|call| call.abort());
    }
}
