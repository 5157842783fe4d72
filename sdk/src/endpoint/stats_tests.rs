//! Statistics by example: going aside and coming back, reports, tallies.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::endpoint::{Clock, Ejection};

fn fresh() -> (Clock, Arc<Aside>, EndpointStats) {
    let clock = Clock::manual();
    let shared = Arc::new(Aside::new(Ejection::default(), clock.clone()));
    let stats = EndpointStats::new(&mut Gauges::new(&shared));
    (clock, shared, stats)
}

#[test]
fn one_failed_connection_sets_aside_and_one_success_brings_back() {
    let (clock, shared, stats) = fresh();
    stats.record(Outcome::ConnectFailed);
    assert!(stats.is_aside(clock.coarse()) && shared.any());
    assert_eq!(shared.ejections(), 1);
    assert!(!stats.claim(), "not before its time");
    clock.advance(Duration::from_millis(1000));
    assert!(!stats.is_aside(clock.coarse()));
    assert!(stats.claim(), "one trial");
    assert!(!stats.claim(), "and only one");
    stats.record(Outcome::Success);
    assert!(!stats.is_aside(clock.coarse()) && !shared.any() && stats.claim());
    assert_eq!((stats.failures(), stats.failures_in_row()), (1, 0));
}

#[test]
fn failures_of_one_moment_are_one_event_and_a_failed_trial_doubles() {
    let (clock, _shared, stats) = fresh();
    for _ in 0..100 {
        stats.record(Outcome::ConnectFailed);
    }
    clock.advance(Duration::from_millis(1000));
    assert!(stats.claim());
    stats.record(Outcome::Failed);
    clock.advance(Duration::from_millis(1499));
    assert!(stats.is_aside(clock.coarse()), "2 s less at most a quarter");
    clock.advance(Duration::from_millis(501));
    assert!(!stats.is_aside(clock.coarse()));
}

#[test]
fn failed_calls_need_a_row() {
    let (clock, shared, stats) = fresh();
    for _ in 0..4 {
        stats.record(Outcome::Failed);
    }
    stats.record(Outcome::Success);
    for _ in 0..4 {
        stats.record(Outcome::Failed);
    }
    assert!(!shared.any());
    stats.record(Outcome::Failed);
    assert!(stats.is_aside(clock.coarse()));
}

#[test]
fn opinions_have_a_share_and_facts_have_none() {
    let clock = Clock::manual();
    let rule = Ejection { share_max: 25, ..Ejection::default() };
    let shared = Arc::new(Aside::new(rule, clock.clone()));
    shared.set_eligible(8);
    let mut gauges = Gauges::new(&shared);
    let all: Vec<EndpointStats> = (0..8).map(|_| EndpointStats::new(&mut gauges)).collect();
    let fail = |stats: &EndpointStats| (0..5).for_each(|_| stats.record(Outcome::Failed));
    all.iter().take(4).for_each(fail);
    let aside = || all.iter().map(|stats| stats.is_aside(clock.coarse())).collect::<Vec<_>>();
    assert_eq!(aside(), [true, true, false, false, false, false, false, false]);
    all[2..].iter().for_each(|stats| stats.record(Outcome::ConnectFailed));
    assert!(aside().iter().all(|aside| *aside));
    assert!(all[0].gauge().is_opinion() && !all[2].gauge().is_opinion());
    // A refusal makes a fact of an opinion, and room for another.
    all[0].record(Outcome::ConnectFailed);
    assert!(!all[0].gauge().is_opinion());
    drop(all);
    assert!(!shared.any() && shared.reserve() && shared.reserve() && !shared.reserve());
}

#[test]
fn who_was_judged_comes_back_by_a_trial_alone_and_stays_longer_each_time() {
    let (clock, _shared, stats) = fresh();
    assert!(stats.eject() && !stats.eject());
    stats.record(Outcome::Success);
    assert!(stats.is_aside(clock.coarse()), "that call began before");
    clock.advance(Duration::from_secs(10));
    assert!(!stats.is_aside(clock.coarse()) && stats.claim());
    stats.record(Outcome::Success);
    assert!(!stats.gauge().is_opinion() && stats.eject());
    clock.advance(Duration::from_millis(14_999));
    assert!(stats.is_aside(clock.coarse()), "20 s less at most a quarter");
    clock.advance(Duration::from_secs(6));
    assert!(stats.claim());
    stats.record(Outcome::Success);
    stats.relax();
    stats.relax();
    stats.relax();
    assert!(stats.eject());
    clock.advance(Duration::from_secs(10));
    assert!(!stats.is_aside(clock.coarse()), "forgotten after calm intervals");
}

#[test]
fn hearsay_becomes_experience_by_a_trial() {
    let (clock, _shared, stats) = fresh();
    assert!(stats.eject_for_all() && stats.is_aside(clock.coarse()) && !stats.is_held_against());
    clock.advance(Duration::from_secs(10));
    assert!(stats.claim() && !stats.is_held_against());
    stats.record(Outcome::Failed);
    assert!(stats.is_aside(clock.coarse()) && stats.is_held_against() && stats.gauge().is_opinion());
}

#[test]
fn a_tally_is_taken_once() {
    let (_clock, _shared, stats) = fresh();
    stats.record(Outcome::Failed);
    stats.record(Outcome::Success);
    stats.record(Outcome::Success);
    assert_eq!(stats.take_tally(), Tally { successes: 2, failures: 1 });
    assert_eq!(stats.take_tally().total(), 0);
    assert_eq!(stats.failures(), 1, "what is for ever stays");
}

#[test]
fn leaving_while_aside_frees_the_fast_path() {
    let (_clock, shared, stats) = fresh();
    stats.record(Outcome::ConnectFailed);
    assert!(shared.any());
    drop(stats);
    assert!(!shared.any());
}

#[test]
fn no_cache_line_holds_words_of_two_endpoints_that_every_call_writes() {
    const LINE: usize = 64;
    const ALIGNED: usize = 16;
    // The counts of the Arc come first.
    let counts = 2 * size_of::<usize>();
    let apart = (counts + size_of::<EndpointStats>()).next_multiple_of(ALIGNED);
    let first = std::mem::offset_of!(EndpointStats, successes);
    let last = std::mem::offset_of!(EndpointStats, failures);
    assert_eq!((first, last, apart), (16, 20, 64));
    for start in (0..LINE).step_by(ALIGNED) {
        let ends = (start + counts + last) / LINE;
        let begins = (start + apart + counts + first) / LINE;
        assert!(begins > ends, "allocated at {start}");
    }
}
