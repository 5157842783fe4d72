//! Runs one check again and again, and says when its status is news.
//!
//! One task per check, no thread. Decides nothing itself: when to run and what a row of results means is
//! `schedule`'s, what the limits make of it is `limits`'; a result goes through the limits first, so that
//! a figure past its limit counts towards the thresholds like any other bad result. Runs of one check
//! never overlap: the next is timed from the end of the last. Used by control nodes, sidecars and
//! applications; each says in its sink what becomes of a verdict.

use std::time::{Duration, Instant};

use callboard_proto::CheckStatus;
use callboard_proto::definition::{CheckDefinition, Figures, Probe};
use callboard_proto::text::Text;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::closure::Closure;
use super::limits::Quality;
use super::probe::{Context, Report, call, probe};
use super::process::{Follower, ProcessError, Usage};
use super::schedule::{Debounce, Step, first_delay, pause};

/// What is new in a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The status, and perhaps the output.
    Status,
    /// The output only; there is no hurry to tell anybody.
    Output,
    /// Nothing.
    Nothing,
}

/// How well a check is after one more run: thresholds and limits have had their say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The status of the check.
    pub status: CheckStatus,
    /// The output of the run that gave it this status.
    pub output: Text,
    /// What of it differs from the verdict before.
    pub news: News,
    /// How long this run's answer took; none when there was no answer.
    pub latency: Option<Duration>,
}

/// A check that nobody runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {0} check is not run: it waits for others")]
pub struct NotRun(pub &'static str);

#[derive(Debug)]
enum Work {
    Probe(Context),
    Closure(Closure),
}

/// A check ready to run.
#[derive(Debug)]
pub struct Runner {
    definition: CheckDefinition,
    work: Work,
    status: CheckStatus,
    output: Text,
    debounce: Debounce,
    quality: Quality,
    follower: Option<Follower>,
    figures: Option<watch::Receiver<Figures>>,
}

impl Runner {
    /// Takes a check as it stands in the registry, with its present status.
    ///
    /// # Errors
    /// When it is not a kind that is run: beats and aliases depend on others.
    pub fn new(definition: CheckDefinition, context: Context, status: CheckStatus) -> Result<Runner, NotRun> {
        match definition.probe {
            Probe::Ttl { .. } | Probe::Alias { .. } => Err(NotRun(definition.probe.kind())),
            _ => Ok(Runner::of(definition, Work::Probe(context), status)),
        }
    }

    /// Takes a function of the application. The definition says how often and with which timeout,
    /// thresholds and limits; its probe is only what others see, usually beats.
    #[must_use]
    pub fn closure(definition: CheckDefinition, closure: Closure, status: CheckStatus) -> Runner {
        Runner::of(definition, Work::Closure(closure), status)
    }

    fn of(definition: CheckDefinition, work: Work, status: CheckStatus) -> Runner {
        let debounce = Debounce::new(definition.thresholds);
        let quality = Quality::new(definition.limits.clone());
        let limits = quality.limits();
        let follower = (limits.memory.is_some() || limits.cpu.is_some()).then(|| Follower::new(limits.pid, None));
        Runner { definition, work, status, output: Text::from(""), debounce, quality, follower, figures: None }
    }

    /// Names the port that the instance listens on, if it is on this machine: when memory or CPU are
    /// limited and the definition names no process, that of the listener counts.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Runner {
        let pid = self.definition.limits.pid;
        self.follower = self.follower.map(|_| Follower::new(pid, Some(port)));
        self
    }

    /// Takes figures as the application reports them; the newest count at each run, before any that could
    /// be read from the process.
    #[must_use]
    pub fn with_figures(mut self, figures: watch::Receiver<Figures>) -> Runner {
        self.figures = Some(figures);
        self
    }

    /// Continues from the output that is already known, so that the same one is not told as news.
    #[must_use]
    pub fn with_output(mut self, output: Text) -> Runner {
        self.output = output;
        self
    }

    /// Runs the check until `end`, and hands a verdict to `sink` after every run, also when nothing is
    /// new: a beat is worth sending all the same. `sink` must not block. A run under way at `end` is
    /// dropped, which kills its script.
    pub async fn run(mut self, mut sink: impl FnMut(Verdict), end: CancellationToken) {
        let mut wait = first_delay(self.definition.interval, fastrand::f64());
        loop {
            let step = async {
                tokio::time::sleep(wait).await;
                self.once().await
            };
            let verdict = tokio::select! {
                biased;
                () = end.cancelled() => return,
                verdict = step => verdict,
            };
            sink(verdict);
            wait = pause(self.definition.interval);
        }
    }

    /// Runs the check once, now.
    async fn once(&mut self) -> Verdict {
        let Report { status, output, latency } = match &self.work {
            Work::Probe(context) => probe(&self.definition, context).await,
            Work::Closure(closure) => call(&self.definition, closure).await,
        };
        if let Some(latency) = latency {
            self.quality.observe(latency.as_secs_f64());
        }
        let (figures, unknown) = self.figures().await;
        let (status, mut output) = self.quality.judge(&figures, status, output);
        if let Some(why) = unknown {
            let gap = if output.is_empty() { "" } else { "\n" };
            output = format!("{output}{gap}memory and CPU are not known: {why}");
        }
        Verdict { news: self.take(status, output), status: self.status, output: self.output.clone(), latency }
    }

    /// Lets one result count; says what that changed.
    fn take(&mut self, result: CheckStatus, output: String) -> News {
        let Step::Publish(status) = self.debounce.step(result) else { return News::Nothing };
        let news = match (status == self.status, *output == *self.output) {
            (false, _) => News::Status,
            (true, false) => News::Output,
            (true, true) => return News::Nothing,
        };
        self.status = status;
        self.output = output.into();
        news
    }

    /// What is known now about the work of the instance; and why something is not.
    async fn figures(&mut self) -> (Figures, Option<ProcessError>) {
        let mut figures = self.figures.as_ref().map(|figures| *figures.borrow()).unwrap_or_default();
        let limits = self.quality.limits();
        let wanting =
            (limits.memory.is_some() && figures.memory.is_none()) || (limits.cpu.is_some() && figures.cpu.is_none());
        if !wanting {
            return (figures, None);
        }
        let Some(mut follower) = self.follower.take() else { return (figures, None) };
        // Reads files of /proc, many of them while it looks for a listener.
        let read = tokio::task::spawn_blocking(move || {
            let usage = follower.read(Instant::now());
            (follower, usage)
        });
        // The only way to fail is that the runtime ends, and then nobody reads the verdict.
        let Ok((follower, usage)) = read.await else { return (figures, None) };
        self.follower = Some(follower);
        match usage {
            Ok(Usage { memory, cpu }) => {
                figures.memory = figures.memory.or(Some(memory));
                figures.cpu = figures.cpu.or(cpu);
                (figures, None)
            }
            Err(error) => (figures, Some(error)),
        }
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
