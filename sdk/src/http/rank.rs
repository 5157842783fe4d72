//! Which server is asked first, and when a second one is asked as well: by how fast they answered.
//!
//! The rules: a moving average of the times of reads that do not wait orders the servers; the one in use stays until
//! another is clearly faster, so that equals do not take turns. One that failed is away for a growing time and asked
//! last. Now and then a read begins with one whose time is unknown or old, so that it can win. A read that has taken
//! longer than 95 % of the last ones may be sent to a second server as well (The Tail at Scale, Dean and Barroso 2013),
//! as long as that happens to at most one in ten. Pure: time is an argument. Called by `transport`.

use std::time::Duration;

use tokio::time::Instant;

/// The share of a new time in the average.
const NEW: f64 = 0.2;
/// How much faster than the one in use another must be: half as much again, and a millisecond.
const CLEARLY: f64 = 1.5;
const CLEARLY_SECONDS: f64 = 1e-3;
/// How old a time may get before its server is tried again.
const TRY_EVERY: Duration = Duration::from_secs(30);
/// How long a server is away after its first failure, and at most.
const AWAY_FIRST: Duration = Duration::from_millis(500);
const AWAY_MAX: Duration = Duration::from_secs(30);
/// How many times are remembered, and how many there must be before the percentile means anything.
const TIMES: usize = 64;
const TIMES_MIN: usize = 16;
/// When the second server is asked as well, before enough is known and at the earliest.
const HEDGE_UNKNOWN: Duration = Duration::from_millis(100);
const HEDGE_MIN: Duration = Duration::from_millis(2);
/// What a read saves up for second questions, each of which costs one, and how many can be saved up.
const SAVED_PER_READ: f64 = 0.1;
const SAVED_MAX: f64 = 10.0;

/// Orders servers, which are numbered by their place.
#[derive(Debug)]
pub(super) struct Rank {
    servers: Vec<Known>,
    preferred: usize,
    // The last times, in a ring.
    times: Vec<Duration>,
    next_time: usize,
    saved: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    seconds: Option<f64>,
    measured: Option<Instant>,
    failures: u32,
    away_until: Option<Instant>,
}

impl Known {
    fn is_away(&self, now: Instant) -> bool {
        self.away_until.is_some_and(|until| now < until)
    }
}

impl Rank {
    pub(super) fn new(count: usize) -> Self {
        Self {
            servers: vec![Known::default(); count],
            preferred: 0,
            times: Vec::new(),
            next_time: 0,
            saved: SAVED_MAX / 2.0,
        }
    }

    /// Takes over a new list of servers; `before` says at which place each was, if it was known.
    pub(super) fn carry_over(&mut self, before: &[Option<usize>]) {
        let preferred = before.iter().position(|place| *place == Some(self.preferred)).unwrap_or(0);
        self.servers = before
            .iter()
            .map(|place| place.and_then(|place| self.servers.get(place)).copied().unwrap_or_default())
            .collect();
        self.preferred = preferred;
    }

    /// Returns all servers in the order in which they are to be asked. With `try_others` the first may be one whose
    /// time is unknown or old.
    pub(super) fn order(&self, now: Instant, try_others: bool) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        let tried = try_others.then(|| self.to_try(now)).flatten();
        order.sort_by(|a, b| {
            let key = |place: usize| {
                let known = &self.servers[place];
                let away = known.is_away(now).then_some(known.away_until).flatten();
                let seconds = if place == self.preferred { -1.0 } else { known.seconds.unwrap_or(f64::MAX) };
                (tried != Some(place), away, seconds)
            };
            let (a, b) = (key(*a), key(*b));
            a.0.cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.total_cmp(&b.2))
        });
        order
    }

    fn to_try(&self, now: Instant) -> Option<usize> {
        let due = |known: &Known| known.measured.is_none_or(|then| now.saturating_duration_since(then) >= TRY_EVERY);
        let candidates = self.servers.iter().enumerate().filter(|(_, known)| !known.is_away(now) && due(known));
        candidates.min_by_key(|(_, known)| known.measured).map(|(place, _)| place)
    }

    /// Notes that a read that does not wait was answered after this time.
    pub(super) fn answered(&mut self, place: usize, after: Duration, now: Instant) {
        if self.times.len() < TIMES {
            self.times.push(after);
        } else {
            self.times[self.next_time] = after;
        }
        self.next_time = (self.next_time + 1) % TIMES;
        self.saved = (self.saved + SAVED_PER_READ).min(SAVED_MAX);
        self.measure(place, after, now);
    }

    /// Notes that a read had not been answered after this time, when another server was faster.
    pub(super) fn slower_than(&mut self, place: usize, after: Duration, now: Instant) {
        if self.servers.get(place).is_some_and(|known| known.seconds.is_none_or(|known| after.as_secs_f64() > known)) {
            self.measure(place, after, now);
        }
    }

    fn measure(&mut self, place: usize, after: Duration, now: Instant) {
        let Some(known) = self.servers.get_mut(place) else { return };
        let seconds = after.as_secs_f64();
        known.seconds = Some(known.seconds.map_or(seconds, |before| before + NEW * (seconds - before)));
        known.measured = Some(now);
        self.well(place, now);
    }

    /// Notes that a server answered, be it after a wait that says nothing of its speed.
    pub(super) fn well(&mut self, place: usize, now: Instant) {
        let Some(known) = self.servers.get_mut(place) else { return };
        (known.failures, known.away_until) = (0, None);
        self.prefer(now);
    }

    /// Notes that a server did not answer, or with a 5xx.
    pub(super) fn failed(&mut self, place: usize, now: Instant) {
        let Some(known) = self.servers.get_mut(place) else { return };
        let away = AWAY_FIRST.saturating_mul(1 << known.failures.min(10)).min(AWAY_MAX);
        known.failures = known.failures.saturating_add(1);
        (known.away_until, known.measured) = (Some(now + away), Some(now));
        self.prefer(now);
    }

    fn prefer(&mut self, now: Instant) {
        let seconds = |known: &Known| known.seconds.unwrap_or(f64::MAX);
        let well = self.servers.iter().enumerate().filter(|(_, known)| !known.is_away(now));
        let Some((best, known)) = well.min_by(|(_, a), (_, b)| seconds(a).total_cmp(&seconds(b))) else { return };
        let used = self.servers[self.preferred];
        let clearly = used.seconds.is_some_and(|used| used > seconds(known) * CLEARLY + CLEARLY_SECONDS);
        if used.is_away(now) || clearly {
            self.preferred = best;
        }
    }

    /// Returns after which time a read may be sent to a second server as well: the 95th percentile of the last ones.
    pub(super) fn hedge_after(&self) -> Duration {
        if self.times.len() < TIMES_MIN {
            return HEDGE_UNKNOWN;
        }
        let mut times = self.times.clone();
        let at = times.len() * 95 / 100;
        let (_, percentile, _) = times.select_nth_unstable(at);
        (*percentile).max(HEDGE_MIN)
    }

    /// Asks for a second question; true grants and charges it.
    pub(super) fn may_hedge(&mut self) -> bool {
        let granted = self.saved >= 1.0;
        if granted {
            self.saved -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_clearly_faster_server_is_preferred() {
        let (mut rank, now) = (Rank::new(3), Instant::now());
        assert_eq!(rank.order(now, false), [0, 1, 2], "as they were given");
        rank.answered(0, 5 * MS, now);
        rank.answered(1, 4 * MS, now);
        assert_eq!(rank.order(now, false), [0, 1, 2], "hardly faster is not enough; the unknown come last");
        rank.answered(2, MS, now);
        assert_eq!(rank.order(now, false), [2, 1, 0]);
    }

    #[test]
    fn who_failed_comes_last_for_a_growing_time() {
        let (mut rank, now) = (Rank::new(2), Instant::now());
        rank.failed(0, now);
        assert_eq!(rank.order(now, false), [1, 0]);
        rank.well(1, now);
        assert_eq!(rank.order(now + AWAY_FIRST, false), [1, 0], "the one in use stays");
        rank.failed(1, now + AWAY_FIRST);
        assert_eq!(rank.order(now + AWAY_FIRST, false), [0, 1]);
        for _ in 0..20 {
            rank.failed(0, now);
        }
        assert_eq!(rank.order(now + MS, true), [1, 0], "whoever is back sooner, if all are away");
        assert_eq!(rank.order(now + AWAY_MAX, false).len(), 2);
    }

    #[test]
    fn others_are_tried_when_their_time_is_old() {
        let (mut rank, now) = (Rank::new(2), Instant::now());
        rank.answered(0, MS, now);
        assert_eq!(rank.order(now, true), [1, 0], "nothing is known of it");
        rank.answered(1, 9 * MS, now);
        assert_eq!(rank.order(now, true), [0, 1]);
        rank.answered(0, MS, now + TRY_EVERY / 2);
        assert_eq!(rank.order(now + TRY_EVERY, true), [1, 0]);
        rank.failed(1, now + TRY_EVERY);
        assert_eq!(rank.order(now + TRY_EVERY, true), [0, 1], "not while it is away");
    }

    #[test]
    fn a_second_question_comes_after_the_percentile_and_within_a_budget() {
        let (mut rank, now) = (Rank::new(2), Instant::now());
        assert_eq!(rank.hedge_after(), HEDGE_UNKNOWN);
        for time in 1..=60 {
            rank.answered(0, time * MS, now);
        }
        assert_eq!(rank.hedge_after(), 58 * MS);
        let granted = |rank: &mut Rank| (0..100).take_while(|_| rank.may_hedge()).count();
        assert_eq!(granted(&mut rank), 10);
        for _ in 0..31 {
            rank.answered(0, MS, now);
        }
        assert_eq!(granted(&mut rank), 3, "one in ten");
    }

    proptest! {
        /// Whatever was seen, all servers are in the order, each once, and one that is not away comes first.
        #[test]
        fn nobody_is_forgotten(
            count in 1usize..6,
            seen in proptest::collection::vec((0usize..6, 0u32..4, 0u64..5000), 0..60),
            other: bool,
        ) {
            let (mut rank, mut now) = (Rank::new(count), Instant::now());
            for (place, what, time) in seen {
                now += Duration::from_millis(time);
                match what {
                    0 => rank.failed(place, now),
                    1 => rank.well(place, now),
                    2 => rank.slower_than(place, Duration::from_millis(time), now),
                    _ => rank.answered(place, Duration::from_millis(time), now),
                }
            }
            let order = rank.order(now, other);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            let away = |place: usize| rank.servers[place].is_away(now);
            prop_assert!(!away(order[0]) || (0..count).all(away));
            rank.carry_over(&[None, Some(0)]);
            prop_assert_eq!(rank.order(now, other).len(), 2);
        }
    }
}
