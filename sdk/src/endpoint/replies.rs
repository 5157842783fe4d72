//! The pool of recent replies on load: who said it, how busy, how long ago, how often it may still be believed.
//!
//! One per service and process, shared by all balancers and threads, carried from snapshot to snapshot. A pick needs no
//! lock: it takes the least of sixteen numbers on two cache lines, the ranks, and counts the call it is about to add by
//! a single compare-and-swap. Losing that race costs nothing: the choice stands, and the winner's count is in the word.
//! Replies are ranked when one comes in, grows too old or was the fastest and is used up, and not by each pick. Which
//! reply is best is Prequal's rule (Wydrowski et al., NSDI 2024), softened: of the cold whose latency is about the least the one
//! with the fewest requests in flight, else whoever has the fewest; and what is in flight counts for more as it ages. Who is probed and when is decided in `load`, not here.

use std::array::from_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Waker;

use super::demand::Demand;
use super::reply::{AGE_MAX, FLIGHT_MAX, PLACES_MAX, POSITIONS_MAX, Rank, Said, USES_MAX, decode};
use super::{EndpointStats, Load};

/// Replies held at once.
const REPLIES_MAX: usize = PLACES_MAX;
/// Latencies so near to the least are as good as it, in units of 1/128 of a doubling (a factor of 2.4): estimates are
/// means of few, and what is within their noise had better be decided by requests in flight.
const SLACK: u32 = 160;
/// Stands for no latency: above all there are.
const NO_LATENCY: u32 = u32::MAX >> 1;
/// Fewer replies than this are no choice.
const CHOICE_MIN: usize = 2;
/// Loads of which the quantile is taken that parts hot from cold.
const SEEN: usize = 64;
/// Replies between two looks at how many picks there were per reply.
const BUDGET_EVERY: u64 = 16;
/// Of a failing endpoint one reply in so many is taken as it is, or its recovery would never be found out.
const PARDON_EVERY: u64 = 8;

/// Holds the most recent replies of one service.
#[derive(Debug)]
#[repr(align(128))]
pub struct Replies {
    ranks: [AtomicU64; REPLIES_MAX],
    /// The last millisecond at which the ranks hold: then the oldest is too old. 0 when there is no choice.
    until: AtomicU64,
    /// The least latency when they were ranked, as [`Said::latency`] has it.
    least: AtomicU32,
    /// A server is hot when it has more requests in flight than this.
    threshold: AtomicU32,
    /// How many picks a new reply is good for.
    uses: AtomicU32,
    said: [AtomicU64; REPLIES_MAX],
    /// When the last reply came, in milliseconds.
    newest: AtomicU64,
    demand: Demand,
    seen: [AtomicU32; SEEN],
    noted: AtomicU64,
    /// What was picked when the uses were last reckoned.
    picked: AtomicU64,
}

/// A reply that may be used, as it is by now.
#[derive(Clone, Copy, Debug)]
struct Reply {
    said: Said,
    rank: Rank,
    in_flight: u32,
    /// In milliseconds.
    age: u64,
}

/// The replies that may be used, by place.
type Fresh = [Option<Reply>; REPLIES_MAX];

impl Reply {
    fn new(said: Said, rank: Rank, age: u64) -> Self {
        // A rank of another reply, where one is just coming in, may have more uses.
        let picks = said.uses().saturating_sub(rank.uses());
        Self { said, rank, in_flight: (said.in_flight() + picks).min(FLIGHT_MAX), age }
    }
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            ranks: [const { AtomicU64::new(Rank::NOBODY.0) }; REPLIES_MAX],
            until: AtomicU64::new(0),
            least: AtomicU32::new(0),
            threshold: AtomicU32::new(0),
            uses: AtomicU32::new(1),
            said: [const { AtomicU64::new(0) }; REPLIES_MAX],
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
        self.demand.count();
        if now > self.until.load(Relaxed) && !self.is_choice(now) {
            return None;
        }
        let best = self.best();
        if !allows(best.position()) {
            return self.take_allowed(now, allows);
        }
        self.count(best, now);
        Some(best.position())
    }

    /// Returns the first of the ranks. In rounds, of which each halves them: one after the other would be a chain of fifteen.
    #[inline]
    fn best(&self) -> Rank {
        let rank = |place: usize| self.ranks[place].load(Relaxed);
        let eight: [u64; 8] = from_fn(|place| rank(place).min(rank(place + 8)));
        let four: [u64; 4] = from_fn(|place| eight[place].min(eight[place + 4]));
        Rank(four[0].min(four[2]).min(four[1].min(four[3])))
    }

    #[cold]
    fn take_allowed(&self, now: u64, allows: impl Fn(usize) -> bool) -> Option<usize> {
        let ranks = self.ranks.iter().map(|rank| Rank(rank.load(Relaxed)));
        let allowed = ranks.filter(|rank| *rank != Rank::NOBODY && allows(rank.position()));
        let (count, best) = allowed.fold((0, Rank::NOBODY), |(count, best), rank| (count + 1, best.min(rank)));
        if count < CHOICE_MIN {
            return None;
        }
        self.count(best, now);
        Some(best.position())
    }

    /// Counts a pick on a reply, which is gone with its last use.
    #[inline]
    fn count(&self, best: Rank, now: u64) {
        let next = best.picked();
        let _ = self.ranks[best.place()].compare_exchange(best.0, next.0, Relaxed, Relaxed);
        if next == Rank::NOBODY {
            self.used_up(best, now);
        }
    }

    /// Ranks what is left where that may be another order: the others go by the least latency.
    #[inline(never)]
    fn used_up(&self, last: Rank, now: u64) {
        let left = self.ranks.iter().filter(|rank| rank.load(Relaxed) != Rank::NOBODY.0).count();
        if left < CHOICE_MIN || last.latency() <= self.least.load(Relaxed) {
            self.rank(&self.fresh(now), now);
        }
    }

    /// Says whether there are replies to choose from, when the ranks no longer hold.
    #[cold]
    fn is_choice(&self, now: u64) -> bool {
        // Times are unambiguous while replies come in, for each sweeps out those that are too old.
        if now.saturating_sub(self.newest.load(Relaxed)) > AGE_MAX {
            return false;
        }
        self.rank(&self.fresh(now), now);
        now <= self.until.load(Relaxed)
    }

    fn fresh(&self, now: u64) -> Fresh {
        from_fn(|place| {
            let (said, rank) = (Said(self.said[place].load(Relaxed)), Rank(self.ranks[place].load(Relaxed)));
            let age = said.age(now);
            (rank != Rank::NOBODY && age <= AGE_MAX).then(|| Reply::new(said, rank, age))
        })
    }

    /// Ranks replies as they are at `now`; nobody else's may be used. Between two rankings the order stands but for what
    /// picks count: what is in flight counts for more with age at all of them alike.
    fn rank(&self, fresh: &Fresh, now: u64) {
        let threshold = self.threshold.load(Relaxed);
        let (mut count, mut oldest, mut least) = (0, 0, NO_LATENCY);
        for reply in fresh.iter().flatten() {
            (count, oldest) = (count + 1, oldest.max(reply.age));
            // Hot ones say nothing of how fast a server can be, nor do those that do not know yet.
            if reply.in_flight <= threshold && reply.said.latency() > 0 {
                least = least.min(reply.said.latency());
            }
        }
        let limit = least.saturating_add(SLACK);
        // In the time of one request about as many come as are there, sent by whoever holds a reply like this one: what
        // is in flight counts as one more per latency of age, to within a factor of two.
        let turnover = (least >> 7).min(31);
        for (place, (slot, reply)) in self.ranks.iter().zip(fresh).enumerate() {
            let Some(reply) = reply else {
                slot.store(Rank::NOBODY.0, Relaxed);
                continue;
            };
            let come = (reply.age << 5 >> turnover) as u32;
            let comes_last = reply.in_flight > threshold || reply.said.latency() > limit;
            let rank = Rank::new(reply.said, place, reply.rank.uses(), reply.in_flight + come, comes_last);
            if rank != reply.rank {
                // Whoever picked meanwhile has counted that, which is worth more.
                let _ = slot.compare_exchange(reply.rank.0, rank.0, Relaxed, Relaxed);
            }
        }
        let until = if count < CHOICE_MIN { 0 } else { Said::believed_until(oldest, now) };
        self.least.store(least, Relaxed);
        self.until.store(until, Relaxed);
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
        let uses = self.uses.load(Relaxed);
        let said = Said::new(position, Load { latency, ..load }, now, uses);
        if now.saturating_sub(self.newest.fetch_max(now, Relaxed)) > AGE_MAX {
            // Everybody is too old, and by the times in the words some might look young again.
            self.ranks.iter().for_each(|rank| rank.store(Rank::NOBODY.0, Relaxed));
        }
        let mut fresh = self.fresh(now);
        let place = self.place_for(position, noted, &fresh);
        let rank = Rank::new(said, place, uses, load.in_flight, false);
        self.said[place].store(said.0, Relaxed);
        self.ranks[place].store(rank.0, Relaxed);
        fresh[place] = Some(Reply::new(said, rank, 0));
        self.rank(&fresh, now);
    }

    /// Returns where a new reply goes.
    fn place_for(&self, from: usize, noted: u64, fresh: &Fresh) -> usize {
        let threshold = self.threshold.load(Relaxed);
        let (mut empty, mut same) = (None, None);
        let (mut oldest, mut worst) = ((0, 0), (0, 0));
        for (place, reply) in fresh.iter().enumerate() {
            let Some(reply) = reply else {
                empty = Some(place);
                continue;
            };
            if reply.said.position() == from {
                same = Some(place);
            }
            oldest = oldest.max((reply.age, place));
            let is_hot = reply.in_flight > threshold;
            let badness = if is_hot { u64::from(reply.in_flight) << 32 } else { reply.said.latency().into() };
            worst = worst.max((badness, place));
        }
        same.or(empty).unwrap_or(if noted & 1 == 0 { oldest.1 } else { worst.1 })
    }

    /// Adds a load to those last seen; the threshold is their 2^-0.25 quantile.
    fn see(&self, noted: u64, in_flight: u32) {
        let before = self.seen[noted as usize % SEEN].swap(in_flight, Relaxed);
        let threshold = self.threshold.load(Relaxed);
        if noted >= SEEN as u64 && before.cmp(&threshold) == in_flight.cmp(&threshold) {
            // One on the same side came for one that went.
            return;
        }
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
        let picks = self.demand.picks();
        let fresh = picks.wrapping_sub(self.picked.swap(picks, Relaxed));
        let uses = (fresh * 3).div_ceil(BUDGET_EVERY * 2).clamp(1, USES_MAX.into());
        self.uses.store(uses as u32, Relaxed);
    }

    /// Returns the middle latency of the pool in microseconds; 0 when it is empty.
    fn typical(&self, now: u64) -> u32 {
        let mut latencies = [0; REPLIES_MAX];
        let mut count = 0;
        for reply in self.fresh(now).iter().flatten() {
            latencies[count] = reply.said.latency();
            count += 1;
        }
        let latencies = &mut latencies[..count];
        latencies.sort_unstable();
        latencies.get(count / 2).map_or(0, |latency| decode(*latency))
    }

    /// Returns how many picks there were, ever.
    #[must_use]
    pub fn picks(&self) -> u64 {
        self.demand.picks()
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
        self.fresh(now).iter().flatten().count()
    }

    /// Makes the caller the one prober of the pool, to be woken by the first pick after [`Self::sleep`]. False when
    /// there is one.
    pub(crate) fn employ(&self, waker: &Waker) -> bool {
        self.demand.employ(waker)
    }

    /// Lets the prober go.
    pub(crate) fn dismiss(&self) {
        self.demand.dismiss();
    }

    /// Says that whoever probes goes to sleep until the next pick. False, and no sleep, when there were picks
    /// beyond `picks`.
    pub(crate) fn sleep(&self, picks: u64) -> bool {
        self.demand.sleep(picks)
    }
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
