//! Choosing whom to call.
//!
//! A [`Policy`] builds a [`Picker`] from a snapshot when the set changes; a call asks it once. The
//! [`Balancer`] is the handle that holds the newest of both behind one pointer, keeps the counters
//! threads take their turns from, and turns an answer into a guard. What lies over every policy (zones, subsets, slow
//! start, those aside, panic) is laid out in `layout` and asked at the gate of a pick. It knows no protocol and no
//! registry. How to use it: [`guide`].
//!
//! ```
//! use std::sync::Arc;
//! use callboard::balance::{Ask, Balancer, Policy};
//! use callboard::catalog::Snapshot;
//! use callboard::endpoint::{Endpoint, Outcome};
//!
//! let empty = Snapshot::empty("web");
//! let balancer = Balancer::new(Policy::RoundRobin, Arc::new(empty));
//! assert!(balancer.pick(&Ask::any()).is_err());
//!
//! let rows = [Endpoint::new("web-1", "10.0.0.1", 80), Endpoint::new("web-2", "10.0.0.2", 80)];
//! balancer.publish(Arc::new(balancer.snapshot().next(rows, 7)));
//! let first = balancer.pick(&Ask::any()).unwrap();
//! let tried = [first.key()];
//! first.finish(Outcome::ConnectFailed);
//! let second = balancer.pick(&Ask::any().without(&tried)).unwrap();
//! assert_ne!(second.key(), tried[0]);
//! second.finish(Outcome::Success);
//! ```

#[doc = include_str!("../../docs/balance.md")]
pub mod guide {}

mod alias;
mod bounded;
mod changes;
mod dx_hash;
mod edits;
mod group;
pub mod hash;
mod late;
mod layout;
#[cfg(test)]
mod layout_tests;
mod least_request;
mod local;
mod maglev;
mod maglev_interim;
mod modulo;
mod pair;
mod peak_ewma;
mod picked;
mod picker;
mod policy;
mod prequal;
mod publish;
mod ramp;
mod random;
mod rendezvous;
mod retire;
mod ring;
mod ring_hash;
mod rule;
mod schedule;
mod seat;
mod settings;
mod sleepers;
mod stage;
mod subset;
#[cfg(test)]
mod tests;
mod totals;
mod turns;
mod zone;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use group::Group;
pub use local::Local;
pub use picked::{NoEndpoint, Picked};
pub use picker::{Ask, Follower, Picker, Worker};
pub use policy::{BuildPicker, Policy};
pub use prequal::Targets;
pub use ramp::SlowStart;
pub use settings::{BalancerSettings, Only};
pub use subset::Ordinal;
pub use turns::Turns;
pub use zone::Spill;

use layout::Layout;
use subset::Subset;

use retire::Retired;

use crate::catalog::{Member, Snapshot};
use crate::endpoint::Clock;

/// Bounds of the number of counters: one for each of so many threads, the last for all others.
const COUNTERS: std::ops::RangeInclusive<usize> = 16..=128;

/// Picks endpoints of one service by one policy; clones are the same balancer.
#[derive(Clone)]
pub struct Balancer {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwap<Current>,
    settings: BalancerSettings,
    /// Whether a policy among them may have a bound to tell.
    bounds: bool,
    /// Makes this client's order its own; kept, so that updates keep the order.
    seed: u64,
    counters: Box<[Counter]>,
    /// Which of the clients this one is, for subsetting. Held while something is published, so that the newest snapshot is
    /// published last.
    publishing: Mutex<Ordinal>,
    /// Held while a table is built that another picker serves for.
    completing: Mutex<()>,
    /// What was published before and readers may still have.
    retired: Retired<Current>,
    /// When the registry last confirmed the snapshot, in milliseconds of the process clock.
    confirmed: AtomicU64,
}

/// What changes together.
struct Current {
    snapshot: Arc<Snapshot>,
    /// None when there is nobody to call.
    layout: Option<Layout>,
    /// What the layout keeps to, and whom it followed so far.
    subset: Subset,
}

/// One counter on cache lines of its own (processors fetch them in pairs).
#[repr(align(128))]
struct Counter(AtomicU64);

impl Balancer {
    /// Builds a balancer over a snapshot, which may be the empty one.
    #[must_use]
    pub fn new(settings: impl Into<BalancerSettings>, snapshot: Arc<Snapshot>) -> Self {
        Self::with_seed(settings, snapshot, fastrand::u64(..))
    }

    /// Builds a balancer whose choices follow from `seed`, the asks and the threads alone.
    #[must_use]
    pub fn with_seed(settings: impl Into<BalancerSettings>, snapshot: Arc<Snapshot>, seed: u64) -> Self {
        let settings = settings.into();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let counters = (processors * 4).clamp(*COUNTERS.start(), *COUNTERS.end());
        // Each counter begins at a random place, or every client would begin with the same endpoint.
        let counters = (0..counters as u64)
            .map(|counter| Counter(AtomicU64::new(hash::mix(seed.wrapping_add(counter)))))
            .collect();
        let ordinal = Ordinal::random(seed);
        let current = Current::build(&settings, snapshot, seed, ordinal, (None, None));
        let bounds = settings.policy.may_bound() || settings.zone_policies.iter().any(|(_, policy)| policy.may_bound());
        Self {
            shared: Arc::new(Shared {
                bounds,
                current: ArcSwap::from_pointee(current),
                settings,
                seed,
                counters,
                publishing: Mutex::new(ordinal),
                completing: Mutex::default(),
                retired: Retired::default(),
                confirmed: AtomicU64::new(Clock::process().exact()),
            }),
        }
    }

    /// Does what depends on the time that passes: compares endpoints when their interval is over (see
    /// [`Snapshot::sweep`]) and weighs the zones anew. Called about once a second by whoever feeds the balancer.
    pub fn tick(&self) {
        let current = self.shared.current.load();
        current.snapshot.sweep();
        if let Some(layout) = &current.layout {
            layout.weigh(true);
        }
    }

    /// Notes that the registry confirmed the published snapshot; its age begins anew.
    pub fn confirm(&self) {
        self.shared.retired.sweep();
        self.shared.confirmed.store(Clock::process().exact(), Relaxed);
    }

    /// Returns the time since the registry last confirmed the snapshot.
    #[must_use]
    pub fn age(&self) -> Duration {
        let confirmed = self.shared.confirmed.load(Relaxed);
        Duration::from_millis(Clock::process().exact().saturating_sub(confirmed))
    }

    /// Returns the published snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.current.load().snapshot)
    }

    /// Returns a handle for one worker, which picks several times faster; see [`Local`].
    #[must_use]
    pub fn local(&self) -> Local {
        Local::new(self.clone(), fastrand::u64(..))
    }

    /// Says whether anybody else holds this balancer.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &BalancerSettings {
        &self.shared.settings
    }

    /// Returns the policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.shared.settings.policy
    }

    /// Picks an endpoint for one call and counts the call in flight until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`NoEndpoint`] when the registry leaves nobody to call, or the call has tried everybody.
    #[inline]
    pub fn pick(&self, ask: &Ask<'_>) -> Result<Picked, NoEndpoint> {
        self.choose(ask, |member| Picked::new(Arc::clone(member), self.shared.settings.policy.is_timed()))
    }

    /// Chooses as [`Self::pick`] does, but only shows the choice: nothing is counted in flight.
    ///
    /// # Errors
    ///
    /// As [`Self::pick`].
    #[inline]
    pub fn choose<R>(&self, ask: &Ask<'_>, show: impl FnOnce(&Arc<Member>) -> R) -> Result<R, NoEndpoint> {
        let current = self.shared.current.load();
        match current.choose(*ask, self.shared.turns()) {
            Some(member) => Ok(show(member)),
            None => Err(self.no_endpoint(&current.snapshot, ask.tried().len())),
        }
    }

    /// Returns how many requests of all clients the picked server may have in flight, this one included, as far as its
    /// policy knows: for the server, which knows how many it has. None without a bound, and while too few servers report.
    #[inline]
    #[must_use]
    pub fn bound_of(&self, picked: &Picked) -> Option<u32> {
        if !self.has_bounds() {
            return None;
        }
        let current = self.shared.current.load();
        let position = current.snapshot.position_of(picked.endpoint())?;
        current.layout.as_ref()?.bound(position)
    }

    /// Says whether [`Self::bound_of`] may ever return something.
    #[inline]
    pub(crate) fn has_bounds(&self) -> bool {
        self.shared.bounds
    }

    /// Counts a call in flight at an endpoint that was picked before, whatever the policy would choose now.
    pub(crate) fn hold(&self, member: Arc<Member>) -> Picked {
        Picked::new(member, self.shared.settings.policy.is_timed())
    }

    #[cold]
    fn no_endpoint(&self, snapshot: &Snapshot, tried: usize) -> NoEndpoint {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        NoEndpoint {
            service: Arc::clone(snapshot.service()),
            policy: self.shared.settings.policy.name(),
            known: count(snapshot.members().len()),
            healthy: snapshot.eligible_len(),
            aside: count(snapshot.aside_len()),
            tried: count(tried),
            index: snapshot.index(),
            age: self.age(),
        }
    }
}

impl Shared {
    /// Returns the turns of this thread, or those that threads without a counter of their own share.
    #[inline]
    fn turns(&self) -> Turns<'_> {
        let (own, others) = self.counters.split_at(self.counters.len() - 1);
        match own.get(seat::seat()) {
            Some(Counter(counter)) => Turns::alone(counter),
            None => Turns::shared(&others[0].0),
        }
    }
}

impl Current {
    /// Builds what is published after `before`; pickers of `serves_on` may serve on.
    fn build(
        settings: &BalancerSettings,
        snapshot: Arc<Snapshot>,
        seed: u64,
        ordinal: Ordinal,
        (before, serves_on): (Option<&Self>, Option<&Self>),
    ) -> Self {
        let mut subset = Subset::default();
        let layout = Layout::build(
            settings,
            &snapshot,
            seed,
            (before.and_then(|one| one.layout.as_ref()), serves_on.and_then(|one| one.layout.as_ref())),
            |whole| {
                let size = settings.subset?;
                subset = before.map_or(&subset, |before| &before.subset).follow(whole, size as usize);
                Some(subset.chosen(ordinal).collect())
            },
        );
        Self { snapshot, layout, subset }
    }

    #[inline]
    fn choose(&self, ask: Ask<'_>, turns: Turns<'_>) -> Option<&Arc<Member>> {
        let layout = self.layout.as_ref()?;
        if !layout.is_plain() || !ask.is_open() || self.snapshot.aside().any() {
            return layout.choose(&ask, turns);
        }
        layout.stage(0).choose(ask.hashed(), turns)
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.shared.current.load();
        f.debug_struct("Balancer")
            .field("service", current.snapshot.service())
            .field("policy", &self.shared.settings.policy)
            .field("index", &current.snapshot.index())
            .field("known", &current.snapshot.members().len())
            .finish()
    }
}
