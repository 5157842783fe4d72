//! The pool of replies by example: what is kept, used, passed over and forgotten.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::endpoint::{Aside, Clock, Ejection, Outcome};

struct Fleet {
    clock: Clock,
    stats: Vec<EndpointStats>,
    replies: Replies,
}

impl Fleet {
    fn new(size: usize) -> Self {
        let clock = Clock::manual();
        let shared = Arc::new(Aside::new(Ejection::default(), clock.clone()));
        let stats = (0..size).map(|_| EndpointStats::new(&shared)).collect();
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
    let held: Vec<usize> = fleet.replies.words.iter().map(|word| position(word.load(Relaxed))).collect();
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

proptest! {
    #[test]
    fn a_latency_keeps_its_order_and_a_hundredth(a in any::<u32>(), b in any::<u32>()) {
        prop_assert!(a > b || encode(a) <= encode(b));
        prop_assert!(encode(a) < 1 << LATENCY_BITS);
        let back = decode(encode(a));
        prop_assert!(back <= a && a - back <= a / 128, "{a} became {back}");
    }
}

/// What [`Replies`] says of itself, word by word.
fn best_by_definition(words: &[u64], threshold: u64, now: u64) -> Option<(usize, u64)> {
    let fresh = |word: &u64| *word != 0 && age(*word, now) <= AGE_MAX;
    let is_cold = |word: u64| flight(word) <= threshold;
    let latency = |word: u64| word & LATENCY_MASK;
    let there: Vec<(usize, u64)> = words.iter().copied().enumerate().filter(|(_, word)| fresh(word)).collect();
    let known = there.iter().filter(|(_, word)| is_cold(*word) && latency(*word) > 0);
    let least = known.map(|(_, word)| latency(*word)).min();
    let score = |(place, word): &(usize, u64)| {
        let hot = !is_cold(*word) || least.is_some_and(|least| latency(*word) > least + u64::from(SLACK));
        let come = least.map_or(0, |least| (age(*word, now) >> TIME_UNIT << 7) >> (least >> 7));
        (hot, (flight(*word) + come).min(FLIGHT_MAX), latency(*word), *place)
    };
    there.iter().copied().min_by_key(score).filter(|_| there.len() >= CHOICE_MIN as usize)
}

proptest! {
    /// Comparing four at once finds what comparing one by one does.
    #[test]
    fn the_best_is_what_the_definition_says(
        said in proptest::collection::vec(
            (0u64..1 << 22, 0..=u64::from(USES_MAX), 0u64..1500, 0..=FLIGHT_MAX, 0..=LATENCY_MASK), REPLIES_MAX,
        ),
        narrow in any::<bool>(), threshold in 0..=FLIGHT_MAX as u32 + 5, now in 2000u64..1 << 40,
    ) {
        let replies = Replies::default();
        let said = said.into_iter().map(|(position, uses, ago, in_flight, latency)| {
            // Near to one another, it is about the last bits.
            let (in_flight, latency) = if narrow { (in_flight % 8, latency % 512) } else { (in_flight, latency) };
            let time = (now - ago) >> TIME_UNIT & TIME_MASK;
            let word = position << POSITION_SHIFT | uses << USES_SHIFT | time << LOAD_BITS | in_flight << LATENCY_BITS | latency;
            if uses == 0 { 0 } else { word }
        });
        let words: Vec<u64> = said.collect();
        replies.words.iter().zip(&words).for_each(|(place, word)| place.store(*word, Relaxed));
        let threshold = if narrow { threshold % 8 } else { threshold };
        replies.threshold.store(threshold, Relaxed);
        let due = best_by_definition(&words, threshold.into(), now);
        prop_assert_eq!(replies.best(now, |_| true), due);
        let even: Vec<u64> = words.iter().map(|word| if position(*word).is_multiple_of(2) { *word } else { 0 }).collect();
        let due = best_by_definition(&even, threshold.into(), now);
        prop_assert_eq!(replies.best(now, |position| position.is_multiple_of(2)), due);
    }
}
