//! Rules made ready to be acted on: each target with the balancer that picks among its endpoints.
//!
//! Built off the path whenever rules change, and swapped as a whole. Decides only whether a target has anybody who is well, which
//! is when its failover counts; what the rules say is decided in `route`. Built by `follow`, asked by `service`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::balance::{Balancer, BalancerSettings, Only, Policy};
use crate::catalog::Snapshot;
use crate::error::Error;
use crate::route::{Algorithm, Chosen, Rules, Target};
use crate::watch::Watch;

/// Opens watches of services, wherever they come from.
pub(crate) type Watches = dyn Fn(&str) -> Result<Watch, Error> + Send + Sync;

/// Holds rules and what their targets need.
pub(crate) struct Plan {
    pub(super) rules: Rules,
    planned: Vec<Planned>,
    turn: AtomicU64,
}

pub(super) struct Planned {
    pub(super) balancer: Balancer,
    // Feeds the balancer.
    watch: Watch,
    // The generation of a snapshot in which nobody was aside, times two, and whether anybody was well in it.
    well: AtomicU64,
}

impl Plan {
    /// Opens what the targets need. `base` are the settings that the application wants for the service.
    pub(crate) fn build(rules: Rules, base: &BalancerSettings, watches: &Watches) -> Result<Self, Error> {
        let planned = rules.targets().iter().map(|target| {
            let watch = watches(&target.service)?;
            let balancer = watch.balancer(settings(target, base));
            Ok(Planned { balancer, watch, well: AtomicU64::new(u64::MAX) })
        });
        let planned = planned.collect::<Result<_, Error>>()?;
        Ok(Self { rules, planned, turn: AtomicU64::new(fastrand::u64(..)) })
    }

    /// Waits until something is known of every target, or until the time is over.
    pub(super) async fn known(&self, timeout: Duration) {
        let all = async {
            for planned in &self.planned {
                // An error means that the time is over, or that the client is.
                let _ = planned.watch.clone().ready(0, timeout).await;
            }
        };
        let _ = tokio::time::timeout(timeout, all).await;
    }

    /// Takes a turn.
    pub(super) fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Relaxed)
    }

    /// Returns whom a call goes to: the target that was chosen, or the first of its failover where somebody is well while
    /// nobody is here.
    pub(super) fn place(&self, chosen: &Chosen<'_>) -> (&Target, &Planned) {
        let targets = self.rules.targets();
        let own = chosen.target;
        let is_well = |place: usize| self.planned[place].is_well(&targets[place]);
        let failover = &targets[own].failover;
        let place = match failover.is_empty() || is_well(own) {
            true => own,
            false => failover.iter().copied().find(|place| is_well(*place)).unwrap_or(own),
        };
        (&targets[place], &self.planned[place])
    }
}

impl Planned {
    fn is_well(&self, target: &Target) -> bool {
        let snapshot = self.balancer.snapshot();
        // Before the first answer nobody knows, and the chosen target is as good as any other.
        if snapshot.generation() == 0 {
            return true;
        }
        if snapshot.aside().any() {
            return anybody(&snapshot, target);
        }
        let known = self.well.load(Relaxed);
        if known >> 1 == snapshot.generation() {
            return known & 1 == 1;
        }
        let well = anybody(&snapshot, target);
        self.well.store(snapshot.generation() << 1 | u64::from(well), Relaxed);
        well
    }
}

/// Says whether a target has an endpoint that may be called and is not aside.
fn anybody(snapshot: &Snapshot, target: &Target) -> bool {
    let now = snapshot.aside().clock().coarse();
    snapshot.eligible().any(|(_, member)| {
        !member.stats().is_aside(now) && target.subset.as_ref().is_none_or(|subset| subset.holds(member.endpoint()))
    })
}

fn settings(target: &Target, base: &BalancerSettings) -> BalancerSettings {
    let mut settings = base.clone();
    if let Some(algorithm) = target.algorithm {
        settings.policy = match algorithm {
            Algorithm::Random => Policy::WeightedRandom,
            Algorithm::RoundRobin => Policy::SmoothWeighted,
            Algorithm::LeastRequest => Policy::LEAST_REQUEST,
            Algorithm::RingHash => Policy::RING_HASH,
            Algorithm::Maglev => Policy::Maglev,
        };
    }
    if let Some(subset) = &target.subset {
        let part = subset.clone();
        settings.only = Some(Only::new(subset.definition(), move |endpoint| part.holds(endpoint)));
    }
    settings
}
