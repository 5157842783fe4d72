//! How well the process serves, measured where it serves: latency, throughput and failures over the last half minute, and
//! resident memory.
//!
//! The window is six slots of five seconds, each a count and a histogram with four steps an octave, so that a percentile
//! is at most a quarter too high. Pure but for [`resident`]: time is an argument. Fed by [`super::InFlight`]; read with
//! every beat.

use std::time::Duration;

use callboard_proto::definition::Figures;
use tokio::time::Instant;

const SLOTS: usize = 6;
const SLOT: Duration = Duration::from_secs(5);
/// Four steps an octave, from a microsecond to more than an hour.
const STEPS: usize = 128;

/// Tells how the last half minute was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quality {
    /// Requests that were finished.
    pub requests: u64,
    /// Requests a second.
    pub throughput: f64,
    /// The share of them that failed, 0 to 1.
    pub error_rate: f64,
    /// The median of the time from beginning to end.
    pub p50: Duration,
    /// Its 99th percentile.
    pub p99: Duration,
}

/// Counts what is finished.
#[derive(Debug)]
pub(super) struct Meter {
    // The one of turn n is at n % SLOTS.
    slots: [Slot; SLOTS],
    began: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Slot {
    turn: u64,
    requests: u64,
    failed: u64,
    steps: [u32; STEPS],
}

impl Default for Meter {
    fn default() -> Self {
        let empty = Slot { turn: 0, requests: 0, failed: 0, steps: [0; STEPS] };
        Self { slots: std::array::from_fn(|_| empty.clone()), began: None }
    }
}

impl Meter {
    /// Counts a request.
    pub(super) fn record(&mut self, took: Duration, failed: bool, now: Instant) {
        let turn = self.turn(now);
        let slot = &mut self.slots[(turn % SLOTS as u64) as usize];
        if slot.turn != turn {
            *slot = Slot { turn, requests: 0, failed: 0, steps: [0; STEPS] };
        }
        slot.requests += 1;
        slot.failed += u64::from(failed);
        let step = &mut slot.steps[step(took)];
        *step = step.saturating_add(1);
    }

    /// Sums the window up; none before the first request.
    pub(super) fn quality(&self, now: Instant) -> Option<Quality> {
        let began = self.began?;
        let turn = now.saturating_duration_since(began).as_secs() / SLOT.as_secs();
        let oldest = turn.saturating_sub(SLOTS as u64 - 1);
        let slots = || self.slots.iter().filter(|slot| (oldest..=turn).contains(&slot.turn));
        let requests: u64 = slots().map(|slot| slot.requests).sum();
        let failed: u64 = slots().map(|slot| slot.failed).sum();
        let start = began + SLOT * u32::try_from(oldest).unwrap_or(u32::MAX);
        // Less than a second says nothing of a rate.
        let span = now.saturating_duration_since(start).max(Duration::from_secs(1));
        let percentile = |share: f64| {
            let rank = (share * requests as f64).ceil().max(1.0) as u64;
            let mut below = 0;
            let mut steps = (0..STEPS).map(|step| (step, slots().map(|slot| u64::from(slot.steps[step])).sum::<u64>()));
            let found = steps.find(|(_, count)| {
                below += count;
                below >= rank
            });
            found.map_or(Duration::ZERO, |(step, _)| upper(step))
        };
        Some(Quality {
            requests,
            throughput: requests as f64 / span.as_secs_f64(),
            error_rate: if requests == 0 { 0.0 } else { failed as f64 / requests as f64 },
            p50: percentile(0.5),
            p99: percentile(0.99),
        })
    }

    fn turn(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        now.saturating_duration_since(began).as_secs() / SLOT.as_secs()
    }
}

/// The step of a time: its octave in microseconds, and the two bits below the highest.
fn step(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
    let octave = micros.ilog2();
    let quarter = (micros >> (octave - 2)) & 3;
    (((octave - 2) * 4) as usize + quarter as usize).min(STEPS - 1)
}

/// The longest time of a step.
fn upper(step: usize) -> Duration {
    let (octave, quarter) = (step / 4 + 2, step as u64 % 4);
    Duration::from_micros((5 + quarter) << (octave - 2))
}

/// Puts what was measured and what the application says together; the application's word counts.
pub(super) fn figures(said: Option<Figures>, measured: Option<Quality>, memory: Option<u64>) -> Option<Figures> {
    let said = said.unwrap_or_default();
    let busy = measured.filter(|quality| quality.requests > 0);
    let figures = Figures {
        throughput: said.throughput.or(measured.map(|quality| quality.throughput)),
        error_rate: said.error_rate.or(busy.map(|quality| quality.error_rate)),
        // A limit is set on what the slow callers see.
        latency: said.latency.or(busy.map(|quality| quality.p99.as_secs_f64())),
        memory: said.memory.or(memory.map(|bytes| bytes as f64)),
        cpu: said.cpu,
    };
    (figures != Figures::default()).then_some(figures)
}

/// Returns the resident memory of this process in bytes, where the system has `/proc`.
pub(super) fn resident() -> Option<u64> {
    // In KiB here, while `statm` counts pages, whose size would have to be asked for.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn half_a_minute_is_remembered() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(meter.quality(start), None);
        for second in 0..60u32 {
            for request in 0..10 {
                meter.record(10 * MS, request == 0, start + Duration::from_secs(second.into()));
            }
        }
        let quality = meter.quality(start + Duration::from_secs(60)).unwrap();
        assert_eq!(quality.requests, 250, "five whole slots and the new one");
        assert!((quality.throughput - 10.0).abs() < 0.01 && (quality.error_rate - 0.1).abs() < 0.01, "{quality:?}");
        let later = meter.quality(start + Duration::from_secs(600)).unwrap();
        assert_eq!((later.requests, later.throughput, later.error_rate), (0, 0.0, 0.0), "{later:?}");
    }

    #[test]
    fn percentiles_tell_the_slow_from_the_usual() {
        let (mut meter, now) = (Meter::default(), Instant::now());
        for _ in 0..95 {
            meter.record(MS, false, now);
        }
        for _ in 0..5 {
            meter.record(200 * MS, false, now);
        }
        let quality = meter.quality(now).unwrap();
        assert!(
            (MS..=MS * 5 / 4).contains(&quality.p50) && (200 * MS..=250 * MS).contains(&quality.p99),
            "{quality:?}"
        );
    }

    #[test]
    fn what_the_application_says_counts() {
        let said = Figures { latency: Some(7.0), ..Figures::default() };
        let measured = Quality { requests: 2, throughput: 1.0, error_rate: 0.5, p50: MS, p99: MS };
        let both = figures(Some(said), Some(measured), Some(5)).unwrap();
        assert_eq!((both.latency, both.throughput, both.error_rate), (Some(7.0), Some(1.0), Some(0.5)));
        assert_eq!((both.memory, both.cpu), (Some(5.0), None));
        let idle = figures(None, Some(Quality::default()), None).unwrap();
        assert_eq!((idle.throughput, idle.latency, idle.error_rate), (Some(0.0), None, None), "nothing had a latency");
        assert_eq!(figures(None, None, None), None);
        #[cfg(target_os = "linux")]
        assert!(resident().is_some_and(|bytes| bytes > 100_000));
    }

    proptest! {
        #[test]
        fn a_step_is_at_most_a_quarter_too_high(micros in 4u64..1 << 33) {
            let upper = upper(step(Duration::from_micros(micros))).as_micros() as u64;
            prop_assert!(upper >= micros && upper - micros <= micros / 4 + 1, "{} {}", micros, upper);
        }
    }
}
