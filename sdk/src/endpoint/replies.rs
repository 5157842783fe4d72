//! The pool of recent replies on load: who said it, how busy, how long ago, how often it may still be believed.
//!
//! One per service and process, shared by all balancers and threads, carried from snapshot to snapshot. A reply is
//! one word, so it is never read half old and half new, and a pick needs neither a lock nor a second look: it
//! reads sixteen words on two cache lines, and takes one by a single compare-and-swap that counts the call it is
//! about to add. Losing that race costs nothing: the choice stands, and the winner's count is in the word. Which
//! reply is best is Prequal's rule (Wydrowski et al., NSDI 2024), softened: of the cold whose latency is about the least the one
//! with the fewest requests in flight, else whoever has the fewest; and what is in flight counts for more as it ages. Who is probed and when is decided in `load`, not here.

use std::array::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Waker;

use arc_swap::ArcSwapOption;

use super::stats::{EndpointStats, Load};

/// Replies held at once.
const REPLIES_MAX: usize = 16;
/// How long a reply is believed, in milliseconds.
const AGE_MAX: u64 = 1000;
/// Latencies so near to the least are as good as it, in units of 1/128 of a doubling (a factor of 2.4): estimates are
/// means of few, and what is within their noise had better be decided by requests in flight.
const SLACK: u32 = 160;
/// Stands for no latency: above all there are, and a signed number to be compared as one.
const NO_LATENCY: u32 = u32::MAX >> 1;
/// Fewer replies than this are no choice.
const CHOICE_MIN: u32 = 2;
/// Loads of which the quantile is taken that parts hot from cold.
const SEEN: usize = 64;
/// Replies between two looks at how many picks there were per reply.
const BUDGET_EVERY: u64 = 16;
/// Of a failing endpoint one reply in so many is taken as it is, or its recovery would never be found out.
const PARDON_EVERY: u64 = 8;

// From the lowest bit: latency (12), in flight (14), time (10), uses left (6), position (22). A word of 0 is no reply.
const LATENCY_BITS: u32 = 12;
const FLIGHT_BITS: u32 = 14;
const LOAD_BITS: u32 = LATENCY_BITS + FLIGHT_BITS;
const LOAD_MASK: u64 = (1 << LOAD_BITS) - 1;
const LATENCY_MASK: u64 = (1 << LATENCY_BITS) - 1;
const FLIGHT_MAX: u64 = (1 << FLIGHT_BITS) - 1;
const ONE_IN_FLIGHT: u64 = 1 << LATENCY_BITS;
const TIME_BITS: u32 = 10;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Milliseconds per unit of the time, as a shift: a reply's time begins anew after 4.096 s.
const TIME_UNIT: u32 = 2;
const USES_SHIFT: u32 = LOAD_BITS + TIME_BITS;
const USES_BITS: u32 = 6;
const USES_MAX: u32 = (1 << USES_BITS) - 1;
const ONE_USE: u64 = 1 << USES_SHIFT;
const POSITION_SHIFT: u32 = USES_SHIFT + USES_BITS;
/// Endpoints at positions from here on are never in the pool.
const POSITIONS_MAX: usize = 1 << (64 - POSITION_SHIFT);

/// Holds the most recent replies of one service.
#[derive(Debug)]
#[repr(align(128))]
pub struct Replies {
    words: [AtomicU64; REPLIES_MAX],
    /// A server is hot when it has more requests in flight than this.
    threshold: AtomicU32,
    /// How many picks a new reply is good for.
    uses: AtomicU32,
    /// When the last reply came, in milliseconds.
    newest: AtomicU64,
    demand: Demand,
    seen: [AtomicU32; SEEN],
    noted: AtomicU64,
    /// What was picked when the uses were last reckoned.
    picked: AtomicU64,
}

/// How much is picked, on cache lines of its own: every pick writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Demand {
    picks: AtomicU64,
    asleep: AtomicBool,
    employed: AtomicBool,
    waker: ArcSwapOption<Waker>,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; REPLIES_MAX],
            threshold: AtomicU32::new(0),
            uses: AtomicU32::new(1),
            newest: AtomicU64::new(0),
            demand: Demand::default(),
            seen: [const { AtomicU32::new(0) }; SEEN],
            noted: AtomicU64::new(0),
            picked: AtomicU64::new(0),
        }
    }
}

impl Replies {
    /// Takes the best reply at `now` (milliseconds of the service's clock) whose endpoint `allows` lets pass, and
    /// counts one more in flight there; none when there are fewer than two to choose from.
    #[inline]
    pub fn take(&self, now: u64, allows: impl Fn(usize) -> bool) -> Option<usize> {
        // Two threads at once may count as one, and a pick as one falls asleep may not wake it: the next one does.
        let picks = self.demand.picks.load(Relaxed).wrapping_add(1);
        self.demand.picks.store(picks, Relaxed);
        if self.demand.asleep.load(Relaxed) {
            self.wake();
        }
        // Times within words are unambiguous while replies come in, for each sweeps out those that are too old.
        if now.saturating_sub(self.newest.load(Relaxed)) > AGE_MAX {
            return None;
        }
        let (place, word) = self.best(now, |_| true)?;
        let position = position(word);
        if !allows(position) {
            return self.take_allowed(now, allows);
        }
        self.count(place, word);
        Some(position)
    }

    #[cold]
    fn take_allowed(&self, now: u64, allows: impl Fn(usize) -> bool) -> Option<usize> {
        let (place, word) = self.best(now, allows)?;
        self.count(place, word);
        Some(position(word))
    }

    /// Returns the best of the fresh and allowed, if it is the best of several. Without a branch per word, and in numbers
    /// of 32 bits: processors compare four of them at once, and whether a place holds a reply cannot be foretold.
    #[inline]
    fn best(&self, now: u64, allows: impl Fn(usize) -> bool) -> Option<(usize, u64)> {
        let threshold = self.threshold.load(Relaxed);
        let words: [u64; REPLIES_MAX] = from_fn(|place| {
            let word = self.words[place].load(Relaxed);
            if allows(position(word)) { word } else { 0 }
        });
        let (low, high) = (words.map(|word| word as u32), words.map(|word| (word >> 32) as u32));
        let now = (now >> TIME_UNIT) as u32;
        let ages: [u32; REPLIES_MAX] = from_fn(|place| {
            let time = low[place] >> LOAD_BITS | high[place] << (32 - LOAD_BITS);
            now.wrapping_sub(time) & TIME_MASK as u32
        });
        // A reply has a use left.
        let gone: [u32; REPLIES_MAX] = from_fn(|place| {
            let is_used_up = high[place] & USES_MAX << (USES_SHIFT - 32) == 0;
            u32::from(is_used_up) | u32::from(ages[place] > (AGE_MAX >> TIME_UNIT) as u32)
        });
        let latencies = low.map(|low| low & LATENCY_MASK as u32);
        let flights = low.map(|low| (low & LOAD_MASK as u32) >> LATENCY_BITS);
        // Hot ones say nothing of how fast a server can be, nor do those that do not know yet.
        let known: [u32; REPLIES_MAX] = from_fn(|place| {
            let silent = gone[place] | u32::from(flights[place] > threshold) | u32::from(latencies[place] == 0);
            latencies[place] | silent.wrapping_neg() >> 1
        });
        if REPLIES_MAX as u32 - gone.iter().sum::<u32>() < CHOICE_MIN {
            return None;
        }
        let least = known.into_iter().fold(NO_LATENCY, u32::min);
        let limit = least.saturating_add(SLACK);
        // In the time of one request about as many come as are there, sent by whoever holds a reply like this one: what
        // is in flight counts as one more per latency of age, to within a factor of two.
        let turnover = (least >> 7).min(31);
        let scores: [u32; REPLIES_MAX] = from_fn(|place| {
            let worse = gone[place] << 1 | u32::from(flights[place] > threshold) | u32::from(latencies[place] > limit);
            let flight = (flights[place] + (ages[place] << 7 >> turnover)).min(FLIGHT_MAX as u32);
            (worse << LOAD_BITS | flight << LATENCY_BITS | latencies[place]) << 4 | place as u32
        });
        let best = scores.into_iter().fold(u32::MAX, u32::min);
        let place = (best & 15) as usize;
        Some((place, words[place]))
    }

    /// Counts a pick on a reply: one more in flight, one use less, and gone with the last.
    #[inline]
    fn count(&self, place: usize, word: u64) {
        let next = if word >> USES_SHIFT & u64::from(USES_MAX) <= 1 {
            0
        } else if flight(word) < FLIGHT_MAX {
            word - ONE_USE + ONE_IN_FLIGHT
        } else {
            word - ONE_USE
        };
        let _ = self.words[place].compare_exchange(word, next, Relaxed, Relaxed);
    }

    /// Takes note of what the endpoint at a position said at `now`: in its statistics, and in the pool in the place
    /// of what it said before, else of a reply that is used up or old, else of the oldest and the worst in turn.
    /// An endpoint whose last calls failed is noted as slower than it says, since failing is fast.
    pub fn note(&self, position: usize, stats: &EndpointStats, load: Load, now: u64) {
        stats.note_report(load, now);
        self.stand_in(position, stats, load, now);
    }

    /// Enters what is known of an endpoint that says nothing itself; as [`Self::note`], but its statistics stay as they
    /// are.
    pub fn stand_in(&self, position: usize, stats: &EndpointStats, load: Load, now: u64) {
        stats.clock().keep_until(now + AGE_MAX + 1);
        if position >= POSITIONS_MAX {
            return;
        }
        let noted = self.noted.fetch_add(1, Relaxed);
        self.see(noted, load.in_flight);
        if noted.is_multiple_of(BUDGET_EVERY) {
            self.reckon();
        }
        let failures = stats.failures_in_row().min(8);
        let latency = if failures > 0 && !noted.is_multiple_of(PARDON_EVERY) {
            load.latency.max(self.typical(now)).saturating_mul(2 << failures)
        } else {
            load.latency
        };
        let word = (position as u64) << POSITION_SHIFT
            | u64::from(self.uses.load(Relaxed)) << USES_SHIFT
            | (now >> TIME_UNIT & TIME_MASK) << LOAD_BITS
            | u64::from(load.in_flight).min(FLIGHT_MAX) << LATENCY_BITS
            | encode(latency);
        if now.saturating_sub(self.newest.fetch_max(now, Relaxed)) > AGE_MAX {
            // Everybody is too old, and by the times in the words some might look young again.
            self.words.iter().for_each(|word| word.store(0, Relaxed));
        }
        let place = self.place_for(position, noted, now);
        self.words[place].store(word, Relaxed);
    }

    /// Returns where a new reply goes, and drops on the way what is too old.
    fn place_for(&self, from: usize, noted: u64, now: u64) -> usize {
        let threshold = u64::from(self.threshold.load(Relaxed));
        let (mut empty, mut same) = (None, None);
        let (mut oldest, mut worst) = ((0, 0), (0, 0));
        for (place, slot) in self.words.iter().enumerate() {
            let word = slot.load(Relaxed);
            if word != 0 && age(word, now) > AGE_MAX {
                let _ = slot.compare_exchange(word, 0, Relaxed, Relaxed);
                empty = Some(place);
            } else if word == 0 {
                empty = Some(place);
            } else if position(word) == from {
                same = Some(place);
            } else {
                oldest = oldest.max((age(word, now), place));
                let latency = word & LATENCY_MASK;
                let badness = if flight(word) > threshold { flight(word) << 32 } else { latency };
                worst = worst.max((badness, place));
            }
        }
        same.or(empty).unwrap_or(if noted & 1 == 0 { oldest.1 } else { worst.1 })
    }

    /// Adds a load to those last seen; the threshold is their 2^-0.25 quantile.
    fn see(&self, noted: u64, in_flight: u32) {
        self.seen[noted as usize % SEEN].store(in_flight, Relaxed);
        let count = (noted + 1).min(SEEN as u64) as usize;
        let mut loads = [0; SEEN];
        for (load, seen) in loads.iter_mut().zip(&self.seen) {
            *load = seen.load(Relaxed);
        }
        let loads = &mut loads[..count];
        let (_, quantile, _) = loads.select_nth_unstable(count * 84 / 100);
        self.threshold.store(*quantile, Relaxed);
    }

    /// Sets how many picks a reply is good for: one, unless fewer replies than picks come in. The paper's budget
    /// with its removals, which happen here only when a reply comes in.
    fn reckon(&self) {
        let picks = self.demand.picks.load(Relaxed);
        let fresh = picks.wrapping_sub(self.picked.swap(picks, Relaxed));
        let uses = (fresh * 3).div_ceil(BUDGET_EVERY * 2).clamp(1, USES_MAX.into());
        self.uses.store(uses as u32, Relaxed);
    }

    /// Returns the middle latency of the pool in microseconds; 0 when it is empty.
    fn typical(&self, now: u64) -> u32 {
        let mut latencies = [0; REPLIES_MAX];
        let mut count = 0;
        for word in self.words.iter().map(|word| word.load(Relaxed)) {
            if word != 0 && age(word, now) <= AGE_MAX {
                latencies[count] = word & LATENCY_MASK;
                count += 1;
            }
        }
        let latencies = &mut latencies[..count];
        latencies.sort_unstable();
        latencies.get(count / 2).map_or(0, |latency| decode(*latency))
    }

    /// Returns how many picks there were, ever.
    #[must_use]
    pub fn picks(&self) -> u64 {
        self.demand.picks.load(Relaxed)
    }

    /// Returns how many replies were noted, ever.
    #[must_use]
    pub fn noted(&self) -> u64 {
        self.noted.load(Relaxed)
    }

    /// Returns how many replies are fresh enough at `now` to be chosen from.
    #[must_use]
    pub fn len(&self, now: u64) -> usize {
        if now.saturating_sub(self.newest.load(Relaxed)) > AGE_MAX {
            return 0;
        }
        let fresh = |word: &AtomicU64| {
            let word = word.load(Relaxed);
            word != 0 && age(word, now) <= AGE_MAX
        };
        self.words.iter().filter(|word| fresh(word)).count()
    }

    /// Makes the caller the one prober of the pool, to be woken by the first pick after [`Self::sleep`]. False when
    /// there is one.
    pub(crate) fn employ(&self, waker: &Waker) -> bool {
        let vacant = !self.demand.employed.swap(true, SeqCst);
        if vacant {
            self.demand.waker.store(Some(Arc::new(waker.clone())));
        }
        vacant
    }

    /// Lets the prober go.
    pub(crate) fn dismiss(&self) {
        self.demand.waker.store(None);
        self.demand.asleep.store(false, SeqCst);
        self.demand.employed.store(false, SeqCst);
    }

    /// Says that whoever probes goes to sleep until the next pick. False, and no sleep, when there were picks
    /// beyond `picks`.
    pub(crate) fn sleep(&self, picks: u64) -> bool {
        self.demand.asleep.store(true, SeqCst);
        let idle = self.demand.picks.load(SeqCst) == picks;
        if !idle {
            self.demand.asleep.store(false, SeqCst);
        }
        idle
    }

    #[cold]
    fn wake(&self) {
        if self.demand.asleep.swap(false, SeqCst)
            && let Some(waker) = &*self.demand.waker.load()
        {
            waker.wake_by_ref();
        }
    }
}

#[inline]
fn position(word: u64) -> usize {
    (word >> POSITION_SHIFT) as usize
}

#[inline]
fn flight(word: u64) -> u64 {
    (word & LOAD_MASK) >> LATENCY_BITS
}

/// Returns the age of a reply in milliseconds, exact to 4.
#[inline]
fn age(word: u64, now: u64) -> u64 {
    ((now >> TIME_UNIT).wrapping_sub(word >> LOAD_BITS) & TIME_MASK) << TIME_UNIT
}

/// Writes microseconds as 12 bits that keep the order: 7 of precision, 5 of size; exact below 256.
fn encode(micros: u32) -> u64 {
    let size = (32 - micros.leading_zeros()).saturating_sub(8);
    u64::from((size << 7) + (micros >> size))
}

fn decode(bits: u64) -> u32 {
    let bits = bits as u32;
    if bits < 256 {
        return bits;
    }
    let size = (bits >> 7) - 1;
    ((bits & 127) + 128) << size
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
