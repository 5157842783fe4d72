//! The pool of replies by example: what is kept, used, passed over and forgotten.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::endpoint::{Aside, Clock, Ejection, Gauges, Outcome};

struct Fleet {
    clock: Clock,
    stats: Vec<EndpointStats>,
    replies: Replies,
}

impl Fleet {
    fn new(size: usize) -> Self {
        let clock = Clock::manual();
        let shared = Arc::new(Aside::new(Ejection::default(), clock.clone()));
        let mut gauges = Gauges::new(&shared);
        let stats = (0..size).map(|_| EndpointStats::new(&mut gauges)).collect();
        Self { clock, stats, replies: Replies::default() }
    }

    fn say(&self, position: usize, in_flight: u32, latency: u32) {
        let load = Load { in_flight, latency };
        self.replies.note(position, &self.stats[position], load, self.clock.exact());
    }

    fn take(&self) -> Option<usize> {
        self.replies.take(self.clock.coarse(), |_| true)
    }
}

#[test]
fn the_fastest_of_the_cold_is_taken_and_the_least_busy_of_the_hot() {
    let fleet = Fleet::new(30);
    for position in 0..12 {
        fleet.say(position, 3, 10_000 + position as u32);
    }
    fleet.say(12, 90, 10);
    fleet.say(13, 80, 20);
    fleet.say(14, 2, 8_000);
    assert_eq!(fleet.take(), Some(14), "hot ones are left, however fast");
    for _ in 0..12 {
        assert!(fleet.take().is_some_and(|position| position < 12));
    }
    assert_eq!(fleet.take(), Some(13), "nobody is cold any more");
    assert_eq!(fleet.take(), None, "one is no choice");
}

#[test]
fn a_reply_grows_old() {
    let fleet = Fleet::new(3);
    (0..3).for_each(|position| fleet.say(position, 1, 100));
    fleet.clock.advance(Duration::from_millis(1000));
    assert_eq!(fleet.replies.len(fleet.clock.coarse()), 3);
    fleet.clock.advance(Duration::from_millis(8));
    assert_eq!((fleet.take(), fleet.replies.len(fleet.clock.coarse())), (None, 0));
    // The time in a word comes round after 4.096 s; nobody may take an old reply for a new one.
    fleet.clock.advance(Duration::from_millis(4096 - 1008));
    assert_eq!((fleet.take(), fleet.replies.len(fleet.clock.coarse())), (None, 0));
    fleet.say(0, 1, 100);
    assert_eq!(fleet.replies.len(fleet.clock.coarse()), 1, "the first new one sweeps out the old");
}

#[test]
fn a_full_pool_gives_up_its_oldest_and_its_worst_in_turn() {
    let fleet = Fleet::new(40);
    for position in 0..16 {
        fleet.say(position, 1, if position == 7 { 9_000 } else { 1_000 });
        fleet.clock.advance(Duration::from_millis(4));
    }
    fleet.say(20, 1, 1_000);
    fleet.say(21, 1, 1_000);
    let held: Vec<usize> = fleet.replies.said.iter().map(|word| Said(word.load(Relaxed)).position()).collect();
    assert!(!held.contains(&0) && !held.contains(&7), "{held:?}");
    assert!(held.contains(&20) && held.contains(&21));
}

#[test]
fn scarce_replies_are_used_several_times_and_count_what_they_add() {
    let fleet = Fleet::new(4);
    for _ in 0..40 {
        (0..2).for_each(|position| fleet.say(position, 5, 1_000));
        for _ in 0..20 {
            fleet.take();
        }
    }
    assert_eq!(fleet.replies.uses.load(Relaxed), 15, "ten picks a reply, and half as much again");
    (0..2).for_each(|position| fleet.say(position, 5, 1_000));
    let taken: Vec<usize> = (0..8).filter_map(|_| fleet.take()).collect();
    assert_eq!(taken.iter().filter(|position| **position == 0).count(), 4, "{taken:?}");
}

#[test]
fn who_fails_fast_does_not_look_good() {
    let fleet = Fleet::new(8);
    fleet.stats[3].record(Outcome::Failed);
    let mut chosen = 0;
    for _ in 0..100 {
        for position in 0..8 {
            fleet.say(position, 1, if position == 3 { 50 } else { 10_000 });
        }
        chosen += u32::from(fleet.take() == Some(3));
        while fleet.take().is_some() {}
    }
    assert!(chosen <= 13, "{chosen} of 100 picks");
    fleet.stats[3].record(Outcome::Success);
    (0..8).for_each(|position| fleet.say(position, 1, if position == 3 { 50 } else { 10_000 }));
    assert_eq!(fleet.take(), Some(3));
}

#[test]
fn when_the_fastest_is_used_up_the_next_fastest_says_what_is_fast() {
    let fleet = Fleet::new(4);
    for (position, in_flight, latency) in [(0, 1, 100), (1, 2, 10_000), (2, 3, 10_000), (3, 1, 30_000)] {
        fleet.say(position, in_flight, latency);
    }
    let taken: Vec<Option<usize>> = (0..2).map(|_| fleet.take()).collect();
    assert_eq!(taken, [0, 1].map(Some), "the least busy of those about as fast as the fastest that is left");
}

#[test]
fn who_is_not_allowed_is_passed_over() {
    let fleet = Fleet::new(4);
    (0..4).for_each(|position| fleet.say(position, 1, 100 * (1 + position as u32)));
    let now = fleet.clock.coarse();
    assert_eq!(fleet.replies.take(now, |position| position > 1), Some(2));
    assert_eq!(fleet.replies.take(now, |position| position == 3), None, "one is no choice");
}

#[test]
fn the_first_pick_after_a_sleep_wakes() {
    struct Count(AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let fleet = Fleet::new(1);
    let count = Arc::new(Count(AtomicU32::new(0)));
    assert!(fleet.replies.employ(&Waker::from(Arc::clone(&count))));
    assert!(!fleet.replies.employ(Waker::noop()), "a pool has one prober");
    fleet.take();
    assert!(!fleet.replies.sleep(0), "there was a pick");
    assert!(fleet.replies.sleep(1));
    (0..5).for_each(|_| assert!(fleet.take().is_none()));
    assert_eq!(count.0.load(Relaxed), 1);
    fleet.replies.dismiss();
    assert!(fleet.replies.employ(Waker::noop()));
}

/// What [`Replies`] says of itself, word by word; `said` with the uses left of each, 0 for a place without a reply.
fn best_by_definition(said: &[(Said, u32)], threshold: u32, now: u64) -> Option<usize> {
    struct One {
        in_flight: u32,
        latency: u32,
        age: u64,
        place: usize,
        position: usize,
    }
    let there = said.iter().enumerate().filter(|(_, (said, left))| *left > 0 && said.age(now) <= AGE_MAX);
    let there: Vec<One> = there
        .map(|(place, (said, left))| One {
            in_flight: (said.in_flight() + said.uses() - left).min(FLIGHT_MAX),
            latency: said.latency(),
            age: said.age(now),
            place,
            position: said.position(),
        })
        .collect();
    let is_cold = |one: &One| one.in_flight <= threshold;
    let least = there.iter().filter(|one| is_cold(one) && one.latency > 0).map(|one| one.latency).min();
    let score = |one: &&One| {
        let hot = !is_cold(one) || least.is_some_and(|least| one.latency > least + SLACK);
        let come = least.map_or(0, |least| (one.age / 4 * 128) >> (least / 128)) as u32;
        (hot, (one.in_flight + come).min(FLIGHT_MAX), one.latency, one.place)
    };
    there.iter().min_by_key(score).filter(|_| there.len() >= CHOICE_MIN).map(|one| one.position)
}

proptest! {
    /// The first of the ranks is the reply that the definition names, down to the last one.
    #[test]
    fn the_best_is_what_the_definition_says(
        said in proptest::collection::vec(
            (0..=USES_MAX, 0..=USES_MAX, 0u64..1500, 0..=FLIGHT_MAX, any::<u32>()), REPLIES_MAX,
        ),
        narrow in any::<bool>(), threshold in 0..=FLIGHT_MAX + 5, now in 2000u64..1 << 40,
    ) {
        let replies = Replies::default();
        let threshold = if narrow { threshold % 8 } else { threshold };
        replies.threshold.store(threshold, Relaxed);
        replies.newest.store(now, Relaxed);
        let said = said.into_iter().enumerate().map(|(position, (uses, picks, ago, in_flight, latency))| {
            // Near to one another, it is about the last bits.
            let (in_flight, latency) = if narrow { (in_flight % 8, latency % 5000) } else { (in_flight, latency) };
            (Said::new(position, Load { in_flight, latency }, now - ago, uses), uses.saturating_sub(picks))
        });
        let mut said: Vec<(Said, u32)> = said.collect();
        for (place, (said, left)) in said.iter().enumerate() {
            let rank = if *left == 0 { Rank::NOBODY } else { Rank::new(*said, place, *left, 0, false) };
            replies.said[place].store(said.0, Relaxed);
            replies.ranks[place].store(rank.0, Relaxed);
        }
        // With fewer each time, as they are used up.
        loop {
            replies.rank(&replies.fresh(now), now);
            let due = best_by_definition(&said, threshold, now);
            prop_assert_eq!(replies.take(now, |_| true), due);
            let Some(position) = due else { break };
            said[position].1 -= 1;
        }
    }
}
