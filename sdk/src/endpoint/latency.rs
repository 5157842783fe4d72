//! How long calls to one endpoint take: a moving average that believes bad news at once.
//!
//! The rule is Finagle's peak EWMA: a sample above the average replaces it; one below pulls it down by a share that
//! grows with the time since the last sample, `1 - exp(-dt / tau)`. Average and time lie in one word, so that both
//! move together without a lock; nothing is computed when it is read. Written when a call ends, by `balance::Picked`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Holds the average (microseconds, as the bits of an `f32`) above the time of its last sample (ms). 0: no sample yet.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// How long a sample counts: after so many milliseconds 63 % of it is forgotten.
    pub const TAU: f32 = 10_000.0;

    /// Returns the average in microseconds; 0 before the first sample.
    #[inline]
    #[must_use]
    pub fn average(&self) -> f32 {
        f32::from_bits((self.0.load(Relaxed) >> 32) as u32)
    }

    /// Returns the average as if it had sunk towards nothing since its last sample: by half every 6.9 s (`TAU` times the
    /// natural logarithm of 2), so that whoever is passed over for one peak is tried again. 0 before the first sample.
    ///
    /// Halves are exact; between them the bits of the number are read as its logarithm (Schraudolph 1999), which is at
    /// most 7 % off and costs a multiplication.
    #[inline]
    #[must_use]
    pub fn faded(&self, now: u64) -> f32 {
        /// The bits of one halving, per millisecond that it takes.
        const BITS_PER_MILLI: u64 =
            ((1u32 << (f32::MANTISSA_DIGITS - 1)) as f32 / (Latency::TAU * std::f32::consts::LN_2)) as u64;
        let seen = self.0.load(Relaxed);
        // A sample newer than a coarse clock shows is a sample of this moment.
        let passed = (now as u32).wrapping_sub(seen as u32) as i32;
        let sunk = passed.max(0) as u64 * BITS_PER_MILLI;
        f32::from_bits((seen >> 32).saturating_sub(sunk) as u32)
    }

    /// Forgets all samples.
    pub(super) fn reset(&self) {
        self.0.store(0, Relaxed);
    }

    /// Takes a sample of `micros` at `now`, in milliseconds of the service's clock.
    pub fn observe(&self, micros: f32, now: u64) {
        let micros = if micros.is_finite() { micros.max(1.0) } else { f32::MAX };
        let mut seen = self.0.load(Relaxed);
        loop {
            let (average, then) = (f32::from_bits((seen >> 32) as u32), seen as u32);
            // Times are compared as 32 bits that wrap after 49 days.
            let passed = (now as u32).wrapping_sub(then) as f32;
            let next = if seen == 0 || micros >= average {
                micros
            } else {
                let kept = (-passed / Self::TAU).exp();
                average * kept + micros * (1.0 - kept)
            };
            let word = u64::from(next.to_bits()) << 32 | u64::from(now as u32);
            match self.0.compare_exchange_weak(seen, word, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_counts_at_once_and_fades_by_time() {
        let latency = Latency::default();
        assert_eq!(latency.average(), 0.0);
        latency.observe(1000.0, 5);
        latency.observe(50_000.0, 6);
        assert_eq!(latency.average(), 50_000.0);
        latency.observe(1000.0, 6);
        assert_eq!(latency.average(), 50_000.0, "no time has passed");
        latency.observe(1000.0, 10_006);
        let expected = 50_000.0 * (-1.0f32).exp() + 1000.0 * (1.0 - (-1.0f32).exp());
        assert!((latency.average() - expected).abs() < 1.0);
    }

    #[test]
    fn an_average_fades_while_nobody_calls() {
        let latency = Latency::default();
        assert_eq!(latency.faded(99), 0.0);
        latency.observe(8000.0, 5);
        assert_eq!((latency.faded(5), latency.faded(4)), (8000.0, 8000.0));
        for passed in [100u64, 3000, 10_000, 60_000] {
            let due = 8000.0 * (-(passed as f32) / Latency::TAU).exp();
            let got = latency.faded(5 + passed);
            assert!((got / due - 1.0).abs() < 0.07, "{got} for {due}");
        }
        assert!(latency.faded(1 << 30) < 1.0e-6);
    }

    #[test]
    fn what_is_no_number_is_slow_and_zero_is_something() {
        let latency = Latency::default();
        latency.observe(0.0, 1);
        assert_eq!(latency.average(), 1.0);
        latency.observe(f32::NAN, 1);
        assert_eq!(latency.average(), f32::MAX);
    }
}
