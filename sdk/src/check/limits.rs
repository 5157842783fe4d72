//! Service-quality limits: an instance that is up may still not be good enough.
//!
//! Decides which figures are past their limits and what that makes of a status: the worst of both, so
//! limits only ever worsen it. Pure: latencies and figures come in as arguments, in seconds, bytes,
//! cores, requests per second and shares. The runner judges each run with it; whoever hears beats
//! judges the figures that came with them.

use std::collections::VecDeque;
use std::fmt;

use callboard_proto::CheckStatus;
use callboard_proto::definition::{Figures, Limit, Limits};

/// The longest window, in runs; longer ones are cut to it.
pub const WINDOW_MAX: u32 = 1000;

/// The last latencies of a check.
#[derive(Debug, Clone)]
pub struct Window {
    last: VecDeque<f64>,
    size: usize,
}

impl Window {
    /// An empty window over the given number of runs, 1 to [`WINDOW_MAX`].
    #[must_use]
    pub fn new(runs: u32) -> Window {
        Window { last: VecDeque::new(), size: runs.clamp(1, WINDOW_MAX) as usize }
    }

    /// Takes the latency of one more run, in seconds, and forgets the oldest when the window is full.
    pub fn push(&mut self, latency: f64) {
        if self.last.len() == self.size {
            self.last.pop_front();
        }
        self.last.push_back(latency);
    }

    /// The percentile by nearest rank: the smallest latency that at least `percentile` % of the runs
    /// did not exceed. None without any run.
    #[must_use]
    pub fn percentile(&self, percentile: f64) -> Option<f64> {
        let runs = self.last.len();
        if runs == 0 {
            return None;
        }
        // A saturating cast: anything odd ends up at the first or the last rank.
        let rank = (percentile / 100.0 * runs as f64).ceil() as usize;
        let mut sorted: Vec<f64> = self.last.iter().copied().collect();
        let (_, value, _) = sorted.select_nth_unstable_by(rank.clamp(1, runs) - 1, f64::total_cmp);
        Some(*value)
    }
}

/// The limits of one check, with the latencies they look back on.
#[derive(Debug, Clone)]
pub struct Quality {
    limits: Limits,
    window: Window,
}

impl Quality {
    /// Starts with no latencies.
    #[must_use]
    pub fn new(limits: Limits) -> Quality {
        let window = Window::new(limits.latency.map_or(1, |latency| latency.window));
        Quality { limits, window }
    }

    /// The limits themselves.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes the latency of one run, in seconds. A run that got no answer has none: its status speaks.
    pub fn observe(&mut self, latency: f64) {
        if self.limits.latency.is_some() {
            self.window.push(latency);
        }
    }

    /// The figures that are past their limits now; one that is not known is past none.
    ///
    /// `figures.latency` is not looked at: it counts once it was [observed](Quality::observe).
    #[must_use]
    pub fn breaches(&self, figures: &Figures) -> Vec<Breach> {
        let latency = self.limits.latency.and_then(|limit| {
            let value = self.window.percentile(limit.percentile)?;
            Breach::of(Figure::Latency { percentile: limit.percentile }, Some(value), Some(limit.limit))
        });
        let plain = [
            Breach::of(Figure::Memory, figures.memory, self.limits.memory),
            Breach::of(Figure::Cpu, figures.cpu, self.limits.cpu),
            Breach::of(Figure::Throughput, figures.throughput, self.limits.throughput_min),
            Breach::of(Figure::ErrorRate, figures.error_rate, self.limits.error_rate),
        ];
        latency.into_iter().chain(plain.into_iter().flatten()).collect()
    }

    /// Worsens a result by the limits; the output then begins with a line that names each figure and
    /// its limit, such as `latency p99 312ms > 200ms (critical)`.
    #[must_use]
    pub fn judge(&self, figures: &Figures, status: CheckStatus, output: String) -> (CheckStatus, String) {
        let breaches = self.breaches(figures);
        let Some(worst) = breaches.iter().map(|breach| breach.status).max() else { return (status, output) };
        let lines: Vec<String> = breaches.iter().map(Breach::to_string).collect();
        let lines = lines.join("; ");
        let output = if output.is_empty() { lines } else { format!("{lines}\n{output}") };
        (status.max(worst), output)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// A percentile of the latency, in seconds.
    Latency {
        /// Which, above 0 and at most 100.
        percentile: f64,
    },
    /// Resident memory, in bytes.
    Memory,
    /// CPU, in cores.
    Cpu,
    /// Requests per second; the only one that must not be too small.
    Throughput,
    /// Share of failed requests, 0 to 1.
    ErrorRate,
}

/// A figure past its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breach {
    /// What was measured.
    pub figure: Figure,
    /// How much it was.
    pub value: f64,
    /// The worst limit it is past.
    pub limit: f64,
    /// What that makes of the status: warning or critical.
    pub status: CheckStatus,
}

impl Breach {
    fn of(figure: Figure, value: Option<f64>, limit: Option<Limit>) -> Option<Breach> {
        let (value, limit) = (value?, limit?);
        let past = |bound: &f64| if figure == Figure::Throughput { value < *bound } else { value > *bound };
        let critical = limit.critical.filter(past).map(|limit| (limit, CheckStatus::Critical));
        let warning = || limit.warning.filter(past).map(|limit| (limit, CheckStatus::Warning));
        let (limit, status) = critical.or_else(warning)?;
        Some(Breach { figure, value, limit, status })
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.figure {
            Figure::Latency { percentile } => write!(f, "latency p{percentile}")?,
            Figure::Memory => f.write_str("memory")?,
            Figure::Cpu => f.write_str("cpu")?,
            Figure::Throughput => f.write_str("throughput")?,
            Figure::ErrorRate => f.write_str("error rate")?,
        }
        // Enough digits to tell the two apart: "200ms > 200ms" would explain nothing.
        let texts = |digits| (shown(self.figure, self.value, digits), shown(self.figure, self.limit, digits));
        let (value, limit) = [3, 6].map(texts).into_iter().find(|(one, two)| one != two).unwrap_or_else(|| texts(17));
        let sign = if self.figure == Figure::Throughput { '<' } else { '>' };
        write!(f, " {value} {sign} {limit} ({})", self.status)
    }
}

/// A figure with its unit.
fn shown(figure: Figure, value: f64, digits: usize) -> String {
    let scaled = |units: &[(f64, &str)]| {
        let fits = units.iter().find(|(size, _)| value.abs() >= *size).or(units.last());
        let (size, unit) = fits.copied().unwrap_or((1.0, ""));
        format!("{}{unit}", significant(value / size, digits))
    };
    match figure {
        Figure::Latency { .. } => scaled(&[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")]),
        Figure::Memory => scaled(&[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")]),
        Figure::Cpu => format!("{} cores", significant(value, digits)),
        Figure::Throughput => format!("{}/s", significant(value, digits)),
        Figure::ErrorRate => format!("{}%", significant(value * 100.0, digits)),
    }
}

/// A number with so many significant digits, without trailing zeros; digits before the point all stay.
fn significant(value: f64, digits: usize) -> String {
    let before_point = if value.abs() < 1.0 { 1 } else { (value.abs().log10() as usize).saturating_add(1) };
    let text = format!("{value:.*}", digits.saturating_sub(before_point));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Critical, Passing, Warning};
    use callboard_proto::definition::LatencyLimit;
    use proptest::prelude::*;

    use super::*;

    fn limit(warning: f64, critical: f64) -> Option<Limit> {
        Some(Limit { warning: Some(warning), critical: Some(critical) })
    }

    fn limits() -> Limits {
        Limits {
            latency: Some(LatencyLimit { percentile: 99.0, window: 3, limit: limit(0.1, 0.2).unwrap() }),
            memory: limit(256e6, 512.0 * 1_048_576.0),
            cpu: limit(1.0, 1.5),
            throughput_min: limit(10.0, 5.0),
            error_rate: limit(0.01, 0.05),
            pid: None,
        }
    }

    #[track_caller]
    fn check(latencies: &[f64], figures: Figures, status: CheckStatus, output: &str) {
        let mut quality = Quality::new(limits());
        latencies.iter().for_each(|&latency| quality.observe(latency));
        assert_eq!(quality.judge(&figures, Passing, String::new()), (status, output.to_owned()));
    }

    #[test]
    fn a_breach_names_the_figure_and_the_limit() {
        let none = Figures::default();
        check(&[], none, Passing, "");
        check(&[0.05], none, Passing, "");
        check(&[0.312, 0.1], none, Critical, "latency p99 312ms > 200ms (critical)");
        check(&[0.312, 0.15, 0.1, 0.1], none, Warning, "latency p99 150ms > 100ms (warning)");
        check(&[0.2001], none, Critical, "latency p99 200.1ms > 200ms (critical)");
        check(&[1.5], none, Critical, "latency p99 1.5s > 200ms (critical)");
        let memory = Figures { memory: Some(600.0 * 1_048_576.0), ..none };
        check(&[], memory, Critical, "memory 600MiB > 512MiB (critical)");
        check(&[], Figures { cpu: Some(1.25), ..none }, Warning, "cpu 1.25 cores > 1 cores (warning)");
        check(&[], Figures { throughput: Some(7.0), ..none }, Warning, "throughput 7/s < 10/s (warning)");
        check(&[], Figures { error_rate: Some(0.123), ..none }, Critical, "error rate 12.3% > 5% (critical)");
        let two = Figures { throughput: Some(0.0), error_rate: Some(0.02), ..none };
        check(&[], two, Critical, "throughput 0/s < 5/s (critical); error rate 2% > 1% (warning)");
    }

    #[test]
    fn the_probe_keeps_its_words() {
        let quality = Quality::new(limits());
        let slow = Figures { error_rate: Some(1.0), ..Figures::default() };
        let (status, output) = quality.judge(&slow, Warning, "HTTP GET".into());
        assert_eq!((status, output.as_str()), (Critical, "error rate 100% > 5% (critical)\nHTTP GET"));
    }

    proptest! {
        #[test]
        fn limits_only_worsen(
            status in prop_oneof![Just(Passing), Just(Warning), Just(Critical)],
            latencies in proptest::collection::vec(0.0..1.0f64, 0..8),
            (memory, cpu, throughput, error_rate) in proptest::option::of((0.0..1e9f64, 0.0..3.0f64, 0.0..20.0f64, 0.0..1.0f64))
                .prop_map(|figures| match figures {
                    Some((a, b, c, d)) => (Some(a), Some(b), Some(c), Some(d)),
                    None => (None, None, None, None),
                }),
        ) {
            let mut quality = Quality::new(limits());
            latencies.iter().for_each(|&latency| quality.observe(latency));
            let figures = Figures { throughput, error_rate, latency: None, memory, cpu };
            let (after, output) = quality.judge(&figures, status, "said".into());
            prop_assert!(after >= status);
            prop_assert!(output.ends_with("said"));
            let breaches = quality.breaches(&figures);
            prop_assert_eq!(after, breaches.iter().map(|breach| breach.status).fold(status, CheckStatus::max));
            prop_assert_eq!(breaches.is_empty(), output == "said");
        }

        #[test]
        fn a_percentile_is_a_member_with_its_share_below(
            latencies in proptest::collection::vec(0.0..1.0f64, 1..60),
            runs in 1u32..40,
            percentile in 0.01..=100.0f64,
        ) {
            let mut window = Window::new(runs);
            latencies.iter().for_each(|&latency| window.push(latency));
            let seen = &latencies[latencies.len().saturating_sub(runs as usize)..];
            let value = window.percentile(percentile).unwrap();
            prop_assert!(seen.contains(&value));
            let share = |count: usize| count as f64 * 100.0 / seen.len() as f64;
            prop_assert!(share(seen.iter().filter(|&&one| one <= value).count()) >= percentile - 1e-9);
            prop_assert!(share(seen.iter().filter(|&&one| one < value).count()) < percentile + 1e-9);
        }

        #[test]
        fn odd_figures_are_shown_without_panic(value in proptest::num::f64::ANY, limit in proptest::num::f64::ANY) {
            for figure in [Figure::Latency { percentile: 50.0 }, Figure::Memory, Figure::Cpu, Figure::ErrorRate] {
                let text = Breach { figure, value, limit, status: Warning }.to_string();
                prop_assert!(text.ends_with("(warning)"));
            }
        }
    }
}
