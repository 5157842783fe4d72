//! What the guard, the probes and the task share: how well the instance is, and how the registration stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use callboard_proto::CheckStatus;
use callboard_proto::definition::Figures;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::flight::InFlight;
use super::probe::InProcessCheck;
use super::quality;
use super::service::Service;
use crate::error::Error;

/// Says where in its life a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not confirmed yet, or forgotten by the registry: being registered.
    Registering,
    /// Confirmed.
    Registered,
    /// The registry refuses it as it is (4xx); tried again at growing intervals.
    Refused,
    /// Taken back: the registry does not have it.
    Gone,
    /// Given up by this process; the registry could not be told and will find out by the missing beat.
    Abandoned,
}

/// Tells how a registration stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where in its life it is.
    pub phase: Phase,
    /// How often the whole registration was confirmed; more than once means that it was forgotten in between.
    pub registrations: u64,
    /// How many beats were confirmed.
    pub beats: u64,
    /// The status that was confirmed last.
    pub status: Option<CheckStatus>,
    /// The last failure, until something succeeds.
    pub error: Option<Arc<Error>>,
}

pub(crate) struct Shared {
    pub(super) instance: String,
    pub(super) wishes: Mutex<Wishes>,
    pub(super) wake: Notify,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) in_flight: InFlight,
    // In microseconds; the largest number while nothing was measured.
    lag: AtomicU64,
}

/// How well the instance is, by what everybody says.
pub(super) struct Wishes {
    own: (CheckStatus, String),
    // One per probe, by place.
    probes: Vec<(String, CheckStatus, String)>,
    draining: bool,
    // Since when the application's runtime has not answered.
    stuck: Option<Instant>,
    figures: Option<Figures>,
}

impl Shared {
    pub(super) fn new(service: &Service, probes: &[InProcessCheck]) -> Self {
        let unknown =
            |probe: &InProcessCheck| (probe.name().to_owned(), CheckStatus::Critical, "not run yet".to_owned());
        Self {
            instance: service.instance_id().to_owned(),
            wishes: Mutex::new(Wishes {
                own: (service.status, service.output.clone()),
                probes: probes.iter().map(unknown).collect(),
                draining: false,
                stuck: None,
                figures: None,
            }),
            wake: Notify::new(),
            standing: watch::Sender::new(Standing {
                phase: Phase::Registering,
                registrations: 0,
                beats: 0,
                status: None,
                error: None,
            }),
            in_flight: service.in_flight.clone(),
            lag: AtomicU64::new(u64::MAX),
        }
    }

    /// Changes what is wished, and wakes the task if the status is another one now.
    pub(super) fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        let changed = {
            let mut wishes = self.wishes.lock();
            let before = wishes.status().0;
            change(&mut wishes);
            wishes.status().0 != before
        };
        if changed {
            self.wake.notify_one();
        }
    }

    pub(super) fn set_own(&self, status: CheckStatus, output: String) {
        self.wish(|wishes| wishes.own = (status, output));
    }

    pub(super) fn set_probe(&self, place: usize, status: CheckStatus, output: String) {
        self.wish(|wishes| {
            if let Some(probe) = wishes.probes.get_mut(place) {
                (probe.1, probe.2) = (status, output);
            }
        });
    }

    pub(super) fn set_stuck(&self, since: Option<Instant>) {
        self.wish(|wishes| wishes.stuck = since);
    }

    pub(super) fn set_lag(&self, lag: Duration) {
        self.lag.store(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX - 1), Relaxed);
    }

    pub(super) fn lag(&self) -> Option<Duration> {
        let lag = self.lag.load(Relaxed);
        (lag != u64::MAX).then(|| Duration::from_micros(lag))
    }

    pub(super) fn set_draining(&self) {
        self.wishes.lock().draining = true;
        // Even if it was critical before: without beats there is more to do than to say so.
        self.wake.notify_one();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.wishes.lock().draining
    }

    pub(super) fn set_figures(&self, figures: Figures) {
        self.wishes.lock().figures = Some(figures);
    }

    /// Takes what the next request says.
    pub(super) fn spoken(&self) -> (CheckStatus, String) {
        self.wishes.lock().status()
    }

    /// Says whether the application itself set figures.
    pub(super) fn has_said_figures(&self) -> bool {
        self.wishes.lock().figures.is_some()
    }

    /// Puts the figures together that go with the next beat.
    pub(super) fn figures(&self) -> Option<Figures> {
        let said = self.wishes.lock().figures;
        quality::figures(said, self.in_flight.quality(), quality::resident())
    }
}

impl Wishes {
    /// The worst that anybody says; the output tells who says it.
    fn status(&self) -> (CheckStatus, String) {
        if self.draining {
            return (CheckStatus::Critical, "draining: finishes what it has and leaves".to_owned());
        }
        let mut worst = self.own.0;
        let mut output = self.own.1.clone();
        if let Some(since) = self.stuck {
            worst = CheckStatus::Critical;
            let seconds = since.elapsed().as_secs_f64();
            output = format!("the application's runtime has not run anything for {seconds:.1} s");
        }
        for (name, status, said) in &self.probes {
            worst = worst.max(*status);
            if *status != CheckStatus::Passing {
                if !output.is_empty() {
                    output.push_str("; ");
                }
                output.push_str(&format!("{name}: {said}"));
            }
        }
        (worst, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_says_who() {
        let service = Service::new("web");
        let probe = |name: &str| {
            InProcessCheck::new(name, std::time::Duration::from_secs(1), || async { Ok::<(), String>(()) })
        };
        let shared = Shared::new(&service, &[probe("db"), probe("disk")]);
        assert_eq!(shared.spoken().0, CheckStatus::Critical, "nobody knows yet");
        shared.set_probe(0, CheckStatus::Passing, "fine".into());
        shared.set_probe(1, CheckStatus::Warning, "90 % full".into());
        assert_eq!(shared.spoken().1, "disk: 90 % full");
        shared.set_own(CheckStatus::Critical, "no licence".into());
        let (status, output) = shared.spoken();
        assert_eq!((status, output.as_str()), (CheckStatus::Critical, "no licence; disk: 90 % full"));
        shared.set_own(CheckStatus::Passing, String::new());
        shared.set_probe(1, CheckStatus::Passing, String::new());
        shared.set_stuck(Some(Instant::now()));
        let (status, output) = shared.spoken();
        assert!(status == CheckStatus::Critical && output.contains("has not run anything"), "{output}");
        shared.set_stuck(None);
        assert_eq!(shared.spoken().0, CheckStatus::Passing);
        shared.set_draining();
        assert_eq!(shared.spoken().0, CheckStatus::Critical);
    }
}
