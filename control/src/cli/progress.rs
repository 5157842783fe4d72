//! How far something long has come, said to people: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::talk::note;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes.
    Bytes,
    /// Things of which there is a number.
    Items,
}

/// Shows progress on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    total: Option<u64>,
    done: u64,
    // Where no terminal is: the tenths that were said.
    said: Option<u64>,
}

impl Progress {
    /// Begins; the total may be unknown.
    pub(super) fn new(what: &'static str, total: Option<u64>, unit: Unit) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target).with_message(what);
        let template = match (total, unit) {
            (Some(_), Unit::Bytes) => "{msg} [{bar:40}] {bytes}/{total_bytes} {eta}",
            (Some(_), Unit::Items) => "{msg} [{bar:40}] {pos}/{len} {eta}",
            (None, Unit::Bytes) => "{msg} {spinner} {bytes} {bytes_per_sec}",
            (None, Unit::Items) => "{msg} {spinner} {pos}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, what, total, done: 0, said: (!terminal).then_some(0) }
    }

    /// Notes that so much more is done.
    pub(super) fn add(&mut self, count: u64) {
        self.done += count;
        self.bar.set_position(self.done);
        if let (Some(said), Some(total @ 1..)) = (&mut self.said, self.total) {
            let tenths = self.done.saturating_mul(10) / total;
            if tenths > *said {
                *said = tenths;
                note(format!("{}: {}%", self.what, tenths * 10));
            }
        }
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}
