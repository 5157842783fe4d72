//! How long requests take, by how many were in flight when they came: the server's half of Prequal's signal.
//!
//! A latency means nothing without the load it was seen at: a busy server that has just become idle would look slow, and
//! all clients would herd away from it and back. Nor does an old one: speed changes with a neighbour's whim. So the last
//! few requests are kept with the load they came at, and the estimate is the mean of those of them that came at the loads
//! nearest to the present one, less the slowest eighth: half as noisy as their median, and nearly as hard to mislead. Written when a request ends, read when somebody asks; atomics of fixed size.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Samples kept, the newest; how many of them the estimate is made of.
const KEPT: usize = 24;
const NEAREST: usize = 16;
/// How old, in units of 64 ms, a sample may be: half a minute.
const AGE_MAX: u64 = 469;

const LOAD_BITS: u32 = 14;
const LOAD_MAX: u32 = (1 << LOAD_BITS) - 1;
const TIME_BITS: u32 = 18;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Milliseconds per unit of the time, as a shift: times begin anew after 4.6 hours.
const TIME_UNIT: u32 = 6;

/// Holds the recent latencies of a server and the loads they were seen at.
#[derive(Debug)]
pub(crate) struct Samples {
    next: AtomicU32,
    /// Latency in microseconds (32), time (18), load (14). 0: none yet.
    samples: [AtomicU64; KEPT],
}

impl Default for Samples {
    fn default() -> Self {
        Self { next: AtomicU32::new(0), samples: [const { AtomicU64::new(0) }; KEPT] }
    }
}

impl Samples {
    /// Notes that a request which came as the `load`-th in flight took `micros` and ended at `now`, in milliseconds.
    pub(crate) fn note(&self, load: u32, micros: u32, now: u64) {
        let place = self.next.fetch_add(1, Relaxed) as usize % KEPT;
        let time = (now >> TIME_UNIT & TIME_MASK) << LOAD_BITS;
        self.samples[place].store(u64::from(micros.max(1)) << 32 | time | u64::from(load.min(LOAD_MAX)), Relaxed);
    }

    /// Estimates in microseconds how long a request takes that comes as the `load`-th in flight at `now`; 0 when
    /// nothing is known.
    pub(crate) fn estimate(&self, load: u32, now: u64) -> u32 {
        let load = load.clamp(1, LOAD_MAX);
        // Distance of the loads above, latency below: the order is by distance.
        let mut near = [u64::MAX; KEPT];
        let mut count = 0;
        for sample in self.samples.iter().map(|sample| sample.load(Relaxed)) {
            let age = (now >> TIME_UNIT).wrapping_sub(sample >> LOAD_BITS) & TIME_MASK;
            if sample == 0 || age > AGE_MAX {
                continue;
            }
            let seen = (sample as u32 & LOAD_MAX).max(1);
            let distance = u64::from(seen.abs_diff(load)) * 64 / u64::from(seen.max(load));
            near[count] = distance << 32 | u64::from(brought((sample >> 32) as u32, seen, load));
            count += 1;
        }
        if count == 0 {
            return 0;
        }
        let nearest = count.min(NEAREST);
        near[..count].sort_unstable();
        let near = &mut near[..nearest];
        near.iter_mut().for_each(|sample| *sample &= u64::from(u32::MAX));
        near.sort_unstable();
        let kept = nearest - nearest / 8;
        (near[..kept].iter().sum::<u64>() / kept as u64) as u32
    }
}

/// A latency seen at one load, brought to another: within a factor of two it is the same; beyond, those in flight
/// share the server.
fn brought(micros: u32, from: u32, to: u32) -> u32 {
    let (micros, from, to) = (u64::from(micros), u64::from(from), u64::from(to));
    let scaled = if from > 2 * to {
        micros * 2 * to / from
    } else if to > 2 * from {
        micros * to / (2 * from)
    } else {
        micros
    };
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_present_load_counts_and_not_the_last_one() {
        let samples = Samples::default();
        assert_eq!(samples.estimate(1, 10), 0, "nothing is known");
        for _ in 0..NEAREST {
            samples.note(40, 90_000, 20);
        }
        for micros in [900, 1_000, 50_000, 1_100, 1_000] {
            samples.note(2, micros, 10);
        }
        assert_eq!((samples.estimate(40, 20), samples.estimate(38, 20)), (90_000, 90_000));
        assert!(samples.estimate(2, 20) < 10_000, "an idle server is not judged by its busy time");
    }

    #[test]
    fn old_samples_count_for_half_a_minute() {
        let samples = Samples::default();
        (0..5).for_each(|_| samples.note(4, 10_000, 10));
        assert_eq!((samples.estimate(4, 29_000), samples.estimate(4, 31_000)), (10_000, 0));
        (0..KEPT).for_each(|_| samples.note(5, 20_000, 31_000));
        assert_eq!(samples.estimate(5, 31_000), 20_000);
    }

    proptest! {
        #[test]
        fn the_estimate_lies_among_what_was_seen(
            seen in proptest::collection::vec((1u32..8, 1u32..1 << 31), 1..60),
            load in 4u32..8,
        ) {
            let samples = Samples::default();
            seen.iter().for_each(|(load, micros)| samples.note(*load, *micros, 5));
            let estimate = samples.estimate(load, 5);
            let kept = &seen[seen.len().saturating_sub(KEPT)..];
            let brought: Vec<u32> = kept.iter().map(|(from, micros)| brought(*micros, *from, load)).collect();
            let (least, most) = (brought.iter().min().unwrap(), brought.iter().max().unwrap());
            prop_assert!((least..=most).contains(&&estimate));
        }
    }
}
